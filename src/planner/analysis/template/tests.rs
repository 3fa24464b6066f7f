//! Templates merged, and every fault told.

use serde_json::{Value, json};

use super::*;

fn template(spec: Value) -> Arc<AnalysisTemplateSpec> {
    Arc::new(serde_json::from_value(spec).unwrap())
}

fn request(templates: Vec<Value>, args: Value) -> RunRequest {
    RunRequest {
        name: run_name("web", "abc", 3, "1", 0),
        namespace: "n".to_owned(),
        owner_name: "web".to_owned(),
        owner_uid: "u".to_owned(),
        labels: BTreeMap::from([("rollout-type".to_owned(), "Step".to_owned())]),
        templates: templates.into_iter().map(template).collect(),
        args: serde_json::from_value(args).unwrap(),
        ..RunRequest::default()
    }
}

fn metric(name: &str) -> Value {
    json!({"name": name, "provider": {"prometheus": {"query": "q"}}})
}

#[test]
fn templates_merge_into_one_run() {
    let mut request = request(
        vec![
            json!({"metrics": [metric("a")], "args": [{"name": "x"}, {"name": "y", "value": "1"}], "dryRun": [{"metricName": "a"}]}),
            json!({"metrics": [metric("b")], "args": [{"name": "x"}, {"name": "s", "valueFrom": {"secretKeyRef": {"name": "n", "key": "k"}}}]}),
        ],
        json!([{"name": "x", "value": "given"}, {"name": "undeclared", "value": "z"}, {"name": "y", "value": "2"}]),
    );
    request.metadata = serde_json::from_value(json!({"labels": {"team": "red"}})).unwrap();
    let run = build_run(&request).unwrap();
    assert_eq!(run.metadata.name.as_deref(), Some("web-abc-3-1"));
    assert_eq!(run.metadata.labels.as_ref().unwrap()["team"], "red");
    assert_eq!(
        run.metadata.owner_references.as_ref().unwrap()[0].kind,
        "Rollout"
    );
    let args = serde_json::to_value(run.spec.args).unwrap();
    assert_eq!(
        args,
        json!([{"name": "x", "value": "given"}, {"name": "y", "value": "2"}, {"name": "s", "valueFrom": {"secretKeyRef": {"name": "n", "key": "k"}}}])
    );
    assert_eq!(run.spec.metrics.unwrap().len(), 2);
}

#[test]
fn every_fault_is_told_at_once() {
    let faults = build_run(&request(
        vec![
            json!({"metrics": [metric("a")], "args": [{"name": "x"}, {"name": "y", "value": "1"}], "dryRun": [{"metricName": "a"}], "measurementRetention": [{"metricName": "a", "limit": 2}]}),
            json!({"metrics": [metric("a")], "args": [{"name": "y", "value": "2"}], "dryRun": [{"metricName": "a"}], "measurementRetention": [{"metricName": "a", "limit": 2}]}),
        ],
        json!([]),
    ))
    .unwrap_err();
    assert_eq!(
        faults,
        [
            "two metrics have the same name 'a'",
            "two Dry-Run metric rules have the same name 'a'",
            "two Measurement Retention metric rules have the same name 'a'",
            "Argument `y` specified multiple times with different values: '1', '2'",
            "args.x was not resolved",
        ]
    );
    assert_eq!(
        build_run(&request(vec![json!({})], json!([]))).unwrap_err(),
        ["no metrics specified"]
    );
}

#[test]
fn nested_templates_are_followed_once() {
    let name = |n: &str, c: bool| (n.to_owned(), c);
    let known = BTreeMap::from([
        (
            name("a", false),
            template(
                json!({"templates": [{"templateName": "b"}, {"templateName": "c", "clusterScope": true}]}),
            ),
        ),
        (
            name("b", false),
            template(json!({"templates": [{"templateName": "a"}, {"templateName": "gone"}]})),
        ),
    ]);
    let found = closure(&[name("a", false)], |n| match known.get(n) {
        Some(spec) => Found::There(Arc::clone(spec)),
        None if n.0 == "gone" => Found::Absent,
        None => Found::Unknown,
    });
    assert_eq!(
        found
            .templates
            .iter()
            .map(|t| t.0.0.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(found.unknown, [name("c", true)]);
    assert_eq!(found.absent, [name("gone", false)]);
    assert_eq!(
        absent_message(&found.absent[0]),
        "AnalysisTemplate 'gone' not found"
    );
}

#[test]
fn metrics_without_end_are_found() {
    let endless = template(json!({"metrics": [
        {"name": "a", "interval": "5s", "provider": {}},
        {"name": "b", "interval": "5s", "count": 0, "provider": {}},
        {"name": "c", "interval": "5s", "count": 3, "provider": {}},
        {"name": "d", "interval": "5s", "count": "{{args.n}}", "provider": {}},
        {"name": "e", "provider": {}},
    ]}));
    assert_eq!(
        endless_message(&("t".to_owned(), false), &endless),
        [
            "AnalysisTemplate t has metric a which runs indefinitely. Invalid value for count: <nil>",
            "AnalysisTemplate t has metric b which runs indefinitely. Invalid value for count: 0",
        ]
    );
}

#[test]
fn names_tell_retries_apart() {
    assert_eq!(run_name("web", "abc", 2, "", 0), "web-abc-2");
    assert_eq!(run_name("web", "abc", 2, "slo", 0), "web-abc-2-slo");
    assert_eq!(run_name("web", "abc", 2, "1", 2), "web-abc-2-1.2");
}

/// What a template asks of the Rollout is a value in its run.
#[test]
fn fields_of_the_rollout_become_values() {
    let ask = |path: &str| {
        let arg = json!({"name": "x", "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let mut request = request(
            vec![json!({"metrics": [metric("a")], "args": [arg]})],
            json!([]),
        );
        request.owner = json!({"metadata": {"name": "web", "labels": {"region": "eu"}}});
        build_run(&request).map(|run| serde_json::to_value(run.spec.args).unwrap())
    };
    assert_eq!(
        ask("metadata.labels['region']"),
        Ok(json!([{"name": "x", "value": "eu"}]))
    );
    assert_eq!(
        ask("metadata.labels['zone']"),
        Err(vec!["args.x was not resolved".to_owned()])
    );
}
