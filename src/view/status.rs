//! A Rollout as it stands in a cluster, for people and programs: one short tree of at most 80
//! columns, or JSON. Pure; who reads the cluster and waits is `cli/status.rs`.

use k8s_openapi::api::apps::v1::ReplicaSet;
use serde_json::{Value, json};

use super::text::wrap;
use crate::api::status::AnalysisRunRef;
use crate::api::{POD_HASH_LABEL, REVISION, Rollout, RolloutStatus};
use crate::planner::lower;
use crate::planner::standing::{self, Standing, Wait};

const WIDTH: usize = 80;
/// Where the words after a heading begin.
const INDENT: usize = 12;

/// What was read of a Rollout.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The Rollout.
    pub rollout: Rollout,
    /// Its ReplicaSets, or why they could not be read.
    pub sets: Result<Vec<ReplicaSet>, String>,
}

/// One ReplicaSet of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    name: String,
    revision: u64,
    role: &'static str,
    wanted: i32,
    ready: i32,
    images: Vec<String>,
}

/// One line: what changed since the last one, for whoever watches.
pub fn line(rollout: &Rollout) -> String {
    let Standing { phase, message, .. } = standing::of(rollout);
    let status = status(rollout);
    let serin = status.serin.unwrap_or_default();
    let step = serin.step_text.map(|s| format!(" step {s}"));
    let weight = serin.weight.map(|w| format!(" {w}%"));
    let ready = serin.ready_text.map(|r| format!(" ready {r}"));
    let state = [step, weight, ready]
        .into_iter()
        .flatten()
        .collect::<String>();
    let message = if message.is_empty() {
        message
    } else {
        format!(": {message}")
    };
    format!("{phase}{state}{message}")
}

/// Such a line as it is printed: broken where it is wider than a terminal.
pub fn folded(line: &str) -> String {
    let mut out = String::new();
    paragraph(&mut out, 2, line);
    out
}

/// The tree.
pub fn text(seen: &Seen) -> String {
    let rollout = &seen.rollout;
    let (name, namespace) = names(rollout);
    let standing = standing::of(rollout);
    let mut out = String::new();
    paragraph(
        &mut out,
        2,
        &format!("Rollout {namespace}/{name}: {}", standing.phase),
    );
    row(&mut out, "why", &standing.message);
    row(&mut out, "step", &step(rollout).unwrap_or_default());
    row(
        &mut out,
        "weight",
        &weight(rollout).map(|w| format!("{w}%")).unwrap_or_default(),
    );
    row(&mut out, "pods", &pods(rollout));
    for run in runs(rollout) {
        let why = run.message.filter(|m| !m.is_empty());
        let why = why.map(|m| format!(": {m}")).unwrap_or_default();
        row(
            &mut out,
            "analysis",
            &format!("{} {}{why}", run.name, run.status),
        );
    }
    if standing.wait == Wait::AsksPerson {
        let next = format!(
            "kubectl -n {namespace} annotate rollout {name} {}",
            answer(rollout)
        );
        row(&mut out, "to go on", &next);
    }
    tree(&mut out, seen);
    out
}

/// The same for programs.
pub fn json(seen: &Seen) -> Value {
    let rollout = &seen.rollout;
    let (name, namespace) = names(rollout);
    let Standing {
        phase,
        message,
        wait,
    } = standing::of(rollout);
    let status = status(rollout);
    let steps = lower::lower(rollout).map_or(0, |spec| spec.steps().len());
    let versions = versions(seen).unwrap_or_default();
    let versions: Vec<Value> = versions
        .iter()
        .map(|v| {
            json!({
                "replicaSet": v.name, "revision": v.revision, "role": v.role,
                "wanted": v.wanted, "ready": v.ready, "images": v.images,
            })
        })
        .collect();
    let runs: Vec<Value> = runs(rollout)
        .iter()
        .map(|r| json!({"name": r.name, "phase": r.status, "message": r.message}))
        .collect();
    json!({
        "namespace": namespace, "name": name, "wait": wait.word(),
        "phase": phase, "message": message,
        "step": {"index": status.current_step_index, "count": steps, "text": step(rollout)},
        "weight": weight(rollout),
        "pods": {
            "wanted": rollout.spec.replicas.unwrap_or(1), "there": status.replicas.unwrap_or(0),
            "updated": status.updated_replicas.unwrap_or(0), "ready": status.ready_replicas.unwrap_or(0),
            "available": status.available_replicas.unwrap_or(0),
        },
        "analyses": runs,
        "versions": versions,
    })
}

fn names(rollout: &Rollout) -> (String, String) {
    let meta = &rollout.metadata;
    let text = |given: &Option<String>| given.clone().unwrap_or_default();
    (text(&meta.name), text(&meta.namespace))
}

fn status(rollout: &Rollout) -> RolloutStatus {
    rollout.status.clone().unwrap_or_default()
}

/// `2/4, pause: 10m`.
fn step(rollout: &Rollout) -> Option<String> {
    let spec = lower::lower(rollout).ok()?;
    let steps = spec.steps();
    let at = status(rollout).current_step_index?;
    let at = usize::try_from(at).ok()?;
    let text = match steps.get(at) {
        Some(step) => format!("{}/{}, {}", at + 1, steps.len(), step.text()),
        None if steps.is_empty() => return None,
        None => format!("{0}/{0}, all done", steps.len()),
    };
    Some(text)
}

/// Percent that the new version has: of the traffic, or of the pods.
fn weight(rollout: &Rollout) -> Option<i64> {
    let status = status(rollout);
    let routed = status.canary.and_then(|c| c.weights?.canary.weight);
    routed.or_else(|| status.serin?.weight)
}

fn pods(rollout: &Rollout) -> String {
    let status = status(rollout);
    let of = |count: Option<i64>| count.unwrap_or(0);
    format!(
        "{} wanted; {} there: {} updated, {} ready, {} available",
        rollout.spec.replicas.unwrap_or(1),
        of(status.replicas),
        of(status.updated_replicas),
        of(status.ready_replicas),
        of(status.available_replicas)
    )
}

/// Analyses that the status tells of, in the order of an update.
fn runs(rollout: &Rollout) -> Vec<AnalysisRunRef> {
    let status = status(rollout);
    let canary = status.canary.unwrap_or_default();
    let blue_green = status.blue_green.unwrap_or_default();
    let runs = [
        blue_green.pre_promotion_analysis_run_status,
        canary.current_step_analysis_run_status,
        canary.current_background_analysis_run_status,
        blue_green.post_promotion_analysis_run_status,
    ];
    runs.into_iter().flatten().collect()
}

/// The command that answers what a Rollout asks.
fn answer(rollout: &Rollout) -> &'static str {
    match rollout.spec.paused {
        Some(true) => "serin.dev/resume=true",
        Some(false) | None => "serin.dev/promote=true",
    }
}

/// Its ReplicaSets with pods, or with a role; newest first.
fn versions(seen: &Seen) -> Result<Vec<Version>, &str> {
    let sets = seen.sets.as_ref().map_err(String::as_str)?;
    let status = status(&seen.rollout);
    let mut all: Vec<Version> = sets
        .iter()
        .map(|set| version(set, &status))
        .filter(|v| v.role != "old" || v.wanted > 0 || v.ready > 0)
        .collect();
    all.sort_by(|a, b| (b.revision, &a.name).cmp(&(a.revision, &b.name)));
    Ok(all)
}

fn version(set: &ReplicaSet, status: &RolloutStatus) -> Version {
    let labels = set.metadata.labels.as_ref();
    let hash = labels.and_then(|l| l.get(POD_HASH_LABEL));
    let is = |recorded: &Option<String>| hash.is_some() && hash == recorded.as_ref();
    let role = match (is(&status.stable_rs), is(&status.current_pod_hash)) {
        (true, _) => "stable",
        (false, true) => "new",
        (false, false) => "old",
    };
    let annotations = set.metadata.annotations.as_ref();
    let revision = annotations.and_then(|a| a.get(REVISION)?.parse().ok());
    let spec = set.spec.as_ref();
    let template = spec.and_then(|s| s.template.as_ref()?.spec.as_ref());
    let containers = template.map(|t| t.containers.as_slice());
    let images = containers.unwrap_or_default().iter();
    Version {
        name: set.metadata.name.clone().unwrap_or_default(),
        revision: revision.unwrap_or(0),
        role,
        wanted: spec.and_then(|s| s.replicas).unwrap_or(0),
        ready: set
            .status
            .as_ref()
            .and_then(|s| s.ready_replicas)
            .unwrap_or(0),
        images: images.filter_map(|c| c.image.clone()).collect(),
    }
}

fn tree(out: &mut String, seen: &Seen) {
    let versions = match versions(seen) {
        Ok(versions) => versions,
        Err(why) => return row(out, "versions", &format!("not known: {why}")),
    };
    for (i, v) in versions.iter().enumerate() {
        let (knot, stem) = match i + 1 == versions.len() {
            true => ("└─", "  "),
            false => ("├─", "│ "),
        };
        out.push_str(&cut(&format!(
            "{knot} {} (revision {}) {}, {}/{} ready",
            v.name, v.revision, v.role, v.ready, v.wanted
        )));
        for image in &v.images {
            out.push_str(&cut(&format!("{stem}   {image}")));
        }
    }
}

/// A heading and what stands under it; nothing where there is nothing to say.
fn row(out: &mut String, heading: &str, text: &str) {
    if text.is_empty() {
        return;
    }
    for (i, line) in wrap(text, WIDTH - INDENT).iter().enumerate() {
        let heading = if i == 0 { heading } else { "" };
        out.push_str(&format!("  {heading:<10}{line}\n"));
    }
}

fn paragraph(out: &mut String, indent: usize, text: &str) {
    for (i, line) in wrap(text, WIDTH - indent).iter().enumerate() {
        let indent = if i == 0 { 0 } else { indent };
        out.push_str(&format!("{:indent$}{line}\n", ""));
    }
}

/// A line that cannot be broken, in full where it fits.
fn cut(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return format!("{line}\n");
    }
    let kept: String = line.chars().take(WIDTH - 1).collect();
    format!("{kept}…\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        let rollout = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "generation": 3},
            "spec": {
                "replicas": 4,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "app", "image": "example/web:2"}]},
                },
                "strategy": {"canary": {"steps": [{"setWeight": 25}, {"pause": {}}]}},
            },
            "status": {
                "observedGeneration": "3", "phase": "Paused", "message": "CanaryPauseStep",
                "currentStepIndex": 1, "stableRS": "aaa", "currentPodHash": "bbb",
                "controllerPause": true,
                "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": null}],
                "replicas": 4, "updatedReplicas": 1, "readyReplicas": 4, "availableReplicas": 4,
                "canary": {"currentBackgroundAnalysisRunStatus":
                    {"name": "web-bbb-2-slo", "status": "Running", "message": ""}},
                "serin": {"weight": 25, "stepText": "2/2", "readyText": "4/4"},
            },
        }));
        let sets = ["aaa", "bbb", "ccc"]
            .into_iter()
            .zip(1..)
            .map(|(hash, revision)| {
                let wanted = [3, 1, 0][revision - 1];
                serde_json::from_value(json!({
                "metadata": {
                    "name": format!("web-{hash}"), "labels": {"rollouts-pod-template-hash": hash},
                    "annotations": {"rollout.argoproj.io/revision": revision.to_string()},
                },
                "spec": {"replicas": wanted, "selector": {}, "template": {"spec": {"containers":
                    [{"name": "app", "image": format!("example/web:{revision}")}]}}},
                "status": {"replicas": wanted, "readyReplicas": wanted},
            }))
            .unwrap()
            });
        Seen {
            rollout: rollout.unwrap(),
            sets: Ok(sets.collect()),
        }
    }

    #[test]
    fn a_canary_at_a_pause_is_a_short_tree_with_the_command_that_ends_it() {
        assert_eq!(
            text(&seen()),
            "\
Rollout shop/web: Paused
  why       CanaryPauseStep
  step      2/2, pause
  weight    25%
  pods      4 wanted; 4 there: 1 updated, 4 ready, 4 available
  analysis  web-bbb-2-slo Running
  to go on  kubectl -n shop annotate rollout web serin.dev/promote=true
├─ web-bbb (revision 2) new, 1/1 ready
│    example/web:2
└─ web-aaa (revision 1) stable, 3/3 ready
     example/web:1
"
        );
        assert_eq!(
            line(&seen().rollout),
            "Paused step 2/2 25% ready 4/4: CanaryPauseStep"
        );
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let mut seen = seen();
        let status = seen.rollout.status.as_mut().unwrap();
        status.message = Some("metric \"p95\" of an analysis said Failed: ".repeat(9));
        seen.rollout.metadata.name = Some("n".repeat(253));
        for set in seen.sets.as_mut().unwrap() {
            set.metadata.name = Some("m".repeat(253));
        }
        let text = text(&seen) + &folded(&line(&seen.rollout));
        assert!(text.lines().all(|l| l.chars().count() <= WIDTH), "{text}");
    }

    #[test]
    fn what_may_not_be_read_is_said_and_holds_nothing_up() {
        let mut seen = seen();
        seen.sets = Err("refused (403): not for you".to_owned());
        assert!(text(&seen).contains("versions  not known: refused (403): not for you"));
        assert_eq!(json(&seen)["versions"], json!([]));
    }

    #[test]
    fn programs_get_the_same() {
        let json = json(&seen());
        assert_eq!(json["wait"], "asksPerson");
        assert_eq!(
            json["step"],
            json!({"index": 1, "count": 2, "text": "2/2, pause"})
        );
        assert_eq!(json["weight"], 25);
        assert_eq!(json["versions"][0]["role"], "new");
        assert_eq!(json["analyses"][0]["phase"], "Running");
    }
}
