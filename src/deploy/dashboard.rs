//! The Grafana dashboard: a table of panels. Every query uses metrics that `live::metrics` writes, which a
//! test holds.

use serde_json::{Value, json};

/// What a panel draws.
#[derive(Clone, Copy)]
enum Draw {
    Number,
    Lines,
    Table,
}

/// One panel: title, unit of Grafana, width (of 24), and queries with their legends.
struct Panel {
    title: &'static str,
    what: &'static str,
    draw: Draw,
    unit: &'static str,
    width: u64,
    queries: &'static [(&'static str, &'static str)],
}

/// Leader and standbys tell the same of an object: the greatest counts once.
const PANELS: &[Panel] = &[
    Panel {
        title: "Rollouts",
        what: "All that are looked at.",
        draw: Draw::Number,
        unit: "none",
        width: 4,
        queries: &[(
            "count(max by (namespace, name) (rollout_info{namespace=~\"$namespace\"})) or vector(0)",
            "",
        )],
    },
    Panel {
        title: "Progressing",
        what: "An update is under way.",
        draw: Draw::Number,
        unit: "none",
        width: 4,
        queries: &[(
            "count(max by (namespace, name) (rollout_info{namespace=~\"$namespace\",phase=\"Progressing\"})) or vector(0)",
            "",
        )],
    },
    Panel {
        title: "Paused",
        what: "Waits for time, for a gate or for a person.",
        draw: Draw::Number,
        unit: "none",
        width: 4,
        queries: &[(
            "count(max by (namespace, name) (rollout_info{namespace=~\"$namespace\",phase=\"Paused\"})) or vector(0)",
            "",
        )],
    },
    Panel {
        title: "Rolled back",
        what: "The last update was aborted, by a gate, a deadline or a person.",
        draw: Draw::Number,
        unit: "none",
        width: 4,
        queries: &[(
            "count(max by (namespace, name) (rollout_info{namespace=~\"$namespace\",phase=\"Abort\"})) or vector(0)",
            "",
        )],
    },
    Panel {
        title: "In trouble",
        what: "Deadline passed, pods refused, or a spec that cannot be used.",
        draw: Draw::Number,
        unit: "none",
        width: 4,
        queries: &[(
            "count(max by (namespace, name) (rollout_info{namespace=~\"$namespace\",phase=~\"Timeout|Error|InvalidSpec\"})) or vector(0)",
            "",
        )],
    },
    Panel {
        title: "Controllers",
        what: "Processes that answer.",
        draw: Draw::Number,
        unit: "none",
        width: 4,
        queries: &[("count(argo_rollouts_controller_info) or vector(0)", "")],
    },
    Panel {
        title: "Weight of the new version",
        what: "Percent of the pods.",
        draw: Draw::Lines,
        unit: "percent",
        width: 12,
        queries: &[(
            "max by (namespace, name) (serin_rollout_weight{namespace=~\"$namespace\",name=~\"$rollout\"})",
            "{{namespace}}/{{name}}",
        )],
    },
    Panel {
        title: "Steps done",
        what: "The share of the steps that an update has behind it.",
        draw: Draw::Lines,
        unit: "percentunit",
        width: 12,
        queries: &[(
            "max by (namespace, name) (serin_rollout_step{namespace=~\"$namespace\",name=~\"$rollout\"}) / (max by (namespace, name) (serin_rollout_steps{namespace=~\"$namespace\",name=~\"$rollout\"}) > 0)",
            "{{namespace}}/{{name}}",
        )],
    },
    Panel {
        title: "Objectives under way",
        what: "What the gates measured last: seconds, shares, money, counts.",
        draw: Draw::Lines,
        unit: "short",
        width: 12,
        queries: &[(
            "max by (namespace, rollout, objective) (serin_slo_value{namespace=~\"$namespace\",rollout=~\"$rollout\"})",
            "{{rollout}} {{objective}}",
        )],
    },
    Panel {
        title: "Pods",
        what: "Wanted, available, and of the new version.",
        draw: Draw::Lines,
        unit: "none",
        width: 12,
        queries: &[
            (
                "max by (namespace, name) (rollout_info_replicas_desired{namespace=~\"$namespace\",name=~\"$rollout\"})",
                "{{name}} wanted",
            ),
            (
                "max by (namespace, name) (rollout_info_replicas_available{namespace=~\"$namespace\",name=~\"$rollout\"})",
                "{{name}} available",
            ),
            (
                "max by (namespace, name) (rollout_info_replicas_unavailable{namespace=~\"$namespace\",name=~\"$rollout\"})",
                "{{name}} not available",
            ),
            (
                "max by (namespace, name) (rollout_info_replicas_updated{namespace=~\"$namespace\",name=~\"$rollout\"})",
                "{{name}} new version",
            ),
        ],
    },
    Panel {
        title: "Rollouts and their phases",
        what: "Now.",
        draw: Draw::Table,
        unit: "none",
        width: 12,
        queries: &[(
            "max by (namespace, name, strategy, phase) (rollout_info{namespace=~\"$namespace\",name=~\"$rollout\"})",
            "",
        )],
    },
    Panel {
        title: "Metrics of analyses that failed",
        what: "By run and metric.",
        draw: Draw::Table,
        unit: "none",
        width: 12,
        queries: &[(
            "max by (namespace, name, metric, type, phase) (analysis_run_metric_phase{namespace=~\"$namespace\",phase=~\"Failed|Error|Inconclusive\"})",
            "",
        )],
    },
    Panel {
        title: "How long updates take, 95 of 100",
        what: "By how they ended, over a day.",
        draw: Draw::Lines,
        unit: "s",
        width: 12,
        queries: &[(
            "histogram_quantile(0.95, sum by (le, status) (increase(rollout_duration_seconds_bucket[1d])))",
            "{{status}}",
        )],
    },
    Panel {
        title: "Events",
        what: "By reason.",
        draw: Draw::Lines,
        unit: "none",
        width: 12,
        queries: &[(
            "sum by (reason) (increase(rollout_events_total{namespace=~\"$namespace\",name=~\"$rollout\"}[$__rate_interval]))",
            "{{reason}}",
        )],
    },
    Panel {
        title: "Turns of the controller, 99 of 100",
        what: "How long one takes, by the slowest object.",
        draw: Draw::Lines,
        unit: "s",
        width: 8,
        queries: &[
            (
                "histogram_quantile(0.99, sum by (le) (rate(rollout_reconcile_bucket[5m])))",
                "rollouts",
            ),
            (
                "histogram_quantile(0.99, sum by (le) (rate(analysis_run_reconcile_bucket[5m])))",
                "analysis runs",
            ),
        ],
    },
    Panel {
        title: "Faults of the controller",
        what: "Turns that failed, errors of watches, events that were not written.",
        draw: Draw::Lines,
        unit: "none",
        width: 8,
        queries: &[
            (
                "sum(increase(rollout_reconcile_error[5m]))",
                "turns of rollouts",
            ),
            (
                "sum(increase(analysis_run_reconcile_error[5m]))",
                "turns of analysis runs",
            ),
            (
                "sum by (kind) (increase(serin_watch_errors_total[5m]))",
                "watch of {{kind}}",
            ),
            ("sum(increase(serin_events_dropped_total[5m]))", "events"),
        ],
    },
    Panel {
        title: "Age of the watches, memory, processor",
        what: "A watch that has not been heard of for minutes is a frozen view.",
        draw: Draw::Lines,
        unit: "short",
        width: 8,
        queries: &[
            (
                "max by (kind) (serin_watch_age_seconds)",
                "watch of {{kind}}, seconds",
            ),
            (
                "max(process_resident_memory_bytes * on (instance, job) argo_rollouts_controller_info) / 1048576",
                "memory, MiB",
            ),
            (
                "max(rate(process_cpu_seconds_total[5m]) * on (instance, job) argo_rollouts_controller_info) * 100",
                "processor, percent",
            ),
        ],
    },
];

/// The dashboard as Grafana imports it.
pub fn dashboard() -> Value {
    let (mut x, mut y, mut height) = (0, 0, 0);
    let panels: Vec<Value> = (1_u64..)
        .zip(PANELS)
        .map(|(id, panel)| {
            if x + panel.width > 24 {
                (x, y) = (0, y + height);
            }
            height = if matches!(panel.draw, Draw::Number) {
                4
            } else {
                8
            };
            let at = json!({"h": height, "w": panel.width, "x": x, "y": y});
            x += panel.width;
            one(id, panel, &at)
        })
        .collect();
    json!({
        "title": "serin: rollouts",
        "uid": "serin-rollouts",
        "tags": ["serin", "rollouts"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
            variable("namespace", "label_values(rollout_info, namespace)"),
            variable("rollout", "label_values(rollout_info{namespace=~\"$namespace\"}, name)"),
        ]},
        "panels": panels,
    })
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn variable(name: &str, query: &str) -> Value {
    json!({"name": name, "label": name, "type": "query", "datasource": source(), "definition": query,
        "query": {"query": query, "refId": name}, "refresh": 2, "includeAll": true, "multi": true, "allValue": ".*",
        "current": {"selected": true, "text": ["All"], "value": ["$__all"]}})
}

fn one(id: u64, panel: &Panel, at: &Value) -> Value {
    let kind = match panel.draw {
        Draw::Number => "stat",
        Draw::Lines => "timeseries",
        Draw::Table => "table",
    };
    let is_table = matches!(panel.draw, Draw::Table);
    let targets: Vec<Value> = ('A'..='Z')
        .zip(panel.queries)
        .map(|(id, (query, legend))| {
            json!({"refId": id.to_string(), "expr": query, "legendFormat": legend, "datasource": source(),
                "instant": is_table, "range": !is_table, "format": if is_table { "table" } else { "time_series" }})
        })
        .collect();
    json!({"id": id, "title": panel.title, "description": panel.what, "type": kind, "gridPos": at,
        "datasource": source(), "targets": targets, "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": if is_table { json!({}) } else { json!({"legend": {"displayMode": "list", "placement": "bottom"}}) }})
}
