//! Rules of a canary, one situation each, in a world of one Rollout whose pods do as they are told.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::api::analysis::AnalysisTemplateSpec;
use crate::api::{CREATED, PROMOTE, PodTemplate, Rollout, RolloutStatus, SCALE_DOWN_DEADLINE};
use crate::planner::freeze::Window;
use crate::planner::observed::{Answers, Named, Need, RolloutSeen, ServiceSeen, TemplateRef};
use crate::planner::plan::{Effect, Outcome, Write};
use crate::planner::turn::Turn;

mod asked;
mod clients;
mod lost;
mod lost_sets;
mod undo;

/// One Rollout, its ReplicaSets, and a clock.
struct World {
    rollout: Rollout,
    sets: Vec<ReplicaSetSeen>,
    now: i64,
    version: u64,
    events: Vec<String>,
    writes: Vec<String>,
    /// Images whose pods never become available.
    broken: Vec<String>,
    templates: Vec<(String, String)>,
    /// Templates of ReplicaSets as the API server stores them, with its defaults.
    stored: std::collections::BTreeMap<String, std::sync::Arc<Value>>,
    /// Images of which so many pods at most are available.
    most: Vec<(String, u32)>,
    /// Deletes are refused, as without permission.
    no_deletes: bool,
    /// Failures that turns ended with.
    failures: Vec<String>,
    freezes: Arc<Vec<Arc<Window>>>,
    services: Vec<ServiceSeen>,
    /// What was kept of stable versions, by name.
    kept: std::collections::BTreeMap<String, Arc<Value>>,
    runs: Vec<Arc<crate::api::AnalysisRun>>,
    experiments: Vec<Arc<crate::api::Experiment>>,
    /// Analysis templates by name; null for one that is not there.
    analyses: std::collections::BTreeMap<String, Value>,
    /// ReplicaSets of others, by name.
    foreign: std::collections::BTreeMap<String, Named>,
    /// Why the API server makes no ReplicaSet.
    no_creates: Option<String>,
}

mod blue_green;
mod blue_green_judged;
mod conditions;
mod experiment;
mod freeze;
mod journeys;
mod judged;
mod replica_sets;
mod services;
mod waiting;

fn world(replicas: u32, steps: Value) -> World {
    let rollout = serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "ns", "uid": "u", "generation": 1, "resourceVersion": "1"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "app", "image": "web:1"}]}},
            "strategy": {"canary": {"steps": steps}},
        },
    }))
    .unwrap();
    World {
        rollout,
        sets: vec![],
        now: 1_000,
        version: 1,
        events: vec![],
        writes: vec![],
        broken: vec![],
        templates: vec![],
        stored: Default::default(),
        most: vec![],
        no_deletes: false,
        failures: vec![],
        freezes: Arc::default(),
        services: vec![],
        kept: Default::default(),
        runs: vec![],
        experiments: vec![],
        analyses: Default::default(),
        foreign: Default::default(),
        no_creates: None,
    }
}

/// A template with the API server's defaults.
fn as_stored(template: &Value) -> Value {
    let mut stored = template.clone();
    let mut fill = |at: &str, field: &str, value: Value| {
        let object = stored.pointer_mut(at).and_then(Value::as_object_mut);
        object.unwrap().entry(field).or_insert(value);
    };
    fill("/spec", "restartPolicy", json!("Always"));
    fill("/spec", "terminationGracePeriodSeconds", json!(30));
    fill("/spec", "dnsPolicy", json!("ClusterFirst"));
    fill("/spec", "schedulerName", json!("default-scheduler"));
    fill("/spec", "securityContext", json!({}));
    fill("/spec/containers/0", "imagePullPolicy", json!("Always"));
    stored
}

impl World {
    fn observed(&self) -> Observed {
        Observed {
            now: Timestamp::from_second(self.now).unwrap(),
            rollout: RolloutSeen::of(&self.rollout),
            replica_sets: self.sets.clone(),
            runs: self.runs.clone(),
            services: self.services.clone(),
            answers: Answers {
                template: self.rollout.spec.template.clone(),
                replica_set_templates: self.stored.clone(),
                stored_template: self.rollout.spec.template.as_ref().map(|template| {
                    let stored = as_stored(template.value());
                    Ok(Arc::new(stored))
                }),
                kept: Some(self.kept_of_stable()),
                object: serde_json::to_value(&self.rollout).ok().map(Arc::new),
                analysis_templates: self.analyses(),
                named: self
                    .foreign
                    .iter()
                    .map(|(k, v)| (k.clone(), Some(v.clone())))
                    .collect(),
                ..Answers::default()
            },
            is_fresh: true,
            evidence: None,
            experiments: self.experiments.clone(),
            default_prometheus: None,
            freezes: Arc::clone(&self.freezes),
            epoch: "e".into(),
        }
    }

    fn analyses(
        &self,
    ) -> std::collections::BTreeMap<TemplateRef, Option<Arc<AnalysisTemplateSpec>>> {
        let read = |(name, spec): (&String, &Value)| {
            let name = name.clone();
            let key = TemplateRef {
                name,
                is_cluster: false,
            };
            let read = || serde_json::from_value(spec.clone()).unwrap();
            (key, (!spec.is_null()).then(read))
        };
        self.analyses.iter().map(read).collect()
    }

    /// The run with this name ends like that, as the analysis engine would write it.
    fn run_ends(&mut self, name: &str, phase: &str, message: &str) {
        let run = self
            .runs
            .iter_mut()
            .find(|run| run.metadata.name.as_deref() == Some(name));
        let run = Arc::make_mut(run.unwrap_or_else(|| panic!("there is no run {name}")));
        run.status = serde_json::from_value(json!({"phase": phase, "message": message})).unwrap();
    }

    fn kept_of_stable(&self) -> Option<Arc<Value>> {
        let hash = self.status().stable_rs?;
        self.kept.get(&format!("web-{hash}")).cloned()
    }

    fn bump(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    fn status(&self) -> RolloutStatus {
        self.rollout.status.clone().unwrap_or_default()
    }

    fn patch_status(&mut self, patch: Value) {
        let mut status = serde_json::to_value(self.status()).unwrap();
        crate::api::patch::apply_merge_patch(&mut status, &patch);
        self.rollout.status = Some(serde_json::from_value(status).unwrap());
        self.rollout.metadata.resource_version = Some(self.bump());
    }

    fn image(&mut self, image: &str) {
        let mut template = self.rollout.spec.template.clone().unwrap().value().clone();
        template["spec"]["containers"][0]["image"] = json!(image);
        self.rollout.spec.template = Some(PodTemplate::new(template));
        self.generation();
    }

    fn generation(&mut self) {
        *self.rollout.metadata.generation.as_mut().unwrap() += 1;
        self.rollout.metadata.resource_version = Some(self.bump());
    }

    fn annotate(&mut self, key: &str, value: &str) {
        self.rollout
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(key.into(), value.into());
        self.rollout.metadata.resource_version = Some(self.bump());
    }

    fn perform(&mut self, effect: &Effect) -> Outcome {
        match &effect.write {
            Write::PatchRollout { patch, .. } => {
                self.writes.push("rollout".into());
                let mut object = serde_json::to_value(&self.rollout).unwrap();
                crate::api::patch::apply_merge_patch(&mut object, patch);
                self.rollout = serde_json::from_value(object).unwrap();
                let version = self.bump();
                self.rollout.metadata.resource_version = Some(version.clone());
                if patch.get("spec").is_some() {
                    *self.rollout.metadata.generation.as_mut().unwrap() += 1;
                }
                Outcome::Done { version }
            }
            Write::CreateReplicaSet(set) if self.foreign.contains_key(&set.name) => Outcome::Exists,
            Write::CreateReplicaSet(_) if self.no_creates.is_some() => {
                Outcome::Refused(self.no_creates.clone().unwrap())
            }
            Write::CreateReplicaSet(set) => {
                self.writes.push("create".into());
                let image = set.object["spec"]["template"]["spec"]["containers"][0]["image"]
                    .as_str()
                    .unwrap();
                self.templates.push((set.name.clone(), image.to_owned()));
                let stored = as_stored(&set.object["spec"]["template"]);
                self.stored.insert(set.name.clone(), stored.into());
                let version = self.bump();
                let made = Timestamp::from_second(self.now).unwrap();
                let note = |key: &str| set.object["metadata"]["annotations"][key].as_str();
                self.sets.push(ReplicaSetSeen {
                    name: set.name.clone(),
                    uid: format!("uid-{}", set.name),
                    version: version.clone(),
                    created: origin::created(note(CREATED), made),
                    hash: set.hash.clone(),
                    revision: set.revision,
                    revision_history: None,
                    desired_replicas: None,
                    scale_down_deadline: None,
                    template_digest: Some(set.template_digest.clone()),
                    ephemeral: None,
                    injected: None,
                    copied: None,
                    config: None,
                    was_stable: origin::was_stable(note(WAS_STABLE)),
                    is_deleting: false,
                    replicas: 0,
                    min_ready_seconds: 0,
                    current: 0,
                    ready: 0,
                    available: 0,
                    is_observed: true,
                    failure: None,
                });
                Outcome::Done { version }
            }
            Write::PatchReplicaSet(patch) => {
                let version = self.bump();
                let rs = self.sets.iter_mut().find(|rs| rs.uid == patch.uid).unwrap();
                assert_eq!(rs.version, patch.version);
                rs.version = version.clone();
                if let Some(n) = patch.replicas {
                    self.writes.push(format!("scale {}", n));
                    rs.replicas = n;
                }
                if let Some(Some(digest)) = patch.annotations.get(TEMPLATE) {
                    // Earlier builds take it for one digest.
                    assert!(!digest.contains(','), "{digest}");
                    let also = patch.annotations.get(TEMPLATE_ALSO).cloned().flatten();
                    rs.template_digest = revision::recorded(Some(digest), also.as_deref());
                }
                if let Some(Some(n)) = patch.annotations.get(REVISION) {
                    rs.revision = n.parse().unwrap();
                }
                if let Some(Some(all)) = patch.annotations.get(REVISION_HISTORY) {
                    rs.revision_history = Some(all.clone());
                }
                if let Some(Some(n)) = patch.annotations.get(DESIRED_REPLICAS) {
                    rs.desired_replicas = n.parse().ok();
                }
                if let Some(text) = patch.annotations.get(WAS_STABLE) {
                    rs.was_stable = origin::was_stable(text.as_deref());
                }
                if let Some(end) = patch.annotations.get(SCALE_DOWN_DEADLINE) {
                    rs.scale_down_deadline = end.as_ref().map(|t| t.parse().unwrap());
                }
                Outcome::Done { version }
            }
            Write::DeleteReplicaSet { .. } if self.no_deletes => {
                Outcome::Refused("forbidden".into())
            }
            Write::DeleteReplicaSet { uid, name, .. } => {
                self.writes.push(format!("delete {name}"));
                self.sets.retain(|rs| rs.uid != *uid);
                Outcome::Done {
                    version: String::new(),
                }
            }
            Write::Status(write) => {
                self.writes.push("status".into());
                let version = self.bump();
                assert_eq!(
                    Some(&write.version),
                    self.rollout.metadata.resource_version.as_ref()
                );
                self.rollout.status = Some(write.after.clone());
                self.rollout.metadata.resource_version = Some(version.clone());
                Outcome::Done { version }
            }
            Write::PatchService(patch) => {
                let target = patch.hash.clone().unwrap_or_else(|| "-".into());
                self.writes.push(format!("{} -> {target}", patch.name));
                let version = self.bump();
                let service = self.services.iter_mut().find(|s| s.name == patch.name);
                let service = service.unwrap();
                assert_eq!(service.version, patch.version);
                match &patch.hash {
                    Some(hash) => service.selector.insert(POD_HASH_LABEL.into(), hash.clone()),
                    None => service.selector.remove(POD_HASH_LABEL),
                };
                service.manager.clone_from(&patch.manager);
                service.version.clone_from(&version);
                Outcome::Done { version }
            }
            Write::CreateRun(run) => {
                self.writes.push("run".into());
                let version = self.bump();
                let mut run = (**run).clone();
                run.metadata.resource_version = Some(version.clone());
                run.metadata.uid = Some(format!("uid-{version}"));
                let now = Timestamp::from_second(self.now).unwrap();
                run.metadata.creation_timestamp = Some(Time(now));
                self.runs.push(Arc::new(run));
                Outcome::Done { version }
            }
            Write::TerminateRun { name, .. } => {
                self.writes.push("end run".into());
                let version = self.bump();
                for run in &mut self.runs {
                    if run.metadata.name.as_ref() == Some(name) {
                        Arc::make_mut(run).spec.terminate = Some(true);
                    }
                }
                Outcome::Done { version }
            }
            Write::DeleteRun { name, .. } => {
                self.writes.push(format!("delete run {name}"));
                self.runs
                    .retain(|run| run.metadata.name.as_ref() != Some(name));
                let version = self.bump();
                Outcome::Done { version }
            }
            Write::CreateExperiment(it) => {
                self.writes.push("experiment".into());
                let version = self.bump();
                let mut it = (**it).clone();
                it.metadata.resource_version = Some(version.clone());
                it.metadata.uid = it.metadata.name.clone();
                self.experiments.push(Arc::new(it));
                Outcome::Done { version }
            }
            Write::TerminateExperiment { name, .. } => {
                self.writes.push("end experiment".into());
                self.change_experiment(name, |it| it.spec.terminate = Some(true));
                Outcome::Done {
                    version: self.bump(),
                }
            }
            Write::DeleteExperiment { uid, .. } => {
                self.writes.push("delete experiment".into());
                self.experiments
                    .retain(|it| it.metadata.uid.as_ref() != Some(uid));
                Outcome::Done {
                    version: String::new(),
                }
            }
            Write::KeepTemplate(kept) => {
                if self.kept.contains_key(&kept.name) {
                    return Outcome::Exists;
                }
                self.kept
                    .insert(kept.name.clone(), Arc::clone(&kept.object));
                Outcome::Done {
                    version: String::new(),
                }
            }
            Write::DropTemplate(kept) => {
                self.kept.remove(&kept.what);
                Outcome::Done {
                    version: String::new(),
                }
            }
            Write::CreateConfig(_)
            | Write::DeleteConfig(_)
            | Write::ScaleWorkload(_)
            | Write::CreateService(_)
            | Write::DeleteService { .. }
            | Write::PatchWorkload(_)
            | Write::PatchPods(_)
            | Write::EvictPod { .. } => {
                panic!("no pods here")
            }
        }
    }

    fn change_experiment(&mut self, name: &str, change: impl Fn(&mut crate::api::Experiment)) {
        let version = self.bump();
        for it in &mut self.experiments {
            if it.metadata.name.as_deref() == Some(name) {
                let it = Arc::make_mut(it);
                change(it);
                it.metadata.resource_version = Some(version.clone());
            }
        }
    }

    /// Pods follow their ReplicaSets at once.
    fn pods(&mut self) {
        for rs in &mut self.sets {
            // One that cannot make pods keeps those it has.
            rs.current = match rs.failure {
                Some(_) => rs.current.min(rs.replicas),
                None => rs.replicas,
            };
            let image = &self
                .templates
                .iter()
                .find(|(name, _)| *name == rs.name)
                .unwrap()
                .1;
            let available = if self.broken.contains(image) {
                0
            } else {
                let most = self.most.iter().find(|(name, _)| name == image);
                rs.current.min(most.map_or(u32::MAX, |(_, n)| *n))
            };
            rs.ready = available;
            rs.available = available;
        }
    }

    /// One turn; true when it did something.
    fn turn(&mut self) -> bool {
        let seen = self.observed();
        let needs: Vec<Need> = crate::planner::needs(&seen);
        assert_eq!(needs, vec![], "everything is answered here");
        let plan = plan_rollout(&seen);
        assert_eq!(
            plan_rollout(&seen).effects,
            plan.effects,
            "the same plan for the same view"
        );
        let mut turn = Turn::new(&seen, plan);
        let mut did = false;
        while let Some(effect) = turn.next_effect() {
            let outcome = self.perform(&effect);
            turn.record(outcome);
            did = true;
        }
        let end = turn.finish();
        self.failures.extend(end.failure.clone());
        self.events.extend(
            end.events
                .iter()
                .map(|e| format!("{} {}", e.reason, e.note)),
        );
        did
    }

    /// Turns until nothing is left to do at this time.
    fn settle(&mut self) {
        for _ in 0..60 {
            self.pods();
            if !self.turn() {
                self.pods();
                if !self.turn() {
                    return;
                }
            }
        }
        // Refused writes are tried again and again.
        assert!(self.no_deletes, "does not settle: {:?}", self.status());
    }

    fn phase(&self) -> (String, String) {
        let status = self.status();
        (
            status.phase.unwrap_or_default(),
            status.message.unwrap_or_default(),
        )
    }

    fn sizes(&self) -> Vec<u32> {
        self.sets.iter().map(|rs| rs.replicas).collect()
    }

    fn condition(&self, type_: &str) -> (String, String) {
        let status = self.status();
        let c = status.conditions.iter().find(|c| c.type_ == type_).unwrap();
        (c.status.clone(), c.reason.clone().unwrap_or_default())
    }
}

/// A template that measures once and wants these arguments.
fn measured_once(args: Value) -> Value {
    json!({"args": args, "metrics": [{"name": "m", "count": 1, "provider": {
        "prometheus": {"address": "http://prometheus:9090", "query": "q"},
    }}]})
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.into(), b.into())
}

/// Revision 1 at full size, then a new image.
fn updating(replicas: u32, steps: Value) -> World {
    updated(world(replicas, steps))
}

/// This world with revision 1 at full size, then a new image.
fn updated(mut w: World) -> World {
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    w.events.clear();
    w.writes.clear();
    w.image("web:2");
    w.settle();
    w
}

#[test]
fn a_first_deployment_goes_to_full_size_at_once() {
    let mut w = world(3, json!([{"setWeight": 20}, {"pause": {}}]));
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    assert_eq!(w.sizes(), [3]);
    let status = w.status();
    assert_eq!(status.current_step_index, Some(2));
    assert_eq!(status.stable_rs, status.current_pod_hash);
    assert_eq!(w.condition("Ready").0, "True");
    let reasons: Vec<&str> = w
        .events
        .iter()
        .map(|e| e.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        reasons,
        [
            "RolloutAddedToInformer",
            "RolloutUpdated",
            "NewReplicaSetCreated",
            "RolloutNotCompleted",
            "RolloutCompleted",
            "ScalingReplicaSet"
        ]
    );
    // Quiet afterwards.
    w.writes.clear();
    w.now += 10_000;
    w.settle();
    assert_eq!(w.writes, Vec::<String>::new());
}

#[test]
fn a_canary_pauses_and_goes_on_when_promoted() {
    let mut w = updating(4, json!([{"setWeight": 50}, {"pause": {}}]));
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    assert_eq!(w.sizes(), [2, 2]);
    assert_eq!(w.status().current_step_index, Some(1));
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    assert_eq!(w.sizes(), [0, 4]);
    let last = command::last(w.rollout.metadata.annotations.as_ref().unwrap()).unwrap();
    assert_eq!(
        (last.verb.as_str(), last.outcome.as_str()),
        ("promote", "accepted")
    );
    assert!(
        w.events
            .iter()
            .any(|e| e.contains("Completed all 2 canary steps")),
        "{:?}",
        w.events
    );
}

#[test]
fn a_cursor_that_a_client_moves_is_on_record_within_the_second() {
    let mut w = world(3, json!([{"setWeight": 42}]));
    w.settle();
    w.broken.push("web:2".into());
    w.image("web:2");
    w.settle();
    w.patch_status(json!({"currentStepIndex": 1}));
    w.turn();
    assert_eq!(w.status().serin.unwrap().step, Some(1));
}

#[test]
fn a_plugin_promote_is_the_same() {
    let mut w = updating(
        4,
        json!([{"setWeight": 50}, {"pause": {}}, {"setWeight": 75}, {"pause": {}}]),
    );
    w.patch_status(json!({"pauseConditions": null}));
    w.settle();
    assert_eq!(w.status().current_step_index, Some(3));
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
}

#[test]
fn a_timed_pause_is_never_short() {
    let mut w = updating(
        4,
        json!([{"setWeight": 50}, {"pause": {"duration": "30s"}}]),
    );
    w.now += 29;
    w.settle();
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    w.now += 1;
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    assert!(w.events.iter().any(|e| e.starts_with("RolloutResumed")));
}

#[test]
fn an_abort_brings_stable_back_and_retry_starts_again() {
    let mut w = updating(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.writes.clear();
    w.patch_status(json!({"abort": true}));
    w.settle();
    assert_eq!(
        w.phase(),
        pair(
            "Degraded",
            "RolloutAborted: Rollout aborted update to revision 2"
        )
    );
    assert_eq!(w.sizes(), [4, 0]);
    // Stable grows as far as maxSurge lets it before the canary gives way (R22).
    let scales: Vec<&String> = w.writes.iter().filter(|x| x.starts_with("scale")).collect();
    assert_eq!(scales, ["scale 3", "scale 0", "scale 4"]);
    assert_eq!(w.condition("Stalled").0, "True");
    w.patch_status(json!({"abort": false}));
    w.settle();
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    assert_eq!(w.sizes(), [2, 2]);
    assert_eq!(w.status().serin.unwrap().attempt, Some(1));
}

#[test]
fn promote_full_skips_what_is_left() {
    let mut w = updating(
        4,
        json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]),
    );
    w.annotate(PROMOTE, "full");
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    assert!(
        w.events
            .iter()
            .any(|e| e.contains("Full promotion requested"))
    );
    assert_eq!(w.status().promote_full, None);
}

#[test]
fn a_third_revision_starts_over_and_the_second_is_drained() {
    let mut w = updating(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.image("web:3");
    w.settle();
    assert_eq!(w.sizes(), [2, 0, 2]);
    assert_eq!(w.status().current_step_index, Some(1));
    assert_eq!(w.sets[2].revision, 3);
}

#[test]
fn going_back_to_stable_skips_the_steps() {
    let mut w = updating(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.events.clear();
    w.image("web:1");
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    assert_eq!(w.sizes(), [4, 0]);
    assert_eq!(w.sets[0].revision, 3);
    assert!(
        w.events
            .iter()
            .any(|e| e == "SkipSteps Rollback to stable ReplicaSets")
    );
    assert!(!w.events.iter().any(|e| e.starts_with("RolloutCompleted")));
}

#[test]
fn without_steps_it_rolls_like_a_deployment() {
    let w = updating(4, json!(null));
    assert_eq!(w.phase(), pair("Healthy", ""));
    assert_eq!(w.sizes(), [0, 4]);
    assert_eq!(w.status().current_step_index, None);
}

#[test]
fn pods_that_never_come_up_hit_the_deadline_once() {
    let mut w = world(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.broken.push("web:2".into());
    w.settle();
    w.image("web:2");
    w.settle();
    assert_eq!(w.phase().0, "Progressing");
    w.now += 601;
    w.settle();
    assert!(
        w.phase()
            .1
            .starts_with("ProgressDeadlineExceeded: ReplicaSet"),
        "{:?}",
        w.phase()
    );
    assert_eq!(w.condition("Stalled").0, "True");
    let before = w.writes.len();
    w.now += 10_000;
    w.settle();
    assert_eq!(w.writes.len(), before, "said once");
}

#[test]
fn the_deadline_aborts_where_the_spec_says_so() {
    let mut w = world(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.rollout.spec.progress_deadline_abort = Some(true);
    w.broken.push("web:2".into());
    w.settle();
    w.image("web:2");
    w.settle();
    w.now += 601;
    w.settle();
    assert!(
        w.phase()
            .1
            .contains("RolloutAborted: Rollout aborted update to revision 2: ReplicaSet")
    );
    assert_eq!(w.sizes(), [4, 0]);
    let aborted = w
        .events
        .iter()
        .filter(|e| e.starts_with("RolloutAborted"))
        .count();
    assert_eq!(aborted, 1);
}

#[test]
fn replicas_follow_at_once_while_a_pause_goes_on() {
    let mut w = updating(4, json!([{"setWeight": 25}, {"pause": {"duration": 60}}]));
    assert_eq!(w.sizes(), [3, 1]);
    w.rollout.spec.replicas = Some(8);
    w.generation();
    w.settle();
    assert_eq!(w.sizes(), [6, 2]);
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    w.now += 60;
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
}

#[test]
fn spec_paused_freezes_sizes_and_steps() {
    let mut w = updating(4, json!([{"setWeight": 25}, {"pause": {}}]));
    w.rollout.spec.paused = Some(true);
    w.rollout.spec.replicas = Some(8);
    w.generation();
    w.settle();
    assert_eq!(w.sizes(), [3, 1]);
    assert_eq!(w.phase(), pair("Paused", "manually paused"));
}

/// Commands carry no version: one that comes together with a new template may be meant for the version
/// before, and a new one goes out by nobody's mistake.
#[test]
fn a_promotion_in_the_same_change_as_a_new_template_is_refused() {
    for value in ["true", "full"] {
        let steps = json!([{"setWeight": 50}, {"pause": {}}]);
        let mut w = updating(4, steps);
        w.image("web:3");
        w.annotate(PROMOTE, value);
        w.settle();
        assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"), "{value}");
        let told = w.events.iter().find(|e| e.starts_with("CommandRefused"));
        let told = told.unwrap();
        assert!(
            told.contains("the pod template has changed with it"),
            "{told}"
        );
        w.annotate(PROMOTE, value);
        w.settle();
        assert_eq!(w.phase(), pair("Healthy", ""), "given again, it is taken");
    }
}

#[test]
fn unknown_and_untimely_commands_are_refused_with_a_reason() {
    let mut w = world(2, json!([{"setWeight": 50}, {"pause": {}}]));
    w.settle();
    for (key, value, why) in [
        (PROMOTE, "true", "no update is under way"),
        (PROMOTE, "maybe", "the value must be true"),
        (crate::api::RETRY, "true", "is not aborted"),
        (crate::api::RESTART, "soon", "the value must be true"),
        (crate::api::UNDO, "true", "no other revision"),
        (crate::api::UNDO, "7", "there is no revision 7: known are 1"),
        (crate::api::UNDO, "soon", "the value must be"),
        (crate::api::RETRY, "step", "is not aborted"),
        (crate::api::ABORT, "because", "no update is under way"),
        (crate::api::RESUME, "true", "spec.paused is not set"),
    ] {
        w.events.clear();
        w.annotate(key, value);
        w.settle();
        assert!(
            w.events
                .iter()
                .any(|e| e.starts_with("CommandRefused") && e.contains(why)),
            "{key}: {:?}",
            w.events
        );
        assert!(
            !w.rollout
                .metadata
                .annotations
                .as_ref()
                .unwrap()
                .contains_key(key)
        );
    }
    assert_eq!(w.phase(), pair("Healthy", ""));
}

#[test]
fn a_wild_step_index_is_put_back() {
    let mut w = updating(
        4,
        json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}, {"setWeight": 75}, {"pause": {}}]),
    );
    w.patch_status(json!({"currentStepIndex": 4}));
    w.settle();
    assert_eq!(w.status().current_step_index, Some(1));
    assert!(w.events.iter().any(|e| e.starts_with("CommandRefused")));
    // Removed is not the end either: the pause that waits for a person is not passed.
    w.patch_status(json!({"currentStepIndex": null}));
    w.settle();
    assert_eq!(w.status().current_step_index, Some(1));
    assert_eq!(w.phase().0, "Paused");
}

#[test]
fn a_two_step_update_needs_few_writes() {
    let w = updating(2, json!([{"setWeight": 50}, {"setWeight": 100}]));
    assert_eq!(w.phase(), pair("Healthy", ""));
    assert!(w.writes.len() <= 14, "{}: {:?}", w.writes.len(), w.writes);
}

#[test]
fn a_bad_spec_is_told_with_all_faults_and_nothing_is_touched() {
    let mut w = world(2, json!([{"setWeight": 50}, {"pause": {}}]));
    w.settle();
    let sizes = w.sizes();
    w.rollout.spec.strategy = serde_json::from_value(
        json!({"canary": {"steps": [{"setWeight": 500}, {"pause": {"duration": "x"}}]}}),
    )
    .unwrap();
    w.image("web:2");
    w.settle();
    let (phase, message) = w.phase();
    assert_eq!(phase, "Degraded");
    assert!(
        message.starts_with(
            "InvalidSpec: The Rollout \"web\" is invalid: spec.strategy.canary.steps[0]"
        )
    );
    assert!(message.contains("steps[1]"));
    assert_eq!(w.sizes(), sizes);
    assert_eq!(w.status().observed_generation.as_deref(), Some("2"));
}

#[test]
fn a_stable_set_that_is_gone_promotes_nothing() {
    let mut w = updating(
        4,
        json!([{"setWeight": 50}, {"pause": {}}, {"setWeight": 75}]),
    );
    w.sets.remove(0);
    w.templates.remove(0);
    // Nor was anything kept of it.
    w.kept.clear();
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_ne!(w.status().stable_rs, w.status().current_pod_hash);
    assert_eq!(w.phase().0, "Degraded");
    assert!(w.phase().1.starts_with("StableGone"), "{:?}", w.phase());
    assert_eq!(w.condition("Stalled").1, "StableGone");
    w.patch_status(json!({"abort": true}));
    w.settle();
    assert!(
        w.sizes().iter().sum::<u32>() >= 2,
        "what runs is not taken away"
    );
}

#[test]
fn a_peer_made_replica_set_goes_on_at_its_step() {
    let mut w = updating(
        4,
        json!([{"setWeight": 50}, {"pause": {}}, {"setWeight": 75}, {"pause": {}}]),
    );
    // As the peer leaves it: no digest, no block of ours, other hashes.
    for (rs, hash) in w.sets.iter_mut().zip(["peer1", "peer2"]) {
        rs.template_digest = None;
        rs.hash = hash.into();
    }
    let mut status = w.status();
    status.serin = None;
    status.current_pod_hash = Some("peer2".into());
    status.stable_rs = Some("peer1".into());
    status.current_step_hash = Some("other".into());
    w.rollout.status = Some(status);
    w.writes.clear();
    w.settle();
    assert_eq!(w.sizes(), [2, 2]);
    assert_eq!(w.status().current_step_index, Some(1));
    assert_eq!(w.sets.len(), 2);
    assert!(
        !w.writes
            .iter()
            .any(|x| x.starts_with("scale") || x == "create"),
        "{:?}",
        w.writes
    );
    w.patch_status(json!({"pauseConditions": null}));
    w.settle();
    assert_eq!(w.status().current_step_index, Some(3));
}

#[test]
fn promote_of_a_canary_held_by_spec_paused_only_unpauses() {
    let mut w = updating(
        4,
        json!([{"setWeight": 25}, {"pause": {"duration": "10m"}}, {"setWeight": 50}, {"pause": {}}]),
    );
    w.now += 601;
    w.rollout.spec.paused = Some(true);
    w.generation();
    w.settle();
    let at = w.status().current_step_index;
    w.patch_status(json!({"pauseConditions": null, "controllerPause": null}));
    w.annotate(PROMOTE, "true");
    w.turn();
    assert_eq!(w.rollout.spec.paused, Some(false));
    assert_eq!(w.status().current_step_index, at, "the step is not skipped");
}

/// The take is written, the controller dies before it acts: the next one acts, once.
#[test]
fn a_command_is_acted_on_once_although_the_controller_crashed() {
    let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
    let mut w = updating(4, steps);
    w.annotate(PROMOTE, "true");
    assert!(w.turn(), "the take");
    assert_eq!(w.status().current_step_index, Some(1), "not acted on yet");
    // Nothing is remembered but what is stored; the world goes on from there.
    w.settle();
    assert_eq!(w.status().current_step_index, Some(3));
    w.settle();
    assert_eq!(
        w.status().current_step_index,
        Some(3),
        "one promote, one pause"
    );
}

#[test]
fn a_pod_that_flaps_does_not_keep_a_stuck_update_alive() {
    let mut w = world(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.settle();
    w.image("web:2");
    w.broken.push("web:2".into());
    w.settle();
    for round in 0..70 {
        w.now += 10;
        // Every other look one pod of the canary is there.
        let canary = w.sets.last_mut().unwrap();
        canary.available = u32::from(round % 2 == 0).min(canary.replicas);
        canary.ready = canary.available;
        w.turn();
        w.turn();
    }
    assert!(
        w.phase().1.starts_with("ProgressDeadlineExceeded"),
        "{:?}",
        w.phase()
    );
}

#[test]
fn a_lost_status_walks_the_steps_again() {
    let mut w = updating(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.rollout.status = None;
    w.settle();
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    assert_eq!(
        w.sizes(),
        [2, 2],
        "the old version became stable, the new one is not promoted"
    );
    assert_eq!(w.status().current_step_index, Some(1));
}

/// serin promoted v2, the peer then began v3 and is paused at its first pause; serin comes back.
#[test]
fn what_we_remember_of_another_version_moves_no_cursor() {
    let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
    let mut w = updating(4, steps);
    let mut serin = w.status().serin.unwrap();
    serin.hash = Some("older".into());
    serin.step = Some(4);
    w.patch_status(json!({"serin": serde_json::to_value(serin).unwrap()}));
    w.events.clear();
    w.settle();
    assert_eq!(w.status().current_step_index, Some(1));
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    assert_eq!(w.events, Vec::<String>::new());
    assert_eq!(w.status().serin.unwrap().step, Some(1));
}

#[test]
fn a_refused_clean_up_does_not_stop_the_update() {
    let mut w = world(2, json!([{"setWeight": 50}]));
    w.rollout.spec.revision_history_limit = Some(0);
    w.settle();
    w.no_deletes = true;
    for image in ["web:2", "web:3"] {
        w.image(image);
        w.settle();
        assert_eq!(w.phase(), pair("Healthy", ""), "{image}");
    }
    assert!(!w.failures.is_empty());
}

#[test]
fn pausing_a_promoted_rollout_changes_nothing_but_paused() {
    let mut w = world(3, json!([{"setWeight": 50}, {"pause": {}}]));
    w.settle();
    w.rollout.spec.paused = Some(true);
    w.generation();
    w.settle();
    assert_eq!(w.condition("Progressing").1, "NewReplicaSetAvailable");
    assert_eq!(w.condition("Paused").0, "True");
}

#[test]
fn a_promoted_rollout_that_loses_pods_never_hits_the_deadline() {
    let mut w = world(4, json!([{"setWeight": 50}]));
    w.settle();
    w.broken.push("web:1".into());
    w.rollout.spec.replicas = Some(8);
    w.generation();
    w.settle();
    w.now += 10_000;
    w.settle();
    assert_eq!(w.condition("Progressing").1, "ReplicaSetNotAvailable");
    assert_eq!(w.phase().0, "Progressing");
}

#[test]
fn changed_steps_start_over_with_runs_of_their_own() {
    let mut w = updating(4, json!([{"setWeight": 25}, {"pause": {}}]));
    let canary = w
        .rollout
        .spec
        .strategy
        .as_mut()
        .unwrap()
        .canary
        .as_mut()
        .unwrap();
    canary.steps = serde_json::from_value(json!([{"setWeight": 50}, {"pause": {}}])).unwrap();
    w.generation();
    w.settle();
    assert_eq!(w.sizes(), [2, 2]);
    assert_eq!(w.status().serin.unwrap().attempt, Some(1));
}

/// At 0 replicas there is nobody to judge: all but pauses passes, and the message says so.
#[test]
fn at_zero_replicas_the_message_says_that_steps_pass() {
    let nobody =
        " (replicas is 0: there are no pods to judge, so weights, analyses and gates pass)";
    let mut w = world(0, json!([{"setWeight": 50}, {"pause": {}}]));
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    w.image("web:2");
    w.settle();
    assert_eq!(
        w.phase(),
        pair("Paused", &format!("CanaryPauseStep{nobody}"))
    );
    assert_eq!(w.status().current_step_index, Some(1));
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
}

/// What the columns of `kubectl get` show is what stands beside them in words.
#[test]
fn columns_count_steps_from_one_and_ready_pods() {
    let mut w = updating(
        4,
        json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]),
    );
    let columns = |w: &World| {
        let serin = w.status().serin.unwrap();
        (
            serin.step_text.unwrap(),
            serin.weight,
            serin.ready_text.unwrap(),
        )
    };
    assert_eq!(w.status().current_step_index, Some(1), "the second step");
    assert_eq!(columns(&w), ("2/4".to_owned(), Some(25), "4/4".to_owned()));
    assert!(
        w.events.iter().any(|e| e.contains("step 1/4")),
        "{:?}",
        w.events
    );
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!(columns(&w), ("4/4".to_owned(), Some(50), "4/4".to_owned()));
    // Ready, but not long enough to be available.
    for rs in &mut w.sets {
        rs.available = 0;
    }
    w.turn();
    assert_eq!(columns(&w).2, "4/4");
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!(columns(&w), ("4/4".to_owned(), Some(100), "4/4".to_owned()));
}
