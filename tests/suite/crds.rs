//! The wire types and the CustomResourceDefinitions made from them: nothing that a client sends is
//! lost, and crds/ is what `serin crds` prints.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use serin::api::schema;
use serin::api::{
    AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate, ClusterFreezeWindow, Experiment,
    FreezeWindow, Rollout,
};
use serin::cli::crds;

/// `kubectl apply` keeps the whole definition in an annotation, which may have 256 KiB; 200 KB is what
/// was promised, and some room is kept for fields to come.
const LARGEST_FILE: usize = 185_000;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn files_are_what_the_generator_makes() {
    let dir = root().join("crds");
    let files = crds::files().unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        crds::run(&crds::Args {
            output_dir: Some(dir.clone()),
        })
        .unwrap();
    }
    for (name, text) in &files {
        let stored = fs::read_to_string(dir.join(name)).unwrap_or_default();
        assert!(
            stored == *text,
            "crds/{name} is stale; run `serin crds --output-dir crds`"
        );
    }
    let stored: BTreeSet<PathBuf> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into())
        .collect();
    let made: BTreeSet<PathBuf> = files.iter().map(|(name, _)| PathBuf::from(name)).collect();
    assert_eq!(
        stored, made,
        "crds/ holds the files of our kinds and no others"
    );
}

#[test]
fn every_file_is_small_enough_for_plain_apply() {
    for (name, text) in crds::files().unwrap() {
        assert!(text.len() < LARGEST_FILE, "{name} has {} bytes", text.len());
    }
}

/// A name that is nowhere would let a test of foreign definitions take nothing away.
#[test]
fn every_field_of_our_own_is_in_a_definition() {
    let files = crds::files().unwrap();
    for name in serin::api::published::ADDITIONS {
        let key = format!(" {name}:");
        assert!(files.iter().any(|(_, text)| text.contains(&key)), "{name}");
    }
}

#[test]
fn yaml_says_what_the_definition_says() {
    let definitions = schema::crds().unwrap();
    for (crd, (name, text)) in definitions.iter().zip(crds::files().unwrap()) {
        let read: Value = serde_saphyr::from_str(&text).unwrap();
        assert!(
            read == crd.definition,
            "{name} reads differently from what was meant"
        );
    }
}

#[test]
fn subresources_are_those_that_clients_use() {
    let subresources = |kind: &str| version(&definition(kind))["subresources"].clone();
    assert_eq!(
        subresources("Rollout"),
        json!({
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.HPAReplicas",
                "labelSelectorPath": ".status.selector",
            },
        })
    );
    for kind in [
        "AnalysisRun",
        "Experiment",
        "AnalysisTemplate",
        "ClusterAnalysisTemplate",
    ] {
        assert_eq!(
            subresources(kind),
            Value::Null,
            "{kind} must have no sub-resource"
        );
    }
}

#[test]
fn every_field_of_ours_is_described() {
    for crd in schema::crds().unwrap() {
        let root = &version(&crd.definition)["schema"]["openAPIV3Schema"];
        walk(root, crd.file, &mut |path, schema| {
            assert!(
                schema["description"].is_string(),
                "{path} has no description"
            );
            assert!(schema["nullable"].is_null(), "{path} is nullable");
            assert!(schema["default"].is_null(), "{path} has a default");
        });
    }
}

#[test]
fn every_level_of_a_pod_template_is_open() {
    let rollout = definition("Rollout");
    let template = &version(&rollout)["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        ["template"];
    let mut list_maps = 0;
    every_schema(template, "template", &mut |path, schema| {
        if schema["type"] == "object" && schema["additionalProperties"].is_null() {
            assert_eq!(
                schema["x-kubernetes-preserve-unknown-fields"], true,
                "{path} is closed"
            );
        }
        if schema["x-kubernetes-list-type"] == "map" {
            list_maps += 1;
            check_keys(path, schema);
        }
    });
    // Nine lists of a pod, claims of its resources, and five lists for each of two kinds of container
    // (a template has no ephemeral ones).
    assert_eq!(list_maps, 9 + 1 + 2 * 5);
}

/// The API server wants every key of a list-map to be required or to have a default.
fn check_keys(path: &str, list: &Value) {
    for key in list["x-kubernetes-list-map-keys"].as_array().unwrap() {
        let is_required = list["items"]["required"]
            .as_array()
            .is_some_and(|required| required.contains(key));
        let has_default = !list["items"]["properties"][key.as_str().unwrap()]["default"].is_null();
        assert!(
            is_required || has_default,
            "{path}: key {key} may be absent"
        );
    }
}

#[test]
fn manifests_keep_every_field() {
    let dir = root().join("tests/suite/manifests");
    let mut seen = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let object: Value = serde_saphyr::from_str(&text).unwrap();
        check_round_trip(&object, &path.display().to_string());
        seen += 1;
    }
    assert!(seen >= 6);
}

/// An object with every field of the schema, so that no field is in the schema only.
#[test]
fn every_field_of_the_schema_is_read_and_written() {
    for crd in schema::crds().unwrap() {
        let version = version(&crd.definition);
        let mut object = sample(&version["schema"]["openAPIV3Schema"]);
        let group = crd.definition["spec"]["group"].as_str().unwrap();
        object["apiVersion"] = format!("{group}/v1alpha1").into();
        object["kind"] = crd.definition["spec"]["names"]["kind"].clone();
        object["metadata"] = json!({ "name": "sample" });
        check_round_trip(&object, crd.file);
    }
}

#[test]
fn empty_and_null_are_read() {
    let object = json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": { "name": "bare" },
        "spec": { "strategy": { "canary": { "steps": null, "maxSurge": null } } },
        "status": { "conditions": null, "pauseConditions": null },
    });
    let rollout: Rollout = serde_json::from_value(object).unwrap();
    assert_eq!(rollout.spec.replicas, None);
    assert_eq!(rollout.status.unwrap().conditions, []);
}

fn check_round_trip(object: &Value, name: &str) {
    let written = match object["kind"].as_str().unwrap() {
        "Rollout" => round_trip::<Rollout>(object),
        "AnalysisTemplate" => round_trip::<AnalysisTemplate>(object),
        "ClusterAnalysisTemplate" => round_trip::<ClusterAnalysisTemplate>(object),
        "AnalysisRun" => round_trip::<AnalysisRun>(object),
        "Experiment" => round_trip::<Experiment>(object),
        "FreezeWindow" => round_trip::<FreezeWindow>(object),
        "ClusterFreezeWindow" => round_trip::<ClusterFreezeWindow>(object),
        other => panic!("{name}: no kind {other}"),
    };
    for field in ["spec", "status"] {
        assert_eq!(
            written[field], object[field],
            "{name}: {field} changed on the way"
        );
    }
}

fn round_trip<T: DeserializeOwned + Serialize>(object: &Value) -> Value {
    let typed: T = serde_json::from_value(object.clone()).unwrap();
    serde_json::to_value(typed).unwrap()
}

fn definition(kind: &str) -> Value {
    let mut all = schema::crds()
        .unwrap()
        .into_iter()
        .map(|crd| crd.definition);
    all.find(|definition| definition["spec"]["names"]["kind"] == kind)
        .unwrap()
}

fn version(definition: &Value) -> &Value {
    &definition["spec"]["versions"][0]
}

/// Visits each property of our own; the insides of pod templates are core/v1's.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    let is_pod_template = !schema["properties"]["metadata"].is_null()
        && schema["x-kubernetes-preserve-unknown-fields"] == true;
    if is_pod_template {
        return;
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        visit(&path, property);
        walk(property, &path, visit);
    }
    walk_below(schema, path, &mut |schema, path| walk(schema, path, visit));
}

fn every_schema(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        every_schema(property, &format!("{path}.{name}"), visit);
    }
    walk_below(schema, path, &mut |schema, path| {
        every_schema(schema, path, visit)
    });
}

fn walk_below(schema: &Value, path: &str, visit: &mut dyn FnMut(&Value, &str)) {
    for below in ["items", "additionalProperties"] {
        if schema[below].is_object() {
            visit(&schema[below], &format!("{path}[]"));
        }
    }
}

fn sample(schema: &Value) -> Value {
    if schema["x-kubernetes-int-or-string"] == true {
        return "25%".into();
    }
    match schema["type"].as_str() {
        Some("object") => Value::Object(sample_object(schema)),
        Some("array") => json!([sample(&schema["items"])]),
        Some("integer") => 7.into(),
        Some("boolean") => true.into(),
        Some("string") if schema["format"] == "date-time" => "2026-01-02T03:04:05Z".into(),
        Some("string") => schema["enum"][0].as_str().unwrap_or("text").into(),
        _ => json!(0.5),
    }
}

fn sample_object(schema: &Value) -> Map<String, Value> {
    if schema["additionalProperties"].is_object() {
        let entry = sample(&schema["additionalProperties"]);
        return Map::from_iter([("key".to_owned(), entry)]);
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, property)| (name.clone(), sample(property)))
        .collect()
}
