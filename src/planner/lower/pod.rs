//! What Kubernetes is certain to refuse in a pod: names, ports, environment, mounts, probes, sizes
//! (contract L6). What a later release may allow is left to the API server.

use std::collections::BTreeSet;

use serde_json::Value;

use super::template::quantity;
use crate::planner::fault::Fault;

const SPEC: &str = "spec.template.spec";

/// Adds the faults of the pod's spec that concern more than one container, or none.
pub(super) fn check(spec: &Value, faults: &mut Vec<Fault>) {
    let mut volumes = BTreeSet::new();
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        let path = format!("{SPEC}.volumes[{i}].name");
        let name = text(volume, "name");
        if label(&path, name, faults) && !volumes.insert(name) {
            faults.push(twice(&path, name, "volume"));
        }
    }
    let mut names = BTreeSet::new();
    for kind in ["initContainers", "containers"] {
        for (i, container) in list(spec, kind).iter().enumerate() {
            let at = format!("{SPEC}.{kind}[{i}]");
            let name = text(container, "name");
            if !name.is_empty() {
                label(&format!("{at}.name"), name, faults);
            }
            if !names.insert(name) && !name.is_empty() {
                faults.push(twice(&format!("{at}.name"), name, "container"));
            }
            check_container(&at, container, &volumes, faults);
        }
    }
    choice(
        spec,
        SPEC,
        "dnsPolicy",
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        faults,
    );
    if let Some(seconds) = spec
        .get("terminationGracePeriodSeconds")
        .and_then(Value::as_i64)
        && seconds < 0
    {
        let path = format!("{SPEC}.terminationGracePeriodSeconds");
        let message = "must be greater than or equal to 0";
        faults.push(Fault::invalid(&path, seconds, message));
    }
    if spec
        .get("activeDeadlineSeconds")
        .is_some_and(|v| !v.is_null())
    {
        let path = format!("{SPEC}.activeDeadlineSeconds");
        let message = "Forbidden: pods of a ReplicaSet are kept running: remove it";
        faults.push(Fault {
            path,
            message: message.to_owned(),
        });
    }
}

/// Faults of labels below `at`: keys and values as Kubernetes takes them.
pub(super) fn labels<'a>(
    at: &str,
    labels: impl Iterator<Item = (&'a String, &'a String)>,
    faults: &mut Vec<Fault>,
) {
    for (key, value) in labels {
        let path = format!("{at}.{key}");
        if !is_key(key) {
            faults.push(Fault::invalid(
                &path,
                format!("{key:?}"),
                "the key of a label is letters, digits, -, _ and ., at most 63 of them, with an optional prefix such as example.org/",
            ));
        }
        if !value.is_empty() && !is_name(value, 63) {
            faults.push(Fault::invalid(
                &path,
                format!("{value:?}"),
                "the value of a label is letters, digits, -, _ and ., at most 63 of them, and begins and ends with a letter or digit",
            ));
        }
    }
}

/// Faults of annotations below `at`: their values are free.
pub(super) fn annotations<'a>(
    at: &str,
    keys: impl Iterator<Item = &'a String>,
    faults: &mut Vec<Fault>,
) {
    for key in keys.filter(|key| !is_key(&key.to_lowercase())) {
        faults.push(Fault::invalid(
            &format!("{at}.{key}"),
            format!("{key:?}"),
            "the key of an annotation is letters, digits, -, _ and ., at most 63 of them, with an optional prefix such as example.org/",
        ));
    }
}

/// A name, and before it a DNS name and a slash where there is a prefix.
fn is_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    is_name(name, 63) && prefix.is_none_or(is_dns_name)
}

fn is_dns_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_part = |part: &str| {
        part.starts_with(is_plain)
            && part.ends_with(is_plain)
            && part.chars().all(|c| is_plain(c) || c == '-')
    };
    text.len() <= 253 && text.split('.').all(is_part)
}

fn is_name(text: &str, most: usize) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric();
    text.len() <= most
        && text.starts_with(is_plain)
        && text.ends_with(is_plain)
        && text.chars().all(|c| is_plain(c) || "-_.".contains(c))
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    let list = value.get(name).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// True for a DNS label; else a fault.
fn label(path: &str, name: &str, faults: &mut Vec<Fault>) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_fine = name.len() <= 63
        && name.starts_with(is_plain)
        && name.ends_with(is_plain)
        && name.chars().all(|c| is_plain(c) || c == '-');
    if !is_fine {
        faults.push(Fault::invalid(
            path,
            format!("{name:?}"),
            "a name is small letters, digits and -, at most 63 of them, and begins and ends with a letter or digit",
        ));
    }
    is_fine
}

fn twice(path: &str, name: &str, what: &str) -> Fault {
    let message = format!("Duplicate value: every {what} needs a name of its own");
    Fault::invalid(path, format!("{name:?}"), message)
}

fn choice(value: &Value, at: &str, name: &str, known: &[&str], faults: &mut Vec<Fault>) {
    let given = text(value, name);
    if !given.is_empty() && !known.contains(&given) {
        let message = format!("Unsupported value: supported values: {}", known.join(", "));
        faults.push(Fault::invalid(
            &format!("{at}.{name}"),
            format!("{given:?}"),
            message,
        ));
    }
}

fn check_container(at: &str, container: &Value, volumes: &BTreeSet<&str>, faults: &mut Vec<Fault>) {
    choice(
        container,
        at,
        "imagePullPolicy",
        &["Always", "Never", "IfNotPresent"],
        faults,
    );
    let mut names = BTreeSet::new();
    for (i, port) in list(container, "ports").iter().enumerate() {
        let at = format!("{at}.ports[{i}]");
        for field in ["containerPort", "hostPort"] {
            let number = port.get(field).and_then(Value::as_i64);
            let is_needed = field == "containerPort";
            if number.is_some_and(|n| !(1..=65_535).contains(&n)) || (number.is_none() && is_needed)
            {
                let path = format!("{at}.{field}");
                let message = "must be between 1 and 65535, inclusive";
                faults.push(Fault::invalid(&path, number.unwrap_or(0), message));
            }
        }
        choice(port, &at, "protocol", &["TCP", "UDP", "SCTP"], faults);
        let name = text(port, "name");
        let path = format!("{at}.name");
        if name.len() > 15 {
            let message = "must be no more than 15 characters";
            faults.push(Fault::invalid(&path, format!("{name:?}"), message));
        } else if !name.is_empty() && !names.insert(name) {
            faults.push(twice(&path, name, "port"));
        }
    }
    for (i, env) in list(container, "env").iter().enumerate() {
        let at = format!("{at}.env[{i}]");
        if text(env, "name").is_empty() {
            faults.push(Fault::required(&format!("{at}.name"), "name the variable"));
        }
        let is_set = |field: &str| env.get(field).is_some_and(|v| !v.is_null());
        if !text(env, "value").is_empty() && is_set("valueFrom") {
            let message = "may not be specified when `value` is not empty";
            faults.push(Fault::invalid(&format!("{at}.valueFrom"), "\"\"", message));
        }
    }
    let mut paths = BTreeSet::new();
    for (i, mount) in list(container, "volumeMounts").iter().enumerate() {
        let at = format!("{at}.volumeMounts[{i}]");
        let (name, path) = (text(mount, "name"), text(mount, "mountPath"));
        if !volumes.contains(name) {
            let message = "Not found: name one of spec.template.spec.volumes, or add it there";
            faults.push(Fault::invalid(
                &format!("{at}.name"),
                format!("{name:?}"),
                message,
            ));
        }
        if path.is_empty() {
            faults.push(Fault::required(
                &format!("{at}.mountPath"),
                "say where to mount it",
            ));
        } else if !paths.insert(path) {
            let message = "must be unique: two volumes are mounted there";
            faults.push(Fault::invalid(
                &format!("{at}.mountPath"),
                format!("{path:?}"),
                message,
            ));
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(value) = container.get(probe).filter(|v| v.is_object()) {
            check_probe(&format!("{at}.{probe}"), value, faults);
        }
    }
    check_sizes(at, container, faults);
}

fn check_probe(at: &str, probe: &Value, faults: &mut Vec<Fault>) {
    let handlers = ["exec", "httpGet", "tcpSocket", "grpc"];
    let set = handlers
        .iter()
        .filter(|h| probe.get(**h).is_some_and(|v| !v.is_null()));
    if set.count() != 1 {
        let message =
            "must specify a handler type: exactly one of exec, httpGet, tcpSocket and grpc";
        faults.push(Fault::required(at, message));
    }
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        if let Some(n) = probe.get(field).and_then(Value::as_i64)
            && n < 0
        {
            let message = "must be greater than or equal to 0";
            faults.push(Fault::invalid(&format!("{at}.{field}"), n, message));
        }
    }
}

/// A request above its limit.
fn check_sizes(at: &str, container: &Value, faults: &mut Vec<Fault>) {
    let of = |kind: &str| {
        container
            .get("resources")
            .and_then(|r| r.get(kind))
            .and_then(Value::as_object)
    };
    let (Some(requests), Some(limits)) = (of("requests"), of("limits")) else {
        return;
    };
    for (name, request) in requests {
        let limit = limits.get(name);
        if let (Some(wanted), Some(most)) = (quantity(request), limit.and_then(quantity))
            && wanted > most
        {
            let shown = limit.map(ToString::to_string).unwrap_or_default();
            let message = format!("must be less than or equal to the {name} limit of {shown}");
            faults.push(Fault::invalid(
                &format!("{at}.resources.requests.{name}"),
                request,
                message,
            ));
        }
    }
}
