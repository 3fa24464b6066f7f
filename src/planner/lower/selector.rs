//! Label selectors: whether one is usable, what it selects, and its text form.

use std::collections::BTreeMap;

use super::Selector;
use crate::planner::fault::Fault;

/// Faults of the selector; its text as clients of the scale sub-resource read it
/// (`app=web,tier in (a,b)`), empty where there is none.
pub(super) fn check(selector: Option<&Selector>, faults: &mut Vec<Fault>) -> String {
    let Some(selector) = selector else {
        faults.push(Fault::required(
            "spec.selector",
            "Rollout has missing field '.spec.selector'",
        ));
        return String::new();
    };
    if is_empty(selector) {
        faults.push(Fault::invalid(
            "spec.selector",
            "{}",
            "empty selector is invalid for deployment",
        ));
    }
    for (i, rule) in selector.match_expressions.iter().flatten().enumerate() {
        let has_values = rule.values.as_ref().is_some_and(|v| !v.is_empty());
        let is_fine = match rule.operator.as_str() {
            "In" | "NotIn" => has_values,
            "Exists" | "DoesNotExist" => !has_values,
            _ => false,
        };
        if !is_fine || rule.key.is_empty() {
            faults.push(Fault::invalid(
                &format!("spec.selector.matchExpressions[{i}]"),
                serde_json::to_string(rule).unwrap_or_default(),
                "invalid label selector: operator must be In or NotIn with values, or Exists or DoesNotExist without",
            ));
        }
    }
    text(selector)
}

/// True for a selector that would select everything.
pub(super) fn is_empty(selector: &Selector) -> bool {
    selector
        .match_labels
        .as_ref()
        .is_none_or(BTreeMap::is_empty)
        && selector
            .match_expressions
            .as_ref()
            .is_none_or(Vec::is_empty)
}

/// True when these labels are selected.
pub(super) fn matches(selector: &Selector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|rule| {
            let has = labels.get(&rule.key);
            let listed = has.is_some_and(|v| rule.values.iter().flatten().any(|w| w == v));
            match rule.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => has.is_some(),
                "DoesNotExist" => has.is_none(),
                _ => false,
            }
        })
}

/// A selector as clients of the scale sub-resource read it: `app=web,tier in (a,b)`.
pub(crate) fn text(selector: &Selector) -> String {
    let mut parts: Vec<String> = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    for rule in selector.match_expressions.iter().flatten() {
        let values = rule.values.clone().unwrap_or_default().join(",");
        parts.push(match rule.operator.as_str() {
            "In" => format!("{} in ({values})", rule.key),
            "NotIn" => format!("{} notin ({values})", rule.key),
            "DoesNotExist" => format!("!{}", rule.key),
            _ => rule.key.clone(),
        });
    }
    parts.join(",")
}
