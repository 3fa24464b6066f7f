//! Plays the API server for one Rollout and what it owns: versions, preconditions, generations, the
//! split of the status sub-resource, ownership. Knows how Kubernetes answers a write; decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;
use serde_json::{Value, json};

use super::clock::{Ms, Queue};
use super::event::{Happen, Kind};
use super::workloads::Workloads;
use crate::api::analysis::AnalysisTemplateSpec;
use crate::api::patch::apply_merge_patch;
use crate::api::{self, AnalysisRun, Experiment, PodTemplate, RolloutSpec, RolloutStatus};
use crate::planner::config::{self, ConfigKey, Contents};
use crate::planner::freeze::Window;
use crate::planner::lower;
use crate::planner::observed::{ReplicaSetSeen, RolloutSeen, ServiceSeen, TemplateRef};
use crate::planner::origin;
use crate::planner::plan::{
    NewReplicaSet, Outcome, ReplicaSetPatch, ServicePatch, StatusWrite, Write,
};
use crate::planner::revision;
use crate::planner::spec::Meta;
use crate::planner::workload::{Found, WorkloadKind, WorkloadSeen};

/// The Rollout as stored.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// As the planner sees it, lowered once for each change of the spec.
    pub seen: RolloutSeen,
    /// The spec as written.
    pub spec: Arc<RolloutSpec>,
}

/// A ReplicaSet as stored.
#[derive(Clone, Debug)]
pub struct ReplicaSet {
    /// As the planner sees it.
    pub seen: ReplicaSetSeen,
    /// `metadata.generation`.
    pub generation: i64,
    /// `status.observedGeneration`.
    pub observed_generation: i64,
    /// Controller's uid.
    pub owner: Option<String>,
    /// All annotations.
    pub annotations: BTreeMap<String, String>,
    /// Image of the first container: what its pods run, and so how they behave.
    pub image: String,
    /// The object as it was made, its template as it is now.
    pub object: Arc<Value>,
    /// Labels and annotations of the template: pods are made with them.
    pub meta: Arc<Meta>,
}

/// The API server's store, and the pods behind it.
#[derive(Debug)]
pub struct Cluster {
    /// The Rollout, by name.
    pub rollouts: super::store::Store<Rollout>,
    /// ReplicaSets by name.
    pub replica_sets: super::store::Store<ReplicaSet>,
    /// AnalysisRuns by name.
    pub runs: super::store::Store<AnalysisRun>,
    /// Services by name.
    pub services: super::store::Store<ServiceSeen>,
    /// Experiments by name.
    pub experiments: super::store::Store<Experiment>,
    /// Services that Experiments made, and the uid of who made them.
    pub made_services: BTreeMap<String, String>,
    /// Analysis templates; they do not change during a rehearsal.
    pub templates: BTreeMap<TemplateRef, Arc<AnalysisTemplateSpec>>,
    /// Freeze windows; they do not change during a rehearsal, but for the time.
    pub freezes: Arc<Vec<Arc<Window>>>,
    /// Templates of stable versions, by name.
    pub kept: BTreeMap<String, Arc<Value>>,
    /// ConfigMaps and Secrets.
    pub configs: BTreeMap<ConfigKey, Value>,
    /// The workload that the Rollout refers to: its pods come and go with its size.
    pub workload: Option<Value>,
    /// Pods and the ReplicaSet controller.
    pub workloads: Workloads,
    version: u64,
    uids: u64,
}

impl Cluster {
    /// An empty cluster whose watches lag by `lag`.
    pub fn new(lag: Ms) -> Self {
        Self {
            rollouts: super::store::Store::new(lag),
            replica_sets: super::store::Store::new(lag),
            runs: super::store::Store::new(lag),
            services: super::store::Store::new(lag),
            experiments: super::store::Store::new(lag),
            made_services: BTreeMap::new(),
            templates: BTreeMap::new(),
            freezes: Arc::default(),
            kept: BTreeMap::new(),
            configs: BTreeMap::new(),
            workload: None,
            workloads: Workloads::new(),
            version: 1_000,
            uids: 0,
        }
    }

    /// The next `metadata.resourceVersion`: one counter for all kinds, as etcd has it.
    pub fn next_version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    /// The version that was given out last.
    pub fn last_version(&self) -> u64 {
        self.version
    }

    pub(super) fn next_uid(&mut self, what: &str) -> String {
        self.uids += 1;
        format!("{what}-{:04}", self.uids)
    }

    /// A person applies a Rollout for the first time.
    pub fn create_rollout(
        &mut self,
        now: Timestamp,
        rollout: &api::Rollout,
        queue: &mut Queue<Happen>,
    ) {
        let mut object = rollout.clone();
        object.metadata.uid = Some(self.next_uid("rollout"));
        object.metadata.generation = Some(1);
        object.metadata.creation_timestamp = Some(Time(now));
        object.metadata.resource_version = Some(self.next_version());
        object
            .metadata
            .namespace
            .get_or_insert_with(|| "default".into());
        object.status = None;
        self.store_rollout(lowered(&object), now, queue);
    }

    /// A person's merge patch of the Rollout, without a version: always taken.
    pub fn patch_rollout(
        &mut self,
        now: Timestamp,
        name: &str,
        patch: &Value,
        queue: &mut Queue<Happen>,
    ) {
        if let Some(current) = self.rollouts.get(name).cloned() {
            self.merge_rollout(now, &current, patch, queue);
        }
    }

    /// A client's merge patch of the status sub-resource, without a version: always taken.
    ///
    /// # Errors
    /// The patched status does not decode: what the API server answers with 422.
    pub fn patch_status(
        &mut self,
        now: Timestamp,
        name: &str,
        patch: &Value,
        queue: &mut Queue<Happen>,
    ) -> Result<(), serde_json::Error> {
        let Some(current) = self.rollouts.get(name).cloned() else {
            return Ok(());
        };
        let before = &*current.seen.status;
        let mut status = serde_json::to_value(before)?;
        apply_merge_patch(&mut status, patch);
        let after: RolloutStatus = serde_json::from_value(status)?;
        if after != *before {
            self.write_status(now, &current, after, queue);
        }
        Ok(())
    }

    /// A person deletes the Rollout: it goes when no finalizer holds it, and the garbage collector takes
    /// what it owns.
    pub fn delete_rollout(&mut self, now: Timestamp, name: &str, queue: &mut Queue<Happen>) {
        let Some(gone) = self.rollouts.get(name).cloned() else {
            return;
        };
        if !gone.seen.finalizers.is_empty() {
            let mut held = Rollout::clone(&gone);
            held.seen.is_deleting = true;
            held.seen.version = self.next_version();
            return self.store_rollout(held, now, queue);
        }
        announce(queue, self.rollouts.remove(now, name), Kind::Rollouts);
        let uid = Some(gone.seen.uid.clone());
        let sets = self.replica_sets.truth().iter();
        let owned: Vec<String> = sets
            .filter(|(_, set)| set.owner == uid)
            .map(|(name, _)| name.clone())
            .collect();
        for set in owned {
            self.remove_replica_set(now, &set, queue);
        }
        let runs: Vec<String> = self.runs.truth().keys().cloned().collect();
        for run in runs {
            announce(queue, self.runs.remove(now, &run), Kind::Runs);
        }
        self.delete_experiments_of(now, &gone.seen.uid, queue);
    }

    /// Carries out one write of the planner, with its preconditions.
    pub fn perform(&mut self, now: Timestamp, write: &Write, queue: &mut Queue<Happen>) -> Outcome {
        match write {
            Write::PatchRollout { patch, version } => {
                self.planned_patch(now, patch, version, queue)
            }
            Write::CreateReplicaSet(new) => self.create_replica_set(now, new, queue),
            Write::PatchReplicaSet(patch) => self.patch_replica_set(now, patch, queue),
            Write::KeepTemplate(kept) => {
                if self.kept.contains_key(&kept.name) {
                    return Outcome::Exists;
                }
                self.kept
                    .insert(kept.name.clone(), Arc::clone(&kept.object));
                gone("")
            }
            Write::DropTemplate(kept) => {
                self.kept.remove(&kept.what);
                gone("")
            }
            Write::CreateConfig(copy) => {
                if self.configs.contains_key(&copy.key) {
                    return Outcome::Exists;
                }
                self.configs
                    .insert(copy.key.clone(), Value::clone(&copy.object));
                gone("")
            }
            Write::DeleteConfig(copy) => {
                self.configs.remove(&copy.what);
                gone("")
            }
            Write::ScaleWorkload(scale) => self.change_workload(&scale.version, &scale.to_json()),
            Write::PatchWorkload(patch) => self.change_workload(&patch.version, &patch.to_json()),
            Write::PatchPods(pods) => self.patch_pods(pods),
            Write::EvictPod { name, uid } => self.evict(now, name, uid, queue),
            Write::DeleteReplicaSet { name, uid, version } => {
                match self.replica_sets.get(name) {
                    Some(set) if set.seen.uid == *uid && set.seen.version == *version => {}
                    Some(_) => return Outcome::Conflict,
                    None => return gone(version),
                }
                self.remove_replica_set(now, name, queue);
                Outcome::Done {
                    version: self.next_version(),
                }
            }
            Write::CreateRun(run) => self.create_run(now, run, queue),
            Write::TerminateRun { name, version } => self.terminate_run(now, name, version, queue),
            Write::DeleteRun { name, uid, version } => {
                match self.runs.get(name) {
                    Some(run)
                        if run.metadata.uid.as_ref() == Some(uid)
                            && run.metadata.resource_version.as_ref() == Some(version) => {}
                    Some(_) => return Outcome::Conflict,
                    None => return gone(version),
                }
                announce(queue, self.runs.remove(now, name), Kind::Runs);
                Outcome::Done {
                    version: self.next_version(),
                }
            }
            Write::PatchService(patch) => self.patch_service(now, patch, queue),
            Write::CreateService(service) => self.make_service(service),
            Write::DeleteService { name, owner } => self.unmake_service(name, owner),
            Write::CreateExperiment(experiment) => self.create_experiment(now, experiment, queue),
            Write::TerminateExperiment { name, version } => {
                self.terminate_experiment(now, (name, version), queue)
            }
            Write::DeleteExperiment { name, uid, version } => {
                self.delete_experiment(now, (name, uid, version), queue)
            }
            Write::Status(write) => self.planned_status(now, write, queue),
        }
    }

    /// A Service is made, or made anew, by a person.
    pub fn store_service(
        &mut self,
        now: Timestamp,
        mut service: ServiceSeen,
        queue: &mut Queue<Happen>,
    ) -> String {
        if service.uid.is_empty() {
            service.uid = self.next_uid("service");
        }
        let version = self.next_version();
        service.version.clone_from(&version);
        let name = service.name.clone();
        announce(
            queue,
            self.services.put(now, &name, service),
            Kind::Services,
        );
        version
    }

    /// Somebody else patches a Service, makes one that is not there, or deletes it.
    pub fn change_service(
        &mut self,
        now: Timestamp,
        name: &str,
        patch: Option<&Value>,
        queue: &mut Queue<Happen>,
    ) {
        let Some(patch) = patch else {
            let gone = self.services.remove(now, name);
            return announce(queue, gone, Kind::Services);
        };
        let made = ServiceSeen {
            name: name.to_owned(),
            ..ServiceSeen::default()
        };
        let service = self.services.get(name).map(|it| ServiceSeen::clone(it));
        let service = service.unwrap_or(made);
        let mut wire = json!({
            "metadata": {
                "name": service.name, "uid": service.uid,
                "annotations": {api::MANAGED_BY: service.manager},
            },
            "spec": {"selector": service.selector},
        });
        apply_merge_patch(&mut wire, patch);
        if let Ok(service) = ServiceSeen::deserialize(&wire) {
            self.store_service(now, service, queue);
        }
    }

    fn patch_service(
        &mut self,
        now: Timestamp,
        patch: &ServicePatch,
        queue: &mut Queue<Happen>,
    ) -> Outcome {
        let mut next = match self.services.get(&patch.name) {
            Some(now) if now.version == patch.version && now.uid == patch.uid => {
                ServiceSeen::clone(now)
            }
            Some(_) | None => return Outcome::Conflict,
        };
        match &patch.hash {
            Some(hash) => next
                .selector
                .insert(api::POD_HASH_LABEL.to_owned(), hash.clone()),
            None => next.selector.remove(api::POD_HASH_LABEL),
        };
        next.manager.clone_from(&patch.manager);
        Outcome::Done {
            version: self.store_service(now, next, queue),
        }
    }

    /// Stores a new version of an AnalysisRun: its status lives in the main resource, so every write
    /// raises the generation.
    pub fn store_run(
        &mut self,
        now: Timestamp,
        mut run: AnalysisRun,
        queue: &mut Queue<Happen>,
    ) -> String {
        let version = self.next_version();
        run.metadata.resource_version = Some(version.clone());
        run.metadata.generation = Some(run.metadata.generation.unwrap_or(0) + 1);
        let name = run.metadata.name.clone().unwrap_or_default();
        announce(queue, self.runs.put(now, &name, run), Kind::Runs);
        version
    }

    /// The Rollout; a rehearsal has one.
    pub fn rollout(&self) -> Option<&Arc<Rollout>> {
        self.rollouts.truth().values().next()
    }

    /// The ReplicaSet that wears this hash.
    pub fn replica_set_of(&self, hash: &str) -> Option<&Arc<ReplicaSet>> {
        self.replica_sets
            .truth()
            .values()
            .find(|set| set.seen.hash == hash)
    }

    /// What a live read of a ConfigMap or Secret finds.
    pub fn config_seen(&self, key: &ConfigKey) -> config::Found {
        match self.configs.get(key) {
            Some(object) => config::Found::There(Arc::new(Contents::of(object))),
            None => config::Found::Absent,
        }
    }

    /// What a live read of the workload finds.
    pub fn workload_seen(&self) -> Found {
        let Some(object) = &self.workload else {
            return Found::Absent;
        };
        let kind = object.get("kind").and_then(Value::as_str);
        let kind = WorkloadKind::ALL
            .into_iter()
            .find(|k| Some(k.name()) == kind);
        kind.map_or(Found::Absent, |kind| {
            Found::There(Arc::new(WorkloadSeen::of(kind, object)))
        })
    }

    /// The template in use: the Rollout's own, or that of its workload.
    pub fn template(&self) -> Option<PodTemplate> {
        let rollout = self.rollout()?;
        match (&rollout.spec.workload_ref, self.workload_seen()) {
            (Some(_), Found::There(seen)) => Some(seen.template.clone()),
            (Some(_), Found::Absent | Found::Refused(_)) | (None, _) => Some(rollout.template()),
        }
    }

    /// A merge patch `{"spec": {"template": …}}` of the workload's template, wherever its kind has it.
    pub fn patch_workload_template(&mut self, patch: &Value) {
        let kind = self.workload.as_ref().and_then(|w| w.get("kind")?.as_str());
        let is_bare = kind == Some(WorkloadKind::PodTemplate.name());
        match patch.pointer("/spec/template") {
            Some(template) if is_bare => self.patch_workload(&json!({ "template": template })),
            Some(_) | None => self.patch_workload(patch),
        }
    }

    /// A merge patch of the workload's spec, which its controller carries out at once.
    pub fn patch_workload(&mut self, patch: &Value) {
        let version = self.next_version();
        let Some(object) = &mut self.workload else {
            return;
        };
        apply_merge_patch(object, patch);
        let generation = object
            .pointer("/metadata/generation")
            .and_then(Value::as_i64);
        let next = generation.unwrap_or(1) + 1;
        let replicas = object.pointer("/spec/replicas").cloned();
        let after = json!({
            "metadata": {"generation": next, "resourceVersion": version},
            "status": {"observedGeneration": next, "availableReplicas": replicas},
        });
        apply_merge_patch(object, &after);
    }

    fn change_workload(&mut self, decided_on: &str, patch: &Value) -> Outcome {
        let version = self.workload.as_ref().and_then(|w| {
            let version = w.pointer("/metadata/resourceVersion")?;
            version.as_str().map(str::to_owned)
        });
        if version.as_deref() != Some(decided_on) {
            return Outcome::Conflict;
        }
        self.patch_workload(patch);
        Outcome::Done {
            version: String::new(),
        }
    }

    fn planned_patch(
        &mut self,
        now: Timestamp,
        patch: &Value,
        version: &str,
        queue: &mut Queue<Happen>,
    ) -> Outcome {
        match self.rollout().cloned() {
            Some(current) if current.seen.version == version => Outcome::Done {
                version: self.merge_rollout(now, &current, patch, queue),
            },
            Some(_) | None => Outcome::Conflict,
        }
    }

    fn merge_rollout(
        &mut self,
        now: Timestamp,
        current: &Rollout,
        patch: &Value,
        queue: &mut Queue<Happen>,
    ) -> String {
        let mut object = current.to_wire();
        let Ok(mut json) = serde_json::to_value(&object) else {
            return current.seen.version.clone();
        };
        let before = json.clone();
        apply_merge_patch(&mut json, patch);
        if json == before {
            return current.seen.version.clone();
        }
        let spec_changed = json.get("spec") != before.get("spec");
        match serde_json::from_value(json) {
            Ok(patched) => object = patched,
            Err(_) => return current.seen.version.clone(),
        }
        let version = self.next_version();
        object.metadata.resource_version = Some(version.clone());
        let mut next = if spec_changed {
            object.metadata.generation = Some(current.seen.generation + 1);
            let mut next = lowered(&object);
            next.seen.status = Arc::clone(&current.seen.status);
            next
        } else {
            current.with_metadata(&object)
        };
        next.seen.is_deleting = current.seen.is_deleting;
        let is_let_go = next.seen.is_deleting && next.seen.finalizers.is_empty();
        let name = next.seen.name.clone();
        self.store_rollout(next, now, queue);
        if is_let_go {
            self.delete_rollout(now, &name, queue);
        }
        version
    }

    fn planned_status(
        &mut self,
        now: Timestamp,
        write: &StatusWrite,
        queue: &mut Queue<Happen>,
    ) -> Outcome {
        match self.rollout().cloned() {
            Some(current) if current.seen.version == write.version => Outcome::Done {
                version: self.write_status(now, &current, write.after.clone(), queue),
            },
            Some(_) | None => Outcome::Conflict,
        }
    }

    fn write_status(
        &mut self,
        now: Timestamp,
        current: &Rollout,
        status: RolloutStatus,
        queue: &mut Queue<Happen>,
    ) -> String {
        let mut next = current.clone();
        next.seen.status = Arc::new(status);
        next.seen.version = self.next_version();
        let version = next.seen.version.clone();
        self.store_rollout(next, now, queue);
        version
    }

    fn store_rollout(&mut self, rollout: Rollout, now: Timestamp, queue: &mut Queue<Happen>) {
        let name = rollout.seen.name.clone();
        announce(
            queue,
            self.rollouts.put(now, &name, rollout),
            Kind::Rollouts,
        );
    }

    fn create_replica_set(
        &mut self,
        now: Timestamp,
        new: &NewReplicaSet,
        queue: &mut Queue<Happen>,
    ) -> Outcome {
        if self.replica_sets.get(&new.name).is_some() {
            return Outcome::Exists;
        }
        let uid = self.next_uid("rs");
        let set = ReplicaSet::made(new, uid, now);
        let name: Arc<str> = Arc::from(new.name.as_str());
        let version = self.store_replica_set(set, now, queue);
        self.notice(now, &name, queue);
        Outcome::Done { version }
    }

    fn patch_replica_set(
        &mut self,
        now: Timestamp,
        patch: &ReplicaSetPatch,
        queue: &mut Queue<Happen>,
    ) -> Outcome {
        let current = match self.replica_sets.get(&patch.name) {
            Some(set) if set.seen.version == patch.version && set.seen.uid == patch.uid => {
                set.clone()
            }
            Some(_) | None => return Outcome::Conflict,
        };
        let mut next = ReplicaSet::clone(&current);
        next.seen.replicas = patch.replicas.unwrap_or(next.seen.replicas);
        next.seen.min_ready_seconds = patch
            .min_ready_seconds
            .unwrap_or(next.seen.min_ready_seconds);
        for (key, value) in &patch.annotations {
            match value {
                Some(value) => next.annotations.insert(key.clone(), value.clone()),
                None => next.annotations.remove(key),
            };
        }
        if let Some(patch) = &patch.template {
            next.change_template(patch);
        }
        let resized = next.seen.replicas != current.seen.replicas
            || next.seen.min_ready_seconds != current.seen.min_ready_seconds
            || next.object != current.object;
        if !resized && next.annotations == current.annotations {
            return Outcome::Done {
                version: current.seen.version.clone(),
            };
        }
        if resized {
            next.generation += 1;
            next.seen.is_observed = false;
        }
        read_annotations(&mut next.seen, &next.annotations);
        let version = self.store_replica_set(next, now, queue);
        if resized {
            self.notice(now, &Arc::from(patch.name.as_str()), queue);
        }
        Outcome::Done { version }
    }

    /// Removes a ReplicaSet and its pods.
    pub fn remove_replica_set(&mut self, now: Timestamp, name: &str, queue: &mut Queue<Happen>) {
        announce(
            queue,
            self.replica_sets.remove(now, name),
            Kind::ReplicaSets,
        );
        self.workloads.forget(name);
    }

    fn create_run(
        &mut self,
        now: Timestamp,
        run: &AnalysisRun,
        queue: &mut Queue<Happen>,
    ) -> Outcome {
        let name = run.metadata.name.clone().unwrap_or_default();
        if self.runs.get(&name).is_some() {
            return Outcome::Exists;
        }
        let mut run = run.clone();
        run.metadata.uid = Some(self.next_uid("run"));
        run.metadata.creation_timestamp = Some(Time(now));
        Outcome::Done {
            version: self.store_run(now, run, queue),
        }
    }

    fn terminate_run(
        &mut self,
        now: Timestamp,
        name: &str,
        version: &str,
        queue: &mut Queue<Happen>,
    ) -> Outcome {
        let run = match self.runs.get(name) {
            Some(run) if run.metadata.resource_version.as_deref() == Some(version) => run.clone(),
            Some(_) | None => return Outcome::Conflict,
        };
        let mut run = AnalysisRun::clone(&run);
        run.spec.terminate = Some(true);
        Outcome::Done {
            version: self.store_run(now, run, queue),
        }
    }
}

impl Rollout {
    /// The object as the wire has it.
    pub fn to_wire(&self) -> api::Rollout {
        let mut object = api::Rollout::new(&self.seen.name, RolloutSpec::clone(&self.spec));
        object.metadata.namespace = Some(self.seen.namespace.clone());
        object.metadata.uid = Some(self.seen.uid.clone());
        object.metadata.generation = Some(self.seen.generation);
        object.metadata.resource_version = Some(self.seen.version.clone());
        object.metadata.creation_timestamp = Some(Time(self.seen.created));
        object.metadata.finalizers =
            (!self.seen.finalizers.is_empty()).then(|| self.seen.finalizers.clone());
        object.metadata.labels = some(&self.seen.labels);
        object.metadata.annotations = some(&self.seen.annotations);
        object
    }

    /// The pod template as written.
    pub fn template(&self) -> PodTemplate {
        self.spec.template.clone().unwrap_or_default()
    }

    fn with_metadata(&self, object: &api::Rollout) -> Self {
        let mut next = self.clone();
        next.seen.labels = Arc::new(object.metadata.labels.clone().unwrap_or_default());
        next.seen.annotations = Arc::new(object.metadata.annotations.clone().unwrap_or_default());
        next.seen.finalizers = object.metadata.finalizers.clone().unwrap_or_default();
        next.seen.version = object.metadata.resource_version.clone().unwrap_or_default();
        next
    }
}

impl ReplicaSet {
    fn made(new: &NewReplicaSet, uid: String, now: Timestamp) -> Self {
        let object = &new.object;
        let texts = |pointer: &str| -> BTreeMap<String, String> {
            let map = object.pointer(pointer).and_then(Value::as_object);
            let pairs = map.into_iter().flatten();
            pairs
                .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
                .collect()
        };
        let number = |pointer: &str| -> u32 {
            let value = object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
            u32::try_from(value).unwrap_or(u32::MAX)
        };
        let annotations = texts("/metadata/annotations");
        let labels = texts("/metadata/labels");
        let image = object
            .pointer("/spec/template/spec/containers/0/image")
            .and_then(Value::as_str);
        let owner = object
            .pointer("/metadata/ownerReferences/0/uid")
            .and_then(Value::as_str);
        let mut seen = ReplicaSetSeen {
            name: new.name.clone(),
            uid,
            version: String::new(),
            created: now,
            was_stable: None,
            hash: labels.get(api::POD_HASH_LABEL).cloned().unwrap_or_default(),
            revision: 0,
            revision_history: None,
            desired_replicas: None,
            scale_down_deadline: None,
            template_digest: None,
            ephemeral: None,
            injected: None,
            copied: None,
            config: None,
            is_deleting: false,
            replicas: number("/spec/replicas"),
            min_ready_seconds: number("/spec/minReadySeconds"),
            current: 0,
            ready: 0,
            available: 0,
            is_observed: false,
            failure: None,
        };
        read_annotations(&mut seen, &annotations);
        Self {
            seen,
            generation: 1,
            observed_generation: 0,
            owner: owner.map(str::to_owned),
            annotations,
            image: image.unwrap_or_default().to_owned(),
            object: Arc::clone(object),
            meta: Arc::new(meta_of(object)),
        }
    }

    fn change_template(&mut self, patch: &Value) {
        let mut object = Value::clone(&self.object);
        if let Some(template) = object.pointer_mut("/spec/template") {
            apply_merge_patch(template, patch);
        }
        self.meta = Arc::new(meta_of(&object));
        self.object = Arc::new(object);
    }

    /// The pod template inside.
    pub fn template(&self) -> Value {
        self.object
            .pointer("/spec/template")
            .cloned()
            .unwrap_or_else(|| json!({}))
    }
}

/// Labels and annotations of the template in a ReplicaSet.
fn meta_of(object: &Value) -> Meta {
    let template = object.pointer("/spec/template").cloned();
    let template = PodTemplate::new(template.unwrap_or_default());
    Meta {
        labels: template.labels(),
        annotations: template.annotations(),
    }
}

/// Reads what the planner wants to know out of a ReplicaSet's annotations.
fn read_annotations(seen: &mut ReplicaSetSeen, annotations: &BTreeMap<String, String>) {
    let get = |key: &str| annotations.get(key);
    seen.revision = get(api::REVISION)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    seen.revision_history = get(api::REVISION_HISTORY).cloned();
    seen.desired_replicas = get(api::DESIRED_REPLICAS).and_then(|text| text.parse().ok());
    seen.scale_down_deadline = get(api::SCALE_DOWN_DEADLINE).and_then(|text| text.parse().ok());
    let template = |key| get(key).map(String::as_str);
    seen.template_digest =
        revision::recorded(template(api::TEMPLATE), template(api::TEMPLATE_ALSO));
    seen.ephemeral = get(api::EPHEMERAL_METADATA).cloned();
    seen.injected = get(api::INJECTED).cloned();
    seen.copied = get(api::COPIED).cloned();
    seen.config = get(api::CONFIG).cloned();
    seen.created = origin::created(get(api::CREATED).map(String::as_str), seen.created);
    seen.was_stable = origin::was_stable(get(api::WAS_STABLE).map(String::as_str));
}

/// Reads and lowers an object as the shell does when it arrives.
fn lowered(object: &api::Rollout) -> Rollout {
    let spec = Arc::new(object.spec.clone());
    let template = object.spec.template.clone().unwrap_or_default();
    let meta = &object.metadata;
    let seen = RolloutSeen {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        version: meta.resource_version.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or(0),
        created: meta
            .creation_timestamp
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        is_deleting: meta.deletion_timestamp.is_some(),
        finalizers: meta.finalizers.clone().unwrap_or_default(),
        labels: Arc::new(meta.labels.clone().unwrap_or_default()),
        annotations: Arc::new(meta.annotations.clone().unwrap_or_default()),
        spec: lower::lower(object).map(Arc::new).map_err(Arc::new),
        outline: lower::outline(object.spec.replicas, object.spec.workload_ref.as_ref()),
        template_digest: revision::template_digest(&template),
        status: Arc::new(object.status.clone().unwrap_or_default()),
    };
    Rollout { seen, spec }
}

fn some(map: &Arc<BTreeMap<String, String>>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then(|| BTreeMap::clone(map))
}

/// Deleting what is gone is done.
pub(super) fn gone(version: &str) -> Outcome {
    Outcome::Done {
        version: version.to_owned(),
    }
}

pub(super) fn announce(queue: &mut Queue<Happen>, due: Option<Timestamp>, kind: Kind) {
    if let Some(due) = due {
        queue.push(due, Happen::Deliver(kind));
    }
}
