//! Lines about pods: how they are confined, bounded, pinned and labelled.

use serde_json::Value;

use super::{Found, Given, list, services, workloads};

/// Containers of a pod template with their names.
fn containers(template: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let all = list(template, "/spec/initContainers").chain(list(template, "/spec/containers"));
    all.map(|container| (super::text_at(container, "/name"), container))
}

pub(super) fn hardened(given: Given<'_>) -> Found {
    let mut found = Found::default();
    for (object, template) in workloads(given) {
        found.look(object);
        for (name, container) in containers(template) {
            // What the container does not say, the pod says.
            let of_both = |field: &str| {
                let pointer = format!("/securityContext/{field}");
                container
                    .pointer(&pointer)
                    .or_else(|| template.pointer(&format!("/spec{pointer}")))
            };
            let own = |field: &str| container.pointer(&format!("/securityContext/{field}"));
            let drops = own("capabilities/drop").and_then(Value::as_array);
            let profile = of_both("seccompProfile/type").and_then(Value::as_str);
            let all = [
                (
                    of_both("runAsNonRoot") == Some(&Value::Bool(true)),
                    "may run as root",
                ),
                (
                    matches!(profile, Some("RuntimeDefault" | "Localhost")),
                    "has no seccomp profile",
                ),
                (
                    own("readOnlyRootFilesystem") == Some(&Value::Bool(true)),
                    "may write its root file system",
                ),
                (
                    own("allowPrivilegeEscalation") == Some(&Value::Bool(false)),
                    "may gain privileges",
                ),
                (
                    drops.is_some_and(|drops| drops.iter().any(|d| d == "ALL")),
                    "keeps capabilities",
                ),
                (
                    own("privileged") != Some(&Value::Bool(true)),
                    "is privileged",
                ),
            ];
            for (_, what) in all.into_iter().filter(|(is_right, _)| !is_right) {
                found.fault(object, format!("container {name} {what}"));
            }
        }
    }
    found
}

pub(super) fn bounded(given: Given<'_>) -> Found {
    let mut found = Found::default();
    for (object, template) in workloads(given) {
        found.look(object);
        for (name, container) in containers(template) {
            for part in ["requests", "limits"] {
                for resource in ["cpu", "memory"] {
                    if container
                        .pointer(&format!("/resources/{part}/{resource}"))
                        .is_none()
                    {
                        found.fault(
                            object,
                            format!("container {name} has no resources.{part}.{resource}"),
                        );
                    }
                }
            }
        }
    }
    for (object, template) in services(given) {
        for container in list(template, "/spec/containers") {
            for probe in ["readinessProbe", "livenessProbe"] {
                let has_ports = list(container, "/ports").next().is_some();
                if has_ports && container.get(probe).is_none() {
                    let name = super::text_at(container, "/name");
                    found.fault(object, format!("container {name} has no {probe}"));
                }
            }
        }
    }
    found
}

pub(super) fn pinned(given: Given<'_>) -> Found {
    let mut found = Found::default();
    for (object, template) in workloads(given) {
        found.look(object);
        for (name, container) in containers(template) {
            let image = super::text_at(container, "/image");
            let digest = image.split_once("@sha256:").map(|(_, digest)| digest);
            let is_digest = |d: &str| d.len() == 64 && d.bytes().all(|b| b.is_ascii_hexdigit());
            if !digest.is_some_and(is_digest) {
                found.fault(object, format!("container {name} has the image {image}"));
            }
        }
    }
    found
}

pub(super) fn labelled(given: Given<'_>) -> Found {
    let mut found = Found::default();
    for (object, template) in workloads(given) {
        found.look(object);
        for (of, what) in [(object, ""), (template, " on its pods")] {
            let lacks =
                |label: &&str| super::text_at(of, &format!("/metadata/labels/{label}")).is_empty();
            let missing: Vec<&str> = ["app", "tier", "cost-center", "team"]
                .into_iter()
                .filter(lacks)
                .collect();
            if !missing.is_empty() {
                found.fault(object, format!("lacks {}{what}", missing.join(", ")));
            }
        }
    }
    found
}
