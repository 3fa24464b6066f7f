//! Rules of an Experiment, one situation each, in a world whose pods do as they are told.

use serde_json::{Value, json};

use super::turn::{ExperimentTurn, Step};
use super::*;
use crate::api::SCALE_DOWN_DEADLINE;
use crate::planner::plan::{Outcome, Write};

struct World {
    experiment: Experiment,
    sets: Vec<ReplicaSetSeen>,
    runs: Vec<Arc<AnalysisRun>>,
    services: Vec<String>,
    templates: BTreeMap<TemplateRef, Option<Arc<AnalysisTemplateSpec>>>,
    taken: BTreeSet<Place>,
    refused: BTreeMap<Place, String>,
    now: i64,
    version: u64,
    events: Vec<String>,
    writes: Vec<String>,
    /// No pod becomes available.
    is_broken: bool,
    /// Writes after which the controller crashes, each time.
    crash_after: Option<usize>,
}

fn template(name: &str, image: &str) -> Value {
    json!({
        "name": name, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
            {"name": "app", "image": image, "ports": [{"containerPort": 80, "name": "http"}]}]}},
    })
}

fn world(spec: Value) -> World {
    let mut all = json!({
        "templates": [template("baseline", "web:1"), template("canary", "web:2")],
        "duration": "1m",
    });
    crate::api::patch::apply_merge_patch(&mut all, &spec);
    let experiment = serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment",
        "metadata": {"name": "try", "namespace": "ns", "uid": "e", "resourceVersion": "1"},
        "spec": all,
    }));
    World {
        experiment: experiment.unwrap(),
        sets: vec![],
        runs: vec![],
        services: vec![],
        templates: BTreeMap::new(),
        taken: BTreeSet::new(),
        refused: BTreeMap::new(),
        now: 1_000,
        version: 1,
        events: vec![],
        writes: vec![],
        is_broken: false,
        crash_after: None,
    }
}

/// Two analyses: one is required, the other is not.
fn judged(more: Value) -> World {
    let mut spec = json!({"analyses": [
        {"name": "speed", "templateName": "t", "requiredForCompletion": true, "args": [
            {"name": "hash", "value": "{{templates.canary.podTemplateHash}}"},
            {"name": "set", "value": "{{templates.canary.replicaset.name}}"},
            {"name": "span", "value": "{{experiment.availableAt}}/{{experiment.finishedAt}}"}]},
        {"name": "errors", "templateName": "t", "args": [
            {"name": "hash", "value": "x"}, {"name": "set", "value": "y"}, {"name": "span", "value": "z"}]},
    ]});
    crate::api::patch::apply_merge_patch(&mut spec, &more);
    let mut w = world(spec);
    let spec = json!({
        "args": [{"name": "hash"}, {"name": "set"}, {"name": "span"}],
        "metrics": [{"name": "m", "interval": "10s", "provider": {"prometheus": {"address": "http://p", "query": "up"}}}],
    });
    let reference = TemplateRef {
        name: "t".into(),
        is_cluster: false,
    };
    let spec = serde_json::from_value(spec).unwrap();
    w.templates.insert(reference, Some(Arc::new(spec)));
    w
}

impl World {
    fn seen(&self) -> ExperimentObserved {
        ExperimentObserved {
            now: Timestamp::from_second(self.now).unwrap(),
            experiment: Arc::new(self.experiment.clone()),
            replica_sets: self.sets.clone(),
            runs: self.runs.clone(),
            templates: self.templates.clone(),
            taken: self.taken.clone(),
            refused: self.refused.clone(),
            is_fresh: true,
        }
    }

    fn bump(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    fn done(&mut self) -> Outcome {
        Outcome::Done {
            version: self.bump(),
        }
    }

    fn perform(&mut self, write: &Write) -> Outcome {
        match write {
            Write::CreateReplicaSet(new) => {
                if self.sets.iter().any(|s| s.name == new.name) {
                    return Outcome::Exists;
                }
                self.writes.push(format!("create {}", new.name));
                let version = self.bump();
                let labels = &new.object["spec"]["selector"]["matchLabels"];
                assert_eq!(labels[crate::api::POD_HASH_LABEL], new.hash);
                self.sets.push(set(&new.name, &new.hash, &version));
                Outcome::Done { version }
            }
            Write::PatchReplicaSet(patch) => {
                let version = self.bump();
                let set = self.sets.iter_mut().find(|s| s.name == patch.name).unwrap();
                assert_eq!(set.version, patch.version);
                set.version = version.clone();
                if let Some(n) = patch.replicas {
                    self.writes.push(format!("{} {n}", patch.name));
                    set.replicas = n;
                }
                if let Some(end) = patch.annotations.get(SCALE_DOWN_DEADLINE) {
                    set.scale_down_deadline = end.as_ref().map(|t| t.parse().unwrap());
                }
                Outcome::Done { version }
            }
            Write::CreateRun(run) => {
                let name = run.metadata.name.clone().unwrap();
                if self
                    .runs
                    .iter()
                    .any(|r| r.metadata.name.as_ref() == Some(&name))
                {
                    return Outcome::Exists;
                }
                self.writes.push(format!("run {name}"));
                let mut run = (**run).clone();
                run.metadata.resource_version = Some(self.bump());
                self.runs.push(Arc::new(run));
                self.done()
            }
            Write::TerminateRun { name, .. } => {
                self.writes.push(format!("end {name}"));
                self.change_run(name, |run| run.spec.terminate = Some(true));
                self.done()
            }
            Write::CreateService(service) => {
                self.writes.push(format!("service {}", service.name));
                self.services.push(service.name.clone());
                self.done()
            }
            Write::DeleteService { name, .. } => {
                self.writes.push(format!("no service {name}"));
                self.services.retain(|s| s != name);
                self.done()
            }
            Write::PatchRollout { .. }
            | Write::KeepTemplate(_)
            | Write::DropTemplate(_)
            | Write::CreateConfig(_)
            | Write::DeleteConfig(_)
            | Write::ScaleWorkload(_)
            | Write::PatchWorkload(_)
            | Write::PatchPods(_)
            | Write::EvictPod { .. }
            | Write::DeleteReplicaSet { .. }
            | Write::DeleteRun { .. }
            | Write::PatchService(_)
            | Write::CreateExperiment(_)
            | Write::TerminateExperiment { .. }
            | Write::DeleteExperiment { .. }
            | Write::Status(_) => panic!("an Experiment does not write this: {write:?}"),
        }
    }

    fn change_run(&mut self, name: &str, change: impl Fn(&mut AnalysisRun)) {
        for run in &mut self.runs {
            if run.metadata.name.as_deref() == Some(name) {
                change(Arc::make_mut(run));
            }
        }
    }

    fn pods(&mut self) {
        for set in &mut self.sets {
            set.current = set.replicas;
            set.available = if self.is_broken { 0 } else { set.replicas };
            set.ready = set.available;
        }
    }

    /// One turn; true when it did something.
    fn turn(&mut self) -> bool {
        let seen = self.seen();
        assert_eq!(needs(&seen), vec![], "everything is answered here");
        let plan = plan_experiment(&seen);
        let mut turn = ExperimentTurn::new(&plan);
        let mut count = 0;
        while let Some(effect) = turn.next_effect() {
            let outcome = self.perform(&effect.write);
            turn.record(outcome);
            count += 1;
            if self.crash_after == Some(count) {
                return true;
            }
        }
        assert_eq!(turn.finish(), Step::Done);
        let told = plan.events.iter();
        self.events
            .extend(told.map(|e| format!("{} {}", e.reason, e.note)));
        let is_written = plan.status.is_some();
        if let Some(status) = plan.status {
            self.experiment.status = Some(status);
        }
        is_written || count > 0
    }

    fn settle(&mut self) {
        for _ in 0..40 {
            self.pods();
            if !self.turn() {
                return;
            }
        }
        panic!("does not settle: {:?}", self.experiment.status);
    }

    fn ends(&mut self, analysis: &str, phase: &str) {
        let status = crate::api::AnalysisRunStatus {
            phase: Some(phase.into()),
            message: (phase != "Successful").then(|| "it is bad".into()),
            ..Default::default()
        };
        self.change_run(&format!("try-{analysis}"), |run| {
            run.status = Some(status.clone());
        });
        self.settle();
    }

    fn status(&self) -> ExperimentStatus {
        self.experiment.status.clone().unwrap_or_default()
    }

    fn phase(&self) -> String {
        self.status().phase.unwrap_or_default()
    }

    fn states(&self) -> Vec<String> {
        let all = self.status().template_statuses.unwrap_or_default();
        all.into_iter().filter_map(|t| t.status).collect()
    }

    fn later(&mut self, seconds: i64) {
        self.now += seconds;
        self.settle();
    }

    fn condition(&self) -> (String, String) {
        let all = self.status().conditions;
        let c = all.iter().find(|c| c.type_ == "Progressing").unwrap();
        (c.status.clone(), c.reason.clone().unwrap_or_default())
    }
}

fn set(name: &str, hash: &str, version: &str) -> ReplicaSetSeen {
    ReplicaSetSeen {
        name: name.into(),
        uid: format!("uid-{name}"),
        version: version.into(),
        created: Timestamp::UNIX_EPOCH,
        hash: hash.into(),
        revision: 0,
        revision_history: None,
        desired_replicas: None,
        scale_down_deadline: None,
        template_digest: None,
        ephemeral: None,
        injected: None,
        copied: None,
        config: None,
        was_stable: None,
        is_deleting: false,
        replicas: 0,
        min_ready_seconds: 0,
        current: 0,
        ready: 0,
        available: 0,
        is_observed: true,
        failure: None,
    }
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.into(), b.into())
}

#[test]
fn templates_become_replica_sets_and_leave_after_the_delay() {
    let mut w = world(json!({}));
    w.settle();
    assert_eq!(
        w.writes,
        [
            "create try-baseline",
            "create try-canary",
            "try-baseline 1",
            "try-canary 1"
        ]
    );
    assert_eq!(
        (w.phase(), w.states()),
        ("Running".into(), vec!["Running".to_owned(); 2])
    );
    assert_eq!(w.condition(), pair("True", "NewReplicaSetAvailable"));
    assert_ne!(w.sets[0].hash, w.sets[1].hash);
    let end = w.status().available_at.unwrap().0.as_second() + 60;
    w.later(end - w.now - 1);
    assert_eq!(w.phase(), "Running");
    w.later(1);
    assert_eq!(
        (w.phase(), w.states()),
        ("Successful".into(), vec!["Successful".to_owned(); 2])
    );
    assert_eq!(w.condition(), pair("False", "ExperimentCompleted"));
    w.writes.clear();
    w.later(29);
    assert_eq!(w.writes, Vec::<String>::new(), "they stay for 30 s");
    w.later(1);
    assert_eq!(w.writes, ["try-baseline 0", "try-canary 0"]);
    w.writes.clear();
    w.later(600);
    assert_eq!(w.writes, Vec::<String>::new());
    for event in [
        "TemplateRunning Template 'canary' transitioned from Progressing -> Running",
        "ExperimentRunning Experiment transitioned from Pending -> Running",
        "ExperimentSuccessful Experiment transitioned from Running -> Successful",
        "ScalingReplicaSet Scaled down ReplicaSet try-canary from 1 to 0",
    ] {
        assert!(
            w.events.iter().any(|e| e == event),
            "{event}: {:#?}",
            w.events
        );
    }
}

#[test]
fn two_templates_that_read_the_same_have_hashes_of_their_own() {
    let same = json!({"templates": [template("a", "web:1"), template("b", "web:1")]});
    let mut w = world(same);
    w.settle();
    assert_ne!(w.sets[0].hash, w.sets[1].hash);
}

#[test]
fn services_stand_in_front_of_the_pods_until_they_are_gone() {
    let mut with = template("canary", "web:2");
    with["service"] = json!({"name": "tried"});
    let mut plain = template("baseline", "web:1");
    plain["service"] = json!({});
    let mut silent = template("silent", "web:1");
    silent["service"] = json!({});
    silent["template"]["spec"]["containers"][0]["ports"] = json!([]);
    let mut w = world(json!({"templates": [plain, with, silent], "scaleDownDelaySeconds": 0}));
    w.settle();
    assert_eq!(w.services, ["try-baseline", "tried"]);
    let status = w.status().template_statuses.unwrap();
    assert_eq!(status[1].service_name.as_deref(), Some("tried"));
    w.later(100);
    assert_eq!(w.services, Vec::<String>::new());
    let gone = w
        .writes
        .iter()
        .position(|w| w == "no service tried")
        .unwrap();
    let down = w.writes.iter().position(|w| w == "try-canary 0").unwrap();
    assert!(down < gone, "{:?}", w.writes);
}

#[test]
fn a_template_without_progress_fails_the_experiment() {
    let mut w = world(json!({"progressDeadlineSeconds": 20}));
    w.is_broken = true;
    w.settle();
    assert_eq!(w.phase(), "Pending");
    w.later(30);
    assert_eq!(w.phase(), "Failed");
    let message = w.status().message.unwrap();
    assert_eq!(
        message,
        "Template 'baseline' exceeded its progressDeadlineSeconds (20)"
    );
    assert_eq!(w.condition(), pair("False", "ExperimentFailed"));
    w.later(60);
    assert!(w.sets.iter().all(|s| s.replicas == 0));
}

#[test]
fn a_replica_set_that_is_refused_is_an_error_that_says_why() {
    let mut w = world(json!({}));
    let place = Place::ReplicaSet("try-canary".into());
    w.refused.insert(place, "no such priority class".into());
    w.settle();
    assert_eq!(w.phase(), "Error");
    let message = w.status().message.unwrap();
    assert!(
        message.ends_with("ReplicaSet 'try-canary': no such priority class"),
        "{message}"
    );
}

#[test]
fn a_name_that_is_taken_leads_to_the_next() {
    let mut w = judged(json!({}));
    w.taken.insert(Place::ReplicaSet("try-canary".into()));
    w.taken.insert(Place::Run("try-errors".into()));
    w.settle();
    assert_eq!(w.sets[1].name, "try-canary-1");
    assert_eq!(w.runs[1].metadata.name.as_deref(), Some("try-errors.1"));
    let mut named = template("canary", "web:2");
    named["service"] = json!({"name": "web"});
    let mut w = world(json!({"templates": [named]}));
    w.taken.insert(Place::Service("web".into()));
    w.settle();
    assert_eq!(w.phase(), "Error");
    assert!(
        w.status()
            .message
            .unwrap()
            .contains("there is a Service of that name already")
    );
}

#[test]
fn analyses_begin_when_all_pods_are_there_and_know_them() {
    let mut w = judged(json!({}));
    w.is_broken = true;
    w.settle();
    assert_eq!(w.runs.len(), 0);
    w.is_broken = false;
    w.settle();
    assert_eq!(w.runs.len(), 2);
    let status = w.status();
    let since = status.available_at.unwrap().0;
    let run = &w.runs[0];
    let owner = &run.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.uid.as_str()),
        ("Experiment", "e")
    );
    let args = run.spec.args.as_ref().unwrap();
    let values: Vec<&str> = args.iter().filter_map(|a| a.value.as_deref()).collect();
    let end = Timestamp::from_second(since.as_second() + 60).unwrap();
    let span = format!("{since}/{end}");
    assert_eq!(
        values,
        [w.sets[1].hash.as_str(), "try-canary", span.as_str()]
    );
    let shown = status.analysis_runs.unwrap();
    assert_eq!(
        (shown[0].name.as_str(), shown[0].analysis_run.as_str()),
        ("speed", "try-speed")
    );
}

/// What happened → phase of the Experiment.
#[test]
fn verdicts_of_analyses_decide() {
    // All that are required have passed: it ends at once, and the others are told to.
    let mut w = judged(json!({}));
    w.settle();
    w.ends("speed", "Successful");
    assert_eq!(
        (w.phase().as_str(), w.writes.last().unwrap().as_str()),
        ("Running", "end try-errors")
    );
    w.ends("errors", "Successful");
    assert_eq!(w.phase(), "Successful");
    // One that is bad ends it at once, required or not.
    for (phase, of) in [
        ("Failed", "errors"),
        ("Error", "speed"),
        ("Inconclusive", "errors"),
    ] {
        let mut w = judged(json!({}));
        w.settle();
        w.ends(of, phase);
        assert_eq!(
            (w.phase(), w.status().message),
            (phase.into(), Some("it is bad".into()))
        );
        assert_eq!(w.states(), ["Successful", "Successful"]);
        assert!(
            w.writes.iter().any(|w| w.starts_with("end try-")),
            "{:?}",
            w.writes
        );
    }
}

#[test]
fn a_required_analysis_is_waited_for_beyond_the_duration() {
    let mut w = judged(json!({}));
    w.settle();
    w.later(61);
    assert_eq!(
        (w.phase().as_str(), w.states()[0].as_str()),
        ("Running", "Successful")
    );
    assert_eq!(w.writes.last().unwrap(), "end try-errors");
    assert!(
        w.sets.iter().all(|s| s.replicas == 1),
        "it still measures them"
    );
    w.ends("errors", "Successful");
    assert_eq!(w.phase(), "Running");
    w.ends("speed", "Failed");
    assert_eq!(w.phase(), "Failed");
}

/// Asks and pains 22: the peer is Successful here, and the analysis fails later.
#[test]
fn an_experiment_is_not_successful_before_its_analyses_are() {
    let mut w = judged(json!({}));
    let only = w.experiment.spec.analyses.as_mut().unwrap();
    only.remove(0);
    w.settle();
    w.later(61);
    assert_eq!(w.phase(), "Running", "the run has not said its last word");
    w.ends("errors", "Failed");
    assert_eq!(w.phase(), "Failed");
}

#[test]
fn without_a_duration_the_analyses_decide_or_a_person() {
    let mut w = judged(json!({"duration": null}));
    w.experiment.spec.analyses.as_mut().unwrap()[0].required_for_completion = None;
    w.experiment.spec.analyses.as_mut().unwrap()[0]
        .args
        .as_mut()
        .unwrap()[2]
        .value = Some("-".into());
    w.settle();
    w.later(10_000);
    w.ends("speed", "Successful");
    assert_eq!(w.phase(), "Running");
    w.ends("errors", "Successful");
    assert_eq!(w.phase(), "Successful");
    let mut w = world(json!({"duration": null}));
    w.settle();
    w.later(10_000);
    assert_eq!(w.phase(), "Running");
    w.experiment.spec.terminate = Some(true);
    w.settle();
    assert_eq!(w.phase(), "Successful");
    w.later(30);
    assert!(w.sets.iter().all(|s| s.replicas == 0));
}

#[test]
fn told_to_end_before_it_began_it_makes_nothing() {
    let mut w = world(json!({"terminate": true}));
    w.settle();
    assert_eq!((w.phase().as_str(), w.writes.len()), ("Successful", 0));
}

/// After every write of every turn.
#[test]
fn a_crash_repeats_nothing() {
    let clean = |crash: Option<usize>| {
        let mut w = judged(json!({}));
        w.crash_after = crash;
        for _ in 0..30 {
            w.pods();
            w.turn();
        }
        w.crash_after = None;
        w.settle();
        w.ends("speed", "Successful");
        w.ends("errors", "Successful");
        w.later(30);
        let mut writes = w.writes.clone();
        writes.sort();
        (writes, w.phase())
    };
    for crash in 1..=4 {
        assert_eq!(clean(Some(crash)), clean(None), "after write {crash}");
    }
}

#[test]
fn a_retry_begins_anew_with_runs_of_its_own() {
    let mut w = judged(json!({"scaleDownDelaySeconds": 0}));
    w.settle();
    w.ends("speed", "Failed");
    w.settle();
    assert!(w.sets.iter().all(|s| s.replicas == 0));
    // Even within the same second.
    w.experiment.status = None;
    w.settle();
    assert_eq!(w.phase(), "Running");
    let shown = w.status().analysis_runs.unwrap();
    assert_eq!(shown[0].analysis_run, "try-speed.1");
    assert_eq!(w.sets.len(), 2);
    assert!(w.sets.iter().all(|s| s.replicas == 1));
}

#[test]
fn what_is_wrong_is_told_at_once_and_nothing_is_made() {
    let mut w = world(json!({
        "templates": [{"name": "", "replicas": -1}, template("a", "web:1"), template("a", "")],
        "duration": "soon", "analyses": [{"name": "x", "templateName": "", "args": [{"name": ""}]}],
        "scaleDownDelaySeconds": -5,
    }));
    w.settle();
    assert_eq!((w.phase().as_str(), w.writes.len()), ("Pending", 0));
    let message = w.status().message.unwrap();
    for part in [
        "spec.templates[0].name: Required",
        "spec.templates[0].replicas: Invalid",
        "spec.templates[0].selector: Required value: Experiment has missing field",
        "spec.templates[0].template: Required",
        "spec.templates[2].name: Invalid value: \"a\": Experiment has repeated template name a",
        "spec.templates[2].template.spec.containers[0].image: Required",
        "spec.duration: Invalid value: \"soon\"",
        "spec.scaleDownDelaySeconds: Invalid",
        "spec.analyses[0].templateName: Required",
        "spec.analyses[0].args[0].name: Required",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // Mended, it begins.
    w.experiment.spec = world(json!({})).experiment.spec;
    w.settle();
    assert_eq!((w.phase().as_str(), w.status().message), ("Running", None));
}

#[test]
fn an_analysis_template_that_is_not_there_is_told_before_any_pod() {
    let mut w = judged(json!({}));
    for found in w.templates.values_mut() {
        *found = None;
    }
    w.settle();
    assert_eq!((w.phase().as_str(), w.writes.len()), ("Pending", 0));
    assert!(
        w.status()
            .message
            .unwrap()
            .contains("AnalysisTemplate 't' not found")
    );
}
