//! How serin is watched: what Prometheus scrapes, what it alerts on, and the dashboard.

use super::dashboard::dashboard;
use super::{Install, indented, quoted};

/// An alert: name, query, how long it must hold, severity, what is wrong, what to do.
struct Alert {
    name: &'static str,
    query: &'static str,
    after: &'static str,
    severity: &'static str,
    what: &'static str,
    mend: &'static str,
}

/// Leader and standbys tell the same of an object: `max by` makes one alert of it.
const ALERTS: &[Alert] = &[
    Alert {
        name: "SerinDown",
        query: "absent(serin_watch_age_seconds)",
        after: "5m",
        severity: "critical",
        what: "No serin controller answers: updates stand still. Pods go on serving.",
        mend: "kubectl get pods --all-namespaces -l app.kubernetes.io/name=serin, and the log of the one that fails.",
    },
    Alert {
        name: "SerinWatchIsStale",
        query: "max by (kind) (serin_watch_age_seconds) > 180",
        after: "2m",
        severity: "warning",
        what: "The watch of {{ $labels.kind }} has been silent for {{ $value | humanizeDuration }}: the controller sees an old cluster and changes nothing.",
        mend: "Look for refused or cut connections to the API server in the controller's log.",
    },
    Alert {
        name: "SerinTurnsFail",
        query: "max by (namespace, name) (increase(rollout_reconcile_error[15m])) > 5",
        after: "10m",
        severity: "warning",
        what: "Turns of the Rollout {{ $labels.namespace }}/{{ $labels.name }} fail again and again.",
        mend: "The controller's log names the request that fails; often a right or a quota is missing.",
    },
    Alert {
        name: "SerinEventsAreDropped",
        query: "sum(increase(serin_events_dropped_total[15m])) > 0",
        after: "5m",
        severity: "info",
        what: "Events could not be written.",
        mend: "Check the right to create events, and the load of the API server.",
    },
    Alert {
        name: "RolloutRolledBack",
        query: "max by (namespace, name) (rollout_info{phase=\"Abort\"}) > 0",
        after: "1m",
        severity: "warning",
        what: "The update of {{ $labels.namespace }}/{{ $labels.name }} was aborted; the old version serves.",
        mend: "kubectl describe rollout tells the gate or person that ended it. Mend the version, or retry: kubectl annotate rollout {{ $labels.name }} serin.dev/retry=true.",
    },
    Alert {
        name: "RolloutPastItsDeadline",
        query: "max by (namespace, name) (rollout_info{phase=\"Timeout\"}) > 0",
        after: "1m",
        severity: "warning",
        what: "The update of {{ $labels.namespace }}/{{ $labels.name }} makes no progress.",
        mend: "Its pods do not become available: kubectl describe pod tells why.",
    },
    Alert {
        name: "RolloutCannotWork",
        query: "max by (namespace, name, phase) (rollout_info{phase=~\"InvalidSpec|Error\"}) > 0",
        after: "5m",
        severity: "warning",
        what: "The Rollout {{ $labels.namespace }}/{{ $labels.name }} cannot be worked on: {{ $labels.phase }}.",
        mend: "The message of the Rollout names every fault: kubectl get rollout {{ $labels.name }} -o yaml.",
    },
    Alert {
        name: "RolloutShortOfPods",
        query: "max by (namespace, name) (rollout_info_replicas_desired) - max by (namespace, name) (rollout_info_replicas_available) > 0",
        after: "15m",
        severity: "warning",
        what: "{{ $labels.namespace }}/{{ $labels.name }} has {{ $value }} pods less than it wants.",
        mend: "kubectl get pods tells which do not run and why.",
    },
    Alert {
        name: "RolloutWaitsForAPerson",
        query: "max by (namespace, name) (rollout_info{phase=\"Paused\"}) > 0",
        after: "24h",
        severity: "info",
        what: "The update of {{ $labels.namespace }}/{{ $labels.name }} has been paused for a day.",
        mend: "Promote or abort it: kubectl annotate rollout {{ $labels.name }} serin.dev/promote=true.",
    },
];

pub(super) fn documents(install: &Install) -> Vec<String> {
    vec![monitor(install), rules(install), dashboard_map(install)]
}

fn monitor(install: &Install) -> String {
    let namespace = &install.namespace;
    format!(
        "# For the Prometheus operator and Grafana: what is scraped, what alerts, what is drawn.
# Made by `serin deploy generate-monitoring`; do not edit.
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: serin
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: serin}}
spec:
  selector:
    matchLabels: {{app.kubernetes.io/name: serin}}
  endpoints:
    - port: metrics
      interval: 15s
      # The label `namespace` is the Rollout's, not the controller's.
      honorLabels: true
"
    )
}

/// The alerts as a rule file of Prometheus.
pub fn alerts() -> String {
    let alerts: String = ALERTS
        .iter()
        .map(|alert| {
            let Alert { name, query, after, severity, what, mend } = alert;
            let (query, what, mend) = (quoted(query), quoted(what), quoted(mend));
            format!(
                "- alert: {name}\n  expr: {query}\n  for: {after}\n  labels: {{severity: {severity}}}\n  annotations:\n    summary: {what}\n    description: {mend}\n"
            )
        })
        .collect();
    let alerts = indented(6, &alerts);
    format!("groups:\n  - name: serin\n    rules:\n{alerts}")
}

fn rules(install: &Install) -> String {
    let namespace = &install.namespace;
    let alerts = indented(2, &alerts());
    format!(
        "apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: serin
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: serin}}
spec:
{alerts}"
    )
}

/// As Grafana's sidecar picks it up.
fn dashboard_map(install: &Install) -> String {
    let namespace = &install.namespace;
    let json = indented(4, &format!("{:#}", dashboard()));
    format!(
        "apiVersion: v1
kind: ConfigMap
metadata:
  name: serin-dashboard
  namespace: {namespace}
  labels:
    app.kubernetes.io/name: serin
    grafana_dashboard: \"1\"
data:
  serin.json: |
{json}"
    )
}
