//! All that the node asks of the API server. Knows its calls and what to do when they fail; decides nothing.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{Flags, logs, status};

/// The pod, or this one of its name, is no longer there: its life is over.
#[derive(Debug)]
pub(crate) struct Gone;

/// The API server, as the node sees it.
pub(crate) struct Cluster {
    client: Client,
    flags: Flags,
    // The client knows no limit, and 1,000 pods at once would be 1,000 connections.
    turns: Semaphore,
    addresses: AtomicU32,
}

impl Cluster {
    pub(crate) async fn connect(flags: Flags) -> anyhow::Result<Self> {
        let path = &flags.kubeconfig;
        let kubeconfig = Kubeconfig::read_from(path)
            .with_context(|| format!("--kubeconfig {}", path.display()))?;
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        config.read_timeout = Some(Duration::from_secs(300));
        let client = Client::try_from(config)?;
        Ok(Self {
            client,
            flags,
            turns: Semaphore::new(48),
            addresses: AtomicU32::new(0),
        })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn flags(&self) -> &Flags {
        &self.flags
    }

    pub(crate) fn node_name(&self) -> &str {
        &self.flags.node_name
    }

    /// An invented address; the API server refuses loopback ones in endpoints.
    pub(crate) fn new_pod_ip(&self) -> String {
        let number = self.addresses.fetch_add(1, Ordering::Relaxed);
        let [_, high, middle, low] = number.saturating_add(1).to_be_bytes();
        format!("10.{}.{middle}.{low}", 128_u8.wrapping_add(high))
    }

    /// Creates the Node object, without which pods bound to the node would be collected.
    pub(crate) async fn register(&self) -> anyhow::Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = serde_json::from_value(json!({
            "metadata": {"name": self.node_name(), "labels": {"kubernetes.io/hostname": self.node_name()}},
        }))?;
        match nodes.create(&PostParams::default(), &node).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            other => drop(other.context("creating the Node object")?),
        }
        let logs = logs::serve(self.client.clone()).await?;
        let resources = json!({"cpu": "1000", "memory": "4Ti", "pods": "100000"});
        let now = status::now();
        let patch = json!({"status": {
            "capacity": resources, "allocatable": resources,
            // The API server asks for logs by the first of these.
            "addresses": [
                {"type": "Hostname", "address": "127.0.0.1"},
                {"type": "InternalIP", "address": "10.0.0.1"},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": logs}},
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Playing", "message": "plays pods",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            }],
        }});
        nodes
            .patch_status(
                self.node_name(),
                &PatchParams::default(),
                &Patch::Strategic(patch),
            )
            .await
            .context("reporting the node ready")?;
        Ok(())
    }

    /// Binds a pod to this node.
    pub(crate) async fn bind(&self, pod: &Pod) -> Result<(), Gone> {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": pod.name_any(), "uid": pod.uid()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.node_name()},
        });
        let namespace = pod.namespace().unwrap_or_default();
        let url = format!("/api/v1/namespaces/{namespace}/pods");
        let (request, binding) = (&Request::new(url), &binding);
        self.until_done("bind", pod, || async move {
            let body = binding.to_string().into_bytes();
            let request = request
                .create_subresource("binding", &pod.name_any(), &PostParams::default(), body)
                .map_err(kube::Error::BuildRequest)?;
            match self.client.request::<Value>(request).await {
                // An earlier try of ours whose answer was lost, or another node was faster.
                Err(kube::Error::Api(status))
                    if status.code == 409 && self.is_mine(pod).await? =>
                {
                    Ok(())
                }
                other => other.map(drop),
            }
        })
        .await
    }

    async fn is_mine(&self, pod: &Pod) -> Result<bool, kube::Error> {
        let now = self.pods(pod).get(&pod.name_any()).await?;
        let node = now.spec.and_then(|spec| spec.node_name);
        Ok(node.as_deref() == Some(self.node_name()))
    }

    /// Changes a pod's status, and annotations with it: one write, lists merged by their keys.
    pub(crate) async fn report(&self, pod: &Pod, mut patch: Value) -> Result<(), Gone> {
        if let Some(metadata) = patch.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("uid".to_owned(), json!(pod.uid()));
        }
        let (pods, patch) = (&self.pods(pod), &Patch::Strategic(patch));
        self.until_done("status", pod, || async move {
            pods.patch_status(&pod.name_any(), &PatchParams::default(), patch)
                .await
                .map(drop)
        })
        .await
    }

    /// Takes a pod that has ended off the API server.
    pub(crate) async fn delete(&self, pod: &Pod) -> Result<(), Gone> {
        let preconditions = Preconditions {
            uid: pod.uid(),
            resource_version: None,
        };
        let how = &DeleteParams::default()
            .grace_period(0)
            .preconditions(preconditions);
        let pods = &self.pods(pod);
        self.until_done("delete", pod, || async move {
            pods.delete(&pod.name_any(), how).await.map(drop)
        })
        .await
    }

    fn pods(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default())
    }

    /// Repeats a call until the API server has done it, or says that the pod is not there any more.
    async fn until_done<F>(&self, what: &str, pod: &Pod, call: impl Fn() -> F) -> Result<(), Gone>
    where
        F: Future<Output = Result<(), kube::Error>>,
    {
        let mut wait = Duration::from_millis(100);
        loop {
            let turn = self.turns.acquire().await;
            let answer = call().await;
            drop(turn);
            match answer {
                Ok(()) => return Ok(()),
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                    return Err(Gone);
                }
                Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                    eprintln!("node: {what} {}: {status}", pod.name_any());
                    return Err(Gone);
                }
                Err(trouble) => eprintln!("node: {what} {}: {trouble}", pod.name_any()),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(3));
        }
    }
}
