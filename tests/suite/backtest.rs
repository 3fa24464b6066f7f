//! `serin backtest` against a real Prometheus that remembers half a day: a bad quarter of an hour, and
//! a version whose tools fail. Needs `SERIN_PROMETHEUS_TESTS` for what asks one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::bench::scratch;
use crate::slo_worlds::with_past;

/// The last moment: 2023-11-14T22:13:20Z.
const NOW: i64 = 1_700_000_000;
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const OLD: &str = "77c4f9d6bb";
const NEW: &str = "5f8d9c7b6c";
const BUCKETS: [(&str, f64); 5] = [
    ("0.25", 0.25),
    ("0.5", 0.5),
    ("1.0", 1.0),
    ("2.5", 2.5),
    ("+Inf", f64::INFINITY),
];

const MANIFEST: &str = r#"
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: { name: agent, namespace: prod }
spec:
  replicas: 2
  selector: { matchLabels: { app: agent } }
  template:
    metadata: { labels: { app: agent } }
    spec: { containers: [{ name: app, image: "agent:1" }] }
  strategy:
    canary:
      steps: [{ setWeight: 50 }, { pause: { duration: 10m } }, { setWeight: 100 }]
      slos:
        interval: 60s
        window: 5m
        minSamples: 5
        objectives:
          - latency: { histogram: task_seconds, p95: 800ms }
          - success: { good: 'calls_total{outcome="success"}', total: calls_total, atLeast: 99% }
          - name: slower-than-stable
            latency: { histogram: task_seconds, p95: { noWorseThanStable: 20% } }
"#;

const TEMPLATE: &str = r#"
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: { name: calls, namespace: prod }
spec:
  args: [{ name: hash }]
  metrics:
    - name: good-calls
      interval: 60s
      count: 10
      failureLimit: 3
      successCondition: len(result) > 0 && result[0] >= 0.99
      provider:
        prometheus:
          query: sum(rate(calls_total{outcome="success",rollouts_pod_template_hash="{{args.hash}}"}[5m])) / sum(rate(calls_total{rollouts_pod_template_hash="{{args.hash}}"}[5m]))
    - name: smoke
      provider: { job: { spec: { template: { spec: { restartPolicy: Never, containers: [{ name: c, image: "smoke:1" }] } } } } }
"#;

/// One pod's tasks in a minute.
const TASKS: f64 = 12.0;

/// Twelve hours of two pods: the old version for eight, with a slow quarter of an hour in the third;
/// then a new one whose every fifth call fails.
fn past() -> String {
    let mut lines: BTreeMap<&str, String> = BTreeMap::new();
    let from = NOW - 12 * HOUR;
    for (hash, begins, ends, failing) in [
        (OLD, from, NOW - 4 * HOUR + 5 * MINUTE, 0.0),
        (NEW, NOW - 4 * HOUR, NOW, 0.2),
    ] {
        for n in 0..2 {
            let name = format!("agent-{hash}-{n}abcd");
            let labels =
                format!("namespace=\"prod\",pod=\"{name}\",rollouts_pod_template_hash=\"{hash}\"");
            let mut within = [0.0; BUCKETS.len()];
            let (mut good, mut bad) = (0.0, 0.0);
            let mut at = begins;
            while at <= ends {
                let is_slow =
                    hash == OLD && (3 * HOUR..3 * HOUR + 15 * MINUTE).contains(&(at - from));
                let slowest = if is_slow { 2.4 } else { 0.4 };
                for ((_, bound), sum) in BUCKETS.iter().zip(&mut within) {
                    *sum += TASKS * (bound / slowest).min(1.0);
                }
                good += TASKS * (1.0 - failing);
                bad += TASKS * failing;
                let mut say = |name: &'static str, more: &str, value: f64| {
                    let text = lines.entry(name).or_default();
                    writeln!(text, "{name}{{{labels}{more}}} {value} {at}").unwrap();
                };
                for ((le, _), sum) in BUCKETS.iter().zip(within) {
                    say("task_seconds_bucket", &format!(",le=\"{le}\""), sum);
                }
                say("task_seconds_count", "", within[BUCKETS.len() - 1]);
                say("calls_total", ",outcome=\"success\"", good);
                say("calls_total", ",outcome=\"error\"", bad);
                at += MINUTE;
            }
        }
    }
    lines.into_values().collect::<String>() + "# EOF\n"
}

fn backtest(manifest: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
    command.arg("backtest").arg("-f").arg(manifest).args(more);
    command.env_remove("SERIN_PROMETHEUS").output().unwrap()
}

fn manifest(name: &str, text: &str) -> (PathBuf, PathBuf) {
    let dir = scratch(Path::new(env!("CARGO_TARGET_TMPDIR")), name).unwrap();
    let file = dir.join("rollout.yaml");
    fs::write(&file, text).unwrap();
    (dir, file)
}

#[test]
fn the_past_is_judged_as_if_rollouts_had_begun_in_it() {
    if std::env::var_os("SERIN_PROMETHEUS_TESTS").is_none() {
        return;
    }
    let (dir, file) = manifest("backtest", MANIFEST);
    let text = dir.join("past.txt");
    fs::write(&text, past()).unwrap();
    let prometheus = with_past(&dir, &text);
    let (address, page) = (prometheus.url(), dir.join("report.html"));
    let common = [
        "--prometheus",
        &address,
        "--since",
        "12h",
        "--until",
        "2023-11-14T22:13:20Z",
    ];
    let page_flags = ["-o", "json", "--report", page.to_str().unwrap()];
    let output = backtest(&file, &[&common[..], &page_flags[..]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();

    // Slow for a quarter of an hour, and seen for the window's five minutes longer.
    let latency = &report["objectives"][0];
    assert_eq!(
        (&latency["name"], &latency["times"]),
        (&"p95-latency".into(), &1.into())
    );
    let episode = &latency["episodes"][0];
    let lasts = episode["until"].as_i64().unwrap() - episode["from"].as_i64().unwrap();
    assert!((15 * MINUTE..=21 * MINUTE).contains(&lasts), "{episode}");
    // Of twelve hours, rollouts that begin in about half an hour meet it.
    let share = latency["share"].as_f64().unwrap();
    assert!((0.03..0.06).contains(&share), "{latency}");
    assert_eq!(latency["suggestion"]["isTooStrict"], true);

    // The tools of the new version fail to the end: a third of all moments.
    let success = &report["objectives"][1];
    let share = success["share"].as_f64().unwrap();
    assert!((0.3..0.4).contains(&share), "{success}");
    assert_eq!(report["objectives"][2]["isCompared"], true);

    // The new version came after the old one, and would have been stopped by its tools.
    let versions = report["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 1, "{report:#}");
    assert_eq!(
        (&versions[0]["hash"], &versions[0]["after"]),
        (&NEW.into(), &OLD.into())
    );
    assert_eq!(
        (&versions[0]["verdict"], &versions[0]["objective"]),
        (&"stopped".into(), &"success-rate".into())
    );
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains("success-rate") && !page.contains("<script"));

    let output = backtest(&file, &common);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("would have been stopped after"), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );

    // The same by an analysis of a template, in a file of its own: its limit is three failures.
    let step = "steps: [{ analysis: { templates: [{ templateName: calls }], args: [{ name: hash, valueFrom: { podTemplateHashValue: Latest } }] } },";
    let (dir, file) = manifest(
        "backtest-analysis",
        &MANIFEST
            .split("      slos:")
            .next()
            .unwrap()
            .replace("steps: [", step),
    );
    let template = dir.join("template.yaml");
    fs::write(&template, TEMPLATE).unwrap();
    let template = [
        "-f",
        template.to_str().unwrap(),
        "--every",
        "60s",
        "-o",
        "json",
    ];
    let output = backtest(&file, &[&common[..], &template[..]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let success = &report["objectives"][0];
    assert_eq!(
        (&success["name"], &success["failureLimit"]),
        (&"good-calls".into(), &3.into())
    );
    let share = success["share"].as_f64().unwrap();
    assert!((0.3..0.4).contains(&share), "{success}");
    assert!(
        report["leftOut"][0]
            .as_str()
            .unwrap()
            .starts_with("smoke: asks Job")
    );

    // Nothing is there of another Rollout: said, and no success.
    let (_other, file) = manifest(
        "backtest-other",
        &MANIFEST.replace("name: agent,", "name: other,"),
    );
    let output = backtest(&file, &common);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("no value in all that time"), "{text}");
}

#[test]
fn what_cannot_be_asked_is_told_with_what_to_do() {
    let (_dir, file) = manifest("backtest-wrong", MANIFEST);
    let told = |file: &Path, more: &[&str], words: &[&str]| {
        let output = backtest(file, more);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
    };
    told(&file, &[], &["--prometheus"]);
    let nobody = ["--prometheus", "http://127.0.0.1:1", "--since", "1h"];
    told(&file, &nobody, &["objective p95-latency", "127.0.0.1:1"]);
    let long = [
        "--prometheus",
        "http://127.0.0.1:1",
        "--every",
        "1s",
        "--since",
        "90d",
    ];
    told(&file, &long, &["raise --every"]);
    let strange = ["--prometheus", "http://127.0.0.1:1", "--match", "app=agent"];
    told(&file, &strange, &["--match app=agent", "app=\"agent\""]);
    let (_dir, bare) = manifest(
        "backtest-bare",
        MANIFEST.split("      slos:").next().unwrap(),
    );
    told(&bare, &nobody, &["has no objectives", "add slos"]);
    let step = "steps: [{ analysis: { templates: [{ templateName: t }] } },";
    let text = MANIFEST.split("      slos:").next().unwrap();
    let (_dir, judged) = manifest("backtest-step", &text.replace("steps: [", step));
    told(
        &judged,
        &nobody,
        &["AnalysisTemplate 't' not found", "with -f"],
    );
}
