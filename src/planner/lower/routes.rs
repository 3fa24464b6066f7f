//! The steps that make routes, and the weights of an Experiment step: what they need, and how a match
//! is written (contract L20–L22, L24).

use super::traffic::Routers;
use crate::api::canary::{RouteMatch, SetHeaderRoute, SetMirrorRoute, StringMatch};
use crate::planner::fault::Fault;

fn has_plugins(routing: &crate::api::TrafficRouting) -> bool {
    routing.plugins.as_ref().is_some_and(|p| !p.is_empty())
}

/// A header route at `path` (L21).
pub(super) fn header(
    path: &str,
    step: &SetHeaderRoute,
    routers: Routers<'_>,
    faults: &mut Vec<Fault>,
) {
    let fits = routers
        .any(|r| r.istio.is_some() || r.alb.is_some() || r.apisix.is_some() || has_plugins(r));
    if !fits {
        faults.push(Fault::invalid(
            path,
            "{…}",
            "SetHeaderRoute requires TrafficRouting, supports Istio and ALB and Apisix",
        ));
        return;
    }
    if step.name.as_deref().unwrap_or_default().is_empty() {
        let path = format!("{path}.name");
        faults.push(Fault::required(&path, "name the route"));
    }
    let exact_only = routers.any(|r| r.alb.is_some());
    for (i, rule) in step.match_.iter().flatten().enumerate() {
        let at = format!("{path}.match[{i}]");
        if rule.header_name.is_empty() {
            let path = format!("{at}.headerName");
            faults.push(Fault::required(&path, "name the header"));
        }
        let at = format!("{at}.headerValue");
        let value = rule.header_value.clone().unwrap_or_default();
        if exact_only && value.exact.is_none() {
            faults.push(Fault::invalid(
                &at,
                "{…}",
                "SetHeaderRoute match value invalid. ALB supports 'exact' value only",
            ));
        } else {
            string_match(&at, &value, faults);
        }
    }
}

/// A mirror route at `path` (L22). The headers of its matches count like the rest.
pub(super) fn mirror(
    path: &str,
    step: &SetMirrorRoute,
    routers: Routers<'_>,
    faults: &mut Vec<Fault>,
) {
    if !routers.any(|r| r.istio.is_some() || has_plugins(r)) {
        faults.push(Fault::invalid(
            path,
            "{…}",
            "SetMirrorRoute requires TrafficRouting, supports Istio and Plugins",
        ));
        return;
    }
    if step.name.is_empty() {
        let path = format!("{path}.name");
        faults.push(Fault::required(&path, "name the route"));
    }
    if let Some(percent) = step.percentage
        && !(0..=100).contains(&percent)
    {
        let path = format!("{path}.percentage");
        faults.push(Fault::invalid(&path, percent, "must be from 0 to 100"));
    }
    for (i, rule) in step.match_.iter().flatten().enumerate() {
        let RouteMatch {
            method,
            path: route,
            headers,
        } = rule;
        let at = format!("{path}.match[{i}]");
        for (field, value) in [("method", method), ("path", route)] {
            if let Some(value) = value {
                string_match(&format!("{at}.{field}"), value, faults);
            }
        }
        for (name, value) in headers.iter().flatten() {
            string_match(&format!("{at}.headers.{name}"), value, faults);
        }
    }
}

fn string_match(path: &str, value: &StringMatch, faults: &mut Vec<Fault>) {
    let StringMatch {
        exact,
        prefix,
        regex,
    } = value;
    let set = [exact, prefix, regex];
    let message = match set.iter().filter(|v| v.is_some()).count() {
        1 => return,
        0 => {
            "StringMatch value missed, match value must have one of the following: exact, regex, prefix"
        }
        _ => "StringMatch match value must have exactly one of the following: exact, regex, prefix",
    };
    faults.push(Fault::invalid(path, "{…}", message));
}
