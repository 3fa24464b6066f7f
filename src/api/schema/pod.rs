//! The schema of a pod template: core/v1's, so that server-side apply merges containers by name,
//! and open at every level, so that nothing is pruned.

use k8s_openapi::api::core::v1::PodSpec;
use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

const OPEN: &str = "x-kubernetes-preserve-unknown-fields";

/// Lists of core/v1 whose entries are told apart by keys, as its OpenAPI document of 1.36 has them
/// (`x-kubernetes-list-map-keys`). k8s-openapi leaves them out of its schemas. A name means the
/// same list wherever it stands in a pod spec.
const LIST_KEYS: [(&str, &[&str]); 14] = [
    ("claims", &["name"]),
    ("containers", &["name"]),
    ("env", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("hostAliases", &["ip"]),
    ("imagePullSecrets", &["name"]),
    ("initContainers", &["name"]),
    ("ports", &["containerPort", "protocol"]),
    ("resourceClaims", &["name"]),
    ("schedulingGates", &["name"]),
    (
        "topologySpreadConstraints",
        &["topologyKey", "whenUnsatisfiable"],
    ),
    ("volumeDevices", &["devicePath"]),
    ("volumeMounts", &["mountPath"]),
    ("volumes", &["name"]),
];

/// Keys that core/v1 does not require. The API server wants a default for those.
const KEY_DEFAULTS: [(&str, &str, &str); 2] = [
    ("ports", "protocol", "TCP"),
    ("imagePullSecrets", "name", ""),
];

/// Quantities outside of maps of quantities.
const QUANTITIES: [&str; 2] = ["divisor", "sizeLimit"];

/// Schema of a pod template.
pub(crate) fn pod_template() -> Schema {
    let settings = SchemaSettings::openapi3().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    let mut spec = settings
        .into_generator()
        .into_root_schema_for::<PodSpec>()
        .to_value();
    open(&mut spec);
    let template = json!({
        "type": "object",
        OPEN: true,
        // Labels, annotations, and what tools leave there (`creationTimestamp: null`).
        "properties": { "metadata": open_object(), "spec": spec },
    });
    Schema::try_from(template).unwrap_or_default()
}

fn open_object() -> Value {
    json!({ "type": "object", OPEN: true })
}

/// Opens a schema and everything below it, and takes out what only people read.
fn open(schema: &mut Value) {
    let Value::Object(schema) = schema else {
        return;
    };
    schema.remove("description");
    schema.remove("title");
    if is_map_of_quantities(schema) {
        schema.remove("additionalProperties");
    }
    for below in ["items", "additionalProperties"] {
        schema.get_mut(below).map(open).unwrap_or_default();
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (name, property) in properties {
            open_property(name, property);
        }
    }
    let is_object = schema.get("type").and_then(Value::as_str) == Some("object");
    if is_object && !schema.contains_key("additionalProperties") {
        schema.insert(OPEN.into(), true.into());
    }
}

fn open_property(name: &str, property: &mut Value) {
    if name == "metadata" {
        *property = open_object();
    } else if name == "ephemeralContainers" {
        // They are added to pods that run; no template may have them.
        *property = json!({
            "type": "array",
            "items": { "type": "object", OPEN: true, "required": ["name"],
                "properties": { "name": { "type": "string" } } },
        });
        add_list_keys(name, property);
    } else if QUANTITIES.contains(&name) {
        // A quantity may also be a number with a fraction, which no type of a schema allows.
        *property = json!({ OPEN: true });
    } else {
        open(property);
        if is_reference(name) {
            free_name(property);
        }
        add_list_keys(name, property);
    }
}

/// References by name: core/v1 lets the name be absent, k8s-openapi says that it is required.
fn is_reference(property: &str) -> bool {
    property.contains("ecret") || property.starts_with("configMap")
}

fn free_name(property: &mut Value) {
    let reference = match property.get("items") {
        Some(_) => &mut property["items"],
        None => property,
    };
    if let Some(Value::Array(required)) = reference.get_mut("required") {
        required.retain(|field| field != "name");
    }
    if reference.get("required").is_some_and(|r| r == &json!([])) {
        reference.as_object_mut().map(|r| r.remove("required"));
    }
}

fn is_map_of_quantities(schema: &Map<String, Value>) -> bool {
    let values = schema.get("additionalProperties");
    values.is_some_and(|v| v.get("x-kubernetes-int-or-string").is_some())
}

fn add_list_keys(name: &str, property: &mut Value) {
    let Some((_, keys)) = LIST_KEYS.iter().find(|(list, _)| *list == name) else {
        return;
    };
    property["x-kubernetes-list-type"] = "map".into();
    property["x-kubernetes-list-map-keys"] = json!(keys);
    for (_, key, default) in KEY_DEFAULTS.iter().filter(|(list, ..)| *list == name) {
        property["items"]["properties"][*key]["default"] = (*default).into();
    }
}
