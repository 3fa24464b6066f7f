//! What an admission webhook says to an object: the faults that `serin lint` finds, all at once, what
//! is wrong with the objects it refers to, and what a freeze means for it. Pure: what was read of the
//! cluster, and the time, are given.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::api::analysis::AnalysisTemplateSpec;
use crate::api::{OVERRIDE_FREEZE, PROMOTE, Rollout};
use crate::lint::document::{self, Object};
use crate::planner::advice;
use crate::planner::fault::Fault;
use crate::planner::freeze::{self, Window};
use crate::planner::lower;
use crate::planner::lower::references::{self, Kind};
use crate::planner::observed::TemplateRef;

/// What is to be let in.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Namespace of the object, empty where it has none.
    pub namespace: String,
    /// The object as it would be stored.
    pub object: Value,
    /// As it is stored now; `None` when it is created.
    pub old: Option<Value>,
}

/// One object that another refers to.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<T> {
    /// As it is.
    There(T),
    /// There is none of this name.
    Absent,
    /// It could not be read, and why.
    Unknown(String),
}

/// What was read of the cluster for one question. What was not asked for is not in it.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Services by name.
    pub services: BTreeMap<String, Found<Value>>,
    /// Ingresses by name.
    pub ingresses: BTreeMap<String, Found<Value>>,
    /// Analysis templates.
    pub templates: BTreeMap<TemplateRef, Found<Arc<AnalysisTemplateSpec>>>,
    /// Freeze windows of the namespace and of the cluster, or why they could not be read.
    pub freezes: Option<Result<Vec<Window>, String>>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Why it is refused; let in when there are none.
    pub faults: Vec<Fault>,
    /// What is told and holds nothing up.
    pub warnings: Vec<String>,
}

/// What must be looked up in the cluster before the judgement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Names of Services.
    pub services: Vec<String>,
    /// Names of Ingresses.
    pub ingresses: Vec<String>,
    /// Analysis templates.
    pub templates: Vec<TemplateRef>,
    /// Whether the freeze windows matter.
    pub freezes: bool,
}

impl Wanted {
    /// Nothing is missing any more.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What changed, as far as a webhook cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Nothing that is judged: metadata, or an object that is on its way out.
    Nothing,
    /// A command by annotation.
    Promotion,
    /// The object is new, or its spec changed.
    Spec { pods: bool },
}

fn change(asked: &Asked) -> Change {
    let Asked { object, old, .. } = asked;
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Change::Nothing;
    }
    let Some(old) = old else {
        return Change::Spec { pods: false };
    };
    if object["spec"] != old["spec"] {
        let is_changed = |field: &str| object["spec"][field] != old["spec"][field];
        return Change::Spec {
            pods: is_changed("template") || is_changed("workloadRef"),
        };
    }
    let promoted = |of: &Value| of["metadata"]["annotations"][PROMOTE].clone();
    let is_promoted = promoted(object) == "true" && promoted(old) != "true";
    match is_promoted {
        true => Change::Promotion,
        false => Change::Nothing,
    }
}

/// What is still to be looked up, given what is known already; templates lead to templates.
pub fn wanted(asked: &Asked, known: &Known) -> Wanted {
    let mut wanted = Wanted::default();
    if asked.object["kind"] != "Rollout" {
        return wanted;
    }
    let is_open = known.freezes.is_none();
    match change(asked) {
        Change::Nothing => return wanted,
        Change::Promotion => {
            wanted.freezes = is_open && !asked.object["status"]["serin"]["freeze"].is_null();
            return wanted;
        }
        Change::Spec { pods } => wanted.freezes = is_open && pods,
    }
    let Ok(rollout) = serde_json::from_value::<Rollout>(asked.object.clone()) else {
        return wanted;
    };
    for reference in references::named(&rollout) {
        let (names, known) = match reference.kind {
            Kind::Service => (&mut wanted.services, &known.services),
            Kind::Ingress => (&mut wanted.ingresses, &known.ingresses),
        };
        if !known.contains_key(&reference.name) && !names.contains(&reference.name) {
            names.push(reference.name);
        }
    }
    for (_, template) in references::templates(&rollout, &given(known)) {
        if !known.templates.contains_key(&template) && !wanted.templates.contains(&template) {
            wanted.templates.push(template);
        }
    }
    wanted
}

/// The judgement.
pub fn judge(asked: &Asked, known: &Known, now: Timestamp) -> Verdict {
    let mut verdict = Verdict::default();
    match change(asked) {
        Change::Nothing => {}
        Change::Promotion => promotion(asked, known, now, &mut verdict),
        Change::Spec { pods } => {
            spec(asked, known, &mut verdict);
            if pods && asked.object["kind"] == "Rollout" {
                new_pods(asked, known, now, &mut verdict);
            }
        }
    }
    verdict
}

fn spec(asked: &Asked, known: &Known, verdict: &mut Verdict) {
    let mut object = asked.object.clone();
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata.filter(|m| !m.contains_key("name"))
        && let Some(begin) = metadata.get("generateName").cloned()
    {
        // The server gives it one.
        metadata.insert("name".to_owned(), begin);
    }
    let mut faults = Vec::new();
    let read = document::read(&object, &mut faults);
    let (unknown, wrong): (Vec<Fault>, Vec<Fault>) = faults.into_iter().partition(is_new_to_us);
    verdict.faults = wrong;
    verdict
        .warnings
        .extend(unknown.iter().map(ToString::to_string));
    if let Some(Object::Rollout(rollout)) = read {
        refers(&rollout, known, verdict);
        let lowered = lower::lower(&rollout);
        if let (Err(faults), true) = (&lowered, verdict.faults.is_empty()) {
            // Told as a field that is new to us: without it there is this.
            verdict.faults.clone_from(faults);
        }
        if let Ok(spec) = lowered {
            let advice = advice::of(&rollout.spec, &spec).into_iter();
            let advice = advice.filter(|advice| !advice.is_note);
            verdict.warnings.extend(advice.map(|a| a.fault.to_string()));
        }
    }
}

/// A field of the pod template that we do not know may be one that Kubernetes has since learned.
fn is_new_to_us(fault: &Fault) -> bool {
    fault.path.starts_with("spec.template.") && fault.message.starts_with("unknown field")
}

/// Objects that a Rollout names: a wrong one is a fault, for the controller will say the same; one
/// that is not there may come yet.
fn refers(rollout: &Rollout, known: &Known, verdict: &mut Verdict) {
    let given = given(known);
    verdict.faults.extend(references::check(rollout, &given));
    let mut told = |path: &str, what: &str, found: Option<Looked>| {
        verdict.warnings.extend(match found {
            Some(Looked::Absent) => Some(format!("{path}: {what} is not there: create it too")),
            Some(Looked::Unknown(why)) => {
                Some(format!("{path}: {what} could not be looked at: {why}"))
            }
            None => None,
        });
    };
    for reference in references::named(rollout) {
        let (found, word) = match reference.kind {
            Kind::Service => (known.services.get(&reference.name), "Service"),
            Kind::Ingress => (known.ingresses.get(&reference.name), "Ingress"),
        };
        let what = format!("{word} {:?}", reference.name);
        told(&reference.path, &what, found.and_then(Found::lacking));
    }
    for (path, template) in references::templates(rollout, &given) {
        let found = known.templates.get(&template);
        let what = references::template_title(&template);
        told(&path, &what, found.and_then(Found::lacking));
    }
}

/// Why there is nothing to look at.
enum Looked {
    Absent,
    Unknown(String),
}

impl<T> Found<T> {
    fn lacking(&self) -> Option<Looked> {
        match self {
            Self::There(_) => None,
            Self::Absent => Some(Looked::Absent),
            Self::Unknown(why) => Some(Looked::Unknown(why.clone())),
        }
    }

    fn there(&self) -> Option<&T> {
        match self {
            Self::There(it) => Some(it),
            Self::Absent | Self::Unknown(_) => None,
        }
    }
}

fn given(known: &Known) -> references::Given<'_> {
    fn there<T>(all: &BTreeMap<String, Found<T>>) -> BTreeMap<String, &T> {
        let all = all.iter();
        all.filter_map(|(name, found)| Some((name.clone(), found.there()?)))
            .collect()
    }
    let templates = known.templates.iter();
    references::Given {
        services: there(&known.services),
        ingresses: there(&known.ingresses),
        templates: templates
            .filter_map(|(name, found)| Some((name.clone(), Arc::clone(found.there()?))))
            .collect(),
    }
}

/// The freeze that is in force for this Rollout.
fn frozen(asked: &Asked, known: &Known, now: Timestamp) -> Option<String> {
    let name = document::name_of(&asked.object);
    let labels = asked.object["metadata"]["labels"].clone();
    let labels: BTreeMap<String, String> = serde_json::from_value(labels).unwrap_or_default();
    let windows = known.freezes.as_ref()?.as_ref().ok()?;
    let near = windows
        .iter()
        .filter(|w| w.is_for(&asked.namespace, &name, &labels));
    freeze::text_at(near, now)
}

/// New pods in a freeze are let in: they are stored, and wait. Refusing them would break whatever
/// applies the same manifests again and again, and a rollback with them.
fn new_pods(asked: &Asked, known: &Known, now: Timestamp, verdict: &mut Verdict) {
    let is_overridden = asked.object["metadata"]["annotations"][OVERRIDE_FREEZE].is_string();
    if let Some(Err(why)) = &known.freezes {
        let told = format!("freeze windows could not be looked at: {why}");
        verdict.warnings.push(told);
    }
    if let Some(text) = frozen(asked, known, now).filter(|_| !is_overridden) {
        verdict.warnings.push(format!(
            "frozen by {text}: the update is stored and waits, unless it is a rollback; serin.dev/override-freeze=REASON lets it through"
        ));
    }
}

/// The controller would refuse it, in an event that few people read: so it is refused here.
fn promotion(asked: &Asked, known: &Known, now: Timestamp, verdict: &mut Verdict) {
    let annotations = &asked.object["metadata"]["annotations"];
    let is_held = !asked.object["status"]["serin"]["freeze"].is_null();
    if !is_held || annotations[OVERRIDE_FREEZE].is_string() {
        return;
    }
    if let Some(text) = frozen(asked, known, now) {
        verdict.faults.push(Fault {
            path: format!("metadata.annotations[{PROMOTE}]"),
            message: freeze::refusal_text(&text),
        });
    }
}

#[cfg(test)]
mod tests;
