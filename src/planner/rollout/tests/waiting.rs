//! Whatever waits for a person may have an end: `answerWithin`.

use super::blue_green::blue_green;
use super::freeze::freeze;
use super::*;

fn aborted(why: &str) -> (String, String) {
    let text = format!("RolloutAborted: Rollout aborted update to revision 2: {why}");
    pair("Degraded", &text)
}

/// A blueGreen that waits for a person, for an hour at most.
fn in_the_pause() -> World {
    let mut w = blue_green(json!({"autoPromotionEnabled": false, "answerWithin": "1h"}));
    w.update("web:2");
    assert_eq!(w.phase(), pair("Paused", "BlueGreenPause"));
    w
}

#[test]
fn a_switch_that_nobody_promotes_is_given_up() {
    let mut w = in_the_pause();
    w.wait(3599);
    assert_eq!(w.phase(), pair("Paused", "BlueGreenPause"));
    w.wait(1);
    let why = "nobody promoted it at the pause before the switch within 1h";
    assert_eq!(w.phase(), aborted(why));
    assert_eq!(w.behind("live"), 1);
}

#[test]
fn the_clock_of_the_switch_stands_still_while_nobody_may_answer() {
    type Hold = (fn(&mut World), fn(&mut World));
    let holds: [Hold; 2] = [
        (
            |w| w.patch_spec(json!({"paused": true})),
            |w| w.patch_spec(json!({"paused": false})),
        ),
        (|w| w.freezes = freeze(None), |w| w.freezes = Arc::default()),
    ];
    for (nth, (hold, release)) in holds.into_iter().enumerate() {
        let mut w = in_the_pause();
        w.wait(1800);
        hold(&mut w);
        w.settle();
        w.wait(7200);
        assert_eq!(w.phase().0, "Paused", "{nth}");
        release(&mut w);
        w.settle();
        w.wait(1799);
        assert_eq!(w.phase(), pair("Paused", "BlueGreenPause"), "{nth}");
        w.wait(1);
        assert_eq!(w.phase().0, "Degraded", "{nth}");
    }
}

#[test]
fn a_question_about_a_run_that_nobody_answers_aborts() {
    for (verdict, asked) in [
        ("Inconclusive", "InconclusiveAnalysisRun"),
        ("Failed", "FailedAnalysisRun"),
    ] {
        let analysis = json!({"onFailure": "Pause", "templates": [{"templateName": "t"}]});
        let steps =
            json!([{"setWeight": 50}, {"pause": {"timeout": "1m"}}, {"analysis": analysis}]);
        let mut w = world(4, steps);
        w.analyses.insert("t".into(), measured_once(json!([])));
        w.patch_spec(json!({"strategy": {"canary": {"answerWithin": "10m"}}}));
        let mut w = updated(w);
        w.annotate(PROMOTE, "true");
        w.settle();
        let run = format!("web-{}-2-2", w.status().current_pod_hash.unwrap());
        w.run_ends(&run, verdict, "");
        w.settle();
        assert_eq!(w.phase().0, "Paused", "{verdict}");
        w.wait(599);
        assert_eq!((w.phase().0, w.sizes()), ("Paused".into(), vec![2, 2]));
        w.wait(1);
        let why = format!("nobody said what to do about it ({asked}) within 10m");
        assert_eq!((w.phase(), w.sizes()), (aborted(&why), vec![4, 0]));
    }
}

#[test]
fn a_pause_step_has_the_limit_of_all_or_one_of_its_own() {
    for (pause, limit, text) in [
        (json!({}), 600, "10m"),
        (json!({"timeout": "1h"}), 3600, "1h"),
    ] {
        let mut w = world(4, json!([{"setWeight": 50}, {"pause": pause}]));
        w.patch_spec(json!({"strategy": {"canary": {"answerWithin": "10m"}}}));
        let mut w = updated(w);
        w.wait(limit - 1);
        assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
        w.wait(1);
        let why = format!("nobody promoted it at the pause of step 2 within {text}");
        assert_eq!(w.phase(), aborted(&why));
    }
}
