//! Tells Prometheus which pods there are, by a file that it watches, with the labels that its own Kubernetes
//! discovery would give: Debian builds Prometheus without that discovery.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::status::ADDRESS;

/// The pods that can be scraped, by uid.
#[derive(Default)]
pub(crate) struct Targets {
    by_uid: BTreeMap<String, Value>,
    file: Option<watch::Sender<String>>,
}

impl Targets {
    /// Keeps `path` up to date where one is given.
    pub(crate) fn new(path: Option<&Path>) -> io::Result<Self> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        write(path, "[]")?;
        let (file, changes) = watch::channel(String::new());
        tokio::spawn(keep_written(path.to_owned(), changes));
        Ok(Self {
            by_uid: BTreeMap::new(),
            file: Some(file),
        })
    }

    /// Takes a pod as it is now.
    pub(crate) fn see(&mut self, pod: &Pod) {
        let uid = pod.uid().unwrap_or_default();
        match target(pod) {
            Some(target) if self.by_uid.get(&uid) != Some(&target) => {
                self.by_uid.insert(uid, target);
                self.publish();
            }
            Some(_) => {}
            None => self.forget(&uid),
        }
    }

    /// Takes note that a pod is gone.
    pub(crate) fn forget(&mut self, uid: &str) {
        if self.by_uid.remove(uid).is_some() {
            self.publish();
        }
    }

    fn publish(&self) {
        if let Some(file) = &self.file {
            file.send_replace(json!(self.by_uid.values().collect::<Vec<_>>()).to_string());
        }
    }
}

/// Writes what has changed, but not at each of many changes at once.
async fn keep_written(path: PathBuf, mut changes: watch::Receiver<String>) {
    while changes.changed().await.is_ok() {
        let text = changes.borrow_and_update().clone();
        if let Err(trouble) = write(&path, &text) {
            eprintln!("node: {}: {trouble}", path.display());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whole or not at all: Prometheus may read at any moment.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, path)
}

/// A pod that runs a process, under its invented address; where that really is stands in the annotation.
fn target(pod: &Pod) -> Option<Value> {
    pod.annotations().get(ADDRESS)?;
    let status = pod.status.as_ref()?;
    let container = pod.spec.as_ref()?.containers.first()?;
    let port = container
        .ports
        .as_ref()
        .and_then(|ports| ports.first()?.container_port.into());
    let address = format!("{}:{}", status.pod_ip.as_deref()?, port.unwrap_or(80));
    let mut labels = BTreeMap::from([
        ("__meta_kubernetes_namespace".to_owned(), pod.namespace()),
        (
            "__meta_kubernetes_pod_name".to_owned(),
            Some(pod.name_any()),
        ),
        ("__meta_kubernetes_pod_uid".to_owned(), pod.uid()),
        (
            "__meta_kubernetes_pod_phase".to_owned(),
            status.phase.clone(),
        ),
        ("__meta_kubernetes_pod_ip".to_owned(), status.pod_ip.clone()),
        (
            "__meta_kubernetes_pod_container_name".to_owned(),
            Some(container.name.clone()),
        ),
    ]);
    for (kind, all) in [("label", pod.labels()), ("annotation", pod.annotations())] {
        for (name, value) in all {
            let name = format!("__meta_kubernetes_pod_{kind}_{}", sanitized(name));
            labels.insert(name, Some(value.clone()));
        }
    }
    Some(json!({"targets": [address], "labels": labels}))
}

/// As Prometheus writes a name of Kubernetes: `pod-template-hash` is `pod_template_hash`.
fn sanitized(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}
