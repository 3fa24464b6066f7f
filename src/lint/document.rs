//! One manifest: of which kind it is, whether its fields are the schema's, and what the rules of its
//! kind say. Stricter than the API server, which drops unknown fields without a word.

use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::strict::{check, nearest, unknown, wrong_type};
use crate::api::analysis::{AnalysisRunSpec, AnalysisTemplateSpec};
use crate::api::experiment::ExperimentSpec;
use crate::api::{self, ClusterFreezeWindowSpec, FreezeWindowSpec, OWN_API_VERSION, RolloutSpec};
use crate::planner::analysis::check as analysis;
use crate::planner::fault::Fault;
use crate::planner::freeze::Window;
use crate::planner::lower;
use crate::planner::observed::TemplateRef;

const TOP: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
const METADATA: [&str; 15] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "generateName",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
    "selfLink",
];
const KINDS: [&str; 5] = [
    "Rollout",
    "AnalysisTemplate",
    "ClusterAnalysisTemplate",
    "AnalysisRun",
    "Experiment",
];

const OWN_KINDS: [&str; 2] = ["FreezeWindow", "ClusterFreezeWindow"];

/// An object that could be read, be its content right or wrong.
#[derive(Clone, Debug)]
pub enum Object {
    /// A Rollout.
    Rollout(Box<api::Rollout>),
    /// An AnalysisTemplate or ClusterAnalysisTemplate.
    Template(TemplateRef, Box<AnalysisTemplateSpec>),
    /// An Experiment.
    Experiment(Box<api::Experiment>),
    /// A FreezeWindow or ClusterFreezeWindow.
    Freeze(Box<Window>),
    /// Anything else, by kind and name.
    Other(String),
}

/// A document without apiVersion and kind: a rehearsal, or nothing that is known.
pub fn is_rehearsal(document: &Value) -> bool {
    document.is_object() && document.get("apiVersion").is_none() && document.get("kind").is_none()
}

/// `Rollout web`; `Rollout` of an object without a name, and nothing of what is no object.
pub fn title(document: &Value) -> String {
    let kind = text(document, "kind");
    format!("{kind} {}", name_of(document)).trim().to_owned()
}

/// The name of an object, empty where it has none.
pub fn name_of(document: &Value) -> String {
    let name = document.pointer("/metadata/name").and_then(Value::as_str);
    name.unwrap_or_default().to_owned()
}

fn text<'a>(document: &'a Value, name: &str) -> &'a str {
    document
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Reads one manifest. All its faults are added to `faults`, with paths from its root; `None` where
/// nothing can be made of it.
pub fn read(document: &Value, faults: &mut Vec<Fault>) -> Option<Object> {
    if !document.is_object() {
        let wanted = "a manifest: an object with apiVersion and kind";
        faults.push(wrong_type("", document, wanted));
        return None;
    }
    for name in ["apiVersion", "kind"] {
        if text(document, name).is_empty() {
            faults.push(Fault::required(name, "every manifest needs it"));
        }
    }
    if text(document, "apiVersion") == OWN_API_VERSION {
        return freeze(document, faults);
    }
    if text(document, "apiVersion") != api::API_VERSION {
        return other_group(document, faults);
    }
    match text(document, "kind") {
        "Rollout" => rollout(document, faults),
        "AnalysisTemplate" => template(document, false, faults),
        "ClusterAnalysisTemplate" => template(document, true, faults),
        "AnalysisRun" => {
            let spec: AnalysisRunSpec = typed(document, faults)?;
            faults.extend(analysis::run(&spec));
            Some(Object::Other(title(document)))
        }
        "Experiment" => {
            let spec: ExperimentSpec = typed(document, faults)?;
            faults.extend(lower::experiment::check(&spec));
            let mut experiment = api::Experiment::new(&name_of(document), spec);
            let meta = document.get("metadata").cloned().unwrap_or_default();
            experiment.metadata = serde_json::from_value(meta).unwrap_or_default();
            Some(Object::Experiment(Box::new(experiment)))
        }
        kind => no_such_kind(kind, &KINDS, faults),
    }
}

fn no_such_kind(kind: &str, known: &[&str], faults: &mut Vec<Fault>) -> Option<Object> {
    faults.push(Fault {
        path: "kind".into(),
        message: match nearest(kind, known.iter().copied()) {
            Some(near) => format!("no such kind: {kind:?}: did you mean {near:?}?"),
            None => format!("no such kind: {kind:?}: known here: {}", known.join(", ")),
        },
    });
    None
}

fn freeze(document: &Value, faults: &mut Vec<Fault>) -> Option<Object> {
    let name = name_of(document);
    let namespace = document.pointer("/metadata/namespace");
    let window = match text(document, "kind") {
        "FreezeWindow" => {
            let spec: FreezeWindowSpec = typed(document, faults)?;
            // Where none is said, as elsewhere: the namespace that the rehearsal plays in.
            let namespace = namespace.and_then(Value::as_str).unwrap_or("default");
            Window::of(Some(namespace), &name, spec.into())
        }
        "ClusterFreezeWindow" => {
            let spec: ClusterFreezeWindowSpec = typed(document, faults)?;
            Window::of(None, &name, spec)
        }
        kind => return no_such_kind(kind, &OWN_KINDS, faults),
    };
    faults.extend(window.faults().iter().cloned());
    Some(Object::Freeze(Box::new(window)))
}

/// Objects of other groups are not ours to judge, but for a slip in the group's name.
fn other_group(document: &Value, faults: &mut Vec<Fault>) -> Option<Object> {
    let (version, kind) = (text(document, "apiVersion"), text(document, "kind"));
    if version.starts_with("argoproj.io/") && KINDS.contains(&kind) {
        faults.push(Fault::invalid(
            "apiVersion",
            format!("{version:?}"),
            format!("write {}", api::API_VERSION),
        ));
        return None;
    }
    (!version.is_empty() && !kind.is_empty()).then(|| Object::Other(title(document)))
}

fn rollout(document: &Value, faults: &mut Vec<Fault>) -> Option<Object> {
    check_fields::<RolloutSpec>(document, faults);
    // The CRD leaves the pod template open; here a slip of the pen in it is worth telling.
    if let Some(template) = document.pointer("/spec/template") {
        let schema = schema_of::<k8s_openapi::api::core::v1::PodTemplateSpec>();
        check("spec.template", template, &schema, &schema, faults);
    }
    let rollout: api::Rollout = decoded(document, faults)?;
    if let Err(found) = lower::lower(&rollout) {
        // A misspelt field leaves a hole that is a fault of its own: once is enough.
        let told = faults.clone();
        let is_told = |fault: &Fault| {
            let below = format!("{}.", fault.path);
            told.iter().any(|t| t.path.starts_with(&below))
        };
        faults.extend(found.into_iter().filter(|fault| !is_told(fault)));
    }
    Some(Object::Rollout(Box::new(rollout)))
}

fn template(document: &Value, is_cluster: bool, faults: &mut Vec<Fault>) -> Option<Object> {
    let spec: AnalysisTemplateSpec = typed(document, faults)?;
    faults.extend(analysis::template(&spec));
    let name = name_of(document);
    let reference = TemplateRef { name, is_cluster };
    Some(Object::Template(reference, Box::new(spec)))
}

/// The spec of a document, after its fields have been compared with the schema.
fn typed<S: JsonSchema + DeserializeOwned>(document: &Value, faults: &mut Vec<Fault>) -> Option<S> {
    check_fields::<S>(document, faults);
    let spec = document.get("spec").cloned().unwrap_or_default();
    decoded(&spec, faults)
}

/// What cannot be decoded was told by the schema, or is told here.
fn decoded<T: DeserializeOwned>(value: &Value, faults: &mut Vec<Fault>) -> Option<T> {
    match T::deserialize(value) {
        Ok(object) => Some(object),
        Err(error) => {
            if faults.is_empty() {
                faults.push(Fault {
                    path: "spec".into(),
                    message: error.to_string(),
                });
            }
            None
        }
    }
}

/// Compares a document with the schema of its spec.
fn check_fields<S: JsonSchema>(document: &Value, faults: &mut Vec<Fault>) {
    let keys = |value: Option<&Value>| -> Vec<String> {
        let map = value.and_then(Value::as_object);
        map.into_iter().flat_map(|m| m.keys().cloned()).collect()
    };
    for (path, value, known) in [
        ("", Some(document), &TOP[..]),
        ("metadata", document.get("metadata"), &METADATA[..]),
    ] {
        for name in keys(value).iter().filter(|n| !known.contains(&n.as_str())) {
            faults.push(unknown(path, name, known.iter().copied()));
        }
    }
    if name_of(document).is_empty() {
        let message = "is needed: the name of the object".into();
        faults.push(Fault {
            path: "metadata.name".into(),
            message,
        });
    }
    match document.get("spec") {
        Some(spec) => {
            let schema = schema_of::<S>();
            check("spec", spec, &schema, &schema, faults);
        }
        None => faults.push(Fault {
            path: "spec".into(),
            message: "is needed".into(),
        }),
    }
}

fn schema_of<T: JsonSchema>() -> Value {
    SchemaGenerator::default()
        .into_root_schema_for::<T>()
        .to_value()
}
