//! What every definition needs after the derive macro: the sub-resources that clients expect, and
//! schemas as the published ones are.

use serde_json::{Map, Value, json};

/// Kinds whose status is patched on the main resource. The derive macro gives the sub-resource to
/// every kind that has a status (kube-derive); clients of these two would get a 404 from it.
const WITHOUT_STATUS_SUBRESOURCE: [&str; 2] = ["AnalysisRun", "Experiment"];

/// Integers that are 64 bits wide in the published types. All others are 32 bits there: a larger
/// value would be stored, and then no Go client could list the kind any more.
const WIDE: [&str; 5] = [
    "observedGeneration",
    "port",
    "durationSeconds",
    "timeout",
    "totalManualPauseDurationSeconds",
];

/// Completes a definition as the derive macro gives it.
pub(super) fn finish(mut definition: Value) -> Value {
    let kind = definition
        .pointer("/spec/names/kind")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let is_plain = WITHOUT_STATUS_SUBRESOURCE.contains(&kind);
    let versions = definition
        .pointer_mut("/spec/versions")
        .and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten() {
        let fields = version.as_object_mut();
        if let Some(fields) = fields.filter(|_| is_plain) {
            fields.remove("subresources");
        }
        if let Some(Value::Object(root)) = version.pointer_mut("/schema/openAPIV3Schema") {
            finish_schema(root);
        }
    }
    definition
}

fn finish_schema(schema: &mut Map<String, Value>) {
    schema.remove("nullable");
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    if is_open(schema) {
        return;
    }
    require_plain_fields(schema);
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (name, property) in properties {
            narrow(name, property);
            finish_value(property);
        }
    }
    for below in ["items", "additionalProperties"] {
        schema.get_mut(below).map(finish_value).unwrap_or_default();
    }
}

fn finish_value(schema: &mut Value) {
    if let Value::Object(schema) = schema {
        finish_schema(schema);
    }
}

/// A pod template: its schema is core/v1's, not ours.
fn is_open(schema: &Map<String, Value>) -> bool {
    schema.contains_key("properties")
        && schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
}

/// A field that is no `Option` is one without which its object says nothing (a name). All structs
/// are read with defaults, so schemars shows such a field with its default: that is how it is told.
fn require_plain_fields(schema: &mut Map<String, Value>) {
    let Some(Value::Object(properties)) = schema.get_mut("properties") else {
        return;
    };
    let mut required = Vec::new();
    for (name, property) in properties {
        let is_plain = property
            .as_object_mut()
            .is_some_and(|p| p.remove("default").is_some());
        if is_plain {
            required.push(Value::from(name.as_str()));
        }
    }
    if required.is_empty() {
        return;
    }
    if let Value::Array(list) = schema.entry("required").or_insert_with(|| json!([])) {
        list.extend(required);
    }
}

fn narrow(name: &str, property: &mut Value) {
    let is_wide = property.get("format").and_then(Value::as_str) == Some("int64");
    if is_wide && !WIDE.contains(&name) {
        property["format"] = "int32".into();
    }
}
