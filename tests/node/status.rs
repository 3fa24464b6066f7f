//! What a pod's status says. Pure: from what is the case to the patch that reports it.

use jiff::{Timestamp, tz::TimeZone};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// The annotation that says where a pod's process listens, `127.0.0.1:PORT`.
pub(crate) const ADDRESS: &str = "serin.dev/process-address";

/// The state of a pod's containers, all alike but for the one that is a process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Containers {
    /// They run, and take requests or not.
    Running { since: String, is_ready: bool },
    /// They do not run and will be tried again, for a reason that clients know (`CrashLoopBackOff`).
    Waiting {
        reason: String,
        message: String,
        exit_code: Option<i32>,
    },
    /// They have ended for good.
    Ended { since: String, exit_code: i32 },
}

/// What is reported of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) containers: Containers,
    pub(crate) restarts: u32,
    pub(crate) pod_ip: String,
    pub(crate) started: String,
    /// See [`ADDRESS`].
    pub(crate) address: Option<String>,
}

/// The time now, as the API writes it.
pub(crate) fn now() -> String {
    Timestamp::now()
        .to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// The patch of a pod's status (and address annotation) that says what `report` says.
pub(crate) fn patch(pod: &Pod, report: &Report) -> Value {
    let metadata = match &report.address {
        Some(address) => json!({"annotations": {ADDRESS: address}}),
        None => json!({}),
    };
    json!({"metadata": metadata, "status": {
        "phase": phase(&report.containers),
        "conditions": conditions(report),
        "containerStatuses": container_statuses(pod, report),
        "hostIP": "10.0.0.1",
        "podIP": report.pod_ip,
        "podIPs": [{"ip": report.pod_ip}],
        "startTime": report.started,
    }})
}

fn phase(containers: &Containers) -> &'static str {
    match containers {
        Containers::Running { .. } => "Running",
        Containers::Waiting {
            exit_code: Some(_), ..
        } => "Running",
        Containers::Waiting {
            exit_code: None, ..
        } => "Pending",
        Containers::Ended { exit_code: 0, .. } => "Succeeded",
        Containers::Ended { .. } => "Failed",
    }
}

/// `lastTransitionTime` is now where the state has changed, which is when a report is made.
fn conditions(report: &Report) -> Value {
    let is_ready = is_ready(&report.containers);
    let reason = match &report.containers {
        Containers::Running { is_ready: true, .. } => None,
        Containers::Running { .. } | Containers::Waiting { .. } => Some("ContainersNotReady"),
        Containers::Ended { .. } => Some("PodCompleted"),
    };
    let condition = |kind: &str, holds: bool, since: &str| {
        let mut condition = json!({
            "type": kind, "status": if holds { "True" } else { "False" },
            "lastTransitionTime": since, "lastProbeTime": null,
        });
        if let (false, Some(reason), Some(fields)) = (holds, reason, condition.as_object_mut()) {
            fields.insert("reason".to_owned(), json!(reason));
        }
        condition
    };
    let now = now();
    json!([
        condition("PodReadyToStartContainers", true, &report.started),
        condition("Initialized", true, &report.started),
        condition("ContainersReady", is_ready, &now),
        condition("Ready", is_ready, &now),
    ])
}

fn is_ready(containers: &Containers) -> bool {
    matches!(containers, Containers::Running { is_ready: true, .. })
}

fn container_statuses(pod: &Pod, report: &Report) -> Vec<Value> {
    let ended = |exit_code: i32, at: &str| {
        let reason = if exit_code == 0 { "Completed" } else { "Error" };
        json!({"terminated": {"exitCode": exit_code, "reason": reason, "startedAt": at, "finishedAt": at}})
    };
    let (state, last) = match &report.containers {
        Containers::Running { since, .. } => (json!({"running": {"startedAt": since}}), json!({})),
        Containers::Waiting {
            reason,
            message,
            exit_code,
        } => {
            let state = json!({"waiting": {"reason": reason, "message": message}});
            (
                state,
                exit_code.map_or(json!({}), |code| ended(code, &now())),
            )
        }
        Containers::Ended { since, exit_code } => (ended(*exit_code, since), json!({})),
    };
    let is_running = matches!(report.containers, Containers::Running { .. });
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .map(|container| {
            let image = container.image.as_deref().unwrap_or_default();
            json!({
                "name": container.name, "image": image, "imageID": image,
                "containerID": format!("process://{}", container.name),
                "ready": is_ready(&report.containers), "started": is_running,
                "restartCount": report.restarts, "state": state, "lastState": last,
            })
        })
        .collect()
}
