//! The objects of a namespace that the release checklist looks at, read once. Knows where they are;
//! judges nothing.

use std::time::Duration;

use serde_json::{Map, Value};

use super::client::{CallError, Clients, Rest};

/// Longest time for one list.
const LIMIT: Duration = Duration::from_secs(30);

/// Groups and their kinds. What is not installed is not there.
const KINDS: &[(&str, &[&str])] = &[
    (
        "/apis/argoproj.io/v1alpha1",
        &["rollouts", "analysistemplates"],
    ),
    (
        "/apis/apps/v1",
        &["deployments", "statefulsets", "daemonsets", "replicasets"],
    ),
    ("/apis/batch/v1", &["cronjobs"]),
    ("/apis/networking.k8s.io/v1", &["networkpolicies"]),
    (
        "/apis/rbac.authorization.k8s.io/v1",
        &["roles", "rolebindings"],
    ),
    ("/apis/policy/v1", &["poddisruptionbudgets"]),
    (
        "/apis/monitoring.coreos.com/v1",
        &["prometheusrules", "servicemonitors", "podmonitors"],
    ),
    // Dashboards; what else is in ConfigMaps is nobody's business here.
    ("/api/v1", &["configmaps?labelSelector=grafana_dashboard"]),
];

/// The namespace, what is in it, and the analysis templates of the cluster.
///
/// # Errors
/// The cluster cannot be used, there is no such namespace, or something in it may not be read; in words.
pub async fn of_namespace(config: &kube::Config, namespace: &str) -> Result<Vec<Value>, String> {
    let clients = Clients::new(config).map_err(|e| format!("the cluster cannot be used: {e}"))?;
    let rest = clients.work;
    let path = format!("/api/v1/namespaces/{namespace}");
    let Some(itself) = read(&rest, &path).await? else {
        return Err(format!("there is no namespace {namespace}"));
    };
    let mut all = vec![itself];
    let mut paths = vec!["/apis/argoproj.io/v1alpha1/clusteranalysistemplates".to_owned()];
    for (group, kinds) in KINDS {
        let of = |kind: &&str| format!("{group}/namespaces/{namespace}/{kind}");
        paths.extend(kinds.iter().map(of));
    }
    for path in paths {
        all.extend(read(&rest, &path).await?.map(items).unwrap_or_default());
    }
    Ok(all)
}

/// What is there; `None` where there is no such kind or object.
async fn read(rest: &Rest, path: &str) -> Result<Option<Value>, String> {
    let answer = rest.raw(path, LIMIT).await;
    let (code, body) = answer.map_err(|e: CallError| format!("{path}: {e}"))?;
    if code == 404 {
        return Ok(None);
    }
    let object: Value = serde_json::from_slice(&body).map_err(|e| format!("{path}: {e}"))?;
    match code {
        200 => Ok(Some(object)),
        code => {
            let message = object.get("message").and_then(Value::as_str);
            let message = message.unwrap_or("no reason given");
            Err(format!("{path} cannot be read ({code}): {message}"))
        }
    }
}

/// The objects of a list; the API server says once what they all are.
fn items(list: Value) -> Vec<Value> {
    let text = |key: &str| list.get(key).and_then(Value::as_str).unwrap_or_default();
    let kind = text("kind").trim_end_matches("List").to_owned();
    let version = text("apiVersion").to_owned();
    let named = |item: &Value| {
        let mut object = Map::from_iter([
            ("apiVersion".to_owned(), Value::from(version.clone())),
            ("kind".to_owned(), Value::from(kind.clone())),
        ]);
        object.extend(item.as_object().cloned().unwrap_or_default());
        Value::Object(object)
    };
    let all = list.get("items").and_then(Value::as_array);
    all.into_iter().flatten().map(named).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_of_a_list_say_what_they_are() {
        let list = json!({"kind": "RoleList", "apiVersion": "rbac.authorization.k8s.io/v1",
            "items": [{"metadata": {"name": "a"}}, {"kind": "Own", "metadata": {"name": "b"}}]});
        let all = items(list);
        assert_eq!(
            (&all[0]["kind"], &all[1]["kind"]),
            (&json!("Role"), &json!("Own"))
        );
        assert_eq!(all[0]["apiVersion"], "rbac.authorization.k8s.io/v1");
        assert!(items(json!({"kind": "Role"})).is_empty());
    }
}
