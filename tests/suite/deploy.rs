//! deploy/ is what `serin deploy` prints. `UPDATE_GOLDEN=1 cargo test --test suite deploy` writes it anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use serin::deploy::{Install, Part, alerts, dashboard, rights, webhook};

use crate::bench::programs;

pub(crate) fn path(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

/// What deploy/ holds, by path.
fn files() -> Vec<(String, String)> {
    let cluster = Install::default();
    let namespaced = Install {
        is_namespaced: true,
        ..Install::default()
    };
    let mut files = vec![
        (
            "kustomize/components/monitoring/monitoring.yaml".to_owned(),
            Part::Monitoring.render(&cluster),
        ),
        (
            "kustomize/components/webhook/webhook.yaml".to_owned(),
            Part::Webhook.render(&cluster),
        ),
        (
            "helm/serin/files/rules-webhook.yaml".to_owned(),
            rights::rules(webhook::RIGHTS),
        ),
        (
            "monitoring/dashboard.json".to_owned(),
            format!("{:#}\n", dashboard()),
        ),
        ("monitoring/alerts.yaml".to_owned(), alerts()),
        (
            "helm/serin/files/rules.yaml".to_owned(),
            rights::rules(rights::RIGHTS),
        ),
        (
            "helm/serin/files/rules-namespaced.yaml".to_owned(),
            rights::rules(rights::RIGHTS.iter().filter(|right| !right.is_of_cluster)),
        ),
    ];
    for (folder, install) in [
        ("kustomize/base", &cluster),
        ("kustomize/namespaced", &namespaced),
    ] {
        for part in Part::USUAL
            .into_iter()
            .filter(|part| part.is_part_of(install))
        {
            files.push((format!("{folder}/{}", part.file()), part.render(install)));
        }
    }
    files
}

#[test]
fn the_folder_holds_what_the_command_prints() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut stale = vec![];
    for (name, text) in files() {
        let path = path("deploy").join(&name);
        if update {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            stale.push(name);
        }
    }
    assert!(
        stale.is_empty(),
        "these files of deploy/ are not what src/deploy says; run UPDATE_GOLDEN=1 cargo test --test suite deploy: {stale:?}"
    );
}

fn serin(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_serin"))
        .arg("deploy")
        .args(args)
        .output()
        .unwrap()
}

/// The YAML documents of a text.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let all: Vec<Value> =
        serde_saphyr::from_multiple(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    all.into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

#[test]
fn the_command_prints_everything_in_the_order_of_applying() {
    let output = serin(&[
        "generate-all",
        "--monitoring",
        "--replicas=3",
        "--image=registry.example/serin:7",
    ]);
    assert!(output.status.success());
    let all = documents(&String::from_utf8(output.stdout).unwrap());
    let kinds: Vec<&str> = all
        .iter()
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds[..5], ["CustomResourceDefinition"; 5]);
    for kind in [
        "Namespace",
        "ServiceAccount",
        "ClusterRole",
        "NetworkPolicy",
        "Deployment",
        "PodDisruptionBudget",
        "ServiceMonitor",
        "PrometheusRule",
        "ConfigMap",
    ] {
        assert!(kinds.contains(&kind), "{kind} is not in {kinds:?}");
    }
    let at = |kind| kinds.iter().position(|k| *k == kind);
    assert!(at("Namespace") < at("ServiceAccount") && at("ServiceAccount") < at("Deployment"));
}

#[test]
fn wrong_flags_are_told_all_at_once() {
    let output = serin(&["generate-rbac", "--namespace=A", "--secret=nothing"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("--namespace") && said.contains("--secret"),
        "{said}"
    );
}

/// Names of metrics in a PromQL text: words that are followed by what only a metric is, or stand alone.
fn metrics_in(query: &str) -> Vec<String> {
    let word = regex::Regex::new(r#""[^"]*"|\{[^}]*\}|\b(?:by|on|ignoring|without)\s*\([^)]*\)|\[[^\]]*\]|[a-z_]+\s*\(|[a-z][a-z_]*"#).unwrap();
    word.find_iter(query)
        .map(|found| found.as_str().to_owned())
        .filter(|w| w.contains('_') && w.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        .collect()
}

#[test]
fn every_panel_and_alert_asks_for_metrics_that_exist() {
    let of = [
        "metrics/controller",
        "metrics/process",
        "metrics/rollouts",
        "metrics/runs",
        "stats",
    ];
    let source: String = of
        .iter()
        .map(|file| fs::read_to_string(path(&format!("src/live/{file}.rs"))).unwrap())
        .collect();
    let rules = documents(&alerts());
    let rules = rules[0]["groups"][0]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| &rule["expr"]);
    let board = dashboard();
    let panels = board["panels"].as_array().unwrap().iter();
    let targets = panels
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| &target["expr"]);
    let mut seen = 0;
    for query in rules.chain(targets).map(|query| query.as_str().unwrap()) {
        for metric in metrics_in(query) {
            let known = [
                metric.as_str(),
                metric.trim_end_matches("_total"),
                metric.trim_end_matches("_bucket"),
            ];
            assert!(
                known
                    .iter()
                    .any(|name| source.contains(&format!("\"{name}\""))),
                "{metric} of {query}"
            );
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} metrics were found in the queries");
}

/// promtool lies beside the Prometheus server of the tests.
fn promtool(args: &[&str], folder: &Path) -> Option<Output> {
    if std::env::var("SERIN_PROMETHEUS_TESTS").as_deref() != Ok("start") {
        eprintln!("skipped: set SERIN_PROMETHEUS_TESTS=start to run this");
        return None;
    }
    let tool = programs::prometheus().unwrap().with_file_name("promtool");
    Some(
        Command::new(tool)
            .args(args)
            .current_dir(folder)
            .output()
            .unwrap(),
    )
}

#[test]
fn the_alerts_fire_when_they_should() {
    let Some(output) = promtool(
        &["test", "rules", "alerts.test.yaml"],
        &path("tests/monitoring"),
    ) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_queries_of_the_panels_are_promql() {
    let board = dashboard();
    let panels = board["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut text = "groups:\n- name: panels\n  rules:\n".to_owned();
    for (at, target) in targets.enumerate() {
        let query = target["expr"]
            .as_str()
            .unwrap()
            .replace("$__rate_interval", "1m");
        text += &format!("  - record: panel:{at}\n    expr: {}\n", Value::from(query));
    }
    let folder = crate::cluster::dir();
    fs::write(folder.join("panels.yaml"), text).unwrap();
    let Some(output) = promtool(&["check", "rules", "panels.yaml"], folder) else {
        return;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
