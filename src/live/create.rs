//! An AnalysisRun that a person makes of a template, by itself: templates read, the run built by the
//! planner's rules and created. Nothing owns it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::client::{Clients, Kind};
use super::observe::read_template;
use crate::api;
use crate::api::analysis::AnalysisTemplateSpec;
use crate::planner::analysis::check;
use crate::planner::analysis::template::{
    self, Found, Name, RunRequest, absent_message, build_run, closure,
};

/// What is wished for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Namespace of the run.
    pub namespace: String,
    /// The template.
    pub template: Name,
    /// Templates that need not be read: those of a file.
    pub given: BTreeMap<Name, Arc<AnalysisTemplateSpec>>,
    /// Name of the run, arguments and labels.
    pub request: RunRequest,
    /// Let the API server complete `request.name` to one that is free.
    pub is_prefix: bool,
    /// Only ask whether it would be taken.
    pub is_dry_run: bool,
}

/// Creates the run and gives its name.
///
/// # Errors
/// Every reason why there is none: templates that are not there, arguments without a value, what the
/// API server says.
pub async fn create_run(config: &kube::Config, wanted: &Wanted) -> Result<String, Vec<String>> {
    let one = |message: String| vec![message];
    let clients = Clients::new(config).map_err(|e| one(e.to_string()))?;
    let templates = templates(&clients, wanted).await?;
    let request = RunRequest {
        namespace: wanted.namespace.clone(),
        templates,
        ..wanted.request.clone()
    };
    let undeclared = template::undeclared(&request);
    let built = match build_run(&request) {
        Ok(run) if undeclared.is_empty() => run,
        Ok(_) => return Err(undeclared),
        Err(faults) => return Err([faults, undeclared].concat()),
    };
    let faults = check::run(&built.spec);
    if !faults.is_empty() {
        return Err(faults.iter().map(ToString::to_string).collect());
    }
    let mut object = serde_json::to_value(&built).map_err(|e| one(e.to_string()))?;
    object["apiVersion"] = api::API_VERSION.into();
    object["kind"] = "AnalysisRun".into();
    if wanted.is_prefix
        && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(name) = metadata.remove("name")
    {
        metadata.insert("generateName".to_owned(), name);
    }
    let work = &clients.work;
    let created = work
        .create(
            Kind::AnalysisRun,
            &wanted.namespace,
            &object,
            wanted.is_dry_run,
        )
        .await
        .and_then(|answer| answer.read::<Value>())
        .map_err(|error| one(format!("the run is not created: {error}")))?;
    let name = created.pointer("/metadata/name").and_then(Value::as_str);
    Ok(name.unwrap_or_default().to_owned())
}

/// The template and all that it names.
async fn templates(
    clients: &Clients,
    wanted: &Wanted,
) -> Result<Vec<Arc<AnalysisTemplateSpec>>, Vec<String>> {
    let mut known: BTreeMap<Name, Option<Arc<AnalysisTemplateSpec>>> = wanted
        .given
        .iter()
        .map(|(name, spec)| (name.clone(), Some(Arc::clone(spec))))
        .collect();
    loop {
        let roots = [wanted.template.clone()];
        let found = closure(&roots, |name| match known.get(name) {
            Some(Some(spec)) => Found::There(Arc::clone(spec)),
            Some(None) => Found::Absent,
            None => Found::Unknown,
        });
        if found.unknown.is_empty() {
            let absent: Vec<String> = found.absent.iter().map(absent_message).collect();
            let all = found.templates.into_iter().map(|(_, spec)| spec).collect();
            return if absent.is_empty() {
                Ok(all)
            } else {
                Err(absent)
            };
        }
        for name in found.unknown {
            let reference = (name.0.as_str(), name.1);
            let read = read_template(&clients.work, &wanted.namespace, reference).await;
            let spec = read
                .map_err(|error| vec![format!("template {:?} cannot be read: {error}", name.0)])?;
            known.insert(name, spec);
        }
    }
}
