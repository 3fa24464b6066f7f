//! What a provider must be told before it can be asked: rules of single providers, in the words of
//! L38, and the conditions of those that judge themselves. Knows no reply.

use crate::api::analysis::Metric;
use crate::api::providers::{DatadogMetric, KayentaMetric};

/// Every fault of the metric's provider.
pub fn faults(metric: &Metric) -> Vec<String> {
    let provider = &metric.provider;
    let mut faults = Vec::new();
    if let Some(datadog) = &provider.datadog {
        faults.extend(datadog_faults(datadog));
    }
    if let Some(kayenta) = &provider.kayenta {
        if thresholds(kayenta).is_none() {
            faults.push("kayenta.threshold needs pass and marginal".to_owned());
        }
        if metric.success_condition.is_some() || metric.failure_condition.is_some() {
            faults.push("kayenta judges by its threshold: leave the conditions out".to_owned());
        }
    }
    if let Some(compare) = &provider.compare {
        faults.extend(super::compare::lower(compare).err().unwrap_or_default());
        if metric.success_condition.is_some() || metric.failure_condition.is_some() {
            faults.push("compare judges by itself: leave the conditions out".to_owned());
        }
        if metric.interval.as_deref().unwrap_or_default().is_empty() {
            faults.push("compare looks again and again: interval must be specified".to_owned());
        }
    }
    if let Some(plugins) = &provider.plugin
        && plugins.len() != 1
    {
        faults.push("plugin must name exactly one plugin".to_owned());
    }
    faults
}

fn datadog_faults(metric: &DatadogMetric) -> Vec<String> {
    let has = |text: &Option<String>| text.as_deref().is_some_and(|t| !t.is_empty());
    let (query, formula) = (has(&metric.query), has(&metric.formula));
    let queries = metric.queries.as_ref().map_or(0, |q| q.len());
    let is_v2 = metric.api_version.as_deref() == Some("v2");
    let mut faults = Vec::new();
    let mut refuse = |is: bool, message: &str| {
        if is {
            faults.push(format!("{message}. Please review the Analysis Template"));
        }
    };
    refuse(
        !matches!(metric.api_version.as_deref(), None | Some("" | "v1" | "v2")),
        "apiVersion of datadog must be v1 or v2",
    );
    if is_v2 {
        refuse(
            !query && queries == 0,
            "Must have either a query or queries",
        );
        refuse(query && queries > 0, "Cannot have both a query and queries");
        refuse(
            formula && queries == 0,
            "Formula are only valid when queries are set",
        );
        refuse(
            queries > 1 && !formula,
            "When multiple queries are provided you must include a formula",
        );
    } else {
        refuse(
            !query,
            "Query is empty. API Version v1 only supports using the query parameter in your Analysis Template",
        );
        refuse(query && queries > 0, "Cannot have both a query and queries");
        refuse(has(&metric.aggregator), "Aggregator is not supported in v1");
    }
    faults
}

fn thresholds(metric: &KayentaMetric) -> Option<(i64, i64)> {
    let threshold = metric.threshold.as_ref()?;
    Some((threshold.pass?, threshold.marginal?))
}

/// The conditions of a metric: its own, or those that its provider's threshold means (P7: from
/// `pass` on Successful, below `marginal` Failed, Inconclusive between).
pub fn conditions(metric: &Metric) -> (Option<String>, Option<String>) {
    if let Some((pass, marginal)) = metric.provider.kayenta.as_ref().and_then(thresholds) {
        return (
            Some(format!("result >= {pass}")),
            Some(format!("result < {marginal}")),
        );
    }
    let given = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    (
        given(&metric.success_condition),
        given(&metric.failure_condition),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn all(provider: Value) -> Vec<String> {
        let metric = json!({"name": "m", "provider": provider});
        faults(&serde_json::from_value(metric).unwrap())
    }

    /// L38, in its words.
    #[test]
    fn datadog_is_asked_in_one_way() {
        for (datadog, expected) in [
            (json!({"query": "q"}), None),
            (
                json!({"apiVersion": "v2", "query": "q", "aggregator": "sum"}),
                None,
            ),
            (json!({"apiVersion": "v2", "queries": {"a": "q"}}), None),
            (
                json!({}),
                Some("Query is empty. API Version v1 only supports"),
            ),
            (
                json!({"query": "q", "aggregator": "sum"}),
                Some("Aggregator is not supported in v1"),
            ),
            (
                json!({"apiVersion": "v2"}),
                Some("Must have either a query or queries"),
            ),
            (
                json!({"apiVersion": "v2", "query": "q", "queries": {"a": "q"}}),
                Some("Cannot have both a query and queries"),
            ),
            (
                json!({"apiVersion": "v2", "query": "q", "formula": "a"}),
                Some("Formula are only valid when queries are set"),
            ),
            (
                json!({"apiVersion": "v2", "queries": {"a": "q", "b": "q"}}),
                Some("When multiple queries are provided you must include a formula"),
            ),
            (
                json!({"apiVersion": "v3", "query": "q"}),
                Some("apiVersion of datadog"),
            ),
        ] {
            let told = all(json!({ "datadog": datadog }));
            match expected {
                None => assert!(told.is_empty(), "{told:?}"),
                Some(part) => assert!(
                    told.iter().any(|t| t.starts_with(part)),
                    "{told:?} lacks {part}"
                ),
            }
        }
        assert_eq!(all(json!({"plugin": {"a": {}, "b": {}}})).len(), 1);
    }
}
