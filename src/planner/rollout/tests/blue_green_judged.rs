//! What analyses mean to blueGreen where a person overrules one, and on the first deployment.

use super::blue_green::{blue_green, service};
use super::*;

fn analysis() -> Value {
    json!({"templates": [{"templateName": "t"}]})
}

impl World {
    fn run_of(&self, purpose: &str) -> String {
        let hash = self.status().current_pod_hash.unwrap();
        format!("web-{hash}-2-{purpose}")
    }
}

/// audit: it was a full promotion, and nothing was measured any more.
#[test]
fn a_failed_analysis_before_the_switch_is_overruled_and_no_more() {
    let mut before = analysis();
    before["onFailure"] = json!("Pause");
    let mut w = blue_green(json!({
        "prePromotionAnalysis": before, "postPromotionAnalysis": analysis(),
        "autoPromotionEnabled": false,
    }));
    w.update("web:2");
    w.run_ends(&w.run_of("pre"), "Failed", "too slow");
    w.settle();
    let (phase, message) = w.phase();
    assert_eq!(phase, "Paused");
    assert!(message.starts_with("FailedAnalysisRun: "), "{message}");
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!(w.phase(), pair("Paused", "BlueGreenPause"));
    assert_eq!(w.behind("live"), 1, "the pause is still to come");
    let told = w.events.iter().filter(|e| e.starts_with("GateOverridden "));
    assert_eq!(told.count(), 1, "{:?}", w.events);
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!((w.behind("live"), w.status().promote_full), (2, None));
    w.run_ends(&w.run_of("post"), "Failed", "slower still");
    w.settle();
    assert_eq!((w.phase().0, w.behind("live")), ("Degraded".into(), 1));
    // Another attempt is judged anew: what was overruled was the former one.
    w.annotate(crate::api::RETRY, "true");
    w.settle();
    w.run_ends(&w.run_of("pre.1"), "Failed", "too slow");
    w.settle();
    assert!(
        w.phase().1.starts_with("FailedAnalysisRun: "),
        "{:?}",
        w.phase()
    );
}

#[test]
fn a_first_deployment_of_blue_green_is_judged_where_the_spec_says_so() {
    for (verdict, wanted) in [("Successful", "Healthy"), ("Failed", "Degraded")] {
        let mut w = world(3, json!([]));
        w.services = vec![service("live")];
        w.analyses.insert("t".into(), measured_once(json!([])));
        w.set_strategy(json!({"canary": null, "blueGreen": {
            "activeService": "live", "analyzeFirstDeployment": true,
            "prePromotionAnalysis": analysis(), "postPromotionAnalysis": analysis(),
        }}));
        w.settle();
        let waits = "waiting for the analysis of the first deployment";
        assert_eq!(w.phase(), pair("Progressing", waits));
        assert_eq!((w.behind("live"), w.runs.len()), (1, 2));
        let names: Vec<String> = w
            .runs
            .iter()
            .filter_map(|r| r.metadata.name.clone())
            .collect();
        for name in names {
            w.run_ends(&name, verdict, "");
        }
        w.settle();
        assert_eq!(w.phase().0, wanted, "{:?}", w.phase());
        // The next version is an update like any other.
        w.update("web:2");
        assert_eq!(w.runs.len(), 3, "{:?}", w.phase());
    }
}
