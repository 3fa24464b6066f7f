//! What the verdicts of plain analyses mean: in a step, and beside the steps. Exact words, as clients
//! read them (N22, N23, C8).

use super::*;

const FAILED: &str = r#"Metric "m" assessed Failed due to failed (1) > failureLimit (0)"#;
const TROUBLE: &str = r#"Metric "m" assessed Error due to consecutiveErrors (5) > consecutiveErrorLimit (4): "Error Message: no answer""#;

/// Before its first turn: this canary, and a template `t`.
fn with_template(canary: Value) -> World {
    let mut w = world(4, json!(null));
    w.rollout.spec.strategy = serde_json::from_value(json!({"canary": canary})).unwrap();
    w.analyses.insert(
        "t".into(),
        json!({"args": [{"name": "ready"}], "metrics": [
            {"name": "m", "successCondition": "true", "provider": {"prometheus": {"query": "up"}}}]}),
    );
    w
}

/// Revision 1 at full size with a template `t`, then a new image, with this canary.
fn judged(canary: Value) -> World {
    updated(with_template(canary))
}

fn analysis() -> Value {
    json!({"templates": [{"templateName": "t"}], "args": [
        {"name": "ready", "valueFrom": {"fieldRef": {"fieldPath": "spec.template.spec.containers[0].image"}}}]})
}

fn in_a_step() -> World {
    judged(json!({"steps": [{"setWeight": 50}, {"analysis": analysis()}, {"setWeight": 100}]}))
}

fn beside(starting_step: Option<u32>) -> World {
    let mut background = analysis();
    if let Some(step) = starting_step {
        background["startingStep"] = json!(step);
    }
    judged(json!({
        "analysis": background,
        "steps": [{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}],
    }))
}

impl World {
    fn hash(&self) -> String {
        self.status().current_pod_hash.unwrap()
    }

    fn run_names(&self) -> Vec<String> {
        let names = self
            .runs
            .iter()
            .map(|run| run.metadata.name.clone().unwrap());
        names.collect()
    }

    fn of_runs(&self) -> Vec<&String> {
        let all = self.events.iter();
        all.filter(|e| e.starts_with("AnalysisRun")).collect()
    }
}

#[test]
fn a_failed_analysis_aborts_in_the_words_that_clients_know() {
    type Case = (&'static str, fn() -> World, &'static str, &'static str);
    let cases: [Case; 3] = [
        (
            "-1",
            in_a_step,
            "Step",
            "Step-based analysis phase error/failed",
        ),
        (
            "",
            || beside(None),
            "Background",
            "Background analysis phase error/failed",
        ),
        (
            "",
            || beside(Some(1)),
            "Background",
            "Background analysis phase error/failed",
        ),
    ];
    for (suffix, story, kind, words) in cases {
        for (phase, reason, message) in [
            ("Failed", "AnalysisRunFailed", FAILED),
            ("Error", "AnalysisRunError", TROUBLE),
            ("Failed", "AnalysisRunFailed", ""),
        ] {
            let mut w = story();
            let run = format!("web-{}-2{suffix}", w.hash());
            assert_eq!(w.run_names(), std::slice::from_ref(&run));
            w.run_ends(&run, "Running", "");
            w.settle();
            w.run_ends(&run, phase, message);
            w.settle();
            let text = match message {
                "" => format!("Rollout aborted update to revision 2: {words}"),
                message => format!("Rollout aborted update to revision 2: {words}: {message}"),
            };
            assert_eq!(
                w.phase(),
                pair("Degraded", &format!("RolloutAborted: {text}"))
            );
            assert_eq!(w.sizes(), [4, 0]);
            assert_eq!(
                w.of_runs(),
                [
                    &format!(
                        "AnalysisRunRunning {kind} Analysis Run '{run}' Status New: 'Running' Previous: 'NoPreviousStatus'"
                    ),
                    &format!(
                        "{reason} {kind} Analysis Run '{run}' Status New: '{phase}' Previous: 'Running'"
                    ),
                ]
            );
            assert!(
                w.events.contains(&format!("RolloutAborted {text}")),
                "{:?}",
                w.events
            );
            assert_eq!(w.status().abort, Some(true));
        }
    }
}

/// The run has what it was asked for: fields of the Rollout, whichever they are, as values.
#[test]
fn arguments_of_any_field_are_values_in_the_run() {
    let w = in_a_step();
    let args = serde_json::to_value(&w.runs[0].spec.args).unwrap();
    assert_eq!(args, json!([{"name": "ready", "value": "web:2"}]));
}

/// What a template asks of the Rollout by itself, and is not there, is told before the first pod.
#[test]
fn a_field_that_is_not_there_is_told_before_anything_moves() {
    let mut w = world(
        4,
        json!([{"setWeight": 50}, {"analysis": {"templates": [{"templateName": "t"}]}}]),
    );
    w.analyses.insert(
        "t".into(),
        json!({
            "args": [{"name": "tier", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['tier']"}}}],
            "metrics": [{"name": "m", "provider": {"prometheus": {"query": "up"}}}],
        }),
    );
    let gold = Some([("tier".to_owned(), "gold".to_owned())].into());
    w.rollout.metadata.labels = gold.clone();
    w.settle();
    w.rollout.metadata.labels = None;
    w.image("web:2");
    w.settle();
    let (phase, message) = w.phase();
    assert_eq!(phase, "Degraded");
    assert!(
        message.contains("steps[1].analysis.templates: Invalid value: args.tier was not resolved: the Rollout has no field metadata.labels['tier']"),
        "{message}"
    );
    assert_eq!(w.sizes(), [4], "nothing is made");
    w.rollout.metadata.labels = gold;
    w.generation();
    w.settle();
    let args = serde_json::to_value(&w.runs[0].spec.args).unwrap();
    assert_eq!(args[0]["value"], "gold");
}

/// No verdict asks a person. Who clears the pause, and no more, asks anew; the step stays.
#[test]
fn no_verdict_asks_a_person_and_a_cleared_pause_asks_anew() {
    let mut w = in_a_step();
    let run = format!("web-{}-2-1", w.hash());
    w.run_ends(&run, "Inconclusive", "");
    w.settle();
    assert_eq!(w.phase(), pair("Paused", "InconclusiveAnalysisRun"));
    assert!(
        w.events
            .contains(&"RolloutPaused Rollout is paused (InconclusiveAnalysisRun)".to_owned()),
        "{:?}",
        w.events
    );
    assert_eq!(w.status().current_step_index, Some(1));
    assert_eq!(w.status().controller_pause, Some(true));
    w.patch_status(json!({"pauseConditions": null}));
    w.settle();
    assert_eq!(w.status().current_step_index, Some(1));
    assert_eq!(w.run_names(), [run.clone(), format!("{run}.1")]);
    w.run_ends(&format!("{run}.1"), "Successful", "");
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
}

/// The existing plugin's promote at such a pause: the pause goes and the step with it (K1), without an
/// event of a step or a resumption (J15).
#[test]
fn a_plugins_promote_leaves_an_inconclusive_step_behind() {
    let mut w = in_a_step();
    let run = format!("web-{}-2-1", w.hash());
    w.run_ends(&run, "Inconclusive", "");
    w.settle();
    w.events.clear();
    w.patch_status(
        json!({"pauseConditions": null, "controllerPause": false, "currentStepIndex": 2}),
    );
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    assert_eq!(w.run_names(), [run]);
    assert!(
        !w.events.iter().any(|e| e.contains("step 2/3")),
        "{:?}",
        w.events
    );
    assert!(
        !w.events.iter().any(|e| e.starts_with("RolloutResumed")),
        "{:?}",
        w.events
    );
}

/// C4, N22: from which step on the background is measured, and when it ends.
#[test]
fn a_background_begins_at_its_step_and_ends_with_the_update() {
    for (starting_step, begins_at) in [(None, 1), (Some(1), 1), (Some(2), 3), (Some(3), 3)] {
        let mut w = beside(starting_step);
        assert_eq!(w.status().current_step_index, Some(1));
        let begun = !w.runs.is_empty();
        assert_eq!(begun, begins_at == 1, "{starting_step:?}");
        w.annotate(PROMOTE, "true");
        w.settle();
        assert_eq!(w.status().current_step_index, Some(3));
        let run = format!("web-{}-2", w.hash());
        assert_eq!(
            w.run_names(),
            std::slice::from_ref(&run),
            "{starting_step:?}"
        );
        w.run_ends(&run, "Running", "");
        w.settle();
        let shown = |w: &World| {
            let canary = w.status().canary;
            canary.and_then(|c| c.current_background_analysis_run_status)
        };
        assert_eq!(shown(&w).unwrap().name, run);
        w.annotate(PROMOTE, "true");
        w.settle();
        assert_eq!(w.phase(), pair("Healthy", ""));
        assert_eq!(w.runs[0].spec.terminate, Some(true), "{starting_step:?}");
        assert_eq!(shown(&w), None, "the entry goes with the update");
    }
}

/// A14: how many finished runs stay, by outcome, newest first; those shown in the status always do.
#[test]
fn finished_runs_beyond_the_limits_go_oldest_first() {
    for (good, bad, kept_good, kept_bad) in [
        (None, None, 5, 5),
        (Some(2), Some(1), 2, 1),
        (Some(0), Some(0), 0, 0),
    ] {
        let mut w = in_a_step();
        w.rollout.spec.analysis = serde_json::from_value(json!({
            "successfulRunHistoryLimit": good, "unsuccessfulRunHistoryLimit": bad,
        }))
        .unwrap();
        w.generation();
        let first = w.runs[0].clone();
        let base = first.metadata.name.clone().unwrap();
        for (i, phase) in ["Successful", "Failed", "Error", "Inconclusive"]
            .into_iter()
            .cycle()
            .take(28)
            .enumerate()
        {
            let mut run = (*first).clone();
            run.metadata.name = Some(format!("old-{i:02}"));
            run.metadata.uid = Some(format!("uid-old-{i}"));
            let made = Timestamp::from_second(i64::try_from(i).unwrap()).unwrap();
            run.metadata.creation_timestamp = Some(Time(made));
            run.status = serde_json::from_value(json!({"phase": phase})).unwrap();
            w.runs.push(Arc::new(run));
        }
        w.settle();
        let of = |is_good: bool| -> Vec<String> {
            let old = w
                .runs
                .iter()
                .filter(|r| r.metadata.name.as_ref() != Some(&base));
            let of_kind = old.filter(|r| {
                let phase = r.status.as_ref().and_then(|s| s.phase.as_deref());
                (phase == Some("Successful")) == is_good
            });
            of_kind.map(|r| r.metadata.name.clone().unwrap()).collect()
        };
        assert_eq!(of(true).len(), kept_good);
        assert_eq!(of(false).len(), kept_bad);
        let newest = |names: Vec<String>| names.iter().all(|n| n.as_str() >= "old-08");
        assert!(newest(of(true)) && newest(of(false)), "{:?}", w.run_names());
        assert!(w.run_names().contains(&base), "the one at work stays");
    }
}

/// A retry measures in a run of its own; the old one is neither counted nor deleted.
#[test]
fn a_retry_measures_in_a_run_of_its_own() {
    let mut w = in_a_step();
    let run = format!("web-{}-2-1", w.hash());
    w.run_ends(&run, "Failed", FAILED);
    w.settle();
    assert_eq!(w.phase().0, "Degraded");
    w.patch_status(json!({"abort": false}));
    w.settle();
    assert_eq!(w.run_names(), [run.clone(), format!("{run}.1")]);
    assert_eq!(w.status().abort, None);
    w.run_ends(&format!("{run}.1"), "Successful", "");
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
}

/// What an aborted update still measures is ended with it, and what another step measured with that.
#[test]
fn runs_of_an_aborted_update_are_ended_in_the_next_turn() {
    for story in [in_a_step as fn() -> World, || beside(None)] {
        let mut w = story();
        let run = w.run_names().remove(0);
        w.run_ends(&run, "Running", "");
        w.settle();
        w.patch_status(json!({"abort": true}));
        w.settle();
        assert_eq!(w.runs[0].spec.terminate, Some(true), "{run}");
        assert_eq!(w.runs.len(), 1);
    }
}

/// Sizes follow `spec.replicas` while a person is asked; the step waits.
#[test]
fn sizes_follow_while_a_person_is_asked() {
    let mut w = in_a_step();
    let run = format!("web-{}-2-1", w.hash());
    w.run_ends(&run, "Inconclusive", "");
    w.settle();
    assert_eq!(w.sizes(), [2, 2]);
    w.rollout.spec.replicas = Some(8);
    w.generation();
    w.settle();
    assert_eq!(w.sizes(), [4, 4]);
    assert_eq!(w.phase(), pair("Paused", "InconclusiveAnalysisRun"));
    assert_eq!(w.status().current_step_index, Some(1));
}

#[test]
fn a_failure_asks_a_person_where_the_spec_says_so() {
    let mut analysis = analysis();
    analysis["onFailure"] = json!("Pause");
    let mut w =
        judged(json!({"steps": [{"setWeight": 50}, {"analysis": analysis}, {"setWeight": 100}]}));
    let run = format!("web-{}-2-1", w.hash());
    w.run_ends(&run, "Failed", FAILED);
    w.settle();
    let (phase, message) = w.phase();
    assert_eq!(phase, "Paused");
    let words = format!("FailedAnalysisRun: Step-based analysis phase error/failed: {FAILED}");
    assert_eq!(message, words);
    assert_eq!(w.sizes(), [2, 2], "the pods stay");
    assert_eq!(w.status().abort, None);
}

#[test]
fn a_first_deployment_is_judged_where_the_spec_says_so() {
    let mut w = with_template(
        json!({"analyzeFirstDeployment": true, "analysis": analysis(), "steps": [{"setWeight": 50}]}),
    );
    w.settle();
    assert_eq!(w.sizes(), [4]);
    assert_eq!(
        w.phase(),
        pair(
            "Progressing",
            "waiting for the analysis of the first deployment"
        )
    );
    let run = w.run_names().remove(0);
    w.run_ends(&run, "Failed", FAILED);
    w.settle();
    let (phase, message) = w.phase();
    assert_eq!(phase, "Degraded");
    assert!(
        message.starts_with("FirstDeploymentFailed: ") && message.contains(FAILED),
        "{message}"
    );
}
