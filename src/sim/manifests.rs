//! The manifests of a rehearsal, read more strictly than the API server reads them: unknown fields
//! are faults, with the path and the nearest name. Knows which kinds take part in a rehearsal.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::api;
use crate::api::analysis::AnalysisTemplateSpec;
use crate::lint::document::{self, Object};
use crate::lint::strict::join;
use crate::planner::config::{ConfigKey, ConfigKind};
use crate::planner::fault::Fault;
use crate::planner::freeze::Window;
use crate::planner::observed::{ServiceSeen, TemplateRef};
use crate::planner::workload::{WorkloadKind, WorkloadSeen};

/// Manifests by kind.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// Rollouts in the order in which they were given.
    pub rollouts: Vec<api::Rollout>,
    /// Analysis templates.
    pub templates: BTreeMap<TemplateRef, AnalysisTemplateSpec>,
    /// Experiments that begin with the story.
    pub experiments: Vec<api::Experiment>,
    /// Freeze windows.
    pub freezes: Vec<Arc<Window>>,
    /// Services.
    pub services: Vec<ServiceSeen>,
    /// Workloads that a Rollout may refer to.
    pub workloads: Vec<Value>,
    /// ConfigMaps and Secrets.
    pub configs: BTreeMap<ConfigKey, Value>,
    /// What else there was: it takes no part.
    pub others: Vec<String>,
}

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

    /// The pod template that this Rollout uses, its own or its workload's.
    pub fn template_of(&self, rollout: &api::Rollout) -> api::PodTemplate {
        let seen = self.workload_of(rollout).and_then(|workload| {
            let kind = kind_of(workload)?;
            Some(WorkloadSeen::of(kind, workload))
        });
        match seen {
            Some(seen) => seen.template,
            None => rollout.spec.template.clone().unwrap_or_default(),
        }
    }

    /// The workload that this Rollout refers to.
    pub fn workload_of(&self, rollout: &api::Rollout) -> Option<&Value> {
        let wanted = rollout.spec.workload_ref.as_ref()?;
        self.workloads.iter().find(|document| {
            let kind = document.get("kind").and_then(Value::as_str);
            kind == wanted.kind.as_deref() && Some(name_of(document)) == wanted.name
        })
    }

    fn take(&mut self, document: &Value, faults: &mut Vec<Fault>) {
        if kind_of(document).is_some() {
            self.workloads.push(document.clone());
            return;
        }
        let kinds = [ConfigKind::ConfigMap, ConfigKind::Secret];
        let named = document.get("kind").and_then(Value::as_str);
        if let Some(kind) = kinds.into_iter().find(|k| Some(k.name()) == named) {
            let name = name_of(document);
            self.configs
                .insert(ConfigKey { kind, name }, document.clone());
            return;
        }
        let is =
            |name: &str, value: &str| document.get(name).and_then(Value::as_str) == Some(value);
        if is("apiVersion", "v1")
            && is("kind", "Service")
            && let Ok(service) = ServiceSeen::deserialize(document)
        {
            self.services.push(service);
            return;
        }
        match document::read(document, faults) {
            Some(Object::Rollout(rollout)) if faults.is_empty() => self.rollouts.push(*rollout),
            Some(Object::Rollout(_)) | None => {}
            Some(Object::Template(name, spec)) => {
                self.templates.insert(name, *spec);
            }
            Some(Object::Freeze(window)) => self.freezes.push(Arc::new(*window)),
            Some(Object::Experiment(experiment)) => self.experiments.push(*experiment),
            Some(Object::Other(title)) => self.others.push(title),
        }
    }
}

/// The kind of workload that a document is.
fn kind_of(document: &Value) -> Option<WorkloadKind> {
    let text = |field: &str| document.get(field).and_then(Value::as_str);
    WorkloadKind::ALL
        .into_iter()
        .find(|k| Some(k.name()) == text("kind") && Some(k.api_version()) == text("apiVersion"))
}

fn name_of(document: &Value) -> String {
    let name = document.pointer("/metadata/name").and_then(Value::as_str);
    name.unwrap_or_default().to_owned()
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
