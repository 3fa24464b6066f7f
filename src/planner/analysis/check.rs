//! A template or a run by itself, before anything is measured: the rules of L34–L37 with the path of
//! each fault. Arguments whose values are not known yet stand for anything that fits.

use regex::Regex;

use super::metric::{lower, lower_all};
use crate::api::analysis::{
    AnalysisRunSpec, AnalysisTemplateSpec, Argument, DryRun, MeasurementRetention, Metric,
};
use crate::planner::fault::Fault;

/// Faults of a template.
pub fn template(spec: &AnalysisTemplateSpec) -> Vec<Fault> {
    let mut faults = Vec::new();
    let has_nested = spec.templates.as_ref().is_some_and(|t| !t.is_empty());
    let metrics = spec.metrics.as_deref().unwrap_or_default();
    if metrics.is_empty() && !has_nested {
        faults.push(Fault::required("spec.metrics", "no metrics specified"));
    }
    for (i, nested) in spec.templates.iter().flatten().enumerate() {
        if nested
            .template_name
            .as_deref()
            .unwrap_or_default()
            .is_empty()
        {
            let path = format!("spec.templates[{i}].templateName");
            faults.push(Fault::required(&path, "name the AnalysisTemplate"));
        }
    }
    let args = spec.args.as_deref().unwrap_or_default();
    arguments(args, &mut faults);
    check_metrics(metrics, args, &mut faults);
    // Rules may speak of metrics that other templates of the same run bring.
    let (dry_run, retention) = (
        spec.dry_run.as_deref(),
        spec.measurement_retention.as_deref(),
    );
    rules_by_name(dry_run, retention, &mut faults);
    if !has_nested && faults.is_empty() {
        unmatched(metrics, dry_run, retention, args, &mut faults);
    }
    faults
}

/// Faults of a run that somebody wrote.
pub fn run(spec: &AnalysisRunSpec) -> Vec<Fault> {
    let mut faults = Vec::new();
    let metrics = spec.metrics.as_deref().unwrap_or_default();
    if metrics.is_empty() {
        faults.push(Fault::required("spec.metrics", "no metrics specified"));
    }
    let args = spec.args.as_deref().unwrap_or_default();
    arguments(args, &mut faults);
    for (i, arg) in args.iter().enumerate() {
        if arg.value.is_none() && arg.value_from.is_none() {
            let message = format!("args.{} was not resolved: give it a value", arg.name);
            faults.push(Fault::required(&format!("spec.args[{i}].value"), message));
        }
    }
    check_metrics(metrics, args, &mut faults);
    let (dry_run, retention) = (
        spec.dry_run.as_deref(),
        spec.measurement_retention.as_deref(),
    );
    rules_by_name(dry_run, retention, &mut faults);
    if faults.is_empty() {
        unmatched(metrics, dry_run, retention, args, &mut faults);
    }
    faults
}

fn arguments(args: &[Argument], faults: &mut Vec<Fault>) {
    for (i, arg) in args.iter().enumerate() {
        let at = format!("spec.args[{i}]");
        if arg.name.is_empty() {
            faults.push(Fault::required(&format!("{at}.name"), "name the argument"));
        }
        if args.iter().take(i).any(|other| other.name == arg.name) {
            faults.push(Fault::invalid(
                &format!("{at}.name"),
                format!("{:?}", arg.name),
                "Duplicate value: every argument needs a name of its own",
            ));
        }
        let Some(from) = &arg.value_from else {
            continue;
        };
        if arg.value.is_some() {
            let message = format!("arg '{}' has both Value and ValueFrom fields", arg.name);
            faults.push(Fault::invalid(&at, format!("{:?}", arg.name), message));
        }
        let sources = [
            from.secret_key_ref.is_some(),
            from.field_ref.is_some(),
            from.config_map_key_ref.is_some(),
        ];
        if sources.iter().filter(|is| **is).count() != 1 {
            faults.push(Fault::invalid(
                &format!("{at}.valueFrom"),
                format!("{:?}", arg.name),
                "must have exactly one of secretKeyRef, fieldRef and configMapKeyRef",
            ));
        }
    }
}

fn check_metrics(metrics: &[Metric], args: &[Argument], faults: &mut Vec<Fault>) {
    for (i, metric) in metrics.iter().enumerate() {
        let at = format!("spec.metrics[{i}]");
        if metrics
            .iter()
            .take(i)
            .any(|other| other.name == metric.name)
        {
            let message = format!("metrics[{i}]: duplicate name '{}'", metric.name);
            faults.push(Fault::invalid(
                &format!("{at}.name"),
                format!("{:?}", metric.name),
                message,
            ));
        }
        if let Err(all) = lower(&filled(metric, args)) {
            let shown = format!("{:?}", metric.name);
            let told = all.into_iter().map(|f| (field_of(&f), f));
            faults.extend(
                told.map(|(field, message)| {
                    Fault::invalid(&format!("{at}{field}"), &shown, message)
                }),
            );
        }
    }
}

/// The field that a metric's fault speaks of first.
fn field_of(message: &str) -> String {
    const FIELDS: [&str; 9] = [
        "consecutiveSuccessLimit",
        "consecutiveErrorLimit",
        "successCondition",
        "failureCondition",
        "inconclusiveLimit",
        "failureLimit",
        "interval",
        "count",
        "provider",
    ];
    let first = FIELDS
        .iter()
        .filter_map(|field| Some((message.find(field)?, field)))
        .min();
    match first {
        _ if message.contains("startDelay") => ".initialDelay".to_owned(),
        Some((_, field)) => format!(".{field}"),
        None => String::new(),
    }
}

/// The metric with its arguments filled in: with their values, or with something that fits.
fn filled(metric: &Metric, args: &[Argument]) -> Metric {
    let mut metric = metric.clone();
    let fill = |text: &str, stand_in: &str| -> String {
        let Ok(tag) = Regex::new(r"\{\{\s*([^}]*?)\s*\}\}") else {
            return text.to_owned();
        };
        let filled = tag.replace_all(text, |found: &regex::Captures<'_>| {
            let name = found.get(1).map_or("", |name| name.as_str());
            let name = name.strip_prefix("args.").unwrap_or(name);
            let known = args.iter().find(|arg| arg.name == name);
            let value = known.and_then(|arg| arg.value.as_deref());
            value.unwrap_or(stand_in).to_owned()
        });
        filled.into_owned()
    };
    for (field, stand_in) in [
        (&mut metric.interval, "1m"),
        (&mut metric.initial_delay, "1m"),
        (&mut metric.success_condition, "1"),
        (&mut metric.failure_condition, "1"),
    ] {
        if let Some(text) = field {
            *text = fill(text, stand_in);
        }
    }
    let is_open = |value: &Option<crate::api::IntOrString>| matches!(value, Some(crate::api::IntOrString::String(text)) if text.contains("{{"));
    for field in [
        &mut metric.count,
        &mut metric.failure_limit,
        &mut metric.inconclusive_limit,
        &mut metric.consecutive_error_limit,
        &mut metric.consecutive_success_limit,
    ] {
        if let Some(crate::api::IntOrString::String(text)) = field {
            *text = fill(text, "{{}}");
        }
        // What is not known yet is not judged.
        if is_open(field) {
            *field = None;
        }
    }
    metric
}

fn dry_run_names(rules: Option<&[DryRun]>) -> Vec<&str> {
    let rules = rules.unwrap_or_default().iter();
    rules.map(|rule| rule.metric_name.as_str()).collect()
}

fn retention_names(rules: Option<&[MeasurementRetention]>) -> Vec<&str> {
    let rules = rules.unwrap_or_default().iter();
    rules.map(|rule| rule.metric_name.as_str()).collect()
}

/// Faults of the names in the rules themselves, whatever the metrics are called.
fn rules_by_name(
    dry_run: Option<&[DryRun]>,
    retention: Option<&[MeasurementRetention]>,
    faults: &mut Vec<Fault>,
) {
    rules("dryRun", "Dry-Run", dry_run_names(dry_run), faults);
    let names = retention_names(retention);
    rules(
        "measurementRetention",
        "Measurement Retention",
        names,
        faults,
    );
}

fn rules(field: &str, kind: &str, names: Vec<&str>, faults: &mut Vec<Fault>) {
    for (i, name) in names.iter().enumerate() {
        let path = format!("spec.{field}[{i}].metricName");
        if names.iter().take(i).any(|other| other == name) {
            let message = format!("two {kind} metric rules have the same name '{name}'");
            faults.push(Fault::invalid(&path, format!("{name:?}"), message));
        }
        if Regex::new(name).is_err() {
            let message = "is not a regular expression";
            faults.push(Fault::invalid(&path, format!("{name:?}"), message));
        }
    }
}

/// Rules that speak of no metric, once the metrics themselves are right.
fn unmatched(
    metrics: &[Metric],
    dry_run: Option<&[DryRun]>,
    retention: Option<&[MeasurementRetention]>,
    args: &[Argument],
    faults: &mut Vec<Fault>,
) {
    let metrics: Vec<Metric> = metrics.iter().map(|m| filled(m, args)).collect();
    let (dry_run, retention) = (dry_run.unwrap_or_default(), retention.unwrap_or_default());
    let Err(all) = lower_all(&metrics, dry_run, retention, false) else {
        return;
    };
    for message in all {
        let end = message.find(':').unwrap_or(0);
        let path = format!("spec.{}.metricName", message.get(..end).unwrap_or_default());
        faults.push(Fault::invalid(&path, "\"\"", message));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(spec: serde_json::Value) -> Vec<String> {
        let spec: AnalysisTemplateSpec = serde_json::from_value(spec).unwrap();
        template(&spec).iter().map(ToString::to_string).collect()
    }

    fn metric(more: serde_json::Value) -> serde_json::Value {
        let mut metric = json!({"name": "m", "provider": {"prometheus": {"query": "up", "address": "http://p"}}});
        for (key, value) in more.as_object().unwrap() {
            metric[key] = value.clone();
        }
        metric
    }

    #[test]
    fn a_good_template_has_no_fault_whatever_its_arguments_are() {
        let spec = json!({
            "args": [{"name": "limit"}, {"name": "every", "value": "30s"}],
            "metrics": [metric(json!({
                "interval": "{{args.every}}", "initialDelay": "{{ args.delay }}", "count": "{{args.count}}",
                "successCondition": "result[0] >= {{args.limit}}",
            }))],
            "dryRun": [{"metricName": "m"}],
        });
        assert_eq!(faults(spec), Vec::<String>::new());
    }

    #[test]
    fn every_fault_has_its_path() {
        let spec = json!({
            "args": [{"name": "a", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "a"}],
            "metrics": [
                metric(json!({"count": 3, "successCondition": "result[0 >"})),
                {"name": "m", "provider": {}},
                metric(json!({"name": "n", "interval": "soon", "failureLimit": -2})),
            ],
            "dryRun": [{"metricName": "("}, {"metricName": "("}],
        });
        let found = faults(spec);
        for wanted in [
            "spec.args[0]: Invalid value: \"a\": arg 'a' has both Value and ValueFrom fields",
            "spec.args[1].name: Invalid value: \"a\": Duplicate value",
            "spec.metrics[0].interval: Invalid value: \"m\": interval must be specified when count > 1",
            "spec.metrics[0].successCondition: Invalid value: \"m\": successCondition",
            "spec.metrics[1].name: Invalid value: \"m\": metrics[1]: duplicate name 'm'",
            "spec.metrics[1].provider: Invalid value: \"m\": no provider specified",
            "spec.metrics[2].interval: Invalid value: \"n\": invalid interval string",
            "spec.metrics[2].failureLimit: Invalid value: \"n\": failureLimit must be >= 0, or -1 to be disabled",
            "spec.dryRun[0].metricName: Invalid value: \"(\": is not a regular expression",
            "spec.dryRun[1].metricName: Invalid value: \"(\": two Dry-Run metric rules have the same name '('",
        ] {
            assert!(
                found.iter().any(|f| f.starts_with(wanted)),
                "{wanted}\nis not in\n{found:#?}"
            );
        }
        let spec = json!({"metrics": [metric(json!({}))], "dryRun": [{"metricName": "other"}]});
        assert!(faults(spec)[0].starts_with("spec.dryRun[0].metricName: "));
        assert_eq!(
            faults(json!({}))[0],
            "spec.metrics: Required value: no metrics specified"
        );
    }
}
