//! What people and faults do during a rehearsal, as the file writes it. Knows the words and how to
//! read them strictly; knows nothing of how they are carried out.

use serde_json::{Map, Value};

use super::clock::Ms;
use super::event::Kind;
use super::pods::Behaviour;
use super::rehearsal::behaviour;
use super::trigger::{Trigger, duration, text_of as duration_text};
use crate::lint::strict::{Fields, text_of, unknown, wrong_type};
use crate::planner::config::ConfigKind;
use crate::planner::fault::Fault;

/// One entry of the script.
#[derive(Clone, Debug)]
pub struct Action {
    /// When; a moment that is told by what happens is waited for only once all entries before
    /// this one have happened.
    pub at: Trigger,
    /// What.
    pub verb: Verb,
    /// Where it stands in the file: `script[2]`.
    pub place: String,
}

/// What is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// The image of the first container is changed: a version's name, or an image.
    Image(String),
    /// `serin.dev/promote`, of one step or in full.
    Promote {
        /// Everything that is left.
        full: bool,
    },
    /// `serin.dev/abort` with a reason.
    Abort(String),
    /// `serin.dev/retry`.
    Retry,
    /// `serin.dev/retry=step`.
    RetryStep,
    /// `serin.dev/undo` with its value.
    Undo(String),
    /// `serin.dev/pause`.
    Pause,
    /// `serin.dev/resume`.
    Resume,
    /// `serin.dev/restart`.
    Restart,
    /// The patches that the existing kubectl plugin sends.
    Plugin(Plugin),
    /// `spec.replicas`, as an autoscaler writes it.
    Scale(u32),
    /// The steps are replaced.
    Steps(Value),
    /// Annotations are set, or removed where null.
    Annotate(Map<String, Value>),
    /// Any merge patch of the Rollout.
    Patch(Value),
    /// Any merge patch of its status.
    PatchStatus(Value),
    /// The data of a ConfigMap or Secret is changed, or all of it is gone.
    Config {
        /// Its kind.
        kind: ConfigKind,
        /// Its name.
        name: String,
        /// A merge patch of its data; `None` deletes it.
        data: Option<Value>,
    },
    /// A Service is changed by somebody, made anew where it was gone, or deleted.
    Service {
        /// Its name.
        name: String,
        /// A merge patch; `None` deletes it.
        patch: Option<Value>,
    },
    /// The workload that the Rollout refers to is changed by somebody, applied anew where it was gone,
    /// or deleted: a merge patch, or `None`.
    Workload(Option<Value>),
    /// The Rollout is deleted.
    Delete,
    /// The ReplicaSet of a version is deleted, and its pods with it.
    Lose(String),
    /// Pods of a version die.
    Kill {
        /// Which version.
        version: String,
        /// How many.
        pods: u32,
    },
    /// Pods of a version behave otherwise from now on.
    Pods {
        /// Which version.
        version: String,
        /// How.
        how: Behaviour,
    },
    /// A quota on pods, or none.
    Quota(Option<u32>),
    /// A disruption budget: so many pods must stay healthy. Or none.
    Budget(Option<u32>),
    /// The metric provider does not answer for a while.
    PrometheusDown(Ms),
    /// The controller stops for a while.
    ControllerDown {
        /// For how long.
        down: Ms,
        /// Its first list after the start shows the world as it was so long ago.
        old_list: Option<Ms>,
    },
    /// The controller crashes at one of its next writes.
    Crash {
        /// Which write, counted from 1.
        write: u32,
        /// The write happens, and the controller never learns of it.
        is_written: bool,
        /// How long it stays down.
        down: Ms,
        /// Its first list after the start shows the world as it was so long ago.
        old_list: Option<Ms>,
    },
    /// The next writes are answered with 409 Conflict.
    Conflicts(u32),
    /// The next writes are answered with 500.
    ApiErrors(u32),
    /// The next writes happen, but their answers are lost.
    LostAnswers(u32),
    /// A watch brings nothing for a while, without an error.
    Freeze {
        /// Which.
        kind: Kind,
        /// For how long.
        lasts: Ms,
    },
}

/// A verb of the existing kubectl plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// `promote`
    Promote,
    /// `promote --full`
    PromoteFull,
    /// `abort`
    Abort,
    /// `retry rollout`
    Retry,
    /// `pause`
    Pause,
}

/// The words for what is done; `at` says when.
pub const VERBS: &[&str] = &[
    "at",
    "image",
    "promote",
    "abort",
    "retry",
    "undo",
    "pause",
    "resume",
    "restart",
    "plugin",
    "scale",
    "steps",
    "annotate",
    "patch",
    "patchStatus",
    "config",
    "service",
    "workload",
    "delete",
    "lose",
    "kill",
    "pods",
    "quota",
    "budget",
    "prometheus",
    "controller",
    "api",
    "watch",
];

/// Reads the list `script`.
pub fn read(path: &str, value: &Value, faults: &mut Vec<Fault>) -> Vec<Action> {
    let Some(items) = value.as_array() else {
        faults.push(wrong_type(path, value, "a list"));
        return Vec::new();
    };
    let entries = items.iter().enumerate();
    entries
        .filter_map(|(i, item)| entry(&format!("{path}[{i}]"), item, faults))
        .collect()
}

fn entry(path: &str, value: &Value, faults: &mut Vec<Fault>) -> Option<Action> {
    let fields = Fields::new(path, value, VERBS, faults);
    let at = fields
        .parsed("at", Trigger::parse, faults)
        .unwrap_or(Trigger::START);
    let named: Vec<&str> = VERBS
        .iter()
        .copied()
        .filter(|verb| *verb != "at" && fields.get(verb).is_some())
        .collect();
    let [verb] = named.as_slice() else {
        if value.is_object() && faults.iter().all(|fault| !fault.path.starts_with(path)) {
            let message = format!("must say one thing to do: one of {}", VERBS[1..].join(", "));
            faults.push(Fault {
                path: path.to_owned(),
                message,
            });
        }
        return None;
    };
    Some(Action {
        at,
        verb: verb_of(&fields, verb, faults)?,
        place: path.to_owned(),
    })
}

fn verb_of(fields: &Fields<'_>, name: &str, faults: &mut Vec<Fault>) -> Option<Verb> {
    let value = fields.get(name)?;
    let path = fields.at(name);
    match name {
        "image" => fields.text(name, faults).map(Verb::Image),
        "promote" => match text_of(value).as_deref() {
            Some("true") => Some(Verb::Promote { full: false }),
            Some("full") => Some(Verb::Promote { full: true }),
            _ => refuse(&path, "must be true or full", faults),
        },
        "abort" => match value {
            Value::Bool(true) => Some(Verb::Abort("true".into())),
            _ => fields.text(name, faults).map(Verb::Abort),
        },
        "retry" => match text_of(value).as_deref() {
            Some("true") => Some(Verb::Retry),
            Some("step") => Some(Verb::RetryStep),
            _ => refuse(&path, "must be true or step", faults),
        },
        "undo" => match text_of(value) {
            Some(text) => Some(Verb::Undo(text)),
            None => refuse(
                &path,
                "must be true, a revision, or either with fast: 2,fast",
                faults,
            ),
        },
        "pause" => only_true(value, &path, Verb::Pause, faults),
        "resume" => only_true(value, &path, Verb::Resume, faults),
        "restart" => only_true(value, &path, Verb::Restart, faults),
        "delete" => only_true(value, &path, Verb::Delete, faults),
        "plugin" => plugin(fields, faults),
        "scale" => fields.count(name, faults).map(Verb::Scale),
        "steps" if value.is_array() => Some(Verb::Steps(value.clone())),
        "steps" => refuse(
            &path,
            "must be a list of steps as in spec.strategy.canary.steps",
            faults,
        ),
        "annotate" => match value {
            Value::Object(map) => Some(Verb::Annotate(map.clone())),
            _ => refuse(&path, "must be annotations and their values", faults),
        },
        "patch" if value.is_object() => Some(Verb::Patch(value.clone())),
        "patchStatus" if value.is_object() => Some(Verb::PatchStatus(value.clone())),
        "patch" | "patchStatus" => refuse(&path, "must be a merge patch (an object)", faults),
        "config" => {
            let known = ["kind", "name", "data", "gone"];
            let inner = Fields::new(&path, value, &known, faults);
            let kind = match inner.get("kind").and_then(Value::as_str) {
                None | Some("ConfigMap") => ConfigKind::ConfigMap,
                Some("Secret") => ConfigKind::Secret,
                Some(_) => {
                    return refuse(&inner.at("kind"), "must be ConfigMap or Secret", faults);
                }
            };
            let name = inner.text("name", faults);
            let is_gone = inner.get("gone") == Some(&Value::Bool(true));
            let data = inner
                .get("data")
                .filter(|data| data.is_object() && !is_gone);
            match name {
                Some(name) if data.is_some() || is_gone => Some(Verb::Config {
                    kind,
                    name,
                    data: data.cloned(),
                }),
                _ => refuse(
                    &path,
                    "needs name and data of a ConfigMap or Secret, or name and gone: true",
                    faults,
                ),
            }
        }
        "service" => {
            let inner = Fields::new(&path, value, &["name", "patch", "gone"], faults);
            let (name, patch) = (inner.text("name", faults), change(&inner));
            match (name, patch) {
                (Some(name), Some(patch)) => Some(Verb::Service { name, patch }),
                _ => refuse(
                    &path,
                    "needs name and patch of a Service, or name and gone: true",
                    faults,
                ),
            }
        }
        "workload" => {
            let inner = Fields::new(&path, value, &["patch", "gone"], faults);
            match change(&inner) {
                Some(patch) => Some(Verb::Workload(patch)),
                None => refuse(&path, "needs a patch, or gone: true", faults),
            }
        }
        "lose" => fields.text(name, faults).map(Verb::Lose),
        "kill" => {
            let inner = Fields::new(&path, value, &["version", "pods"], faults);
            let version = inner.text("version", faults).unwrap_or_else(|| "v1".into());
            Some(Verb::Kill {
                version,
                pods: inner.count("pods", faults).unwrap_or(1),
            })
        }
        "pods" => {
            let known = ["version", "ready", "crash", "flap", "jitter"];
            let inner = Fields::new(&path, value, &known, faults);
            let version = inner.text("version", faults).unwrap_or_else(|| "v1".into());
            Some(Verb::Pods {
                version,
                how: behaviour(&inner, faults),
            })
        }
        "budget" => match value.as_str() {
            Some("none") => Some(Verb::Budget(None)),
            _ => fields
                .count(name, faults)
                .map(|least| Verb::Budget(Some(least))),
        },
        "quota" => match value.as_str() {
            Some("none") => Some(Verb::Quota(None)),
            _ => fields
                .count(name, faults)
                .map(|most| Verb::Quota(Some(most))),
        },
        "prometheus" => {
            let inner = Fields::new(&path, value, &["down"], faults);
            need(&inner, "down", faults).map(Verb::PrometheusDown)
        }
        "controller" => controller(&path, value, faults),
        "api" => api(&path, value, faults),
        _ => watch(&path, value, faults),
    }
}

/// A merge patch, or `None` for what is deleted.
fn change(fields: &Fields<'_>) -> Option<Option<Value>> {
    if fields.get("gone") == Some(&Value::Bool(true)) {
        return Some(None);
    }
    let patch = fields.get("patch").filter(|patch| patch.is_object())?;
    Some(Some(patch.clone()))
}

fn controller(path: &str, value: &Value, faults: &mut Vec<Fault>) -> Option<Verb> {
    let known = ["down", "crashBeforeWrite", "crashAfterWrite", "oldList"];
    let inner = Fields::new(path, value, &known, faults);
    let down = inner.parsed("down", duration, faults);
    let old_list = inner.parsed("oldList", duration, faults);
    let before = inner.count("crashBeforeWrite", faults);
    let after = inner.count("crashAfterWrite", faults);
    let crash = |write: u32, is_written| Verb::Crash {
        write: write.max(1),
        is_written,
        down: down.unwrap_or(5_000),
        old_list,
    };
    match (before, after) {
        (Some(write), None) => Some(crash(write, false)),
        (None, Some(write)) => Some(crash(write, true)),
        (None, None) => match down {
            Some(down) => Some(Verb::ControllerDown { down, old_list }),
            None => refuse(
                path,
                "needs down, crashBeforeWrite or crashAfterWrite",
                faults,
            ),
        },
        (Some(_), Some(_)) => refuse(
            path,
            "takes one of crashBeforeWrite and crashAfterWrite",
            faults,
        ),
    }
}

fn api(path: &str, value: &Value, faults: &mut Vec<Fault>) -> Option<Verb> {
    let inner = Fields::new(path, value, &["conflicts", "errors", "lostAnswers"], faults);
    if let Some(count) = inner.count("conflicts", faults) {
        return Some(Verb::Conflicts(count));
    }
    if let Some(count) = inner.count("lostAnswers", faults) {
        return Some(Verb::LostAnswers(count));
    }
    match inner.count("errors", faults) {
        Some(count) => Some(Verb::ApiErrors(count)),
        None => refuse(
            path,
            "needs conflicts, errors or lostAnswers: how many writes",
            faults,
        ),
    }
}

fn watch(path: &str, value: &Value, faults: &mut Vec<Fault>) -> Option<Verb> {
    const KINDS: [&str; 3] = ["rollouts", "replicasets", "analysisruns"];
    let inner = Fields::new(path, value, &["kind", "frozen"], faults);
    let lasts = need(&inner, "frozen", faults)?;
    let name = inner.text("kind", faults).unwrap_or_default();
    let kind = match name.to_lowercase().as_str() {
        "rollouts" => Kind::Rollouts,
        "replicasets" => Kind::ReplicaSets,
        "analysisruns" => Kind::Runs,
        "services" => Kind::Services,
        "experiments" => Kind::Experiments,
        _ => {
            let hint = unknown("", &name, KINDS).message;
            return refuse(&inner.at("kind"), &hint.replace("field", "kind"), faults);
        }
    };
    Some(Verb::Freeze { kind, lasts })
}

fn plugin(fields: &Fields<'_>, faults: &mut Vec<Fault>) -> Option<Verb> {
    let text = fields.text("plugin", faults)?;
    let verb = match text.as_str() {
        "promote" => Plugin::Promote,
        "promote --full" | "promote-full" => Plugin::PromoteFull,
        "abort" => Plugin::Abort,
        "retry" => Plugin::Retry,
        "pause" => Plugin::Pause,
        _ => {
            let message = "must be promote, promote-full, abort, retry or pause";
            return refuse(&fields.at("plugin"), message, faults);
        }
    };
    Some(Verb::Plugin(verb))
}

fn need(fields: &Fields<'_>, name: &str, faults: &mut Vec<Fault>) -> Option<Ms> {
    if fields.get(name).is_none() {
        return refuse(
            &fields.at(name),
            "is needed: a duration such as 90s",
            faults,
        );
    }
    fields.parsed(name, duration, faults)
}

fn only_true(value: &Value, path: &str, verb: Verb, faults: &mut Vec<Fault>) -> Option<Verb> {
    if value == &Value::Bool(true) {
        Some(verb)
    } else {
        refuse(path, "must be true", faults)
    }
}

fn refuse<T>(path: &str, message: &str, faults: &mut Vec<Fault>) -> Option<T> {
    faults.push(Fault {
        path: path.to_owned(),
        message: message.to_owned(),
    });
    None
}

impl Verb {
    /// What is done, in words, for the timeline.
    pub fn text(&self) -> String {
        let for_ = |ms: &Ms| duration_text(*ms);
        match self {
            Self::Image(version) => format!("image set to {version}"),
            Self::Promote { full: false } => "promote".into(),
            Self::Promote { full: true } => "promote in full".into(),
            Self::Abort(reason) if reason == "true" => "abort".into(),
            Self::Abort(reason) => format!("abort: {reason}"),
            Self::Retry => "retry".into(),
            Self::RetryStep => "retry at the same step".into(),
            Self::Undo(value) if value == "true" => "undo".into(),
            Self::Undo(value) => format!("undo: {value}"),
            Self::Pause => "pause".into(),
            Self::Resume => "resume".into(),
            Self::Restart => "restart".into(),
            Self::Plugin(Plugin::Promote) => "kubectl plugin: promote".into(),
            Self::Plugin(Plugin::PromoteFull) => "kubectl plugin: promote --full".into(),
            Self::Plugin(Plugin::Abort) => "kubectl plugin: abort".into(),
            Self::Plugin(Plugin::Retry) => "kubectl plugin: retry".into(),
            Self::Plugin(Plugin::Pause) => "kubectl plugin: pause".into(),
            Self::Scale(replicas) => format!("scaled to {replicas}"),
            Self::Steps(_) => "steps changed".into(),
            Self::Annotate(map) => {
                let keys: Vec<&str> = map.keys().map(String::as_str).collect();
                format!("annotated: {}", keys.join(", "))
            }
            Self::Patch(patch) => format!("patched: {patch}"),
            Self::PatchStatus(patch) => format!("status patched: {patch}"),
            Self::Config { kind, name, data } => match data {
                Some(_) => format!("{} {name} changed", kind.name()),
                None => format!("{} {name} deleted", kind.name()),
            },
            Self::Service { name, patch } => match patch {
                Some(patch) => format!("Service {name} patched: {patch}"),
                None => format!("Service {name} deleted"),
            },
            Self::Workload(Some(patch)) => format!("workload patched: {patch}"),
            Self::Workload(None) => "workload deleted".into(),
            Self::Delete => "Rollout deleted".into(),
            Self::Lose(version) => format!("somebody deletes the ReplicaSet of {version}"),
            Self::Kill { version, pods } => format!("{pods} pods of {version} die"),
            Self::Pods { version, .. } => format!("pods of {version} behave otherwise"),
            Self::Budget(Some(least)) => format!("a budget keeps {least} pods healthy"),
            Self::Budget(None) => "the disruption budget is gone".into(),
            Self::Quota(Some(most)) => format!("a quota of {most} pods"),
            Self::Quota(None) => "the quota is gone".into(),
            Self::PrometheusDown(ms) => format!("Prometheus is down for {}", for_(ms)),
            Self::ControllerDown { down, .. } => format!("controller is down for {}", for_(down)),
            Self::Crash {
                write,
                is_written: false,
                ..
            } => {
                format!("controller will crash before its write {write}")
            }
            Self::Crash {
                write,
                is_written: true,
                ..
            } => {
                format!("controller will crash after its write {write}")
            }
            Self::Conflicts(count) => format!("the next {count} writes meet a conflict"),
            Self::ApiErrors(count) => format!("the next {count} writes fail"),
            Self::LostAnswers(count) => format!("the answers to the next {count} writes are lost"),
            Self::Freeze { kind, lasts } => {
                format!("watch of {kind:?} is frozen for {}", for_(lasts))
            }
        }
    }

    /// True for what breaks, as against what people do.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Lose(_)
            | Self::Kill { .. }
            | Self::Pods { .. }
            | Self::Quota(_)
            | Self::Budget(_)
            | Self::PrometheusDown(_)
            | Self::ControllerDown { .. }
            | Self::Crash { .. }
            | Self::Conflicts(_)
            | Self::ApiErrors(_)
            | Self::LostAnswers(_)
            | Self::Freeze { .. } => true,
            Self::Image(_)
            | Self::Promote { .. }
            | Self::Abort(_)
            | Self::Retry
            | Self::RetryStep
            | Self::Undo(_)
            | Self::Pause
            | Self::Resume
            | Self::Restart
            | Self::Plugin(_)
            | Self::Scale(_)
            | Self::Steps(_)
            | Self::Annotate(_)
            | Self::Patch(_)
            | Self::PatchStatus(_)
            | Self::Config { .. }
            | Self::Service { .. }
            | Self::Workload(_)
            | Self::Delete => false,
        }
    }
}
