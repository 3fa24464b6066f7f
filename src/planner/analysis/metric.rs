//! A metric with its defaults applied and its durations parsed, or every fault in it. Knows the
//! rules of N2-N10 and the messages of L34, L35 and L37.

use regex::Regex;

use super::asked;
use super::expr::Condition;
use crate::api::IntOrString;
use crate::api::analysis::{DryRun, MeasurementRetention, Metric};
use crate::api::providers::MetricProvider;
use crate::planner::duration;

/// Errors in a row that a metric may have (N9).
pub const DEFAULT_CONSECUTIVE_ERROR_LIMIT: i64 = 4;
/// Milliseconds until a measurement that could not be made is tried again (N9).
pub const ERROR_RETRY_MILLIS: i64 = 10_000;
/// Measurements that are kept of a metric without a rule (N16).
pub const DEFAULT_RETENTION: usize = 10;

/// A metric to measure.
#[derive(Clone, Debug)]
pub struct MetricSpec {
    /// Unique name.
    pub name: String,
    /// Milliseconds between measurements, if there is more than one.
    pub interval_ms: Option<i64>,
    /// Milliseconds before the first.
    pub initial_delay_ms: i64,
    /// How many; `None` without end.
    pub count: Option<i64>,
    /// Condition of success.
    pub success: Option<Condition>,
    /// Condition of failure.
    pub failure: Option<Condition>,
    /// Failures allowed; `None` when any number is.
    pub failure_limit: Option<i64>,
    /// Inconclusive measurements allowed.
    pub inconclusive_limit: i64,
    /// Errors in a row allowed.
    pub consecutive_error_limit: i64,
    /// Successes in a row that end the metric; `None` when they do not.
    pub consecutive_success_limit: Option<i64>,
    /// Where to ask.
    pub provider: MetricProvider,
    /// Measured, but does not count.
    pub is_dry_run: bool,
    /// Measurements to keep.
    pub retention: usize,
}

/// Lowers the metrics of a run after substitution. All faults, in the words that clients know; but
/// for the conditions where the run `has_begun`: they were read then.
pub fn lower_all(
    metrics: &[Metric],
    dry_run: &[DryRun],
    retention: &[MeasurementRetention],
    has_begun: bool,
) -> Result<Vec<MetricSpec>, Vec<String>> {
    let mut faults = Vec::new();
    if metrics.is_empty() {
        faults.push("no metrics specified".to_owned());
    }
    let mut specs: Vec<MetricSpec> = Vec::new();
    for (i, metric) in metrics.iter().enumerate() {
        if specs.iter().any(|s| s.name == metric.name) {
            faults.push(format!("metrics[{i}]: duplicate name '{}'", metric.name));
        }
        match lower_read(metric, has_begun) {
            Ok(spec) => specs.push(spec),
            Err(all) => faults.extend(all.into_iter().map(|f| format!("metrics[{i}]: {f}"))),
        }
    }
    let names: Vec<&str> = metrics.iter().map(|m| m.name.as_str()).collect();
    for (i, rule) in dry_run.iter().enumerate() {
        match matching(&rule.metric_name, &names) {
            Ok(hits) => specs
                .iter_mut()
                .filter(|s| hits.contains(&s.name))
                .for_each(|s| s.is_dry_run = true),
            Err(fault) => faults.push(format!("dryRun[{i}]: {fault}")),
        }
    }
    for (i, rule) in retention.iter().enumerate() {
        let keep = rule
            .limit
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n > 0);
        match matching(&rule.metric_name, &names) {
            Ok(hits) => specs
                .iter_mut()
                .filter(|s| hits.contains(&s.name))
                .for_each(|s| s.retention = keep.unwrap_or(DEFAULT_RETENTION)),
            Err(fault) => faults.push(format!("measurementRetention[{i}]: {fault}")),
        }
    }
    if faults.is_empty() {
        Ok(specs)
    } else {
        Err(faults)
    }
}

/// Names that an unanchored pattern finds (N15).
fn matching(pattern: &str, names: &[&str]) -> Result<Vec<String>, String> {
    let regex =
        Regex::new(pattern).map_err(|_| format!("{pattern:?} is not a regular expression"))?;
    let hits: Vec<String> = names
        .iter()
        .filter(|n| regex.is_match(n))
        .map(|n| (*n).to_owned())
        .collect();
    if hits.is_empty() {
        Err("Rule didn't match any metric name(s)".to_owned())
    } else {
        Ok(hits)
    }
}

/// Lowers one metric, in which no `{{args}}` is left.
pub fn lower(metric: &Metric) -> Result<MetricSpec, Vec<String>> {
    lower_read(metric, false)
}

fn lower_read(metric: &Metric, was_read: bool) -> Result<MetricSpec, Vec<String>> {
    let mut faults = Vec::new();
    let number =
        |faults: &mut Vec<String>, value: &Option<IntOrString>, field: &str| -> Option<i64> {
            match whole(value.as_ref()) {
                Ok(n) => n,
                Err(text) => {
                    faults.push(format!(
                        "invalid {field} string: {text:?} is not a whole number"
                    ));
                    None
                }
            }
        };
    let count = number(&mut faults, &metric.count, "count").filter(|n| *n != 0);
    let failure = number(&mut faults, &metric.failure_limit, "failureLimit").unwrap_or(0);
    let inconclusive =
        number(&mut faults, &metric.inconclusive_limit, "inconclusiveLimit").unwrap_or(0);
    let errors = number(
        &mut faults,
        &metric.consecutive_error_limit,
        "consecutiveErrorLimit",
    )
    .unwrap_or(DEFAULT_CONSECUTIVE_ERROR_LIMIT);
    let successes = number(
        &mut faults,
        &metric.consecutive_success_limit,
        "consecutiveSuccessLimit",
    )
    .unwrap_or(0);
    let interval = millis(&mut faults, metric.interval.as_deref(), "interval");
    let delay = millis(&mut faults, metric.initial_delay.as_deref(), "startDelay");

    let mut refuse = |is: bool, message: String| {
        if is {
            faults.push(message);
        }
    };
    refuse(metric.name.is_empty(), "name must be specified".to_owned());
    refuse(
        count.is_some_and(|n| n < 0),
        "count must be >= 0".to_owned(),
    );
    refuse(
        count.is_some_and(|n| n > 1) && interval.is_none(),
        "interval must be specified when count > 1".to_owned(),
    );
    refuse(
        successes < 0,
        "consecutiveSuccessLimit must be >= 0".to_owned(),
    );
    refuse(
        failure < -1,
        "failureLimit must be >= 0, or -1 to be disabled".to_owned(),
    );
    refuse(
        failure == -1 && successes == 0,
        "failureLimit and consecutiveSuccessLimit cannot both be disabled".to_owned(),
    );
    refuse(
        inconclusive < 0,
        "inconclusiveLimit must be >= 0".to_owned(),
    );
    refuse(errors < 0, "consecutiveErrorLimit must be >= 0".to_owned());
    if let Some(n) = count {
        refuse(
            failure >= 0 && successes >= 0 && n < failure.saturating_add(successes),
            format!(
                "count ({n}) must be >= failureLimit + consecutiveSuccessLimit ({failure} + {successes}) if both >= 0"
            ),
        );
        refuse(
            failure == -1 && n < successes,
            "count must be >= consecutiveSuccessLimit".to_owned(),
        );
        refuse(
            n < inconclusive,
            "count must be >= inconclusiveLimit".to_owned(),
        );
    }
    let (success, failure_condition) = asked::conditions(metric);
    let mut read = |field: &str, text: Option<String>| {
        let text = text?;
        if was_read {
            return Some(Condition::read_before(&text));
        }
        let read = Condition::parse(&text);
        read.map_err(|why| refuse(true, format!("{field} {text:?}: {why}")))
            .ok()
    };
    let success = read("successCondition", success);
    let failure_condition = read("failureCondition", failure_condition);
    match provider_names(&metric.provider).as_slice() {
        [] => refuse(true, "no provider specified".to_owned()),
        [_] => {}
        _ => refuse(true, "multiple providers specified".to_owned()),
    }
    faults.extend(asked::faults(metric));
    if !faults.is_empty() {
        return Err(faults);
    }
    // A comparison is measured until it is decided: one verdict is enough, and none is no trouble.
    let is_comparison = metric.provider.compare.is_some();
    let successes = if is_comparison && successes == 0 {
        1
    } else {
        successes
    };
    let inconclusive = if is_comparison {
        i64::MAX
    } else {
        inconclusive
    };
    Ok(MetricSpec {
        name: metric.name.clone(),
        interval_ms: interval,
        initial_delay_ms: delay.unwrap_or(0),
        count: count.or(if interval.is_none() { Some(1) } else { None }),
        success,
        failure: failure_condition,
        failure_limit: (failure >= 0).then_some(failure),
        inconclusive_limit: inconclusive,
        consecutive_error_limit: errors,
        consecutive_success_limit: (successes > 0).then_some(successes),
        provider: metric.provider.clone(),
        is_dry_run: false,
        retention: DEFAULT_RETENTION,
    })
}

/// A number written as a number or as text; absent and empty are absent.
fn whole(value: Option<&IntOrString>) -> Result<Option<i64>, String> {
    match value {
        None => Ok(None),
        Some(IntOrString::Int(n)) => Ok(Some(*n)),
        Some(IntOrString::String(text)) if text.is_empty() => Ok(None),
        Some(IntOrString::String(text)) => text.trim().parse().map(Some).map_err(|_| text.clone()),
    }
}

fn millis(faults: &mut Vec<String>, text: Option<&str>, field: &str) -> Option<i64> {
    let text = text.filter(|t| !t.is_empty())?;
    match duration::parse(text) {
        Ok(ms) if ms < 0 => {
            faults.push(format!("invalid {field} string: {text:?} is negative"));
            None
        }
        Ok(ms) => Some(ms),
        Err(why) => {
            faults.push(format!("invalid {field} string: {why}"));
            None
        }
    }
}

/// Names of the providers that a metric sets, as metrics and messages show them (P16).
pub fn provider_names(provider: &MetricProvider) -> Vec<&'static str> {
    let MetricProvider {
        prometheus,
        kayenta,
        web,
        datadog,
        wavefront,
        new_relic,
        job,
        cloud_watch,
        graphite,
        influxdb,
        skywalking,
        google_cloud_monitoring,
        dynatrace,
        azure_monitor,
        splunk,
        kubernetes,
        compare,
        plugin,
    } = provider;
    [
        ("Prometheus", prometheus.is_some()),
        ("Kayenta", kayenta.is_some()),
        ("Web", web.is_some()),
        ("Datadog", datadog.is_some()),
        ("Wavefront", wavefront.is_some()),
        ("NewRelic", new_relic.is_some()),
        ("Job", job.is_some()),
        ("CloudWatch", cloud_watch.is_some()),
        ("Graphite", graphite.is_some()),
        ("Influxdb", influxdb.is_some()),
        ("skywalking", skywalking.is_some()),
        ("GoogleCloudMonitoring", google_cloud_monitoring.is_some()),
        ("Dynatrace", dynatrace.is_some()),
        ("AzureMonitor", azure_monitor.is_some()),
        ("Splunk", splunk.is_some()),
        ("Kubernetes", kubernetes.is_some()),
        ("Compare", compare.is_some()),
        ("RPCPlugin", plugin.is_some()),
    ]
    .into_iter()
    .filter(|(_, set)| *set)
    .map(|(name, _)| name)
    .collect()
}

/// True where the metric never ends by itself (N3): an interval and no count.
pub fn is_endless(metric: &Metric) -> bool {
    let counted = whole(metric.count.as_ref()).is_ok_and(|n| n.is_some_and(|n| n != 0));
    let templated = matches!(&metric.count, Some(IntOrString::String(text)) if text.contains("{{"));
    metric.interval.as_deref().is_some_and(|i| !i.is_empty()) && !counted && !templated
}
