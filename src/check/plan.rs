//! Lines about the rollout plan: its objectives, and two rehearsals of it.

use serde_json::{Map, Value, json};

use super::{Found, Given, list, of_kind, text_at};
use crate::sim::{self, Rehearsal};
use crate::view::timeline::{Gate, Timeline, Unit};

const GOES_OUT: &str = "Healthy on v2";
const TAKEN_BACK: &str = "rolled back before 100%";

pub(super) fn objectives(given: Given<'_>) -> Found {
    let mut found = Found::default();
    for rollout in of_kind(given, "Rollout") {
        found.look(rollout);
        if list(rollout, "/spec/strategy/canary/slos/objectives")
            .next()
            .is_none()
        {
            found.fault(rollout, "has no objectives");
        }
    }
    found
}

/// Plays an update of one Rollout, and what is expected of it. A pause that waits for a person gets one after an hour, who
/// promotes in full what is expected to go out, and otherwise a step: that is refused once the version was taken back.
fn play(
    given: Given<'_>,
    rollout: &Value,
    metrics: &Map<String, Value>,
    expect: &str,
) -> Result<Timeline, String> {
    let ours: Vec<&Value> = given
        .objects
        .iter()
        .filter(|object| text_at(object, "/apiVersion") == "argoproj.io/v1alpha1")
        .filter(|object| match text_at(object, "/kind") {
            "Rollout" => std::ptr::eq(*object, rollout),
            kind => kind.ends_with("AnalysisTemplate"),
        })
        .collect();
    let person = if expect == GOES_OUT {
        json!("full")
    } else {
        json!(true)
    };
    let file = json!({
        "manifests": ours,
        "versions": {"v2": {"metrics": metrics}},
        "script": [{"at": "0s", "image": "v2"}, {"at": "1h after paused", "promote": person}],
        "until": "12h",
        "expect": [expect],
    });
    let name = text_at(rollout, "/metadata/name");
    let rehearsal = Rehearsal::parse(name, &file, &|_| Ok(vec![])).map_err(|faults| {
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        told.join("; ")
    })?;
    Ok(sim::run(&rehearsal))
}

/// What was expected and did not come true. That nobody had to promote is no miss.
fn misses(timeline: &Timeline) -> Vec<String> {
    let all = timeline
        .expectations
        .iter()
        .filter(|e| [GOES_OUT, TAKEN_BACK].contains(&&*e.text));
    let missed = all.filter_map(|e| Some((e, e.miss.as_ref()?)));
    missed
        .map(|(expectation, miss)| format!("expected {}, but {miss}", expectation.text))
        .collect()
}

pub(super) fn good_goes_out(given: Given<'_>) -> Found {
    let mut found = Found::default();
    for rollout in of_kind(given, "Rollout") {
        found.look(rollout);
        match play(given, rollout, &Map::new(), GOES_OUT) {
            Err(faults) => found.fault(rollout, faults),
            Ok(timeline) => {
                if timeline.steps.is_empty() {
                    found.fault(
                        rollout,
                        "has no steps: every pod gets the new version at once",
                    );
                }
                for miss in misses(&timeline) {
                    found.fault(rollout, miss);
                }
            }
        }
    }
    found
}

/// A value that breaks the gate, as a rehearsal writes it.
fn broken(gate: &Gate) -> Option<Value> {
    let limit = gate.limit?;
    let value = if gate.is_upper {
        limit.abs().mul_add(10.0, 1.0)
    } else {
        limit - limit.abs().mul_add(0.5, 0.1)
    };
    let text = match gate.unit {
        Unit::Seconds => format!("{value}s"),
        Unit::Share => format!("{}%", (value * 100.0).clamp(0.0, 100.0)),
        Unit::Plain => value.to_string(),
    };
    Some(json!(text))
}

pub(super) fn bad_is_taken_back(given: Given<'_>) -> Found {
    let mut found = Found::default();
    for rollout in of_kind(given, "Rollout") {
        found.look(rollout);
        if rollout.pointer("/spec/revisionHistoryLimit") == Some(&json!(0)) {
            found.fault(
                rollout,
                "revisionHistoryLimit is 0: no old version is kept to go back to",
            );
        }
        // A manifest that cannot be played is told by the line before this one.
        let Ok(well) = play(given, rollout, &Map::new(), GOES_OUT) else {
            found.fault(rollout, "cannot be rehearsed");
            continue;
        };
        let gates: Vec<(&Gate, Value)> = well
            .gates
            .iter()
            .filter_map(|gate| Some((gate, broken(gate)?)))
            .collect();
        if gates.is_empty() {
            found.fault(
                rollout,
                "has no objective whose breach could take a version back",
            );
        }
        for (gate, value) in gates {
            let metrics = Map::from_iter([(gate.name.clone(), value)]);
            match play(given, rollout, &metrics, TAKEN_BACK) {
                Err(faults) => found.fault(rollout, faults),
                Ok(timeline) => {
                    for miss in misses(&timeline) {
                        found.fault(rollout, format!("with a broken {}: {miss}", gate.name));
                    }
                }
            }
        }
    }
    found
}
