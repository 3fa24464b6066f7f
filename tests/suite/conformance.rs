//! The simulated API server answers writes as a real one does: the same table of writes, with versions that are current
//! and stale, on both, must have the same outcomes, and move version and generation alike. Needs `SERIN_APISERVER`.

use std::fmt::Write as _;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::DeleteParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Config, ResourceExt};
use serde_json::{Value, json};
use serin::api::{AnalysisRun, POD_HASH_LABEL, Rollout, RolloutStatus};
use serin::live::attempt;
use serin::live::client::Clients;
use serin::planner::plan::{NewReplicaSet, Outcome, ReplicaSetPatch, StatusWrite, Write};
use serin::sim::clock::{Queue, epoch};
use serin::sim::cluster::Cluster;
use serin::sim::event::Happen;

use crate::cluster::{self, Space};
use crate::controller::space;

/// What a write needs to know of an object.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    uid: String,
    version: String,
    generation: i64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Object {
    Rollout,
    Set,
    Run,
}

/// Which version a write carries.
#[derive(Clone, Copy, Debug)]
enum At {
    Current,
    Stale,
    OtherUid,
}

#[derive(Clone, Copy, Debug)]
enum Do {
    Annotate(&'static str),
    Respec,
    Status(&'static str),
    CreateSet,
    PatchSet(u32),
    DeleteSet,
    CreateRun,
    EndRun,
    DeleteRun,
    /// A person deletes the Rollout.
    DeleteRollout,
}

const TABLE: &[(Do, At)] = &[
    (Do::Annotate("a"), At::Current),
    (Do::Annotate("b"), At::Stale),
    (Do::Annotate("a"), At::Current),
    (Do::Respec, At::Current),
    (Do::Respec, At::Stale),
    (Do::Status("one"), At::Current),
    (Do::Status("two"), At::Stale),
    (Do::PatchSet(1), At::Current),
    (Do::DeleteSet, At::Current),
    (Do::CreateSet, At::Current),
    (Do::CreateSet, At::Current),
    (Do::PatchSet(1), At::Current),
    (Do::PatchSet(2), At::Stale),
    (Do::PatchSet(1), At::Current),
    (Do::DeleteSet, At::Stale),
    (Do::DeleteSet, At::OtherUid),
    (Do::DeleteSet, At::Current),
    (Do::DeleteSet, At::Current),
    (Do::EndRun, At::Current),
    (Do::CreateRun, At::Current),
    (Do::CreateRun, At::Current),
    (Do::EndRun, At::Current),
    (Do::EndRun, At::Stale),
    (Do::DeleteRun, At::Stale),
    (Do::DeleteRun, At::OtherUid),
    (Do::DeleteRun, At::Current),
    (Do::DeleteRun, At::Current),
    (Do::DeleteRollout, At::Current),
    (Do::Annotate("c"), At::Current),
    (Do::Status("three"), At::Current),
];

const SET: &str = "web-abc";
const RUN: &str = "web-abc-1";

fn object_of(act: Do) -> Object {
    match act {
        Do::Annotate(_) | Do::Respec | Do::Status(_) | Do::DeleteRollout => Object::Rollout,
        Do::CreateSet | Do::PatchSet(_) | Do::DeleteSet => Object::Set,
        Do::CreateRun | Do::EndRun | Do::DeleteRun => Object::Run,
    }
}

/// The write, with the version and uid that it carries. `owner` is the Rollout's uid.
fn write_of(act: Do, at: At, owner: &str, now: &Known, before: &Known) -> Option<Write> {
    let version = match at {
        At::Current | At::OtherUid => now.version.clone(),
        At::Stale => before.version.clone(),
    };
    let uid = match at {
        At::OtherUid => "00000000-0000-0000-0000-000000000000".to_owned(),
        At::Current | At::Stale => now.uid.clone(),
    };
    let write = match act {
        Do::Annotate(value) => Write::PatchRollout {
            patch: json!({"metadata": {"annotations": {"serin.dev/note": value}}}),
            version,
        },
        Do::Respec => Write::PatchRollout {
            patch: json!({"spec": {"revisionHistoryLimit": 3}}),
            version,
        },
        Do::Status(message) => Write::Status(Box::new(StatusWrite {
            version,
            before: Arc::new(RolloutStatus::default()),
            after: RolloutStatus {
                message: Some(message.to_owned()),
                ..RolloutStatus::default()
            },
        })),
        Do::CreateSet => Write::CreateReplicaSet(Box::new(new_set(owner))),
        Do::PatchSet(seconds) => Write::PatchReplicaSet(ReplicaSetPatch {
            name: SET.to_owned(),
            uid,
            version,
            min_ready_seconds: Some(seconds),
            ..ReplicaSetPatch::default()
        }),
        Do::DeleteSet => Write::DeleteReplicaSet {
            name: SET.to_owned(),
            uid,
            version,
        },
        Do::CreateRun => Write::CreateRun(Box::new(new_run(owner))),
        Do::EndRun => Write::TerminateRun {
            name: RUN.to_owned(),
            version,
        },
        Do::DeleteRun => Write::DeleteRun {
            name: RUN.to_owned(),
            uid,
            version,
        },
        Do::DeleteRollout => return None,
    };
    Some(write)
}

fn owners(uid: &str) -> Value {
    json!([{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": uid, "controller": true}])
}

fn new_set(owner: &str) -> NewReplicaSet {
    let labels = json!({"app": "web", POD_HASH_LABEL: "abc"});
    let object = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": SET, "labels": labels, "ownerReferences": owners(owner)},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": "example/web:1"}]},
            },
        },
    });
    NewReplicaSet {
        name: SET.to_owned(),
        hash: "abc".to_owned(),
        revision: 1,
        template_digest: String::new(),
        object: Arc::new(object),
    }
}

fn new_run(owner: &str) -> AnalysisRun {
    let object = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun",
        "metadata": {"name": RUN, "ownerReferences": owners(owner)},
        "spec": {"metrics": [{"name": "m", "provider": {"prometheus": {"query": "1"}}}]},
    });
    serde_json::from_value(object).unwrap()
}

fn manifest() -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "app", "image": "example/web:1"}]},
            },
            "strategy": {"canary": {}},
        },
    })
}

/// One side of the comparison.
#[allow(clippy::large_enum_variant)]
enum Side<'a> {
    Simulated(Box<Cluster>, Box<Queue<Happen>>),
    Real(&'a Space, Clients),
}

impl Side<'_> {
    async fn known(&self, object: Object) -> Option<Known> {
        match self {
            Self::Simulated(cluster, _) => simulated(cluster, object),
            Self::Real(space, _) => real(space, object).await,
        }
    }

    async fn perform(&mut self, write: &Write) -> Outcome {
        match self {
            Self::Simulated(cluster, queue) => cluster.perform(epoch(), write, queue),
            Self::Real(space, clients) => {
                attempt(&clients.work, &space.namespace, "web", write).await
            }
        }
    }

    async fn delete_rollout(&mut self) {
        match self {
            Self::Simulated(cluster, queue) => cluster.delete_rollout(epoch(), "web", queue),
            Self::Real(space, _) => {
                let params = DeleteParams::background();
                drop(space.api::<Rollout>().delete("web", &params).await.unwrap());
                space
                    .wait("the Rollout is gone", "web", |r: Option<&Rollout>| {
                        r.is_none()
                    })
                    .await;
            }
        }
    }
}

fn simulated(cluster: &Cluster, object: Object) -> Option<Known> {
    match object {
        Object::Rollout => cluster.rollout().map(|rollout| Known {
            uid: rollout.seen.uid.clone(),
            version: rollout.seen.version.clone(),
            generation: rollout.seen.generation,
        }),
        Object::Set => cluster.replica_sets.get(SET).map(|set| Known {
            uid: set.seen.uid.clone(),
            version: set.seen.version.clone(),
            generation: set.generation,
        }),
        Object::Run => cluster.runs.get(RUN).map(|run| known(run.as_ref())),
    }
}

async fn real(space: &Space, object: Object) -> Option<Known> {
    match object {
        Object::Rollout => {
            let rollout = space.api::<Rollout>().get_opt("web").await.unwrap();
            rollout.as_ref().map(known)
        }
        Object::Run => {
            let run = space.api::<AnalysisRun>().get_opt(RUN).await.unwrap();
            run.as_ref().map(known)
        }
        Object::Set => {
            // The ReplicaSet controller writes once after each change: until then no version is the current one for long.
            let is_quiet = |set: Option<&ReplicaSet>| {
                set.is_none_or(|set| {
                    let observed = set.status.as_ref().and_then(|s| s.observed_generation);
                    observed == set.metadata.generation
                })
            };
            let set = space
                .wait("the ReplicaSet is observed", SET, is_quiet)
                .await;
            set.as_ref().map(known)
        }
    }
}

fn known(object: &impl ResourceExt) -> Known {
    Known {
        uid: object.uid().unwrap_or_default(),
        version: object.resource_version().unwrap_or_default(),
        generation: object.meta().generation.unwrap_or_default(),
    }
}

/// Plays the table; one line an entry.
async fn play(side: &mut Side<'_>) -> Vec<String> {
    let owner = side.known(Object::Rollout).await.unwrap().uid;
    // What each object was before its last change.
    let mut before: [Known; 3] = Default::default();
    let mut newest: [Known; 3] = Default::default();
    let mut lines = Vec::new();
    for (act, at) in TABLE {
        let object = object_of(*act);
        let slot = object as usize;
        let now = side.known(object).await;
        if let Some(now) = &now {
            newest[slot] = now.clone();
        }
        let mut line = format!("{act:?} {at:?}: ");
        match write_of(*act, *at, &owner, &newest[slot], &before[slot]) {
            None => side.delete_rollout().await,
            Some(write) => match side.perform(&write).await {
                Outcome::Done { .. } => line.push_str("done"),
                other => write!(line, "{other:?}").unwrap(),
            },
        }
        let after = side.known(object).await;
        match (&now, &after) {
            (None, None) => line.push_str(", nothing there"),
            (None, Some(_)) => line.push_str(", made"),
            (Some(_), None) => line.push_str(", gone"),
            (Some(now), Some(after)) => {
                let is_new = if now.version == after.version {
                    "same"
                } else {
                    "new"
                };
                let raised = after.generation - now.generation;
                write!(line, ", {is_new} version, generation +{raised}").unwrap();
                if now.version != after.version {
                    before[slot] = now.clone();
                }
            }
        }
        lines.push(line);
    }
    lines
}

#[tokio::test]
async fn writes_are_answered_alike() {
    let Some(space) = space("conformance").await else {
        return;
    };
    let mut cluster = Box::new(Cluster::new(0));
    let mut queue = Box::new(Queue::new());
    let rollout: Rollout = serde_json::from_value(manifest()).unwrap();
    cluster.create_rollout(epoch(), &rollout, &mut queue);
    let simulated = play(&mut Side::Simulated(cluster, queue)).await;

    space.apply(&manifest().to_string());
    let user = &cluster::shared().unwrap().plane.serin;
    let kubeconfig = Kubeconfig::read_from(&user.kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let clients = Clients::new(&config.unwrap()).unwrap();
    let real = play(&mut Side::Real(&space, clients)).await;
    assert_eq!(
        simulated, real,
        "left the simulated cluster, right the real API server"
    );
}
