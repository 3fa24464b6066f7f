//! The objects that are measured with: many Rollouts or Deployments, made, changed and waited for at once.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, pin_mut, stream};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};

use crate::bench::control_plane::ControlPlane;

/// Where everything is made.
pub(crate) const NAMESPACE: &str = "default";
/// Requests at the same time.
const AT_ONCE: usize = 32;

/// What is updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rollout,
    Deployment,
}

/// Many objects of one kind, `w-0` and on.
pub(crate) struct Fleet {
    kind: Kind,
    api: Api<DynamicObject>,
    replicas: usize,
    /// The settings in each template: 0, or as many as make it about 3 KB.
    settings: usize,
}

/// A client of the admin's, without limits and without retries.
pub(crate) async fn client(plane: &ControlPlane) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(&plane.admin.kubeconfig)?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    Ok(Client::try_from(config)?)
}

/// Objects of a kind in [`NAMESPACE`].
pub(crate) fn api(client: &Client, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(client.clone(), NAMESPACE, &resource)
}

/// Makes objects, [`AT_ONCE`] at a time.
pub(crate) async fn create_all(
    api: &Api<DynamicObject>,
    objects: impl Iterator<Item = Value>,
) -> anyhow::Result<()> {
    stream::iter(objects.map(Ok))
        .try_for_each_concurrent(AT_ONCE, |object| async {
            let object = serde_json::from_value(object)?;
            api.create(&PostParams::default(), &object).await?;
            anyhow::Ok(())
        })
        .await
        .context("making objects")
}

impl Fleet {
    /// None yet.
    pub(crate) fn new(client: &Client, kind: Kind, replicas: usize, settings: usize) -> Self {
        let api = match kind {
            Kind::Rollout => api(client, "argoproj.io", "v1alpha1", "Rollout"),
            Kind::Deployment => api(client, "apps", "v1", "Deployment"),
        };
        Self {
            kind,
            api,
            replicas,
            settings,
        }
    }

    /// Makes those with these numbers, with the first image.
    pub(crate) async fn create(&self, numbers: std::ops::Range<usize>) -> anyhow::Result<()> {
        create_all(&self.api, numbers.map(|number| self.manifest(number))).await
    }

    /// Gives the first `count` another image, all at once.
    pub(crate) async fn set_image(&self, count: usize, image: &str) -> anyhow::Result<()> {
        let patch = &json!({"spec": {"template": {"spec": {"containers": [container(image, self.settings)]}}}});
        stream::iter((0..count).map(Ok))
            .try_for_each_concurrent(AT_ONCE, |number| async move {
                let params = PatchParams::default();
                let name = name(number);
                self.api.patch(&name, &params, &Patch::Merge(patch)).await?;
                anyhow::Ok(())
            })
            .await
            .context("changing images")
    }

    /// Waits until all of `count` are on their newest version and healthy; tells when each was, in seconds from
    /// `begun`. `image` is the one they must have.
    pub(crate) async fn wait(
        &self,
        count: usize,
        image: &str,
        begun: Instant,
        limit: Duration,
    ) -> anyhow::Result<Vec<f64>> {
        let mut done = BTreeMap::new();
        let seen = self.follow(count, image, begun, &mut done);
        if tokio::time::timeout(limit, seen).await.is_err() {
            let stuck: Vec<String> = (0..count)
                .map(name)
                .filter(|name| !done.contains_key(name))
                .take(3)
                .collect();
            anyhow::bail!(
                "{} of {count} were healthy after {} s; not so: {stuck:?} …",
                done.len(),
                limit.as_secs()
            );
        }
        let mut times: Vec<f64> = done.into_values().collect();
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    async fn follow(
        &self,
        count: usize,
        image: &str,
        begun: Instant,
        done: &mut BTreeMap<String, f64>,
    ) {
        let events = watch(self.api.clone(), watcher::Config::default()).default_backoff();
        pin_mut!(events);
        while done.len() < count {
            match events.next().await {
                Some(Ok(Event::InitApply(object) | Event::Apply(object))) => {
                    if self.is_done(&object, image) {
                        let seconds = begun.elapsed().as_secs_f64();
                        done.entry(object.name_any()).or_insert(seconds);
                    } else {
                        done.remove(&object.name_any());
                    }
                }
                Some(Ok(Event::Init | Event::InitDone | Event::Delete(_))) => {}
                Some(Err(error)) => eprintln!("measure: watch: {error}"),
                None => return,
            }
        }
    }

    fn is_done(&self, object: &DynamicObject, image: &str) -> bool {
        let at = |path: &str| object.data.pointer(path);
        let is_image =
            at("/spec/template/spec/containers/0/image").and_then(Value::as_str) == Some(image);
        let generation = object.metadata.generation.unwrap_or(0);
        let replicas = Some(&json!(self.replicas));
        let is_up = match self.kind {
            Kind::Rollout => {
                at("/status/phase") == Some(&json!("Healthy"))
                    && at("/status/observedGeneration") == Some(&json!(generation.to_string()))
                    && at("/status/stableRS") == at("/status/currentPodHash")
            }
            Kind::Deployment => {
                at("/status/observedGeneration") == Some(&json!(generation))
                    && at("/status/updatedReplicas") == replicas
                    && at("/status/availableReplicas") == replicas
                    && at("/status/replicas") == replicas
            }
        };
        is_image && is_up
    }

    fn manifest(&self, number: usize) -> Value {
        let name = name(number);
        let labels = json!({"app": name});
        let mut object = json!({
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [container(FIRST, self.settings)]},
                },
            },
        });
        let (version, kind) = match self.kind {
            Kind::Rollout => {
                let steps = json!([{"setWeight": 50}, {"setWeight": 100}]);
                object["spec"]["strategy"] = json!({"canary": {"steps": steps}});
                ("argoproj.io/v1alpha1", "Rollout")
            }
            Kind::Deployment => ("apps/v1", "Deployment"),
        };
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
        object
    }
}

/// The image that everything starts with.
pub(crate) const FIRST: &str = "example/web:1";

/// Name of the object with this number.
pub(crate) fn name(number: usize) -> String {
    format!("w-{number}")
}

/// A container with `settings` environment variables of about 100 bytes each.
pub(crate) fn container(image: &str, settings: usize) -> Value {
    let env: Vec<Value> = (0..settings)
        .map(|n| {
            let value = format!("a value of some length, number {n}, as people write them");
            json!({"name": format!("SETTING_NUMBER_{n}"), "value": value})
        })
        .collect();
    json!({"name": "web", "image": image, "env": env})
}

/// Runs what blocks without holding up anything else.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
