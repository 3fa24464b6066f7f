//! Input that nobody would write: seeds of every kind that serin reads, broken at random. Nothing may
//! panic, hang, answer differently the second time, or refuse without a word. `make fuzz` runs each
//! target for a minute (`SERIN_FUZZ_SECONDS`); the suite a fixed number of inputs. `SERIN_FUZZ_SEED`
//! begins elsewhere; an input that fails is written to target/fuzz.

mod mutate;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use serin::api::Rollout;
use serin::lint::{self, Source};
use serin::planner::analysis::expr;
use serin::planner::analysis::value::MetricValue;
use serin::planner::{advice, duration, lower};
use serin::providers::prometheus;
use serin::sim::{self};
use serin::webhook::judge::{Asked, Known, judge};

use mutate::{Chance, text_of, value_of};

/// Longest time for one input, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(5);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Tries inputs until the time is over, or so many; panics with the first that is not survived.
fn fuzz<I: Clone + std::fmt::Debug>(
    name: &str,
    count: u64,
    mut input: impl FnMut(&mut Chance) -> I,
    mut holds: impl FnMut(&I) -> Result<(), String>,
) {
    let first = number("SERIN_FUZZ_SEED").unwrap_or(1);
    let time = number("SERIN_FUZZ_SECONDS").map(Duration::from_secs);
    let begun = Instant::now();
    let mut tried = 0;
    while time.map_or(tried < count, |time| begun.elapsed() < time) {
        let seed = first.wrapping_add(tried);
        let given = input(&mut Chance::new(seed));
        let since = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| holds(&given)));
        let wrong = match outcome {
            Ok(Ok(())) if since.elapsed() > PATIENCE => Some(format!("took {:?}", since.elapsed())),
            Ok(Ok(())) => None,
            Ok(Err(wrong)) => Some(wrong),
            Err(_) => Some("panicked".to_owned()),
        };
        if let Some(wrong) = wrong {
            let folder = root().join("target/fuzz");
            fs::create_dir_all(&folder).unwrap();
            let file = folder.join(format!("{name}-{seed}"));
            fs::write(&file, format!("{given:#?}")).unwrap();
            panic!(
                "{name}, SERIN_FUZZ_SEED={seed}: {wrong}; the input is in {}",
                file.display()
            );
        }
        tried += 1;
    }
    eprintln!("{name}: {tried} inputs");
}

fn yaml_below(folder: &str) -> Vec<PathBuf> {
    let mut files = vec![];
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "yaml") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Every object of our kinds in the examples, and the rehearsals' manifests.
fn manifests() -> Vec<Value> {
    let folders = ["examples/rehearsals", "examples/rollouts", "tests/corpus"];
    let files = folders.into_iter().flat_map(yaml_below);
    let mut all = vec![];
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap_or_default();
        for document in documents {
            let inner = document["manifests"].as_array().cloned();
            all.extend(inner.unwrap_or_else(|| vec![document]));
        }
    }
    all.retain(|object| object["kind"].is_string());
    assert!(all.len() > 50, "the seeds are lost: {}", all.len());
    all
}

#[test]
fn manifests_are_lowered_or_refused_with_words() {
    let seeds = manifests();
    fuzz(
        "manifests",
        1_500,
        |chance| value_of(chance, &seeds),
        |object| {
            let asked = Asked {
                namespace: "shop".to_owned(),
                object: object.clone(),
                old: None,
            };
            let now = "2026-11-21T20:00:00Z".parse().unwrap();
            let said = judge(&asked, &Known::default(), now);
            if said != judge(&asked, &Known::default(), now) {
                return Err("the second answer is another".to_owned());
            }
            if said.faults.iter().any(|f| f.message.trim().is_empty()) {
                return Err(format!("a fault without words: {:?}", said.faults));
            }
            // Another group, or an object on its way out, is not judged.
            let is_asked_about = object["kind"] == "Rollout"
                && object["apiVersion"] == serin::api::API_VERSION
                && object["metadata"]["deletionTimestamp"].is_null();
            let Ok(rollout) = serde_json::from_value::<Rollout>(object.clone()) else {
                return Ok(());
            };
            match lower::lower(&rollout) {
                Ok(spec) => drop(advice::of(&rollout.spec, &spec)),
                Err(faults) if faults.is_empty() => {
                    return Err("refused without a fault".to_owned());
                }
                Err(_) if is_asked_about && said.faults.is_empty() => {
                    return Err("the controller refuses what the webhook lets in".to_owned());
                }
                Err(_) => {}
            }
            Ok(())
        },
    );
}

#[test]
fn texts_that_are_no_manifests_are_read_to_their_end() {
    let files = yaml_below("examples/rehearsals");
    let seeds: Vec<String> = files
        .iter()
        .map(|f| fs::read_to_string(f).unwrap())
        .collect();
    fuzz(
        "texts",
        400,
        |chance| {
            text_of(
                chance,
                &seeds,
                &[
                    "---\n", "&a ", "*a", "- ", ": ", "{", "[", "\t", "!!str ", "|\n",
                ],
            )
        },
        |text| {
            let name = "fuzz.yaml".to_owned();
            let source = Source {
                name,
                text: text.clone(),
            };
            let report = lint::check(&[source], &|_, _| (vec![], vec![]));
            drop(lint::report::text(&report));
            drop(lint::report::sarif(&report));
            Ok(())
        },
    );
}

#[test]
fn conditions_are_judged_or_refused() {
    let seeds: Vec<String> = [
        "len(result) > 0 && !isNaN(result[0]) && result[0] <= 0.8",
        "result[0] >= 0.95 || default(result, 0) == 0",
        "all(result, # < 3) and any(result, {# > 1}) and none(result, # == 2)",
        "filter(result, #.value > 1)[0].name matches '^a.*b$'",
        "result.a.b?.c ?? 'none' contains \"x\" ? true : 1 in [1, 2, 3]",
        "asFloat(result) ** 2 % 3 == -1.5e-3 and not (1..10 == nil)",
        "map(result, # * 2)[1:3] == [2, 4] and sum(result) > count(result, # > 0)",
    ]
    .map(str::to_owned)
    .into();
    let words = [
        "result", "#", "[", "]", "(", ")", "..", "**", "\"", "'", "and", "not ", "?", ":", "??",
        "?.", "matches", "len(", "map(", "1e308", "-", "{", "}", "|",
    ];
    let values = [
        json!([1.0, 2, 3]),
        json!([]),
        json!({"a": {"b": null}}),
        json!("text"),
        json!(null),
    ];
    let values: Vec<MetricValue> = values.iter().map(MetricValue::from).collect();
    fuzz(
        "conditions",
        20_000,
        |chance| text_of(chance, &seeds, &words),
        |text| {
            let checked = expr::Condition::parse(text).map(|_| ());
            if checked.as_ref().is_err_and(|why| why.trim().is_empty()) {
                return Err("refused without a word".to_owned());
            }
            for value in &values {
                let judged = expr::evaluate(text, value);
                if checked.is_err() && judged.is_ok() {
                    return Err(format!("judged although it is no condition: {checked:?}"));
                }
                if judged != expr::evaluate(text, value) {
                    return Err("the second verdict is another".to_owned());
                }
            }
            Ok(())
        },
    );
}

#[test]
fn durations_are_read_or_refused() {
    let seeds: Vec<String> = [
        "1m30s",
        "2h45m",
        "300ms",
        "1.5h",
        "0",
        "-5s",
        "90",
        "1µs",
        "9223372036854775807ns",
    ]
    .map(str::to_owned)
    .into();
    let words = [
        "h", "m", "s", "ms", "us", "µs", "ns", ".", "-", "+", "9", "0", "d", " ", "e",
    ];
    fuzz(
        "durations",
        50_000,
        |chance| text_of(chance, &seeds, &words),
        |text| {
            match duration::parse(text) {
                Err(why) if why.trim().is_empty() => return Err("refused without a word".into()),
                Ok(_) | Err(_) => {}
            }
            // Whether a pause may be so long, or negative, is for lowering to say.
            match duration::pause_seconds(text) {
                Ok(seconds) => drop(duration::human(seconds)),
                Err(why) if why.trim().is_empty() => return Err("refused without a word".into()),
                Err(_) => {}
            }
            Ok(())
        },
    );
}

#[test]
fn replies_of_prometheus_are_read_or_refused() {
    let reply = |kind: &str, result: Value| json!({"status": "success", "data": {"resultType": kind, "result": result}});
    let seeds = [
        reply(
            "vector",
            json!([{"metric": {"a": "b"}, "value": [1.5, "0.98"]}]),
        ),
        reply(
            "vector",
            json!([{"metric": {}, "value": [1, "NaN"]}, {"metric": {}, "value": [1, "+Inf"]}]),
        ),
        reply("scalar", json!([1.5, "3"])),
        reply("string", json!([1.5, "text"])),
        reply(
            "matrix",
            json!([{"metric": {}, "values": [[1, "2"], [2, "3"]]}]),
        ),
        reply(
            "vector",
            json!([{"metric": {}, "histogram": [1, {"count": "2", "sum": "3", "buckets": [[0, "1", "2", "2"]]}]}]),
        ),
        json!({"status": "error", "errorType": "bad_data", "error": "parse error"}),
    ];
    let texts: Vec<String> = seeds.iter().map(Value::to_string).collect();
    fuzz(
        "replies",
        20_000,
        |chance| {
            let status = *chance.pick(&[200, 200, 200, 400, 422, 503, 0, 99, 302]);
            let body = match chance.below(2) {
                0 => value_of(chance, &seeds).to_string(),
                _ => text_of(
                    chance,
                    &texts,
                    &[
                        "\"NaN\"", "1e999", "null", "[", "{", "\"", ",", "\u{0}", "-",
                    ],
                ),
            };
            (status, body)
        },
        |(status, body)| {
            let read = prometheus::parse(*status, body.as_bytes());
            if read.as_ref().is_err_and(|why| why.trim().is_empty()) {
                return Err("refused without a word".to_owned());
            }
            if read.is_ok() && *status != 200 {
                return Err("read although it is an error".to_owned());
            }
            // What is read can be judged.
            if let Ok(value) = read {
                drop(expr::evaluate("result[0] > 0", &value));
            }
            Ok(())
        },
    );
}

/// Annotations, specs and statuses as nobody would write them, in the middle of an update: it is
/// played to its end.
#[test]
fn commands_of_any_shape_are_survived() {
    let file = root().join("examples/rehearsals/pause-promote.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let document: Value = serde_saphyr::from_str(&text).unwrap();
    let last = r#"{"id":"7","verb":"promote","value":"true","hash":"h","step":1,"at":"2026-01-01T00:00:00Z","outcome":"accepted"}"#;
    let annotations: Vec<Value> = [
        ("serin.dev/promote", "full"),
        ("serin.dev/abort", "slow"),
        ("serin.dev/retry", "step"),
        ("serin.dev/undo", "1"),
        ("serin.dev/restart", "true"),
        ("serin.dev/pause", "true"),
        ("serin.dev/override-freeze", "reason"),
        ("serin.dev/last-command", last),
        ("rollout.argoproj.io/revision", "2"),
    ]
    .map(|(key, value)| json!({key: value}))
    .into();
    let statuses = [
        json!({"abort": true}),
        json!({"pauseConditions": null, "controllerPause": false, "currentStepIndex": 2}),
        json!({"promoteFull": true}),
        json!({"stableRS": "x", "currentPodHash": "y", "serin": {"command": "1", "step": 3, "attempt": 2}}),
        json!({"conditions": [{"type": "Progressing", "status": "False", "reason": "RolloutAborted"}]}),
    ];
    let specs = [
        json!({"spec": {"paused": true}}),
        json!({"spec": {"replicas": 3, "strategy": {"canary": {"steps": [{"setWeight": 10}], "maxSurge": 1}}}}),
        json!({"spec": {"template": {"metadata": {"labels": {"app": "support-agent"}}, "spec": {"containers": []}}}}),
        json!({"spec": {"restartAt": "2026-01-01T00:00:00Z", "progressDeadlineSeconds": 1}}),
    ];
    fuzz(
        "commands",
        120,
        |chance| {
            let (verb, seeds) = match chance.below(3) {
                0 => ("annotate", &annotations[..]),
                1 => ("patchStatus", &statuses[..]),
                _ => ("patch", &specs[..]),
            };
            let at = format!("{}s", 20 + chance.below(200));
            (verb, at, value_of(chance, seeds))
        },
        |(verb, at, value)| {
            let mut document = document.clone();
            document["script"] = json!([
                {"at": "0s", "image": "v2"},
                {"at": at, *verb: value},
                {"at": "5m", "promote": true},
            ]);
            document["expect"] = json!([]);
            document["until"] = json!("15m");
            // What is no action is refused, with words.
            match serin::cli::rehearse::read_rehearsal(&file, &document) {
                Ok(rehearsal) => drop(sim::run(&rehearsal)),
                Err(faults) if faults.is_empty() => return Err("refused without a fault".into()),
                Err(_) => {}
            }
            Ok(())
        },
    );
}
