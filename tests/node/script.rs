//! How a played pod is to behave, from its annotations. Pure.
//!
//! | annotation | value | meaning |
//! |---|---|---|
//! | `test.serin.dev/ready-after` | `500ms`, `never` | time until Ready; none: at once |
//! | `test.serin.dev/crash` | `true` | `CrashLoopBackOff`, never Ready |
//! | `test.serin.dev/crash-after` | `2s` | Ready at first, then `CrashLoopBackOff` |
//! | `test.serin.dev/waiting` | `ImagePullBackOff` | does not start, with this reason |
//! | `test.serin.dev/flap` | `5s` | Ready and not Ready in turns of this length |
//! | `test.serin.dev/stop-after` | `2s` | time it takes to end, at most its grace period; none: at once |
//! | `test.serin.dev/exit-after` | `1s` | ends by itself (a Job's pods do so at once where nothing is said) |
//! | `test.serin.dev/log` | `one\ntwo` | what its containers have said (`logs.rs`) |
//! | `test.serin.dev/exit-code` | `1` | code it ends with; 0 where nothing is said |

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

/// A played pod's behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// What it does once it is bound.
    pub(crate) act: Act,
    /// Time it takes to end.
    pub(crate) stop_after: Duration,
}

/// What a played pod does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Becomes Ready after this time and stays so.
    Serve { ready_after: Duration },
    /// Runs and never becomes Ready.
    NeverReady,
    /// Is Ready for this time (none: never), then in `CrashLoopBackOff`.
    Crash { after: Option<Duration> },
    /// Does not start.
    Wait { reason: String },
    /// Ready and not Ready in turns.
    Flap { every: Duration },
    /// Ends by itself.
    Exit { after: Duration, code: i32 },
}

/// Reads a pod's annotations; a value that is none is said and taken as absent.
pub(crate) fn read(pod: &Pod) -> Script {
    let time = |name: &str| {
        let text = annotation(pod, name)?;
        let time = humantime::parse_duration(text);
        time.inspect_err(|trouble| eprintln!("node: {}: {name}: {trouble}", pod.name_any()))
            .ok()
    };
    let stop_after = time("stop-after").unwrap_or_default();
    let code = annotation(pod, "exit-code")
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let act = if let Some(reason) = annotation(pod, "waiting") {
        Act::Wait {
            reason: reason.to_owned(),
        }
    } else if annotation(pod, "crash") == Some("true") {
        Act::Crash { after: None }
    } else if let Some(after) = time("crash-after") {
        Act::Crash { after: Some(after) }
    } else if let Some(every) = time("flap") {
        Act::Flap { every }
    } else if let Some(after) = time("exit-after") {
        Act::Exit { after, code }
    } else if is_of_job(pod) {
        Act::Exit {
            after: Duration::ZERO,
            code,
        }
    } else if annotation(pod, "ready-after") == Some("never") {
        Act::NeverReady
    } else {
        Act::Serve {
            ready_after: time("ready-after").unwrap_or_default(),
        }
    };
    Script { act, stop_after }
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.annotations()
        .get(&format!("test.serin.dev/{name}"))
        .map(String::as_str)
}

fn is_of_job(pod: &Pod) -> bool {
    pod.owner_references()
        .iter()
        .any(|owner| owner.kind == "Job")
}
