//! The step `experiment`: what is made of it, and what its verdict does.

use super::*;
use crate::api::{ABORT, Experiment, POD_HASH_LABEL, RETRY};

fn steps() -> Value {
    json!([
        {"experiment": {
            "duration": "1m",
            "templates": [
                {"name": "baseline", "specRef": "stable", "metadata": {"labels": {"role": "baseline"}}},
                {"name": "canary", "specRef": "canary", "replicas": 2, "service": {"name": "tried"}},
            ],
        }},
        {"setWeight": 50}, {"pause": {}},
    ])
}

impl World {
    fn tried(&mut self, phase: &str, message: &str) {
        let name = self.experiments.last().unwrap().metadata.name.clone();
        let status = crate::api::ExperimentStatus {
            phase: Some(phase.into()),
            message: Some(message.into()),
            ..Default::default()
        };
        self.change_experiment(&name.unwrap(), |it| it.status = Some(status.clone()));
        self.settle();
    }

    fn last(&self) -> &Experiment {
        self.experiments.last().unwrap()
    }

    fn current(&self) -> Option<String> {
        self.status().canary.and_then(|c| c.current_experiment)
    }
}

#[test]
fn the_step_makes_an_experiment_of_both_versions_and_waits() {
    let w = updating(4, steps());
    assert_eq!(w.experiments.len(), 1, "{:?}", w.status());
    let hash = w.status().current_pod_hash.unwrap();
    let it = w.last();
    let name = format!("web-{hash}-2-0");
    assert_eq!(it.metadata.name.as_ref(), Some(&name));
    assert_eq!(w.current(), Some(name.clone()));
    assert_eq!(it.metadata.labels.as_ref().unwrap()[POD_HASH_LABEL], hash);
    let owners = it.metadata.owner_references.as_ref().unwrap();
    assert_eq!(
        (owners[0].kind.as_str(), owners[0].uid.as_str()),
        ("Rollout", "u")
    );
    assert_eq!(it.spec.progress_deadline_seconds, Some(600));
    let templates = it.spec.templates.as_ref().unwrap();
    let told: Vec<Value> = templates
        .iter()
        .map(|t| {
            let pods = t.template.as_ref().unwrap();
            json!([
                t.name,
                t.replicas,
                pods.containers()[0].image(),
                pods.labels()
            ])
        })
        .collect();
    assert_eq!(
        told,
        [
            json!(["baseline", 1, "web:1", {"app": "web", "role": "baseline"}]),
            json!(["canary", 2, "web:2", {"app": "web"}]),
        ]
    );
    // The Rollout's own pods wait as they are.
    assert_eq!(w.sizes(), [4, 0]);
    assert_eq!(w.status().current_step_index, Some(0));
    let said = format!("ExperimentCreated Created Experiment '{name}'");
    assert!(w.events.contains(&said), "{:?}", w.events);
}

#[test]
fn success_goes_on() {
    let mut w = updating(4, steps());
    w.tried("Running", "");
    assert_eq!(w.status().current_step_index, Some(0));
    w.tried("Successful", "");
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    assert_eq!(w.current(), None);
    let said = "RolloutStepCompleted Rollout step 1/3 completed (experiment)".to_owned();
    assert!(w.events.contains(&said), "{:?}", w.events);
    assert!(!w.writes.contains(&"end experiment".into()));
}

#[test]
fn failure_and_error_abort_with_the_reason() {
    for phase in ["Failed", "Error"] {
        let mut w = updating(4, steps());
        w.tried(phase, "too slow");
        assert_eq!(w.status().abort, Some(true));
        let (_, message) = w.phase();
        assert!(
            message.contains("Experiment analysis phase is error/failed: too slow"),
            "{message}"
        );
    }
}

/// Unlike the peer, which drops the record and makes another one at once (C9).
#[test]
fn no_verdict_asks_a_person_and_makes_no_second_experiment() {
    let mut w = updating(4, steps());
    w.tried("Inconclusive", "");
    assert_eq!(w.phase(), pair("Paused", "InconclusiveExperiment"));
    assert_eq!(w.experiments.len(), 1);
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    assert_eq!(w.experiments.len(), 1);
}

#[test]
fn abort_promote_and_another_version_end_it() {
    let is_ended = |w: &World| w.experiments[0].spec.terminate == Some(true);
    let mut w = updating(4, steps());
    w.annotate(ABORT, "true");
    w.settle();
    assert!(is_ended(&w));
    assert_eq!(w.current(), None);
    let mut w = updating(4, steps());
    w.annotate(PROMOTE, "full");
    w.settle();
    assert!(is_ended(&w), "{:?}", w.writes);
    let mut w = updating(4, steps());
    w.annotate(PROMOTE, "true");
    w.settle();
    assert!(is_ended(&w));
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    let mut w = updating(4, steps());
    w.image("web:3");
    w.settle();
    assert!(is_ended(&w));
    assert_eq!(w.experiments.len(), 2);
}

#[test]
fn a_retry_has_an_experiment_of_its_own() {
    let mut w = updating(4, steps());
    w.tried("Failed", "");
    w.now += 10;
    w.annotate(RETRY, "true");
    w.settle();
    let name = w.last().metadata.name.clone().unwrap();
    assert_eq!(w.experiments.len(), 2);
    assert!(name.ends_with("-2-0-1"), "{name}");
}

#[test]
fn old_experiments_go_beyond_the_limit() {
    let mut w = world(4, steps());
    w.rollout.spec.analysis = serde_json::from_value(json!({
        "successfulRunHistoryLimit": 1, "unsuccessfulRunHistoryLimit": 0,
    }))
    .unwrap();
    w.settle();
    w.image("web:2");
    w.settle();
    w.tried("Failed", "");
    assert_eq!(
        w.experiments.len(),
        0,
        "an aborted one is beyond the limit of 0"
    );
    w.now += 10;
    w.annotate(RETRY, "true");
    w.settle();
    w.tried("Successful", "");
    w.annotate(PROMOTE, "full");
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    assert_eq!(w.experiments.len(), 1);
}

#[test]
fn a_selector_that_misses_its_pods_makes_the_rollout_invalid() {
    let steps = json!([{"experiment": {"templates": [
        {"name": "a", "specRef": "canary", "selector": {"matchLabels": {"tier": "x"}}},
    ]}}]);
    let w = updating(2, steps);
    let (phase, message) = w.phase();
    assert_eq!((phase.as_str(), w.experiments.len()), ("Degraded", 0));
    assert!(
        message.contains("steps[0].experiment.templates[0].template.metadata.labels"),
        "{message}"
    );
}
