//! The gate's queries against a real Prometheus, in scripted worlds: each namespace is one world,
//! back-filled and asked at one fixed moment, so that nothing sleeps. Needs
//! `SERIN_PROMETHEUS_TESTS`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use serin::api::{AnalysisRun, Slos};
use serin::planner::analysis::{
    Answer, ResolvedArgs, RunObserved, RunRequest, Task, build_run, plan_analysis,
};
use serin::planner::slo::{self, Gate, SloContext, SloSpec};
use serin::providers::prometheus::parse;

use crate::bench::prometheus::Prometheus;
use crate::bench::{http, programs, scratch};

/// The moment at which everything is asked.
const NOW: i64 = 1_700_000_000;
/// Ten minutes of scrapes, one in 15 s.
const SCRAPES: i64 = 40;
const STEP: i64 = 15;
const CANARY: &str = "5f8d9c7b6c";
const STABLE: &str = "77c4f9d6bb";
const BUCKETS: [(&str, f64); 6] = [
    ("0.1", 0.1),
    ("0.25", 0.25),
    ("0.5", 0.5),
    ("1.0", 1.0),
    ("2.5", 2.5),
    ("5.0", 5.0),
];

/// How the pods of one version behave.
#[derive(Clone)]
struct Pods {
    hash: &'static str,
    count: usize,
    /// The series carry the pods' labels.
    labels: bool,
    /// Tasks of one pod between two scrapes.
    tasks: f64,
    /// Every task takes a time evenly spread from 0 to this, in seconds.
    slowest: f64,
    /// Share of tool calls that succeed; without any, there is no series of them.
    success: f64,
    cost: f64,
    /// The counter of violations appears with the first one, at the last scrape.
    violates: bool,
    /// The process begins anew half-way.
    restarts: bool,
    up: f64,
    /// The process has had nothing to do and exports no series yet.
    silent: bool,
}

fn canary() -> Pods {
    Pods {
        hash: CANARY,
        count: 2,
        labels: true,
        tasks: 3.0,
        slowest: 0.5,
        success: 1.0,
        cost: 0.02,
        violates: false,
        restarts: false,
        up: 1.0,
        silent: false,
    }
}

fn stable() -> Pods {
    Pods {
        hash: STABLE,
        ..canary()
    }
}

/// OpenMetrics text with the past of every world.
#[derive(Default)]
struct Past(BTreeMap<String, Vec<String>>);

impl Past {
    fn world(&mut self, namespace: &str, versions: &[Pods]) {
        for pods in versions {
            for i in 0..pods.count {
                self.pod(namespace, pods, &format!("agent-{}-{i}abc", pods.hash));
            }
        }
    }

    fn pod(&mut self, namespace: &str, pods: &Pods, name: &str) {
        let mut labels = format!(
            "job=\"pods\",instance=\"{name}:8080\",namespace=\"{namespace}\",pod=\"{name}\""
        );
        if pods.labels {
            write!(
                labels,
                ",app=\"agent\",rollouts_pod_template_hash=\"{}\"",
                pods.hash
            )
            .unwrap();
        }
        for k in 0..=SCRAPES {
            let at = NOW - (SCRAPES - k) * STEP;
            self.sample("up", &labels, "", pods.up, at);
            if pods.up == 0.0 || pods.silent {
                continue;
            }
            let since = if pods.restarts && k > SCRAPES / 2 {
                k - SCRAPES / 2
            } else {
                k
            };
            let done = pods.tasks * since as f64;
            for (le, bound) in BUCKETS {
                let within = (bound / pods.slowest).min(1.0) * done;
                self.sample(
                    "agent_task_duration_seconds_bucket",
                    &labels,
                    &format!(",le=\"{le}\""),
                    within,
                    at,
                );
            }
            self.sample(
                "agent_task_duration_seconds_bucket",
                &labels,
                ",le=\"+Inf\"",
                done,
                at,
            );
            self.sample("agent_task_duration_seconds_count", &labels, "", done, at);
            self.sample(
                "agent_task_cost_dollars_sum",
                &labels,
                "",
                done * pods.cost,
                at,
            );
            self.sample("agent_tasks_total", &labels, "", done, at);
            let calls = done * 2.0;
            if pods.success > 0.0 {
                self.sample(
                    "agent_tool_calls_total",
                    &labels,
                    ",outcome=\"success\"",
                    calls * pods.success,
                    at,
                );
            }
            if pods.success < 1.0 {
                self.sample(
                    "agent_tool_calls_total",
                    &labels,
                    ",outcome=\"error\"",
                    calls * (1.0 - pods.success),
                    at,
                );
            }
            if pods.violates && k == SCRAPES {
                self.sample("agent_governance_violations_total", &labels, "", 1.0, at);
            }
        }
    }

    fn sample(&mut self, name: &str, labels: &str, more: &str, value: f64, at: i64) {
        let lines = self.0.entry(name.to_owned()).or_default();
        lines.push(format!("{name}{{{labels}{more}}} {value} {at}"));
    }

    fn write(&self, path: &Path) {
        let mut text = String::new();
        for lines in self.0.values() {
            for line in lines {
                writeln!(text, "{line}").unwrap();
            }
        }
        text.push_str("# EOF\n");
        fs::write(path, text).unwrap();
    }
}

/// A Prometheus with that past.
fn remember(past: &Past) -> Prometheus {
    let dir = scratch(Path::new(env!("CARGO_TARGET_TMPDIR")), "slo-worlds").unwrap();
    let text = dir.join("past.txt");
    past.write(&text);
    with_past(&dir, &text)
}

/// A Prometheus that remembers what an OpenMetrics file says, with its data in `dir`.
pub fn with_past(dir: &Path, text: &Path) -> Prometheus {
    let promtool = programs::prometheus().unwrap().with_file_name("promtool");
    let made = Command::new(promtool)
        .args([
            "tsdb",
            "create-blocks-from",
            "--max-block-duration=24h",
            "openmetrics",
        ])
        .arg(text)
        .arg(dir.join("data"))
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "promtool: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    Prometheus::start_with_config(dir, "global: {scrape_interval: 1h}\n").unwrap()
}

/// The five objectives of the README.
fn everything() -> Value {
    json!({"objectives": [
        {"latency": {"histogram": "agent_task_duration_seconds", "p95": "800ms", "p99": "2s"}},
        {"success": {"good": "agent_tool_calls_total{outcome=\"success\"}", "total": "agent_tool_calls_total", "atLeast": "99%"}},
        {"cost": {"spent": "agent_task_cost_dollars_sum", "per": "agent_tasks_total", "atMost": 0.05}},
        {"violations": {"counter": "agent_governance_violations_total", "atMost": 0}},
        {"query": {"name": "pods", "promql": "count(up{{{canary}}} == 1)", "atLeast": 1}}
    ]})
}

fn only(objective: Value) -> Value {
    json!({"objectives": [objective]})
}

fn spec(slos: Value) -> SloSpec {
    let slos: Slos = serde_json::from_value(slos).unwrap();
    slo::lower(&slos, "slos").unwrap()
}

/// What the gate says of a namespace, through the whole engine.
fn judge(prometheus: &Prometheus, namespace: &str, slos: Value) -> Gate {
    let spec = spec(slos);
    let now = Timestamp::from_second(NOW).unwrap();
    let mut run = slo::build_run(
        &spec,
        &SloContext {
            namespace: namespace.to_owned(),
            rollout: "agent".to_owned(),
            uid: "u".to_owned(),
            hash: CANARY.to_owned(),
            stable_hash: STABLE.to_owned(),
            revision: 2,
            ..SloContext::default()
        },
    );
    measure(prometheus, &mut run);
    slo::gate(&spec, Some(&run), now)
}

/// Takes turns until there is nothing to ask.
fn measure(prometheus: &Prometheus, run: &mut AnalysisRun) {
    let now = Timestamp::from_second(NOW).unwrap();
    let mut answers = Vec::new();
    loop {
        let plan = plan_analysis(&RunObserved {
            now,
            run: Arc::new(run.clone()),
            answers: answers.clone(),
            in_flight: BTreeSet::new(),
            args: ResolvedArgs::default(),
            jobs: Default::default(),
            job_logs: Default::default(),
        });
        answers.retain(|a: &Answer| !plan.settled.contains(&a.key));
        if plan.status.is_some() {
            run.status = plan.status;
        }
        if plan.tasks.is_empty() {
            return;
        }
        answers.extend(plan.tasks.iter().map(|task| ask(prometheus, task, now)));
    }
}

/// The phase and the message of a preset's run, with these arguments.
fn preset(
    prometheus: &Prometheus,
    name: &str,
    namespace: &str,
    more: &[(&str, &str)],
) -> (String, String) {
    let preset = slo::presets::presets()
        .into_iter()
        .find(|p| p["metadata"]["name"] == name)
        .unwrap();
    let template = serde_json::from_value(preset["spec"].clone()).unwrap();
    let own = [
        ("prometheus", "http://p"),
        ("namespace", namespace),
        ("canary-hash", CANARY),
    ];
    let args: Vec<Value> = own
        .iter()
        .chain(more)
        .map(|(n, v)| json!({"name": n, "value": v}))
        .collect();
    let mut run = build_run(&RunRequest {
        templates: vec![Arc::new(template)],
        args: serde_json::from_value(args.into()).unwrap(),
        ..RunRequest::default()
    })
    .unwrap();
    measure(prometheus, &mut run);
    let status = run.status.unwrap();
    (
        status.phase.unwrap_or_default(),
        status.message.unwrap_or_default(),
    )
}

fn ask(prometheus: &Prometheus, task: &Task, now: Timestamp) -> Answer {
    let Task::Measure { key, provider, .. } = task;
    let query = provider.prometheus.clone().unwrap().query.unwrap();
    let port = prometheus
        .url()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let path = format!("/api/v1/query?time={NOW}&query={}", http::escape(&query));
    let (status, body) = http::get(port, &path).unwrap();
    let result = parse(status, body.as_bytes());
    assert!(result.is_ok(), "{query}\n{body}");
    Answer {
        key: key.clone(),
        started: now,
        finished: now,
        result,
        metadata: BTreeMap::new(),
    }
}

#[track_caller]
fn passes(gate: Gate) {
    assert_eq!(gate, Gate::Pass);
}

#[track_caller]
fn fails(gate: Gate, name: &str, words: &[&str]) {
    let Gate::Fail { objective, message } = &gate else {
        panic!("expected a failure, found {gate:?}")
    };
    assert_eq!(objective, name, "{message}");
    for word in words {
        assert!(message.contains(word), "{message} lacks {word}");
    }
}

#[track_caller]
fn holds(gate: Gate, words: &[&str]) {
    let Gate::Hold { why } = &gate else {
        panic!("expected a hold, found {gate:?}")
    };
    for word in words {
        assert!(why.contains(word), "{why} lacks {word}");
    }
}

fn p95(bound: Value) -> Value {
    only(json!({"latency": {"histogram": "agent_task_duration_seconds", "p95": bound}}))
}

#[test]
fn verdicts_in_scripted_worlds() {
    if std::env::var_os("SERIN_PROMETHEUS_TESTS").is_none() {
        return;
    }
    let mut past = Past::default();
    past.world("healthy", &[stable(), canary()]);
    past.world(
        "slow",
        &[
            stable(),
            Pods {
                slowest: 1.6,
                ..canary()
            },
        ],
    );
    past.world(
        "failing",
        &[
            stable(),
            Pods {
                success: 0.9,
                ..canary()
            },
        ],
    );
    past.world(
        "hopeless",
        &[
            stable(),
            Pods {
                success: 0.0,
                ..canary()
            },
        ],
    );
    past.world(
        "costly",
        &[
            stable(),
            Pods {
                cost: 0.12,
                ..canary()
            },
        ],
    );
    past.world(
        "idle",
        &[
            stable(),
            Pods {
                tasks: 0.0,
                ..canary()
            },
        ],
    );
    past.world(
        "fresh",
        &[
            stable(),
            Pods {
                silent: true,
                ..canary()
            },
        ],
    );
    past.world(
        "few",
        &[
            stable(),
            Pods {
                tasks: 0.2,
                ..canary()
            },
        ],
    );
    let bare = |pods: Pods| Pods {
        labels: false,
        ..pods
    };
    past.world("bare", &[bare(stable()), bare(canary())]);
    past.world(
        "violating",
        &[
            stable(),
            Pods {
                violates: true,
                ..canary()
            },
        ],
    );
    past.world(
        "regressing",
        &[
            stable(),
            Pods {
                slowest: 0.79,
                ..canary()
            },
        ],
    );
    past.world(
        "quiet-stable",
        &[
            Pods {
                tasks: 0.1,
                ..stable()
            },
            canary(),
        ],
    );
    past.world(
        "restarted",
        &[
            stable(),
            Pods {
                restarts: true,
                ..canary()
            },
        ],
    );
    past.world("unscraped", &[stable()]);
    past.world(
        "down",
        &[
            stable(),
            Pods {
                up: 0.0,
                ..canary()
            },
        ],
    );
    past.world(
        "sluggish",
        &[
            stable(),
            Pods {
                slowest: 30.0,
                ..canary()
            },
        ],
    );
    let prometheus = remember(&past);
    let gate = |namespace: &str, slos: Value| judge(&prometheus, namespace, slos);
    let over_5m = "over 5m";

    passes(gate("healthy", everything()));
    fails(
        gate("slow", everything()),
        "p95-latency",
        &["2.3s over 5m", "at most 800ms"],
    );
    fails(
        gate("failing", everything()),
        "success-rate",
        &["90%", "at least 99%", over_5m],
    );
    fails(
        gate("hopeless", everything()),
        "success-rate",
        &["0%", "at least 99%"],
    );
    fails(
        gate("costly", everything()),
        "cost",
        &["0.12", "at most 0.05"],
    );

    // Nothing to judge is not a verdict, and the reason is told.
    holds(
        gate("idle", everything()),
        &["p95-latency, p99-latency, success-rate, cost: no traffic: 0 of 20 samples in 5m"],
    );
    holds(
        gate("fresh", everything()),
        &["no traffic: the pods are scraped and have no agent_task_duration_seconds_count yet"],
    );
    holds(
        gate("few", everything()),
        &["p95-latency", "only 8 of 20 samples in 5m", "only 16 of 20"],
    );
    holds(
        gate("unscraped", everything()),
        &["p95-latency", "violations", "no data: target not scraped"],
    );
    holds(
        gate("down", everything()),
        &["target not scraped: Prometheus finds the pods and cannot reach them"],
    );
    holds(
        gate("nowhere", everything()),
        &["none with this namespace in label namespace"],
    );

    // A Prometheus without pod labels: said so, and served by names of pods.
    let mut by_pod = everything();
    by_pod["selectBy"] = "pod".into();
    holds(
        gate("bare", everything()),
        &["label rollouts_pod_template_hash missing on the series; set slos.selectBy: pod"],
    );
    passes(gate("bare", by_pod.clone()));
    passes(gate("healthy", by_pod.clone()));
    fails(gate("slow", by_pod.clone()), "p95-latency", &[]);
    holds(gate("unscraped", by_pod), &["target not scraped"]);

    // The same hash in two namespaces, one of them bad.
    let latency = p95(json!("800ms"));
    passes(gate("healthy", latency.clone()));
    fails(gate("slow", latency), "p95-latency", &[]);

    // The first violation brings the counter; no counter is no violation while the pods are scraped.
    let violations = only(json!({"violations": {"counter": "agent_governance_violations_total"}}));
    fails(
        gate("violating", violations.clone()),
        "violations",
        &["2 over 5m", "at most 0"],
    );
    passes(gate("healthy", violations.clone()));
    holds(gate("unscraped", violations), &["target not scraped"]);

    // Compared with stable over the same window.
    let no_worse = p95(json!({"noWorseThanStable": "20%"}));
    passes(gate("healthy", no_worse.clone()));
    fails(
        gate("regressing", no_worse.clone()),
        "p95-latency",
        &["× stable", "at most 1.2 × stable"],
    );
    holds(
        gate("quiet-stable", no_worse.clone()),
        &["stable has fewer than 20 samples"],
    );
    holds(gate("few", no_worse), &["only 8 of 20"]);
    let success = only(
        json!({"success": {"good": "agent_tool_calls_total{outcome=\"success\"}", "total": "agent_tool_calls_total", "atLeast": {"noWorseThanStable": "5%"}}}),
    );
    passes(gate("healthy", success.clone()));
    fails(gate("failing", success), "success-rate", &["0.9 × stable"]);

    // A counter that starts again is a restart, not a change.
    passes(gate("restarted", everything()));

    // Above the highest bucket a quantile is not known: a failure where the bucket is over the
    // bound, no verdict where the bound is higher.
    fails(gate("sluggish", p95(json!("2s"))), "p95-latency", &["5s"]);
    holds(
        gate("sluggish", p95(json!("10s"))),
        &["above the highest bucket"],
    );
    passes(gate("healthy", p95(json!("10s"))));

    // Any expression: several series are no verdict.
    let query = |promql: &str| only(json!({"query": {"name": "q", "promql": promql, "atMost": 5}}));
    passes(gate(
        "healthy",
        query(
            "max(agent_task_cost_dollars_sum{{{canary}}}) / max(agent_task_cost_dollars_sum{{{stable}}})",
        ),
    ));
    holds(
        gate("healthy", query("up{{{canary}}}")),
        &["several series"],
    );
    holds(
        gate("healthy", query("absent_metric{{{canary}}}")),
        &["the pods are scraped, but the query finds nothing"],
    );

    // The presets ask the same of the plain API.
    let success = [
        ("total", "agent_tool_calls_total"),
        ("good-matchers", "outcome=\"success\""),
        ("bound", "0.99"),
    ];
    let phase = |name: &str, namespace: &str, more: &[(&str, &str)]| {
        preset(&prometheus, name, namespace, more).0
    };
    assert_eq!(
        preset(&prometheus, "serin-success-rate", "healthy", &success),
        ("Successful".to_owned(), String::new())
    );
    assert_eq!(phase("serin-success-rate", "hopeless", &success), "Failed");
    assert_eq!(
        phase("serin-success-rate", "idle", &success),
        "Inconclusive"
    );
    let latency = [
        ("histogram", "agent_task_duration_seconds"),
        ("bound", "0.8"),
    ];
    assert_eq!(
        phase("serin-p95-latency", "healthy", &latency),
        "Successful"
    );
    assert_eq!(phase("serin-p99-latency", "slow", &latency), "Failed");
    let cost = [
        ("spent", "agent_task_cost_dollars_sum"),
        ("per", "agent_tasks_total"),
        ("bound", "0.05"),
    ];
    assert_eq!(phase("serin-cost", "costly", &cost), "Failed");
    let violations = [
        ("counter", "agent_governance_violations_total"),
        ("bound", "0"),
    ];
    assert_eq!(
        phase("serin-violations", "healthy", &violations),
        "Successful"
    );
    assert_eq!(
        phase("serin-violations", "violating", &violations),
        "Failed"
    );
}

/// deploy/analysis-templates.yaml holds the presets as they are rendered. `UPDATE_GOLDEN=1` writes it.
#[test]
fn presets_are_as_they_are_rendered() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/analysis-templates.yaml");
    let mut text = String::from(
        "# Written by `UPDATE_GOLDEN=1 cargo test --test suite presets`: the objectives of `slos` as templates for the plain API.\n",
    );
    for preset in serin::planner::slo::presets::presets() {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&preset).unwrap());
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    assert!(
        fs::read_to_string(&path).is_ok_and(|t| t == text),
        "run with UPDATE_GOLDEN=1 and look at the difference"
    );
}
