//! The manifests of a rehearsal, read more strictly than the API server reads them: unknown fields
//! are faults, with the path and the nearest name. Knows which kinds take part in a rehearsal.

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use super::strict::{check, join, nearest, unknown, wrong_type};
use crate::api::analysis::AnalysisTemplateSpec;
use crate::api::{self, RolloutSpec};
use crate::planner::fault::Fault;
use crate::planner::observed::TemplateRef;

/// Manifests by kind.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// Rollouts in the order in which they were given.
    pub rollouts: Vec<api::Rollout>,
    /// Analysis templates.
    pub templates: BTreeMap<TemplateRef, AnalysisTemplateSpec>,
    /// What else there was: it takes no part.
    pub others: Vec<String>,
}

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

impl Manifests {
    /// Takes in one document of `file`; what is wrong with it is added to `faults`.
    pub fn add(&mut self, file: &str, document: &Value, faults: &mut Vec<Fault>) {
        if document.is_null() {
            return;
        }
        let mut found = Vec::new();
        self.take(document, &mut found);
        let name = document.pointer("/metadata/name").and_then(Value::as_str);
        let kind = document
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or("document");
        let place = match name {
            Some(name) => format!("{file}: {kind} {name}"),
            None => file.to_owned(),
        };
        let place = if file.starts_with("manifests[") {
            file.to_owned()
        } else {
            place
        };
        faults.extend(found.into_iter().map(|fault| Fault {
            path: if file.starts_with("manifests[") {
                join(&place, &fault.path)
            } else {
                format!("{place}: {}", fault.path)
            },
            ..fault
        }));
    }

    fn take(&mut self, document: &Value, faults: &mut Vec<Fault>) {
        let text = |name: &str| {
            document
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        if !document.is_object() {
            faults.push(wrong_type(
                "",
                document,
                "a manifest: an object with apiVersion and kind",
            ));
            return;
        }
        if text("apiVersion") != api::API_VERSION {
            self.others
                .push(format!("{} {}", text("kind"), name_of(document)));
            return;
        }
        match text("kind") {
            "Rollout" => self.take_rollout(document, faults),
            "AnalysisTemplate" => self.take_template(document, false, faults),
            "ClusterAnalysisTemplate" => self.take_template(document, true, faults),
            kind if KINDS.contains(&kind) => {
                self.others.push(format!("{kind} {}", name_of(document)));
            }
            kind => faults.push(Fault {
                path: "kind".into(),
                message: match nearest(kind, KINDS) {
                    Some(near) => format!("no such kind: {kind:?}: did you mean {near:?}?"),
                    None => format!("no such kind: {kind:?}: known here: {}", KINDS.join(", ")),
                },
            }),
        }
    }

    fn take_rollout(&mut self, document: &Value, faults: &mut Vec<Fault>) {
        check_document::<RolloutSpec>(document, faults);
        check_pod_template(document, faults);
        let rollout = match serde_json::from_value::<api::Rollout>(document.clone()) {
            Ok(rollout) => rollout,
            Err(_) if !faults.is_empty() => return,
            Err(error) => {
                faults.push(Fault {
                    path: "spec".into(),
                    message: error.to_string(),
                });
                return;
            }
        };
        let unknown = faults.clone();
        if let Err(found) = crate::planner::lower::lower(&rollout) {
            // A misspelt field leaves a hole that is a fault of its own: once is enough.
            let is_told = |fault: &Fault| {
                unknown
                    .iter()
                    .any(|u| u.path.starts_with(&format!("{}.", fault.path)))
            };
            faults.extend(found.into_iter().filter(|fault| !is_told(fault)));
        }
        if faults.is_empty() {
            self.rollouts.push(rollout);
        }
    }

    fn take_template(&mut self, document: &Value, is_cluster: bool, faults: &mut Vec<Fault>) {
        check_document::<AnalysisTemplateSpec>(document, faults);
        let spec = document.get("spec").cloned().unwrap_or_default();
        match serde_json::from_value::<AnalysisTemplateSpec>(spec) {
            Ok(spec) => {
                self.templates.insert(
                    TemplateRef {
                        name: name_of(document),
                        is_cluster,
                    },
                    spec,
                );
            }
            Err(_) if !faults.is_empty() => {}
            Err(error) => faults.push(Fault {
                path: "spec".into(),
                message: error.to_string(),
            }),
        }
    }
}

fn name_of(document: &Value) -> String {
    let name = document.pointer("/metadata/name").and_then(Value::as_str);
    name.unwrap_or_default().to_owned()
}

/// Compares a document with the schema of its spec.
fn check_document<S: JsonSchema>(document: &Value, faults: &mut Vec<Fault>) {
    for name in document
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::keys)
    {
        if !TOP.contains(&name.as_str()) {
            faults.push(unknown("", name, TOP));
        }
    }
    let metadata = document.get("metadata").and_then(Value::as_object);
    for name in metadata.into_iter().flat_map(serde_json::Map::keys) {
        if !METADATA.contains(&name.as_str()) {
            faults.push(unknown("metadata", name, METADATA));
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

/// The CRD leaves the pod template open; here a slip of the pen in it is worth telling.
fn check_pod_template(document: &Value, faults: &mut Vec<Fault>) {
    if let Some(template) = document.pointer("/spec/template") {
        let schema = schema_of::<k8s_openapi::api::core::v1::PodTemplateSpec>();
        check("spec.template", template, &schema, &schema, faults);
    }
}

fn schema_of<T: JsonSchema>() -> Value {
    SchemaGenerator::default()
        .into_root_schema_for::<T>()
        .to_value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_fields_are_faults_with_the_nearest_name() {
        let document = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "web", "lables": {}},
            "spec": {
                "replica": 2,
                "template": {"spec": {"containers": [{"name": "app", "imagee": "a:1", "resources": {"limits": {"cpu": 1}}}]}},
                "strategy": {"canary": {"steps": [{"setWieght": 20}, {"pause": {"duration": "30s"}}]}}
            }
        });
        let mut faults = Vec::new();
        Manifests::default().add("web.yaml", &document, &mut faults);
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        for line in [
            "web.yaml: Rollout web: metadata.lables: unknown field: did you mean \"labels\"?",
            "web.yaml: Rollout web: spec.replica: unknown field: did you mean \"replicas\"?",
            "web.yaml: Rollout web: spec.strategy.canary.steps[0].setWieght: unknown field: did you mean \"setWeight\"?",
            "web.yaml: Rollout web: spec.template.spec.containers[0].imagee: unknown field: did you mean \"image\"?",
            // What the planner finds comes with them; the step's own fault is told already.
            "web.yaml: Rollout web: spec.selector: Required value: Rollout has missing field '.spec.selector'",
            "web.yaml: Rollout web: spec.template.spec.containers[0].image: Required value: name the container's image",
        ] {
            assert!(
                lines.iter().any(|found| found == line),
                "{line}\nis not in\n{lines:#?}"
            );
        }
        assert_eq!(lines.len(), 6, "{lines:#?}");
    }
}
