//! Jobs as measurements: a Job is made, looked at until it ends, and its end is the measurement
//! (contract P3). Pure: says what to create and what a Job's state means. Jobs are plain objects of
//! the run, not questions to a provider.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::api::providers::JobMetric;
use crate::api::{self, AnalysisRun};

/// Label that tells whose Job it is.
pub const RUN_UID: &str = "analysisrun.argoproj.io/uid";
/// Key of a measurement's metadata under which the Job's name is.
pub const NAME_KEY: &str = "job-name";
/// Key of a measurement's metadata under which the Job's namespace is.
pub const NAMESPACE_KEY: &str = "job-namespace";
/// Key of a measurement's metadata under which the last lines of the Job's log are.
pub const LOG_KEY: &str = "job-log";
/// Bytes of a log that are read; the end of them is kept.
pub const LOG_READ: usize = 16 * 1024;
/// Bytes of a log that are kept.
const LOG_KEPT: usize = 1024;
/// Longest name of a Job: it becomes the value of a label.
const LONGEST_NAME: usize = 63;

/// What the shell must do before the turn can be decided.
#[derive(Clone, Debug, PartialEq)]
pub enum JobCall {
    /// Create the Job; if there is one of that name, look at it.
    Create {
        /// Its name.
        name: String,
        /// The whole object.
        object: Value,
    },
    /// Look at the Job of that name.
    Look {
        /// Its name.
        name: String,
    },
}

impl JobCall {
    /// Name of the Job.
    pub fn name(&self) -> &str {
        match self {
            Self::Create { name, .. } | Self::Look { name } => name,
        }
    }
}

/// What was seen of a Job in this turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobSeen {
    /// It goes on.
    Running,
    /// It ended well.
    Complete,
    /// It ended badly, with what Kubernetes says of it.
    Failed(String),
    /// Its image cannot be had, with Kubernetes' word for why.
    NoImage(String),
    /// There is none.
    Gone,
    /// There is one of that name that is not this run's.
    Foreign,
    /// The API server does not take it, with its reason.
    Refused(String),
}

/// Name of the Job of a measurement: `<uid of the run>.<metric>.<slot>`. Where that is too long or
/// no name for an object, the metric's part is cut and a digest of it follows.
pub fn name(run_uid: &str, metric: &str, slot: u64) -> String {
    let plain = format!("{run_uid}.{metric}.{slot}");
    let is_good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let ends = |c: char| c == '-' || c == '.';
    if plain.len() <= LONGEST_NAME
        && plain.chars().all(is_good)
        && !metric.is_empty()
        && !metric.starts_with(ends)
        && !metric.ends_with(ends)
        && !metric.contains("..")
    {
        return plain;
    }
    let digest: String = Sha256::digest(metric.as_bytes())
        .iter()
        .take(4)
        .map(|b| format!("{b:02x}"))
        .collect();
    let tail = format!("-{digest}.{slot}");
    let room = LONGEST_NAME
        .saturating_sub(run_uid.len())
        .saturating_sub(tail.len())
        .saturating_sub(1);
    let part: String = metric
        .to_ascii_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                c
            } else {
                '-'
            }
        })
        .take(room)
        .collect();
    let part = part.trim_matches('-');
    let part = if part.is_empty() { "m" } else { part };
    format!("{run_uid}.{part}{tail}")
}

/// The Job of a measurement: as the metric says, owned by the run.
pub fn object(run: &AnalysisRun, metric: &str, job: &JobMetric, name: &str) -> Value {
    let meta = &run.metadata;
    let uid = meta.uid.clone().unwrap_or_default();
    let run_name = meta.name.clone().unwrap_or_default();
    let given = |field: &str| -> Map<String, Value> {
        let metadata = job.metadata.as_ref();
        let given = metadata.and_then(|m| m.get(field)?.as_object());
        given.cloned().unwrap_or_default()
    };
    let mut labels = given("labels");
    labels.insert(RUN_UID.to_owned(), json!(uid));
    let mut annotations = given("annotations");
    for (key, value) in [
        ("name", run_name.as_str()),
        ("namespace", meta.namespace.as_deref().unwrap_or_default()),
        ("metric-name", metric),
    ] {
        annotations.insert(format!("analysisrun.argoproj.io/{key}"), json!(value));
    }
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": api::API_VERSION, "kind": "AnalysisRun", "name": run_name,
                "uid": uid, "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": job.spec.clone().unwrap_or_default(),
    })
}

/// What a Job as stored means for a run. `None`: ask for its pods, one may lack its image.
pub fn read(job: &Value, run_uid: &str) -> Option<JobSeen> {
    let metadata: ObjectMeta = job
        .get("metadata")
        .and_then(|m| serde_json::from_value(m.clone()).ok())
        .unwrap_or_default();
    let owner = metadata.owner_references.iter().flatten();
    let is_ours = owner.clone().any(|o| o.uid == run_uid);
    if !is_ours {
        return Some(JobSeen::Foreign);
    }
    if metadata.deletion_timestamp.is_some() {
        return Some(JobSeen::Gone);
    }
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array);
    for condition in conditions.into_iter().flatten() {
        let text = |field: &str| {
            condition
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        match (text("type"), text("status")) {
            ("Complete", "True") => return Some(JobSeen::Complete),
            ("Failed", "True") => return Some(JobSeen::Failed(text("message").to_owned())),
            _ => {}
        }
    }
    let number = |path: &str| job.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let starting = number("/status/active") > number("/status/ready");
    (!starting).then_some(JobSeen::Running)
}

/// What the pods of a Job that goes on mean.
pub fn read_pods(pods: &Value) -> JobSeen {
    let statuses = |pod: &Value, field: &str| -> Vec<Value> {
        let list = pod.get("status").and_then(|s| s.get(field)?.as_array());
        list.cloned().unwrap_or_default()
    };
    let pods = pods.get("items").and_then(Value::as_array);
    let trouble = pods
        .into_iter()
        .flatten()
        .flat_map(|pod| {
            let mut all = statuses(pod, "containerStatuses");
            all.extend(statuses(pod, "initContainerStatuses"));
            all
        })
        .filter_map(|c| Some(c.pointer("/state/waiting/reason")?.as_str()?.to_owned()))
        .find(|why| {
            matches!(
                why.as_str(),
                "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName"
            )
        });
    trouble.map_or(JobSeen::Running, JobSeen::NoImage)
}

/// The pod and the container whose log tells how a Job ended: of the newest pod that has begun, the
/// container that failed, or the first.
pub fn log_of(pods: &Value) -> Option<(String, String)> {
    let text = |value: &Value, path: &str| {
        let found = value.pointer(path).and_then(Value::as_str);
        found.map(str::to_owned)
    };
    let pods = pods.get("items")?.as_array()?;
    let newest = pods
        .iter()
        .filter_map(|pod| Some((text(pod, "/status/startTime")?, pod)))
        .max_by(|a, b| a.0.cmp(&b.0))?
        .1;
    let statuses = newest.pointer("/status/containerStatuses");
    let has_failed = |status: &&Value| {
        let code = status.pointer("/state/terminated/exitCode");
        code.and_then(Value::as_i64).is_some_and(|code| code != 0)
    };
    let failed = statuses.and_then(Value::as_array).into_iter().flatten();
    let failed = failed.clone().find(has_failed);
    let container = failed.or_else(|| newest.pointer("/spec/containers/0"))?;
    Some((text(newest, "/metadata/name")?, text(container, "/name")?))
}

/// The log as it was read, made text: no control characters, and no line that was cut in the middle,
/// which could hide half of a secret.
pub fn log_text(read: &[u8]) -> String {
    let whole = match read.len() >= LOG_READ {
        false => read,
        true => {
            let end = read.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
            read.get(..end).unwrap_or_default()
        }
    };
    let text = String::from_utf8_lossy(whole);
    let is_shown = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().filter(is_shown).collect()
}

/// The end of a log, short enough for a status.
pub fn log_tail(text: &str) -> String {
    let text = text.trim();
    let mut from = text.len().saturating_sub(LOG_KEPT);
    while !text.is_char_boundary(from) {
        from = from.saturating_add(1);
    }
    let cut = if from > 0 { "…" } else { "" };
    format!("{cut}{}", text.get(from..).unwrap_or_default())
}

/// Milliseconds until the next look at a Job that has gone on for `elapsed` milliseconds: √(2·s)
/// seconds, so that short Jobs are seen soon and long ones seldom. Looks are made at fixed times
/// after the start, whatever else wakes the run.
pub fn next_look(elapsed: i64) -> i64 {
    let mut at = 1000.0_f64;
    let elapsed = elapsed.max(0) as f64;
    // An hour takes about 80 looks; a week is where it stops growing.
    for _ in 0..5000 {
        if at > elapsed {
            break;
        }
        at += (2.0 * at / 1000.0).sqrt().max(1.0) * 1000.0;
    }
    (at - elapsed).max(1000.0).ceil() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0a1b2c3d-1111-2222-3333-444455556666";

    #[test]
    fn names_fit_into_a_label_and_never_meet() {
        assert_eq!(name(UID, "smoke", 2), format!("{UID}.smoke.2"));
        let long = "a-metric-with-a-very-long-name-";
        let names: Vec<String> = ["one", "two"]
            .iter()
            .map(|end| name(UID, &format!("{long}{end}"), 12))
            .collect();
        assert_ne!(names[0], names[1]);
        for name in names.iter().chain(&[
            name(UID, "Smoke Test!", 1),
            name(UID, "-", 1),
            name(UID, "", 1),
        ]) {
            assert!(name.len() <= 63, "{name}");
            let parts = name.split('.');
            for part in parts {
                assert!(
                    !part.is_empty() && !part.starts_with('-') && !part.ends_with('-'),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn states_of_jobs_mean_one_thing() {
        let job = |status: Value| json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "AnalysisRun", "name": "r", "uid": UID}]}, "status": status});
        for (status, expected) in [
            (json!({}), Some(JobSeen::Running)),
            (json!({"active": 1, "ready": 1}), Some(JobSeen::Running)),
            (json!({"active": 1, "ready": 0}), None),
            (
                json!({"conditions": [{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]}),
                Some(JobSeen::Complete),
            ),
            (
                json!({"conditions": [{"type": "Failed", "status": "True", "message": "Job has reached the specified backoff limit"}]}),
                Some(JobSeen::Failed(
                    "Job has reached the specified backoff limit".to_owned(),
                )),
            ),
            (
                json!({"conditions": [{"type": "Suspended", "status": "True"}]}),
                Some(JobSeen::Running),
            ),
        ] {
            assert_eq!(read(&job(status), UID), expected);
        }
        assert_eq!(read(&job(json!({})), "other"), Some(JobSeen::Foreign));
        let pods = |reason: &str| json!({"items": [{"status": {"containerStatuses": [{"state": {"waiting": {"reason": reason}}}]}}]});
        assert_eq!(
            read_pods(&pods("ImagePullBackOff")),
            JobSeen::NoImage("ImagePullBackOff".to_owned())
        );
        assert_eq!(read_pods(&pods("ContainerCreating")), JobSeen::Running);
    }

    #[test]
    fn the_log_is_that_of_what_failed_and_its_end() {
        let pod = |name: &str, started: &str, codes: [i64; 2]| {
            let ended = |n: usize| json!({"name": format!("c{n}"), "state": {"terminated": {"exitCode": codes[n]}}});
            json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c0"}, {"name": "c1"}]},
                "status": {"startTime": started, "containerStatuses": [ended(0), ended(1)]}})
        };
        let of = |pods: Value| log_of(&json!({ "items": pods }));
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        let old = pod("old", "2026-01-01T00:00:00Z", [1, 0]);
        let new = pod("new", "2026-01-01T00:01:00Z", [0, 7]);
        assert_eq!(of(json!([new, old])), pair("new", "c1"));
        let good = pod("good", "2026-01-01T00:02:00Z", [0, 0]);
        assert_eq!(of(json!([good])), pair("good", "c0"));
        assert_eq!(of(json!([{"metadata": {"name": "waits"}}])), None);
        assert_eq!(log_text(b"a\x1b[31m\tb\r\nc"), "a[31m\tb\nc");
        let mut long = vec![b'x'; LOG_READ - 3];
        long.extend(b"\nhal");
        assert_eq!(log_text(&long).len(), LOG_READ - 3, "half a line is none");
        assert_eq!(log_tail(" one\ntwo\n"), "one\ntwo");
        let tail = log_tail(&format!("{}é the end", "ß".repeat(600)));
        assert!(tail.starts_with("…ß") && tail.ends_with("é the end"));
        assert!(tail.len() <= LOG_KEPT + "…".len());
    }

    #[test]
    fn looks_become_rarer() {
        assert_eq!(next_look(0), 1000);
        let mut at = 0;
        let mut looks = 0;
        while at < 3_600_000 {
            at += next_look(at);
            looks += 1;
        }
        assert!((70..100).contains(&looks), "{looks}");
        assert!(next_look(3_600_000) <= 86_000);
    }
}
