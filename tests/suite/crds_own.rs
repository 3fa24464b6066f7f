//! The rules of our own fields in crds/, on a real API server: what is wrong is refused with what to do.

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use serin::api::Rollout;

use crate::crds_live::space;

#[tokio::test]
async fn bad_objectives_are_refused_with_what_to_do() {
    let Some((_, space)) = space("slos").await else {
        return;
    };
    let violations = json!({ "violations": { "counter": "x" } });
    let cases = [
        (json!({}), "objectives: Required value"),
        (json!({ "objectives": [] }), "should have at least 1 items"),
        (
            json!({ "interval": "30x", "objectives": [violations] }),
            "write a duration with units",
        ),
        (
            json!({ "prometheus": "prom:9090", "objectives": [violations] }),
            "write the whole address",
        ),
        (
            json!({ "selectBy": "name", "objectives": [violations] }),
            "supported values: \"hash\", \"pod\"",
        ),
        (
            json!({ "hashLabel": "a-b", "objectives": [violations] }),
            "write the name of a Prometheus label",
        ),
        (
            json!({ "minSamples": -1, "objectives": [violations] }),
            "greater than or equal to 0",
        ),
        (
            json!({ "objectives": [{ "violations": { "counter": "x" }, "query": { "promql": "up", "atMost": 1 } }] }),
            "set exactly one of latency, success, cost, violations, query and compare",
        ),
        (
            json!({ "objectives": [{ "compare": { "effect": "1%" } }] }),
            "set exactly one of success and latency",
        ),
        (
            json!({ "objectives": [{ "latency": { "histogram": "x" } }] }),
            "latency.p50: Required value",
        ),
        (
            json!({ "objectives": [{ "latency": { "histogram": "sum(rate(x))", "p95": "1s" } }] }),
            "put any other expression into a query objective",
        ),
        (
            json!({ "objectives": [{ "success": { "good": "g", "total": "t" } }] }),
            "success.atLeast: Required value",
        ),
        (
            json!({ "objectives": [{ "cost": { "spent": "s", "atMost": 1 } }] }),
            "cost.per: Required value",
        ),
        (
            json!({ "objectives": [{ "name": "A b", "violations": { "counter": "x" } }] }),
            "such as chat-latency",
        ),
        (
            json!({ "objectives": [{ "name": "a", "violations": { "counter": "x" } }, { "name": "a", "violations": { "counter": "z" } }] }),
            "give each objective a name of its own",
        ),
    ];
    let rollouts = space.api::<Rollout>();
    for strategy in ["canary", "blueGreen"] {
        for (slos, expected) in &cases {
            let said = dry_run(&rollouts, strategy, slos)
                .await
                .unwrap_err()
                .to_string();
            assert!(
                said.contains(expected),
                "{slos} in {strategy} is refused with {said}"
            );
        }
    }
}

#[tokio::test]
async fn good_objectives_are_taken() {
    let Some((_, space)) = space("slos").await else {
        return;
    };
    let slos = json!({ "selectBy": "pod", "window": "1h30m", "objectives": [
        { "latency": { "histogram": "x{a=\"b\"}", "p50": 0.5, "p95": { "noWorseThanStable": "20%" }, "p99": 2 } },
        { "query": { "name": "any-name", "promql": "max(x{{{canary}}})", "atLeast": 0.5 } },
        { "compare": { "success": { "good": "g", "total": "t" }, "effect": "2%" } },
        { "name": "per-task", "cost": { "spent": "s", "per": "p", "atMost": 0.05 } },
    ]});
    let rollouts = space.api::<Rollout>();
    for strategy in ["canary", "blueGreen"] {
        dry_run(&rollouts, strategy, &slos).await.unwrap();
    }
}

/// The rules of our other fields, by the definitions themselves: an old controller would not see them.
#[tokio::test]
async fn wrong_fields_of_our_own_are_refused_with_what_to_do() {
    let Some((_, space)) = space("ownfields").await else {
        return;
    };
    let step = |step: Value| json!({"canary": {"steps": [step]}});
    let analysis = json!({"templates": [{"templateName": "a"}], "onFailure": "Retry"});
    let cases = [
        (
            step(json!({"ramp": {"by": 10}})),
            "ramp.every: Required value",
        ),
        (
            step(json!({"ramp": {"every": "1m"}})),
            "say by how many percent a linear ramp rises each time (by: 10)",
        ),
        (
            step(json!({"ramp": {"by": 10, "every": "soon"}})),
            "write a duration with units, such as 30s, 5m or 1h30m",
        ),
        (
            step(json!({"ramp": {"by": 0, "every": "1m"}})),
            "greater than or equal to 1",
        ),
        (
            step(json!({"ramp": {"by": 5, "every": "1m", "to": 101}})),
            "less than or equal to 100",
        ),
        (
            step(json!({"ramp": {"by": 5, "every": "1m", "curve": "steep"}})),
            "supported values: \"linear\", \"exponential\"",
        ),
        (
            step(json!({"pause": {"duration": "1m", "timeout": "1h"}})),
            "a pause with a duration ends by itself",
        ),
        (
            step(json!({"pause": {"timeout": "an hour"}})),
            "write a duration with units, such as 30s, 5m or 1h30m",
        ),
        (
            step(json!({"analysis": analysis})),
            "supported values: \"Abort\", \"Pause\"",
        ),
        (
            json!({"canary": {"analysis": analysis}}),
            "supported values: \"Abort\", \"Pause\"",
        ),
        (
            json!({"blueGreen": {"activeService": "a", "prePromotionAnalysis": analysis}}),
            "supported values: \"Abort\", \"Pause\"",
        ),
        (
            json!({"canary": {"gradualRollback": {"by": 25}}}),
            "gradualRollback.every: Required value",
        ),
        (
            json!({"canary": {"gradualRollback": {"by": 0, "every": "1m"}}}),
            "greater than or equal to 1",
        ),
        (
            json!({"canary": {"gradualRollback": {"by": 25, "every": "60"}}}),
            "write a duration with units, such as 30s, 5m or 1h30m",
        ),
        (
            json!({"canary": {"answerWithin": "an hour"}}),
            "canary.answerWithin: Invalid value: \"an hour\": write a duration with units",
        ),
        (
            json!({"canary": {"keepCanaryFor": "10"}}),
            "canary.keepCanaryFor: Invalid value: \"10\": write a duration with units",
        ),
        (
            json!({"blueGreen": {"activeService": "a", "answerWithin": "1d"}}),
            "blueGreen.answerWithin: Invalid value: \"1d\": write a duration with units",
        ),
        (
            step(json!({"ramp": {"by": 5, "every": "60"}})),
            "ramp.every: Invalid value: \"60\": write a duration with units",
        ),
        (
            json!({"canary": {"constantReplicas": true, "maxUnavailable": 1}}),
            "constantReplicas takes the place of maxUnavailable",
        ),
        (
            json!({"canary": {"analyzeFirstDeployment": "yes"}}),
            "expected boolean",
        ),
    ];
    let rollouts = space.api::<Rollout>();
    let mut wrong = vec![];
    for (strategy, expected) in cases {
        let said = match apply_dry(&rollouts, &strategy).await {
            Ok(_) => "nothing: it is taken".to_owned(),
            Err(error) => error.to_string(),
        };
        if !said.contains(expected) {
            wrong.push(format!("{strategy}: {expected:?} is not in {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let right = json!({"canary": {
        "constantReplicas": true, "maxSurge": 1, "gradualRollback": {"by": 25, "every": "1m"},
        "analyzeFirstDeployment": true, "analysis": {"templates": [{"templateName": "a"}], "onFailure": "Pause"},
        "answerWithin": "1h30m", "stableService": "a", "keepCanaryFor": "10m",
        "steps": [{"ramp": {"every": "1.5h30m10s500ms", "curve": "exponential"}}, {"pause": {"timeout": "1h"}}, {"pause": {"duration": 5}}],
    }});
    apply_dry(&rollouts, &right).await.unwrap();
}

async fn dry_run(rollouts: &Api<Rollout>, strategy: &str, slos: &Value) -> kube::Result<Rollout> {
    apply_dry(rollouts, &json!({ strategy: { "slos": slos } })).await
}

async fn apply_dry(rollouts: &Api<Rollout>, strategy: &Value) -> kube::Result<Rollout> {
    let manifest = json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": { "name": "web" },
        "spec": { "strategy": strategy },
    });
    let params = PatchParams::apply("test").dry_run();
    rollouts
        .patch("web", &params, &Patch::Apply(manifest))
        .await
}
