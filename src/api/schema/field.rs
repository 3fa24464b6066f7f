//! Schemas of single fields that several types share. The limits on lengths are there so that the
//! API server can bound what a rule costs; without them it refuses the definition.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Anything at all, kept as it is.
pub(crate) fn any(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

/// An object with any fields, kept as they are.
pub(crate) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// Number, text with a unit, or `{noWorseThanStable: …}`. A structural schema has no type for
/// that, so what is wrong with a bound is told by the controller and by lint.
pub(crate) fn bound(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

/// A duration in the syntax of Go, above zero in form: `30s`, `5m`, `1h30m`.
pub(crate) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')",
            "message": "write a duration with units, such as 30s, 5m or 1h30m",
        }],
    })
}

/// The same in a list without an end, where the API server lets a rule cost no more than this one does:
/// what people forget is the unit. What still is no duration is told by the controller and by lint.
pub(crate) fn step_duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "x-kubernetes-validations": [{
            "rule": "self.endsWith('s') || self.endsWith('m') || self.endsWith('h')",
            "message": "write a duration with units, such as 30s, 5m or 1h30m",
        }],
    })
}

/// Five fields of cron. What they mean is told by the controller and by lint.
pub(crate) fn cron(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 128,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[ ]*[-0-9A-Za-z*,/]+([ ]+[-0-9A-Za-z*,/]+){4}[ ]*$')",
            "message": "write five fields (minute, hour, day, month, weekday), such as 0 18 * * FRI",
        }],
    })
}

/// A date, with a time of day and an offset where wanted.
pub(crate) fn moment(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 40,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:?[0-9]{2})?)?$')",
            "message": "write a time such as 2026-12-20T18:00, which is in timeZone, or 2026-12-20T18:00:00+01:00",
        }],
    })
}

/// Name of a time zone.
pub(crate) fn time_zone(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 64,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$')",
            "message": "write the name of a time zone, such as Europe/Warsaw or UTC",
        }],
    })
}

/// An address with scheme.
pub(crate) fn http_address(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 2048,
        "x-kubernetes-validations": [{
            "rule": "self.startsWith('http://') || self.startsWith('https://')",
            "message": "write the whole address, such as http://prometheus.monitoring:9090",
        }],
    })
}

/// The name of a label in Prometheus.
pub(crate) fn label_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 128,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[a-zA-Z_][a-zA-Z0-9_]*$')",
            "message": "write the name of a Prometheus label: letters, digits and _, such as rollouts_pod_template_hash",
        }],
    })
}

/// A whole number from 0 on.
pub(crate) fn natural(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 0 })
}

/// The name of an objective.
pub(crate) fn objective_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 63,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "message": "write a name of small letters, digits and -, such as chat-latency",
        }],
    })
}

/// A metric with optional matchers.
pub(crate) fn selector_text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 1024,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[ ]*[a-zA-Z_:][a-zA-Z0-9_:]*[ ]*([{].*[}])?[ ]*$')",
            "message": "write one metric name with optional matchers, such as tool_calls_total{outcome=\"success\"}; put any other expression into a query objective",
        }],
    })
}

/// An expression in PromQL.
pub(crate) fn promql(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 8192 })
}
