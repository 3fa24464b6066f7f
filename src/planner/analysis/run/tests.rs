//! Tables of turns: what is folded, judged and asked.

use serde_json::{Value, json};

use super::*;

/// A run and a provider that answers what a test says.
struct Bench {
    run: AnalysisRun,
    now: Timestamp,
    answers: Vec<Answer>,
    in_flight: BTreeSet<TaskKey>,
    args: ResolvedArgs,
    jobs: BTreeMap<String, JobSeen>,
    job_logs: BTreeMap<String, String>,
    events: Vec<String>,
}

impl Bench {
    fn new(spec: Value) -> Self {
        let run = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun",
            "metadata": {"name": "r", "namespace": "n"}, "spec": spec
        });
        Self {
            run: serde_json::from_value(run).unwrap(),
            now: Timestamp::from_second(1_000).unwrap(),
            answers: vec![],
            in_flight: BTreeSet::new(),
            args: ResolvedArgs::default(),
            jobs: BTreeMap::new(),
            job_logs: BTreeMap::new(),
            events: vec![],
        }
    }

    fn one(metric: Value) -> Self {
        let mut all =
            json!({"name": "m", "provider": {"prometheus": {"address": "http://p", "query": "q"}}});
        all.as_object_mut()
            .unwrap()
            .extend(metric.as_object().unwrap().clone());
        Self::new(json!({"metrics": [all]}))
    }

    fn plan(&self) -> RunPlan {
        plan_analysis(&RunObserved {
            now: self.now,
            run: Arc::new(self.run.clone()),
            answers: self.answers.clone(),
            in_flight: self.in_flight.clone(),
            args: self.args.clone(),
            jobs: self.jobs.clone(),
            job_logs: self.job_logs.clone(),
        })
    }

    /// One turn, written down; tasks are in flight afterwards.
    fn turn(&mut self) -> RunPlan {
        let plan = self.plan();
        if plan.status.is_some() {
            self.run.status.clone_from(&plan.status);
        }
        self.answers.retain(|a| !plan.settled.contains(&a.key));
        self.in_flight
            .extend(plan.tasks.iter().map(|t| t.key().clone()));
        if plan.cancel {
            self.in_flight.clear();
        }
        self.events.extend(
            plan.events
                .iter()
                .map(|e| format!("{} {}", e.reason, e.note)),
        );
        let again = self.plan();
        assert_eq!(again.status, None, "a second turn has nothing to write");
        assert!(
            again.tasks.is_empty(),
            "and nothing to ask: {:?}",
            again.tasks
        );
        plan
    }

    /// Answers what is in flight for a metric, and takes a turn.
    fn answer(&mut self, metric: &str, result: Result<MetricValue, &str>) -> RunPlan {
        let key = self
            .in_flight
            .iter()
            .find(|k| k.metric == metric)
            .cloned()
            .expect("in flight");
        self.in_flight.remove(&key);
        self.answers.push(Answer {
            key,
            started: self.now,
            finished: self.now,
            result: result.map_err(str::to_owned),
            metadata: BTreeMap::new(),
        });
        self.turn()
    }

    fn wait(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// Measures until the run ends or has measured `values`; seconds between are as the run asks.
    fn feed(&mut self, values: &[Result<f64, &str>]) -> &mut Self {
        for value in values {
            let plan = self.turn();
            if let Some(wake) = plan.wake {
                self.now = wake;
                self.turn();
            }
            if self.in_flight.is_empty() {
                break;
            }
            self.answer("m", value.map(|v| MetricValue::floats([v])));
        }
        self
    }

    fn status(&self) -> AnalysisRunStatus {
        self.run.status.clone().unwrap_or_default()
    }

    fn phase(&self) -> String {
        self.status().phase.unwrap_or_default()
    }

    fn message(&self) -> String {
        self.status().message.unwrap_or_default()
    }

    fn result(&self, name: &str) -> MetricResult {
        self.status()
            .metric_results
            .unwrap()
            .into_iter()
            .find(|r| r.name == name)
            .unwrap()
    }
}

const LOW: &str = "result[0] < 5";

#[test]
fn one_measurement_and_a_verdict() {
    let mut bench = Bench::one(json!({"successCondition": LOW}));
    let plan = bench.turn();
    assert_eq!(plan.tasks.len(), 1);
    assert!(plan.urgent, "the phase changed");
    assert_eq!(bench.phase(), "Running");
    let plan = bench.answer("m", Ok(MetricValue::floats([3.0])));
    assert!(plan.urgent);
    assert_eq!(bench.phase(), "Successful");
    assert_eq!(
        bench.events,
        [
            "MetricSuccessful Metric 'm' Completed. Result: Successful",
            "AnalysisRunSuccessful Analysis Completed. Result: Successful",
        ]
    );
    let measured = &bench.result("m").measurements.unwrap()[0];
    assert_eq!(measured.value.as_deref(), Some("[3]"));
    assert_eq!(bench.status().run_summary.unwrap().successful, Some(1));
}

/// N6-N11: limits with their defaults, and what they say.
#[test]
fn limits_end_a_metric() {
    let bad = Ok(9.0);
    let good = Ok(1.0);
    let err = Err("no answer");
    let nothing = Ok(f64::NAN);
    let five = json!({"successCondition": LOW, "interval": "10s", "count": 5});
    let with = |more: Value| {
        let mut all = five.clone();
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    for (metric, values, phase, message) in [
        (five.clone(), vec![good; 5], "Successful", ""),
        (
            five.clone(),
            vec![good, bad],
            "Failed",
            "Metric \"m\" assessed Failed due to failed (1) > failureLimit (0)",
        ),
        (
            with(json!({"failureLimit": 1})),
            vec![bad, good, bad],
            "Failed",
            "Metric \"m\" assessed Failed due to failed (2) > failureLimit (1)",
        ),
        (
            with(json!({"failureLimit": 1})),
            vec![bad, good, good, good, good],
            "Successful",
            "",
        ),
        (
            with(json!({"failureLimit": "2"})),
            vec![bad, bad, good, good, good],
            "Successful",
            "",
        ),
        (
            five.clone(),
            vec![err; 5],
            "Error",
            "Metric \"m\" assessed Error due to consecutiveErrors (5) > consecutiveErrorLimit (4): \"Error Message: no answer\"",
        ),
        (
            five.clone(),
            vec![
                err, err, err, err, good, err, err, err, err, good, good, good, good,
            ],
            "Successful",
            "",
        ),
        (
            with(json!({"consecutiveErrorLimit": 0})),
            vec![err],
            "Error",
            "Metric \"m\" assessed Error due to consecutiveErrors (1) > consecutiveErrorLimit (0): \"Error Message: no answer\"",
        ),
        (
            with(json!({"successCondition": null, "failureCondition": "result[0] > 5"})),
            vec![nothing],
            "Inconclusive",
            "Metric \"m\" assessed Inconclusive due to inconclusive (1) > inconclusiveLimit (0): \"Error Message: the result is not a finite number and no condition asks isNaN or isInf\"",
        ),
        (
            with(json!({"failureCondition": "result[0] > 8", "inconclusiveLimit": 1})),
            vec![Ok(6.0), Ok(7.0)],
            "Inconclusive",
            "Metric \"m\" assessed Inconclusive due to inconclusive (2) > inconclusiveLimit (1)",
        ),
        (
            with(json!({"consecutiveSuccessLimit": 2, "failureLimit": -1})),
            vec![bad, good, bad, good, good],
            "Successful",
            "",
        ),
        (
            with(json!({"consecutiveSuccessLimit": 2, "failureLimit": -1})),
            vec![bad, good, bad, good, bad],
            "Failed",
            "Metric \"m\" assessed Failed due to consecutiveSuccess (0) < consecutiveSuccessLimit (2) when count was reached",
        ),
        (
            with(json!({"consecutiveSuccessLimit": 2, "failureLimit": 3})),
            vec![bad, good, bad, good, bad],
            "Inconclusive",
            "Metric \"m\" assessed Inconclusive due to consecutiveSuccess (0) < consecutiveSuccessLimit (2) when count was reached",
        ),
        (json!({}), vec![bad], "Successful", ""),
        (
            json!({"failureCondition": LOW}),
            vec![good],
            "Failed",
            "Metric \"m\" assessed Failed due to failed (1) > failureLimit (0)",
        ),
        (
            json!({"failureCondition": LOW}),
            vec![bad],
            "Successful",
            "",
        ),
        (
            json!({"successCondition": LOW, "failureCondition": LOW}),
            vec![good],
            "Failed",
            "Metric \"m\" assessed Failed due to failed (1) > failureLimit (0)",
        ),
    ] {
        let mut bench = Bench::one(metric.clone());
        bench.feed(&values);
        assert_eq!(
            (bench.phase().as_str(), bench.message().as_str()),
            (phase, message),
            "{metric}"
        );
    }
}

/// I-10: what is not an answer is never a success, whatever the condition.
#[test]
fn nothing_nan_and_infinity_never_pass_by_themselves() {
    let values = [
        MetricValue::floats([]),
        MetricValue::Nil,
        MetricValue::floats([f64::NAN]),
        MetricValue::floats([f64::INFINITY]),
        MetricValue::floats([f64::NEG_INFINITY]),
    ];
    for conditions in [
        json!({}),
        json!({"successCondition": "all(result, # < 5)"}),
        json!({"successCondition": "!(result[0] > 5)"}),
        json!({"successCondition": "result[0] < 5"}),
        json!({"successCondition": "result[0] > 5"}),
        json!({"failureCondition": "result[0] > 5"}),
        json!({"failureCondition": "any(result, # > 5)"}),
        json!({"successCondition": "result[0] < 5", "failureCondition": "result[0] >= 5"}),
    ] {
        for value in &values {
            let mut bench = Bench::one(conditions.clone());
            bench.turn();
            bench.answer("m", Ok(value.clone()));
            let phase = bench.result("m").measurements.unwrap()[0].phase.clone();
            assert_ne!(phase, "Successful", "{conditions} over {value}");
        }
    }
    // A condition that asks is answered.
    for condition in ["isNaN(result[0])", "isNaN(result[0]) || result[0] < 5"] {
        let mut bench = Bench::one(json!({"successCondition": condition}));
        bench.feed(&[Ok(f64::NAN)]);
        assert_eq!(bench.phase(), "Successful");
    }
    let mut bench = Bench::one(json!({"successCondition": "len(result) == 0 || result[0] < 5"}));
    bench.turn();
    bench.answer("m", Ok(MetricValue::floats([])));
    assert_eq!(bench.phase(), "Successful");
}

#[test]
fn measurements_keep_their_times() {
    let mut bench = Bench::one(
        json!({"successCondition": LOW, "interval": "30s", "count": 3, "initialDelay": "1m"}),
    );
    let start = bench.now;
    let plan = bench.turn();
    assert!(plan.tasks.is_empty());
    assert_eq!(plan.wake, Some(start + SignedDuration::from_secs(60)));
    bench.wait(59);
    assert!(bench.turn().tasks.is_empty());
    bench.wait(1);
    assert_eq!(bench.turn().tasks.len(), 1);
    bench.wait(2);
    let plan = bench.answer("m", Ok(MetricValue::floats([1.0])));
    assert_eq!(
        plan.wake,
        Some(bench.now + SignedDuration::from_secs(30)),
        "from its end"
    );
    bench.now = plan.wake.unwrap();
    bench.turn();
    let plan = bench.answer("m", Err("no answer"));
    assert_eq!(
        plan.wake,
        Some(bench.now + SignedDuration::from_secs(10)),
        "an error is tried again after 10 s"
    );
}

/// Times are stored in whole seconds: one interval may be half a second longer or shorter, and they
/// do not grow.
#[test]
fn measurements_follow_each_other_at_their_interval() {
    for (late, least) in [(900, 1000), (400, 600), (0, 1000)] {
        let mut bench = Bench::one(json!({"successCondition": LOW, "interval": "1s", "count": 20}));
        bench.now += SignedDuration::from_millis(late);
        bench.turn();
        bench.answer("m", Ok(MetricValue::floats([1.0])));
        let first = bench.plan().wake.unwrap();
        let least = SignedDuration::from_millis(least);
        assert!(first >= bench.now + least, "{late}");
        bench.now = first;
        for n in 0..10 {
            bench.turn();
            bench.now += SignedDuration::from_millis(20);
            bench.answer("m", Ok(MetricValue::floats([1.0])));
            let next = bench.plan().wake.unwrap();
            assert_eq!(next, first + SignedDuration::from_secs(n + 1), "{late}");
            bench.now = next;
        }
    }
}

#[test]
fn one_bad_metric_ends_the_run_and_spares_the_others() {
    let p = json!({"prometheus": {"address": "http://p", "query": "q"}});
    let metric = |name: &str| json!({"name": name, "interval": "10s", "count": 5, "successCondition": LOW, "provider": p});
    let mut bench = Bench::new(json!({"metrics": [metric("m"), metric("slow"), metric("late")]}));
    bench.turn();
    assert_eq!(bench.in_flight.len(), 3);
    bench.answer("late", Ok(MetricValue::floats([1.0])));
    let plan = bench.answer("m", Ok(MetricValue::floats([9.0])));
    assert!(plan.cancel, "what is in flight is cancelled");
    assert_eq!(bench.phase(), "Failed");
    assert_eq!(
        bench.message(),
        "Metric \"m\" assessed Failed due to failed (1) > failureLimit (0)"
    );
    assert_eq!(bench.result("slow").phase, "Successful");
    assert_eq!(bench.result("late").phase, "Successful");
}

#[test]
fn a_run_told_to_end_ends() {
    let mut bench = Bench::one(json!({"interval": "10s", "successCondition": LOW}));
    bench.turn();
    bench.answer("m", Ok(MetricValue::floats([1.0])));
    bench.run.spec.terminate = Some(true);
    let plan = bench.turn();
    assert!(plan.tasks.is_empty());
    assert_eq!(
        (bench.phase().as_str(), bench.message().as_str()),
        ("Successful", "Run Terminated")
    );
    assert!(bench.status().completed_at.is_some());
}

#[test]
fn dry_run_metrics_do_not_count() {
    let p = json!({"prometheus": {"address": "http://p", "query": "q"}});
    let mut bench = Bench::new(json!({
        "metrics": [
            {"name": "m", "successCondition": LOW, "provider": p},
            {"name": "test-2", "successCondition": LOW, "provider": p},
        ],
        "dryRun": [{"metricName": "test"}],
    }));
    bench.turn();
    bench.answer("test-2", Ok(MetricValue::floats([9.0])));
    bench.answer("m", Ok(MetricValue::floats([1.0])));
    assert_eq!(bench.phase(), "Successful");
    let dry = bench.result("test-2");
    assert_eq!(dry.phase, "Failed");
    assert_eq!(dry.dry_run, Some(true));
    assert_eq!(
        dry.message.as_deref(),
        Some("Metric assessed Failed due to failed (1) > failureLimit (0)")
    );
    let (sum, dry) = (
        bench.status().run_summary.unwrap(),
        bench.status().dry_run_summary.unwrap(),
    );
    assert_eq!(
        (sum.count, sum.successful, dry.count, dry.failed),
        (Some(1), Some(1), Some(1), Some(1))
    );
}

#[test]
fn only_the_last_measurements_are_kept() {
    let metric = json!({"successCondition": LOW, "interval": "10s", "count": 15});
    let mut bench = Bench::one(metric.clone());
    bench.feed(&[Ok(1.0); 15]);
    assert_eq!(bench.result("m").measurements.unwrap().len(), 10);
    assert_eq!(bench.result("m").count, Some(15));
    let mut bench = Bench::one(metric);
    bench.run.spec.measurement_retention =
        serde_json::from_value(json!([{"metricName": "^m$", "limit": 3}])).unwrap();
    bench.feed(&[Ok(1.0); 15]);
    assert_eq!(bench.result("m").measurements.unwrap().len(), 3);
}

#[test]
fn a_crash_repeats_only_what_was_not_written() {
    let mut bench = Bench::one(json!({"successCondition": LOW, "interval": "10s", "count": 3}));
    bench.feed(&[Ok(1.0)]);
    bench.wait(10);
    bench.turn();
    let key = bench.in_flight.first().cloned().unwrap();
    assert_eq!(key.slot, 2);
    // The controller dies with the task: the next one asks for the same slot.
    bench.in_flight.clear();
    bench.wait(5);
    let plan = bench.turn();
    assert_eq!(plan.tasks.iter().map(Task::key).collect::<Vec<_>>(), [&key]);
    // An answer that is stored already is dropped, not counted twice.
    bench.answer("m", Ok(MetricValue::floats([1.0])));
    bench.answers.push(Answer {
        key,
        started: bench.now,
        finished: bench.now,
        result: Ok(MetricValue::floats([9.0])),
        metadata: BTreeMap::new(),
    });
    bench.turn();
    assert_eq!(bench.answers.len(), 0);
    assert_eq!(bench.result("m").count, Some(2));
}

#[test]
fn several_answers_that_were_held_back_are_folded_in_order() {
    let mut bench = Bench::one(json!({"successCondition": LOW, "interval": "1s", "count": 3}));
    bench.turn();
    for (slot, value) in [(2, 2.0), (1, 1.0)] {
        let key = TaskKey {
            metric: "m".to_owned(),
            slot,
            is_diagnosis: false,
        };
        bench.answers.push(Answer {
            key,
            started: bench.now,
            finished: bench.now,
            result: Ok(MetricValue::floats([value])),
            metadata: BTreeMap::new(),
        });
    }
    bench.in_flight.clear();
    let plan = bench.plan();
    let values: Vec<_> = plan.status.unwrap().metric_results.unwrap()[0]
        .measurements
        .clone()
        .unwrap()
        .into_iter()
        .map(|m| m.value.unwrap())
        .collect();
    assert_eq!(values, ["[1]", "[2]"]);
    assert_eq!(plan.settled.len(), 4);
}

#[test]
fn faults_of_a_spec_end_it_as_error_with_all_of_them() {
    let p = json!({"prometheus": {"address": "http://p", "query": "q"}});
    for (spec, message) in [
        (json!({}), "Analysis spec invalid: no metrics specified"),
        (
            json!({"metrics": [{"name": "a", "count": 3, "provider": p}, {"name": "a", "interval": "1x", "provider": {}}]}),
            "Analysis spec invalid: metrics[0]: interval must be specified when count > 1; metrics[1]: invalid interval string: \"1x\" is not a duration: write it like 30s, 5m or 1h30m; metrics[1]: no provider specified",
        ),
        (
            json!({"metrics": [{"name": "a", "failureLimit": -2, "inconclusiveLimit": -1, "consecutiveErrorLimit": -1, "provider": p}]}),
            "Analysis spec invalid: metrics[0]: failureLimit must be >= 0, or -1 to be disabled; metrics[0]: inconclusiveLimit must be >= 0; metrics[0]: consecutiveErrorLimit must be >= 0",
        ),
        (
            json!({"metrics": [{"name": "a", "count": 2, "interval": "1s", "failureLimit": 3, "provider": p}]}),
            "Analysis spec invalid: metrics[0]: count (2) must be >= failureLimit + consecutiveSuccessLimit (3 + 0) if both >= 0",
        ),
        (
            json!({"metrics": [{"name": "a", "provider": p}], "dryRun": [{"metricName": "z"}], "measurementRetention": [{"metricName": "y", "limit": 1}]}),
            "Analysis spec invalid: dryRun[0]: Rule didn't match any metric name(s); measurementRetention[0]: Rule didn't match any metric name(s)",
        ),
        (
            json!({"metrics": [{"name": "a", "provider": {"prometheus": {"query": "{{args.x}}"}}}], "args": [{"name": "x"}]}),
            "Unable to resolve metric arguments: args.x was not resolved",
        ),
        (
            json!({"metrics": [{"name": "a", "provider": {"prometheus": {"query": "{{args.y}}"}}}]}),
            "Unable to resolve metric arguments: failed to resolve {{args.y}}",
        ),
        (
            json!({"metrics": [{"name": "a", "successCondition": "result > 1", "provider": {"kayenta": {"threshold": {"pass": 9}}}}]}),
            "Analysis spec invalid: metrics[0]: kayenta.threshold needs pass and marginal; metrics[0]: kayenta judges by its threshold: leave the conditions out",
        ),
        (
            json!({"metrics": [{"name": "a", "successCondition": "results > 1", "provider": p}]}),
            "Analysis spec invalid: metrics[0]: successCondition \"results > 1\": unknown name \"results\" (the value is called \"result\") at position 1",
        ),
    ] {
        let mut bench = Bench::new(spec);
        bench.turn();
        assert_eq!(
            (bench.phase().as_str(), bench.message().as_str()),
            ("Error", message)
        );
    }
}

#[test]
fn secrets_are_asked_for_filled_in_and_never_shown() {
    let spec = json!({
        "metrics": [{"name": "m", "successCondition": LOW, "provider": {"prometheus": {
            "address": "http://p", "query": "up{key=\"{{args.token}}\"}",
            "authentication": {"bearer": {"tokenSecretRef": {"name": "auth", "key": "token"}}}}}}],
        "args": [{"name": "token", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    });
    let mut bench = Bench::new(spec.clone());
    let need = KeyNeed::secret;
    let plan = bench.turn();
    assert!(plan.tasks.is_empty());
    assert_eq!(plan.needs, [need("auth", "token"), need("s", "k")]);
    bench
        .args
        .keys
        .insert(need("s", "k"), Ok("hush-1".to_owned()));
    bench
        .args
        .keys
        .insert(need("auth", "token"), Ok("hush-2".to_owned()));
    let plan = bench.turn();
    let Task::Measure { provider, .. } = &plan.tasks[0];
    let prometheus = provider.prometheus.clone().unwrap();
    assert_eq!(prometheus.query.as_deref(), Some("up{key=\"hush-1\"}"));
    assert_eq!(
        prometheus
            .authentication
            .unwrap()
            .bearer
            .unwrap()
            .token
            .as_deref(),
        Some("hush-2")
    );
    bench.answer("m", Err("cannot use hush-1 or hush-2"));
    let shown = format!("{:?} {:?} {plan:?}", bench.status(), bench.args);
    assert!(!shown.contains("hush"), "{shown}");
    assert!(shown.contains("cannot use ***** or *****"), "{shown}");

    let mut bench = Bench::new(spec);
    bench
        .args
        .keys
        .insert(need("auth", "token"), Ok("x".to_owned()));
    bench
        .args
        .keys
        .insert(need("s", "k"), Err(need("s", "k").missing()));
    bench.turn();
    assert_eq!(
        bench.message(),
        "Unable to resolve metric arguments: key 'k' does not exist in secret 's'"
    );
}

#[test]
fn finished_runs_go_when_their_time_is_over() {
    let both = json!({"secondsAfterCompletion": 60, "secondsAfterSuccess": 10});
    let failure = json!({"secondsAfterFailure": 20, "secondsAfterSuccess": 5});
    for (ttl, value, phase, seconds) in [
        (
            json!({"secondsAfterCompletion": 60}),
            Ok(1.0),
            "Successful",
            Some(60),
        ),
        (both.clone(), Ok(1.0), "Successful", Some(10)),
        (both.clone(), Ok(9.0), "Failed", Some(60)),
        (failure.clone(), Ok(9.0), "Failed", Some(20)),
        (failure.clone(), Err("no answer"), "Error", Some(20)),
        (failure, Ok(f64::NAN), "Inconclusive", None),
        (both, Ok(f64::NAN), "Inconclusive", Some(60)),
        (
            json!({"secondsAfterFailure": 20}),
            Ok(1.0),
            "Successful",
            None,
        ),
    ] {
        let metric = json!({"failureCondition": "result[0] >= 5", "consecutiveErrorLimit": 0});
        let mut bench = Bench::one(metric);
        bench.run.spec.ttl_strategy = serde_json::from_value(ttl.clone()).unwrap();
        bench.feed(&[value]);
        assert_eq!(bench.phase(), phase, "{ttl}");
        let plan = bench.turn();
        assert!(!plan.delete);
        assert_eq!(
            plan.wake,
            seconds.map(|s| bench.now + SignedDuration::from_secs(s)),
            "{ttl}"
        );
        bench.wait(100);
        assert_eq!(bench.turn().delete, seconds.is_some(), "{ttl}");
    }
}

#[test]
fn an_empty_answer_is_explained_by_a_second_question() {
    let mut bench = Bench::one(json!({
        "interval": "10s", "inconclusiveLimit": 100,
        "successCondition": "len(result) > 0 && result[0] < 5", "failureCondition": "len(result) > 0 && result[0] >= 5"
    }));
    let diagnosis = Diagnosis {
        query: "why".to_owned(),
        min_samples: 20,
        window: "5m".to_owned(),
        series: Some("tasks_total".to_owned()),
        hash_label: "hash".to_owned(),
        namespace_label: "namespace".to_owned(),
        is_relative: false,
    };
    let all = BTreeMap::from([("m".to_owned(), diagnosis)]);
    bench.run.metadata.annotations = Some(BTreeMap::from([(
        diagnosis::ANNOTATION.to_owned(),
        diagnosis::write(&all),
    )]));
    bench.turn();
    let plan = bench.answer("m", Ok(MetricValue::floats([])));
    assert_eq!(
        bench.status().metric_results,
        None,
        "the measurement waits for its explanation"
    );
    let Task::Measure { key, provider, .. } = &plan.tasks[0];
    assert!(key.is_diagnosis);
    assert_eq!(
        provider.prometheus.as_ref().unwrap().query.as_deref(),
        Some("why")
    );
    bench.answer("m", Ok(MetricValue::floats([7.4])));
    let measured = &bench.result("m").measurements.unwrap()[0];
    assert_eq!(measured.phase, "Inconclusive");
    assert_eq!(
        measured.message.as_deref(),
        Some("only 7 of 20 samples in 5m")
    );
    assert!(bench.answers.is_empty());
    assert_eq!(bench.phase(), "Running");
}

proptest::proptest! {
    /// Whatever providers answer, turns are total, counts add up, and no more is measured than told.
    #[test]
    fn any_answers_keep_the_counts(values in proptest::collection::vec(proptest::option::of(0..10_i32), 1..20), count in 1..8_i64, limit in -1..4_i64) {
        let mut bench = Bench::one(json!({"successCondition": LOW, "interval": "10s", "count": count.max(limit), "failureLimit": limit, "consecutiveSuccessLimit": if limit < 0 { 1 } else { 0 }}));
        let values: Vec<_> = values.iter().map(|v| v.map(f64::from).ok_or("no answer")).collect();
        bench.feed(&values);
        if let Some(results) = bench.status().metric_results {
            let n = |v: Option<i64>| v.unwrap_or(0);
            let r = &results[0];
            proptest::prop_assert_eq!(n(r.count), n(r.successful) + n(r.failed) + n(r.inconclusive));
            proptest::prop_assert!(n(r.count) <= count.max(limit));
            if r.phase == "Successful" && limit >= 0 {
                proptest::prop_assert!(n(r.failed) <= limit);
            }
        }
    }
}

/// Keys of ConfigMaps, fields of the run, and a Secret whose name an argument gives.
#[test]
fn arguments_come_from_configmaps_fields_and_secrets() {
    let mut bench = Bench::new(json!({
        "metrics": [{"name": "m", "successCondition": "result > {{args.low}}", "provider": {"datadog": {
            "query": "avg:x{run:{{args.run}}}", "secretRef": {"name": "dd-{{args.team}}"}}}}],
        "args": [
            {"name": "low", "valueFrom": {"configMapKeyRef": {"name": "bounds", "key": "low"}}},
            {"name": "run", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "team", "value": "shop"},
        ],
    }));
    let low = KeyNeed {
        source: Source::ConfigMap,
        name: "bounds".to_owned(),
        key: "low".to_owned(),
    };
    assert_eq!(bench.plan().needs, vec![low.clone()]);
    bench.args.keys.insert(low, Ok("5".to_owned()));
    let needs = bench.plan().needs;
    assert!(
        needs
            .iter()
            .all(|n| n.name == "dd-shop" && n.source == Source::ControllerSecret)
    );
    for need in needs {
        let value = match need.key.as_str() {
            "address" => Err(need.missing()),
            key => Ok(format!("hush-{key}")),
        };
        bench.args.keys.insert(need, value);
    }
    let plan = bench.turn();
    let Task::Measure {
        provider,
        credentials,
        namespace,
        timeout,
        ..
    } = &plan.tasks[0];
    let datadog = provider.datadog.as_ref().unwrap();
    assert_eq!(datadog.query.as_deref(), Some("avg:x{run:r}"));
    assert_eq!(credentials["api-key"], "hush-api-key");
    assert!(!credentials.contains_key("address"), "it may be absent");
    assert_eq!((namespace.as_str(), timeout.as_secs()), ("n", 10));
    bench.answer("m", Err("hush-api-key was refused"));
    let told = serde_json::to_string(&bench.run.status).unwrap();
    assert!(
        told.contains("***** was refused") && !told.contains("hush"),
        "{told}"
    );
}

#[test]
fn a_provider_without_its_secret_ends_the_run_and_says_which() {
    let mut bench = Bench::one(json!({"provider": {"influxdb": {"query": "q"}}}));
    for need in bench.plan().needs {
        bench.args.keys.insert(need.clone(), Err(need.missing()));
    }
    bench.turn();
    assert_eq!(
        (bench.phase().as_str(), bench.message().as_str()),
        (
            "Error",
            "Unable to resolve metric arguments: key 'address' does not exist in secret 'influxdb' of the controller's namespace"
        )
    );
}

/// P7: the score is judged by the threshold.
#[test]
fn kayenta_judges_by_its_threshold() {
    for (score, phase) in [
        (91.0, "Successful"),
        (80.0, "Inconclusive"),
        (74.0, "Failed"),
    ] {
        let mut bench = Bench::one(
            json!({"provider": {"kayenta": {"threshold": {"pass": 90, "marginal": 75}}}}),
        );
        bench.turn();
        bench.answer("m", Ok(MetricValue::Float(score)));
        assert_eq!(bench.phase(), phase);
    }
}

const JOB: &str = "u.m.1";

fn job_bench(metric: Value) -> Bench {
    let mut all = json!({"name": "m", "provider": {"job": {
        "metadata": {"labels": {"team": "red"}},
        "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "{{args.image}}"}]}}}}}});
    let more = metric.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(more);
    let mut bench =
        Bench::new(json!({"metrics": [all], "args": [{"name": "image", "value": "i:1"}]}));
    bench.run.metadata.uid = Some("u".to_owned());
    bench
}

/// P3: created when due, written down, looked at until it ends.
#[test]
fn a_job_is_created_once_and_followed_to_its_end() {
    let mut bench = job_bench(json!({}));
    let plan = bench.plan();
    let [JobCall::Create { name, object }] = plan.jobs.as_slice() else {
        panic!("{:?}", plan.jobs);
    };
    assert_eq!(name, JOB);
    assert_eq!(
        object["spec"]["template"]["spec"]["containers"][0]["image"],
        "i:1"
    );
    assert_eq!(
        object["metadata"]["labels"],
        json!({"team": "red", "analysisrun.argoproj.io/uid": "u"})
    );
    assert_eq!(
        object["metadata"]["ownerReferences"][0]["kind"],
        "AnalysisRun"
    );
    bench.jobs.insert(JOB.to_owned(), JobSeen::Running);
    let plan = bench.turn();
    assert!(plan.jobs.is_empty() && plan.wake.is_some() && plan.urgent);
    let begun = bench.run.status.clone().unwrap();
    // The next turn looks, and writes nothing while the Job goes on.
    bench.jobs.clear();
    bench.wait(5);
    assert_eq!(
        bench.plan().jobs,
        [JobCall::Look {
            name: JOB.to_owned()
        }]
    );
    bench.jobs.insert(JOB.to_owned(), JobSeen::Running);
    assert_eq!(bench.plan().status, None);
    for (end, phase, message) in [
        (JobSeen::Complete, "Successful", None),
        (
            JobSeen::Failed("backoff limit".to_owned()),
            "Failed",
            Some("backoff limit"),
        ),
        (
            JobSeen::NoImage("ErrImagePull".to_owned()),
            "Inconclusive",
            Some("an image of job u.m.1 cannot be had: ErrImagePull"),
        ),
    ] {
        bench.run.status = Some(begun.clone());
        bench.jobs.insert(JOB.to_owned(), end);
        let plan = bench.turn();
        assert_eq!(bench.phase(), phase);
        assert_eq!(plan.delete_jobs.len(), usize::from(phase == "Inconclusive"));
        let result = &bench
            .run
            .status
            .as_ref()
            .unwrap()
            .metric_results
            .as_ref()
            .unwrap()[0];
        let last = result.measurements.as_ref().unwrap();
        assert_eq!(last.len(), 1, "one measurement, not two");
        assert_eq!(last[0].message.as_deref(), message);
        assert_eq!(last[0].metadata.as_ref().unwrap()["job-name"], JOB);
        assert!(last[0].started_at.is_some() && last[0].finished_at.is_some());
    }
}

/// A Job that cannot be had is an Error, tried again as another Job.
/// What a Job said last is part of its measurement, without the secrets that it was given.
#[test]
fn the_end_of_a_jobs_log_is_kept_without_secrets() {
    let mut bench = job_bench(json!({}));
    bench.run.spec.args = serde_json::from_value(json!([
        {"name": "image", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    ]))
    .unwrap();
    let secret = KeyNeed::secret("s", "k");
    bench.args.keys.insert(secret, Ok("hush-hush".to_owned()));
    bench.jobs.insert(JOB.to_owned(), JobSeen::Running);
    bench.turn();
    let failed = JobSeen::Failed("backoff limit".to_owned());
    bench.jobs.insert(JOB.to_owned(), failed);
    let log = "hush-hush is refused\n3 of 7 checks failed\n";
    bench.job_logs.insert(JOB.to_owned(), log.to_owned());
    bench.turn();
    let measured = bench.result("m").measurements.unwrap()[0].clone();
    let told = measured.metadata.unwrap();
    assert_eq!(told["job-log"], "***** is refused\n3 of 7 checks failed");
    assert_eq!(told["job-name"], JOB);
}

#[test]
fn a_job_that_is_refused_or_deleted_is_tried_again() {
    let mut bench = job_bench(json!({"consecutiveErrorLimit": 1}));
    bench.jobs.insert(
        JOB.to_owned(),
        JobSeen::Refused("spec is invalid".to_owned()),
    );
    let plan = bench.turn();
    assert_eq!(bench.phase(), "Running");
    bench.now = plan.wake.unwrap();
    let [JobCall::Create { name, .. }] = &bench.plan().jobs[..] else {
        panic!("nothing is tried again");
    };
    assert_eq!(name, "u.m.2");
    bench.jobs.insert("u.m.2".to_owned(), JobSeen::Foreign);
    bench.turn();
    assert_eq!(bench.phase(), "Error");
    assert!(
        bench.message().contains("is not of this run"),
        "{}",
        bench.message()
    );
}

/// N13: a run that is told to end deletes its Job, which was no measurement then.
#[test]
fn a_run_that_ends_deletes_its_job() {
    for (limit, phase, message) in [
        (
            0,
            "Inconclusive",
            "inconclusive (1) > inconclusiveLimit (0)",
        ),
        (1, "Successful", "Run Terminated"),
    ] {
        let mut bench = job_bench(json!({"inconclusiveLimit": limit}));
        bench.jobs.insert(JOB.to_owned(), JobSeen::Running);
        bench.turn();
        bench.run.spec.terminate = Some(true);
        bench.jobs.clear();
        let plan = bench.turn();
        assert_eq!(plan.delete_jobs, [JOB]);
        assert_eq!(bench.phase(), phase);
        assert!(bench.message().contains(message), "{}", bench.message());
        let result = &bench
            .run
            .status
            .as_ref()
            .unwrap()
            .metric_results
            .as_ref()
            .unwrap()[0];
        let last = &result.measurements.as_ref().unwrap()[0];
        assert_eq!(
            (last.phase.as_str(), last.message.as_deref()),
            ("Inconclusive", Some("Metric Terminated"))
        );
    }
}

/// Jobs go with the measurements that are no longer kept.
#[test]
fn jobs_beyond_the_retention_are_deleted() {
    let mut bench = job_bench(json!({"count": 3, "interval": "1m"}));
    bench.run.spec.measurement_retention =
        serde_json::from_value(json!([{"metricName": "m", "limit": 1}])).unwrap();
    let mut deleted = vec![];
    for slot in 1..=3 {
        let name = format!("u.m.{slot}");
        bench.jobs = BTreeMap::from([(name.clone(), JobSeen::Running)]);
        bench.turn();
        bench.jobs.insert(name, JobSeen::Complete);
        let plan = bench.turn();
        deleted.extend(plan.delete_jobs);
        bench.now = plan.wake.unwrap_or(bench.now);
    }
    assert_eq!(bench.phase(), "Successful");
    assert_eq!(deleted, ["u.m.1", "u.m.2"]);
}

/// The evidence of a comparison grows over measurements, lives through errors and crashes, and ends
/// the run when it is enough.
#[test]
fn a_comparison_is_measured_until_it_is_decided() {
    let provider = json!({"compare": {"canary": "h=\"a\"", "stable": "h=\"b\"",
        "success": {"good": "ok", "total": "all"}}});
    for (bad, phase, looks) in [(0.0, "Successful", 16..60), (3.0, "Failed", 3..60)] {
        let mut bench = Bench::one(json!({"interval": "30s", "provider": provider}));
        let mut made = 0;
        while bench.phase() != phase {
            let plan = bench.turn();
            if let Some(wake) = plan.wake {
                bench.now = wake;
                continue;
            }
            made += 1;
            assert!(made < 100, "never decided: {:#?}", bench.run.status);
            if made == 2 {
                bench.answer("m", Err("no answer"));
                continue;
            }
            let counts = json!({"canary": [bad, 50.0], "stable": [0.0, 150.0]});
            bench.answer("m", Ok(MetricValue::from(&counts)));
        }
        assert!(looks.contains(&made), "{phase} after {made}");
        let result = &bench
            .run
            .status
            .as_ref()
            .unwrap()
            .metric_results
            .as_ref()
            .unwrap()[0];
        let last = result.measurements.as_ref().unwrap().last().unwrap();
        let seen = &last.metadata.as_ref().unwrap()["canary-all"];
        assert_eq!(
            seen,
            &((made - 1) * 50).to_string(),
            "an error loses nothing"
        );
        assert!(last.message.as_ref().unwrap().contains("worse than stable"));
    }
}

#[test]
fn comparisons_that_make_no_sense_are_told() {
    let mut bench =
        Bench::one(json!({"successCondition": "result > 1", "provider": {"compare": {}}}));
    bench.turn();
    for part in [
        "success or latency",
        "leave the conditions out",
        "interval must be specified",
        "tell the versions apart",
    ] {
        assert!(
            bench.message().contains(part),
            "{} lacks {part}",
            bench.message()
        );
    }
}
