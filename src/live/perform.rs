//! Carries out one write of a plan and says what became of it. Every write passes the guard of the
//! Lease, carries the version it was decided on, and its answer goes into the index at once.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::{Value, json};

use super::client::{Answer, CallError, Kind, Rest, Target};
use super::controller::Controller;
use super::experiment_index::SlimExperiment;
use super::service_index::SlimService;
use super::slim::{SlimReplicaSet, SlimRollout, SlimRun};
use super::stores::ObjectKey;
use crate::api::POD_HASH_LABEL;
use crate::api::patch::to_merge_patch;
use crate::planner::observed::RolloutSeen;
use crate::planner::plan::{Outcome, StatusWrite, Write};

/// What became of a write, and when the server wishes to be asked again.
#[derive(Debug)]
pub(super) struct Performed {
    pub(super) outcome: Outcome,
    pub(super) retry_after: Option<Duration>,
}

/// The Rollout or Experiment that a turn is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) uid: &'a str,
    pub(super) version: &'a str,
}

impl<'a> Owner<'a> {
    /// A Rollout.
    pub(super) fn of(seen: &'a RolloutSeen) -> Self {
        Self {
            namespace: &seen.namespace,
            name: &seen.name,
            uid: &seen.uid,
            version: &seen.version,
        }
    }
}

/// An object's place and version.
pub(super) fn owner_of(metadata: &ObjectMeta) -> Owner<'_> {
    Owner {
        namespace: metadata.namespace.as_deref().unwrap_or_default(),
        name: metadata.name.as_deref().unwrap_or_default(),
        uid: metadata.uid.as_deref().unwrap_or_default(),
        version: metadata.resource_version.as_deref().unwrap_or_default(),
    }
}

impl Controller {
    /// Writes a status on the main resource, where a kind has no status sub-resource: what differs
    /// from `before`, on the version that was looked at. The answer; `None` when there is nothing to
    /// write.
    ///
    /// # Errors
    /// A conflict, or that it is gone, where it has changed since; else what went wrong.
    pub(super) async fn write_status_of(
        &self,
        kind: Kind,
        metadata: &ObjectMeta,
        before: &impl Serialize,
        after: &impl Serialize,
    ) -> Result<Option<Answer>, CallError> {
        if !self
            .offices
            .may_write(metadata.namespace.as_deref().unwrap_or_default())
        {
            return Err(CallError::Request("the lease is not held".to_owned()));
        }
        let before = serde_json::to_value(before).map_err(CallError::Unreadable)?;
        let after = serde_json::to_value(after).map_err(CallError::Unreadable)?;
        let Some(difference) = to_merge_patch(&before, &after) else {
            return Ok(None);
        };
        let object = owner_of(metadata);
        let target = Target {
            kind,
            namespace: object.namespace,
            name: object.name,
        };
        let patch = json!({"metadata": {"resourceVersion": object.version}, "status": difference});
        self.clients
            .work
            .merge(target, None, &patch)
            .await
            .map(Some)
    }

    /// Sends one write for this object.
    pub(super) async fn perform(&self, seen: Owner<'_>, write: &Write) -> Performed {
        if !self.offices.may_write(seen.namespace) {
            let why = "the lease is not held, or was not renewed in time".to_owned();
            return Performed {
                outcome: Outcome::Failed(why),
                retry_after: None,
            };
        }
        let is_create = is_create(write);
        match self.send(seen, write).await {
            Ok(version) => Performed {
                outcome: Outcome::Done { version },
                retry_after: None,
            },
            Err(error) => {
                let retry_after = error.retry_after();
                Performed {
                    outcome: outcome(error, is_create),
                    retry_after,
                }
            }
        }
    }

    async fn send(&self, seen: Owner<'_>, write: &Write) -> Result<String, CallError> {
        let ns = seen.namespace;
        let answer = request(&self.clients.work, ns, seen.name, write).await?;
        match (write, answer) {
            (Write::PatchRollout { .. }, Some(answer)) => self.took_rollout(&answer),
            (Write::CreateReplicaSet(_) | Write::PatchReplicaSet(_), Some(answer)) => {
                self.took_set(&answer)
            }
            (Write::CreateRun(_) | Write::TerminateRun { .. }, Some(answer)) => {
                self.took_run(&answer)
            }
            (Write::CreateExperiment(_) | Write::TerminateExperiment { .. }, Some(answer)) => {
                self.took_experiment(&answer)
            }
            (Write::DeleteExperiment { name, version, .. }, _) => {
                self.wake(self.index.gone_experiment(&ObjectKey::new(ns, name)));
                Ok(version.clone())
            }
            (Write::PatchService(_), Some(answer)) => {
                let service: SlimService = answer.read()?;
                let version = service.seen.version.clone();
                self.wake(self.index.answered_service(service));
                Ok(version)
            }
            (
                Write::KeepTemplate(_)
                | Write::DropTemplate(_)
                | Write::CreateConfig(_)
                | Write::DeleteConfig(_)
                | Write::ScaleWorkload(_)
                | Write::PatchWorkload(_)
                | Write::PatchPods(_)
                | Write::CreateService(_)
                | Write::DeleteService { .. }
                | Write::EvictPod { .. },
                _,
            ) => Ok(String::new()),
            (Write::DeleteReplicaSet { name, version, .. }, _) => {
                self.index.gone_set(seen.uid, name);
                Ok(version.clone())
            }
            (Write::DeleteRun { name, version, .. }, _) => {
                self.wake(self.index.gone_run(&ObjectKey::new(ns, name)));
                Ok(version.clone())
            }
            (Write::Status(status), Some(answer)) => self.took_status(status, &answer),
            (Write::Status(status), None) => Ok(status.version.clone()),
            // Nothing was sent, so nothing was answered.
            (
                Write::PatchRollout { .. }
                | Write::CreateReplicaSet(_)
                | Write::PatchReplicaSet(_)
                | Write::CreateRun(_)
                | Write::PatchService(_)
                | Write::CreateExperiment(_)
                | Write::TerminateExperiment { .. }
                | Write::TerminateRun { .. },
                None,
            ) => Ok(seen.version.to_owned()),
        }
    }

    fn took_status(&self, write: &StatusWrite, answer: &Answer) -> Result<String, CallError> {
        let SlimRollout(stored) = answer.read()?;
        if write.after.serin.is_some() && stored.status.serin.is_none() {
            self.definitions.are_foreign();
        }
        self.stats.status_written(&write.before, &write.after);
        let version = stored.version.clone();
        self.wake(self.index.answered_rollout(SlimRollout(stored)));
        Ok(version)
    }

    fn took_rollout(&self, answer: &Answer) -> Result<String, CallError> {
        let rollout: SlimRollout = answer.read()?;
        let version = rollout.0.version.clone();
        self.wake(self.index.answered_rollout(rollout));
        Ok(version)
    }

    fn took_set(&self, answer: &Answer) -> Result<String, CallError> {
        let set: SlimReplicaSet = answer.read()?;
        let version = set.seen.version.clone();
        self.wake(self.index.answered_set(set));
        Ok(version)
    }

    pub(super) fn took_experiment(&self, answer: &Answer) -> Result<String, CallError> {
        let experiment: SlimExperiment = answer.read()?;
        let version = experiment.version.clone();
        self.wake(self.index.answered_experiment(experiment));
        Ok(version)
    }

    pub(super) fn took_run(&self, answer: &Answer) -> Result<String, CallError> {
        let run: SlimRun = answer.read()?;
        let version = run.version.clone();
        self.wake(self.index.answered_run(run));
        Ok(version)
    }
}

/// The patch that tells a run or an Experiment of this version to end.
fn terminated(version: &str) -> Value {
    json!({"metadata": {"resourceVersion": version}, "spec": {"terminate": true}})
}

fn is_create(write: &Write) -> bool {
    matches!(
        write,
        Write::KeepTemplate(_)
            | Write::CreateConfig(_)
            | Write::CreateReplicaSet(_)
            | Write::CreateRun(_)
            | Write::CreateService(_)
            | Write::CreateExperiment(_)
    )
}

/// Sends one write for the Rollout of that name, whatever the Lease says, and tells what became of it.
pub async fn attempt(work: &Rest, namespace: &str, rollout: &str, write: &Write) -> Outcome {
    let is_create = is_create(write);
    match request(work, namespace, rollout, write).await {
        Ok(answer) => Outcome::Done {
            version: answer.map(|answer| answer.version()).unwrap_or_default(),
        },
        Err(error) => outcome(error, is_create),
    }
}

/// Sends one write. Answered with the object as stored, but where it is deleted or nothing is to be written.
async fn request(
    work: &Rest,
    namespace: &str,
    rollout: &str,
    write: &Write,
) -> Result<Option<Answer>, CallError> {
    let at = |kind, name| Target {
        kind,
        namespace,
        name,
    };
    let answer = match write {
        Write::PatchRollout { patch, version } => {
            let mut patch = patch.clone();
            put_version(&mut patch, version);
            work.merge(at(Kind::Rollout, rollout), None, &patch).await?
        }
        Write::CreateReplicaSet(new) => {
            work.create(Kind::ReplicaSet, namespace, &new.object, false)
                .await?
        }
        Write::PatchReplicaSet(patch) => {
            let target = at(Kind::ReplicaSet, &patch.name);
            work.merge(target, None, &patch.to_json()).await?
        }
        Write::KeepTemplate(kept) => {
            let kind = Kind::ControllerRevision;
            work.create(kind, namespace, &kept.object, false).await?;
            return Ok(None);
        }
        Write::DropTemplate(kept) => {
            let target = at(Kind::ControllerRevision, &kept.what);
            super::configs::delete_owned(work, target, POD_HASH_LABEL, &kept.owner).await?;
            return Ok(None);
        }
        Write::CreateConfig(copy) => {
            let kind = super::configs::kind(copy.key.kind);
            work.create(kind, namespace, &copy.object, false).await?;
            return Ok(None);
        }
        Write::DeleteConfig(copy) => {
            super::configs::delete_copy(work, namespace, copy).await?;
            return Ok(None);
        }
        Write::ScaleWorkload(scale) => {
            let target = at(super::workloads::kind(scale.key.kind), &scale.key.name);
            work.merge(target, None, &scale.to_json()).await?;
            return Ok(None);
        }
        Write::PatchWorkload(patch) => {
            let target = at(super::workloads::kind(patch.key.kind), &patch.key.name);
            work.merge(target, None, &patch.to_json()).await?;
            return Ok(None);
        }
        Write::PatchPods(pods) => {
            super::pods::patch_all(work, namespace, pods).await?;
            return Ok(None);
        }
        Write::EvictPod { name, uid } => {
            match work.evict(at(Kind::Pod, name), uid).await {
                // A disruption budget says no; so may a server with too much to do.
                Err(CallError::Busy { message, .. }) => {
                    return Err(CallError::Refused { code: 429, message });
                }
                // Another pod of that name, or none: the one that was read is gone.
                Err(CallError::Conflict(_)) => {}
                other => gone_is_fine(other)?,
            }
            return Ok(None);
        }
        Write::DeleteReplicaSet { name, uid, version } => {
            gone_is_fine(work.delete(at(Kind::ReplicaSet, name), uid, version).await)?;
            return Ok(None);
        }
        Write::CreateRun(run) => {
            let run = serde_json::to_value(run).map_err(CallError::Unreadable)?;
            work.create(Kind::AnalysisRun, namespace, &run, false)
                .await?
        }
        Write::TerminateRun { name, version } => {
            let target = at(Kind::AnalysisRun, name);
            work.merge(target, None, &terminated(version)).await?
        }
        Write::DeleteRun { name, uid, version } => {
            gone_is_fine(work.delete(at(Kind::AnalysisRun, name), uid, version).await)?;
            return Ok(None);
        }
        Write::PatchService(patch) => {
            let target = at(Kind::Service, &patch.name);
            work.merge(target, None, &patch.to_json()).await?
        }
        Write::CreateService(service) => {
            let object = &service.object;
            let target = at(Kind::Service, &service.name);
            create_owned(work, target, object).await?;
            return Ok(None);
        }
        Write::DeleteService { name, owner } => {
            delete_owned(work, at(Kind::Service, name), owner).await?;
            return Ok(None);
        }
        Write::CreateExperiment(experiment) => {
            let object = serde_json::to_value(experiment).map_err(CallError::Unreadable)?;
            work.create(Kind::Experiment, namespace, &object, false)
                .await?
        }
        Write::TerminateExperiment { name, version } => {
            let target = at(Kind::Experiment, name);
            work.merge(target, None, &terminated(version)).await?
        }
        Write::DeleteExperiment { name, uid, version } => {
            gone_is_fine(work.delete(at(Kind::Experiment, name), uid, version).await)?;
            return Ok(None);
        }
        Write::Status(write) => match status_patch(write)? {
            Some(patch) => {
                let target = at(Kind::Rollout, rollout);
                work.merge(target, Some("status"), &patch).await?
            }
            None => return Ok(None),
        },
    };
    Ok(Some(answer))
}

fn status_patch(write: &StatusWrite) -> Result<Option<Value>, CallError> {
    let before = serde_json::to_value(&*write.before).map_err(CallError::Unreadable)?;
    let after = serde_json::to_value(&write.after).map_err(CallError::Unreadable)?;
    let difference = to_merge_patch(&before, &after);
    Ok(difference
        .map(|status| json!({"metadata": {"resourceVersion": write.version}, "status": status})))
}

/// Creates an object; one that is there and has the same owner is the same.
async fn create_owned(work: &Rest, target: Target<'_>, object: &Value) -> Result<(), CallError> {
    let taken = match work
        .create(target.kind, target.namespace, object, false)
        .await
    {
        Ok(_) => return Ok(()),
        Err(error @ CallError::Exists(_)) => error,
        Err(error) => return Err(error),
    };
    let stored: Value = work.get(target).await?;
    let of = |object: &Value| super::observe::named(object).owner;
    if of(&stored).is_some() && of(&stored) == of(object) {
        return Ok(());
    }
    Err(taken)
}

/// Deletes an object that this owner controls; one of somebody else stays.
async fn delete_owned(work: &Rest, target: Target<'_>, owner: &str) -> Result<(), CallError> {
    let object: Value = match work.get(target).await {
        Ok(object) => object,
        Err(CallError::NotFound(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    if super::observe::named(&object).owner.as_deref() != Some(owner) {
        return Ok(());
    }
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
    gone_is_fine(
        work.delete(target, text("uid"), text("resourceVersion"))
            .await,
    )
}

/// Deleting what is gone is done.
fn gone_is_fine(result: Result<(), CallError>) -> Result<(), CallError> {
    match result {
        Err(CallError::NotFound(_)) => Ok(()),
        other => other,
    }
}

fn put_version(patch: &mut Value, version: &str) {
    if let Some(object) = patch.as_object_mut() {
        let metadata = object.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert(
                "resourceVersion".to_owned(),
                Value::String(version.to_owned()),
            );
        }
    }
}

/// What a failed call means for the plan.
pub(super) fn outcome(error: CallError, is_create: bool) -> Outcome {
    match error {
        CallError::Conflict(_) => Outcome::Conflict,
        CallError::Exists(_) if is_create => Outcome::Exists,
        CallError::Exists(_) => Outcome::Conflict,
        // What was to be patched is gone; what was to be created has no place to be.
        CallError::NotFound(message) if is_create => Outcome::Refused(message),
        CallError::NotFound(_) => Outcome::Conflict,
        CallError::Refused { message, .. } => Outcome::Refused(message),
        CallError::Busy { message, .. } => Outcome::Failed(message),
        CallError::Unclear { message, .. } => Outcome::Unknown(message),
        CallError::Unreadable(error) => Outcome::Unknown(error.to_string()),
        CallError::Request(message) => Outcome::Failed(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_joins_what_the_patch_says_of_metadata() {
        let mut patch = json!({"metadata": {"annotations": {"a": null}}});
        put_version(&mut patch, "7");
        assert_eq!(
            patch,
            json!({"metadata": {"annotations": {"a": null}, "resourceVersion": "7"}})
        );
    }

    #[test]
    fn only_an_answer_that_tells_nothing_is_unknown() {
        let unclear = CallError::Unclear {
            message: "504".to_owned(),
            after: None,
        };
        assert!(matches!(outcome(unclear, true), Outcome::Unknown(_)));
        let busy = CallError::Busy {
            message: "429".to_owned(),
            after: None,
        };
        assert!(matches!(outcome(busy, true), Outcome::Failed(_)));
        assert_eq!(
            outcome(CallError::Exists(String::new()), true),
            Outcome::Exists
        );
        assert_eq!(
            outcome(CallError::NotFound(String::new()), false),
            Outcome::Conflict
        );
    }
}
