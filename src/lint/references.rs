//! References between the objects of all files: a Rollout and what it names in its own namespace.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::document::{Object, name_of};
use super::{Finding, Given, Report, Severity};
use crate::planner::fault::Fault;
use crate::planner::lower::references;

/// Adds what is wrong between the objects.
pub(super) fn check(given: &[Given<'_>], report: &mut Report) {
    let mut users: BTreeMap<(String, String), String> = BTreeMap::new();
    for one in given {
        let Object::Rollout(rollout) = &one.object else {
            continue;
        };
        let namespace = namespace_of(&one.document.value);
        let objects = among(given, &namespace);
        let told = |severity: Severity, fault: Fault| Finding {
            file: one.file.to_owned(),
            place: one.document.place(&fault.path),
            severity,
            object: super::document::title(&one.document.value),
            fault,
        };
        let faults = references::check(rollout, &objects);
        let missing = references::missing(rollout, &objects);
        let clashes = shared(rollout, &namespace, &mut users);
        let errors = faults.into_iter().chain(clashes);
        let errors = errors.map(|fault| told(Severity::Error, fault));
        let warnings = missing.into_iter();
        let warnings = warnings.map(|fault| told(Severity::Warning, fault));
        report.findings.extend(errors.chain(warnings));
    }
}

/// Two Rollouts cannot both switch the selector of one Service (L28).
fn shared(
    rollout: &crate::api::Rollout,
    namespace: &str,
    users: &mut BTreeMap<(String, String), String>,
) -> Vec<Fault> {
    let own = rollout.metadata.name.clone().unwrap_or_default();
    let services = references::named(rollout).into_iter();
    services
        .filter(|r| r.kind == references::Kind::Service)
        .filter_map(|r| {
            let key = (namespace.to_owned(), r.name.clone());
            let user = users.entry(key).or_insert_with(|| own.clone());
            (*user != own).then(|| {
                let message = format!("Service {:?} is managed by another Rollout: {user}", r.name);
                Fault::invalid(&r.path, format!("{:?}", r.name), message)
            })
        })
        .collect()
}

/// Objects without a namespace are all in the same one, whichever that is.
fn namespace_of(document: &Value) -> String {
    let namespace = document.pointer("/metadata/namespace");
    namespace
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn among<'a>(given: &'a [Given<'_>], namespace: &str) -> references::Given<'a> {
    let mut found = references::Given::default();
    for one in given {
        let value = &one.document.value;
        let is_near = namespace_of(value) == namespace;
        match &one.object {
            Object::Template(name, spec) if is_near || name.is_cluster => {
                let spec = Arc::new(spec.as_ref().clone());
                found.templates.insert(name.clone(), spec);
            }
            Object::Other(_) if is_near => {
                let text = |name: &str| value.get(name).and_then(Value::as_str);
                match (text("apiVersion"), text("kind")) {
                    (Some("v1"), Some("Service")) => {
                        found.services.insert(name_of(value), value);
                    }
                    (Some("networking.k8s.io/v1"), Some("Ingress")) => {
                        found.ingresses.insert(name_of(value), value);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    found
}
