//! The release checklist: what must be there before an agent ships, each line verified from manifests. Pure; the
//! plan's two lines are played by the simulator.

mod history;
mod plan;
mod platform;
mod pods;
mod report;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use report::{json, sarif, text};

/// What the checklist is held against.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// Every object, in the order in which they were read.
    pub objects: &'a [Value],
    /// The bill of materials, where one was named.
    pub sbom: Option<&'a Value>,
}

/// How a line came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All that was looked at is as it must be.
    Met,
    /// Something is not.
    NotMet,
    /// There was nothing to look at.
    NotShown,
}

/// One line of the checklist.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name, for `--skip` and for programs.
    pub id: &'static str,
    /// What must hold.
    pub title: &'static str,
    /// What to do where it does not.
    pub mend: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// What was looked at.
    pub looked_at: Vec<String>,
    /// What is not as it must be, each with its object.
    pub faults: Vec<String>,
}

/// What a check found.
#[derive(Debug, Default)]
struct Found {
    looked_at: Vec<String>,
    faults: Vec<String>,
}

impl Found {
    fn look(&mut self, object: &Value) {
        self.looked_at.push(title(object));
    }

    fn fault(&mut self, object: &Value, what: impl std::fmt::Display) {
        self.faults.push(format!("{}: {what}", title(object)));
    }
}

/// A line and how it is checked.
struct Rule {
    id: &'static str,
    title: &'static str,
    mend: &'static str,
    check: fn(Given<'_>) -> Found,
}

const RULES: &[Rule] = &[
    Rule {
        id: "pods-hardened",
        title: "Containers are non-root, on a read-only file system, with seccomp and without capabilities",
        mend: "set runAsNonRoot, seccompProfile, readOnlyRootFilesystem, allowPrivilegeEscalation: false and capabilities.drop: [ALL]",
        check: pods::hardened,
    },
    Rule {
        id: "pods-bounded",
        title: "Containers have requests, limits and probes",
        mend: "set resources.requests, resources.limits and, on what serves, readinessProbe and livenessProbe",
        check: pods::bounded,
    },
    Rule {
        id: "images-pinned",
        title: "Images are named by digest",
        mend: "name images as NAME@sha256:…, as the pipeline pushed them",
        check: pods::pinned,
    },
    Rule {
        id: "labels",
        title: "Workloads and their pods carry app, tier, cost-center and team",
        mend: "add the labels; costs are added up by them",
        check: pods::labelled,
    },
    Rule {
        id: "network-denied",
        title: "Namespaces deny by default, and each workload is allowed what it needs",
        mend: "add a NetworkPolicy with an empty podSelector, both policyTypes and no rules, and one for each workload",
        check: platform::network,
    },
    Rule {
        id: "rbac-minimal",
        title: "Rights are minimal, and each workload has an account of its own",
        mend: "name resources and verbs instead of *, Secrets by resourceNames, and serviceAccountName on pods",
        check: platform::rights,
    },
    Rule {
        id: "sbom",
        title: "A bill of materials was made",
        mend: "make one in the pipeline (syft, buildx --sbom) and name it: --sbom FILE",
        check: platform::sbom,
    },
    Rule {
        id: "policies-active",
        title: "Admission policies act in the namespaces",
        mend: "label namespaces serin.dev/policies=enforced and pod-security.kubernetes.io/enforce=restricted; apply deploy/policies",
        check: platform::policies,
    },
    Rule {
        id: "available",
        title: "Services survive the drain of a node",
        mend: "add a PodDisruptionBudget that selects the pods",
        check: platform::budgets,
    },
    Rule {
        id: "watched",
        title: "Dashboards and alerts are there",
        mend: "add a PrometheusRule, a ServiceMonitor or PodMonitor, and a dashboard ConfigMap (serin deploy generate-monitoring has serin's)",
        check: platform::watched,
    },
    Rule {
        id: "kpi-contract",
        title: "The KPI contract is loaded: every Rollout has objectives",
        mend: "add spec.strategy.canary.slos with latency, success and cost",
        check: plan::objectives,
    },
    Rule {
        id: "plan-rehearsed",
        title: "The rollout plan is defined, and a good version goes out by it",
        mend: "add steps; serin rehearse shows where the plan ends",
        check: plan::good_goes_out,
    },
    Rule {
        id: "rollback-tested",
        title: "Rollback is tested: a version that breaks an objective is taken back, and there is one to go back to",
        mend: "add objectives to slos, a pause long enough to measure them, and keep revisionHistoryLimit above 0",
        check: rollback,
    },
];

/// In the rehearsal, and from what a cluster tells of the past.
fn rollback(given: Given<'_>) -> Found {
    let mut found = plan::bad_is_taken_back(given);
    history::look(given, &mut found);
    found
}

/// Names of all lines.
pub fn ids() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|rule| rule.id)
}

/// Goes through the checklist, without the lines that are skipped.
pub fn check(given: Given<'_>, skip: &[String]) -> Vec<Line> {
    let rules = RULES
        .iter()
        .filter(|rule| !skip.iter().any(|id| id == rule.id));
    rules
        .map(|rule| {
            let Found { looked_at, faults } = (rule.check)(given);
            let outcome = match (looked_at.is_empty(), faults.is_empty()) {
                (_, false) => Outcome::NotMet,
                (true, true) => Outcome::NotShown,
                (false, true) => Outcome::Met,
            };
            let Rule {
                id,
                title,
                mend,
                check: _,
            } = *rule;
            Line {
                id,
                title,
                mend,
                outcome,
                looked_at,
                faults,
            }
        })
        .collect()
}

fn text_at<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn kind(object: &Value) -> &str {
    text_at(object, "/kind")
}

fn namespace(object: &Value) -> &str {
    text_at(object, "/metadata/namespace")
}

/// `Rollout agents/support-agent`.
fn title(object: &Value) -> String {
    let (space, name) = (namespace(object), text_at(object, "/metadata/name"));
    let slash = if space.is_empty() { "" } else { "/" };
    format!("{} {space}{slash}{name}", kind(object))
}

fn list<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn of_kind<'a>(given: Given<'a>, wanted: &'static str) -> impl Iterator<Item = &'a Value> {
    given
        .objects
        .iter()
        .filter(move |object| kind(object) == wanted)
}

/// Objects that make pods, each with its pod template. What a controller made of another is left out.
fn workloads<'a>(given: Given<'a>) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    given.objects.iter().filter_map(|object| {
        let template = match kind(object) {
            "CronJob" => object.pointer("/spec/jobTemplate/spec/template"),
            "Pod" => Some(object),
            "Rollout" | "Deployment" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicaSet" => {
                object.pointer("/spec/template")
            }
            _ => None,
        }?;
        let is_made = list(object, "/metadata/ownerReferences")
            .any(|owner| owner.get("controller") == Some(&Value::Bool(true)));
        (!is_made).then_some((object, template))
    })
}

/// Workloads that serve: all but jobs.
fn services<'a>(given: Given<'a>) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    workloads(given).filter(|(object, _)| !matches!(kind(object), "CronJob" | "Job" | "Pod"))
}

/// Whether a label selector without expressions selects the labels of a pod template.
fn selects(selector: Option<&Value>, template: &Value) -> bool {
    let Some(selector) = selector.and_then(Value::as_object) else {
        return false;
    };
    if selector.contains_key("matchExpressions") {
        return false;
    }
    let wanted = selector.get("matchLabels").and_then(Value::as_object);
    wanted.into_iter().flatten().all(|(key, value)| {
        template
            .pointer("/metadata/labels")
            .and_then(|labels| labels.get(key))
            == Some(value)
    })
}
