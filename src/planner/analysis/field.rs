//! `fieldRef`: a value of the Rollout by the path of its field (N17, N18). Knows which paths name a
//! field, and which of them a turn holds without asking; asks nothing.

use serde_json::Value;

/// Paths that may be asked for: anything in metadata that is text, spec or status (L25, N18).
pub fn is_path(path: &str) -> bool {
    const LISTS: [&str; 3] = ["finalizers", "ownerReferences", "managedFields"];
    let below = |start: &str| path.strip_prefix(start).filter(|rest| !rest.is_empty());
    below("spec.").is_some()
        || below("status.").is_some()
        || below("metadata.").is_some_and(|rest| LISTS.iter().all(|list| !rest.starts_with(list)))
}

/// Paths that every turn holds: the rest is read with the whole object when it is needed.
pub fn is_held(path: &str) -> bool {
    const PLAIN: [&str; 6] = [
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.generation",
        "metadata.creationTimestamp",
        "spec.replicas",
    ];
    let maps = ["metadata.labels", "metadata.annotations", "status."];
    PLAIN.contains(&path) || maps.iter().any(|start| path.starts_with(start))
}

/// The value of a field by the path that `fieldRef` uses: `metadata.name`,
/// `metadata.labels['region']`, `status.canary.weights.canary.weight`. All labels or annotations are
/// lines of `key="value"`, as the downward API writes them. `None` where there is none.
pub fn field(object: &Value, path: &str) -> Option<String> {
    let mut at = object;
    let path = path.trim().trim_start_matches('$').trim_start_matches('.');
    let mut rest = path;
    while !rest.is_empty() {
        let (key, tail) = if let Some(inner) = rest.strip_prefix('[') {
            let (key, tail) = inner.split_once(']')?;
            (key.trim_matches(['\'', '"']), tail)
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            (rest.get(..end)?, rest.get(end..)?)
        };
        at = match at.as_array() {
            Some(items) => items.get(key.parse::<usize>().ok()?)?,
            None => at.get(key)?,
        };
        rest = tail.strip_prefix('.').unwrap_or(tail);
    }
    match at {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(at.to_string()),
        Value::Object(map) if path == "metadata.labels" || path == "metadata.annotations" => {
            let line = |(key, value): (&String, &Value)| {
                format!("{key}={:?}", value.as_str().unwrap_or_default())
            };
            Some(map.iter().map(line).collect::<Vec<_>>().join("\n"))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_found_by_path() {
        let object = json!({
            "metadata": {"name": "web", "generation": 3, "labels": {"a.b/c": "x", "d": "e\"f"}},
            "spec": {
                "minReadySeconds": 5, "paused": true,
                "template": {"spec": {"containers": [{"image": "web:2"}]}},
                "strategy": {"canary": {"maxSurge": "25%"}},
            },
            "status": {"n": 3, "list": [{"k": true}]},
        });
        for (path, value) in [
            ("metadata.name", Some("web")),
            ("metadata.generation", Some("3")),
            ("metadata.labels['a.b/c']", Some("x")),
            ("metadata.labels", Some("a.b/c=\"x\"\nd=\"e\\\"f\"")),
            ("spec.minReadySeconds", Some("5")),
            ("spec.paused", Some("true")),
            ("spec.template.spec.containers[0].image", Some("web:2")),
            ("spec.strategy.canary.maxSurge", Some("25%")),
            ("spec.strategy.canary", None),
            ("status.n", Some("3")),
            ("status.list[0].k", Some("true")),
            ("status.list", None),
            ("metadata.nope", None),
            ("metadata.labels['a", None),
        ] {
            assert_eq!(field(&object, path).as_deref(), value, "{path}");
        }
    }

    #[test]
    fn what_is_not_held_is_told_apart() {
        for (path, named, held) in [
            ("metadata.name", true, true),
            ("metadata.generation", true, true),
            ("metadata.creationTimestamp", true, true),
            ("metadata.labels['tier']", true, true),
            ("metadata.finalizers[0]", false, false),
            ("metadata.resourceVersion", true, false),
            ("spec.replicas", true, true),
            ("spec.minReadySeconds", true, false),
            ("spec.template.spec.containers[0].image", true, false),
            ("status.canary.weights.canary.weight", true, true),
            ("spec.", false, false),
            ("metadata", false, false),
            ("kind", false, false),
        ] {
            assert_eq!(is_path(path), named, "{path}");
            assert_eq!(is_held(path), held, "{path}");
        }
    }
}
