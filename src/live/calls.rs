//! How often the API server was asked for what, and what it answered: by kind, verb and status. Not by
//! object, so that the numbers stay few however many objects there are.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::http;

/// Kind (as in paths: `replicasets`), verb, and status; status 0 is no answer.
pub type Call = (String, &'static str, u16);

/// Calls so far.
#[derive(Debug, Default)]
pub struct Calls(Mutex<BTreeMap<Call, u64>>);

impl Calls {
    /// One call was made and ended with this status; `None` is no answer.
    pub fn count(&self, (kind, verb): (String, &'static str), status: Option<u16>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry((kind, verb, status.unwrap_or(0))).or_default();
        *count = count.saturating_add(1);
    }

    /// All counts, in order.
    pub fn all(&self) -> BTreeMap<Call, u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Kind and verb of a request, from its method and path; paths that name no kind are `others`.
pub fn told(method: &http::Method, path: &str) -> (String, &'static str) {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let has_group = match parts.next() {
        Some("apis") => parts.next().is_some() && parts.next().is_some(),
        Some("api") => parts.next().is_some(),
        Some(_) | None => false,
    };
    let rest: Vec<&str> = parts.collect();
    let (kind, name) = match rest.as_slice() {
        _ if !has_group => (None, None),
        ["namespaces", _, kind] => (Some(*kind), None),
        ["namespaces", _, kind, name, ..] => (Some(*kind), Some(*name)),
        [kind] => (Some(*kind), None),
        [kind, name, ..] => (Some(*kind), Some(*name)),
        [] => (None, None),
    };
    let verb = match (method.as_str(), name) {
        ("GET", Some(_)) => "Get",
        ("GET", None) => "List",
        ("POST", _) => "Create",
        ("PUT", _) => "Update",
        ("PATCH", _) => "Patch",
        ("DELETE", _) => "Delete",
        _ => "Unknown",
    };
    (kind.unwrap_or("others").to_owned(), verb)
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;

    #[test]
    fn kind_and_verb_are_read_from_a_request() {
        let cases = [
            (
                Method::GET,
                "/apis/argoproj.io/v1alpha1/namespaces/n/rollouts/web",
                "rollouts",
                "Get",
            ),
            (
                Method::GET,
                "/apis/argoproj.io/v1alpha1/rollouts",
                "rollouts",
                "List",
            ),
            (
                Method::GET,
                "/apis/argoproj.io/v1alpha1/namespaces/n/rollouts",
                "rollouts",
                "List",
            ),
            (
                Method::PATCH,
                "/apis/argoproj.io/v1alpha1/namespaces/n/rollouts/web/status",
                "rollouts",
                "Patch",
            ),
            (
                Method::POST,
                "/apis/apps/v1/namespaces/n/replicasets",
                "replicasets",
                "Create",
            ),
            (
                Method::POST,
                "/api/v1/namespaces/n/pods/p/eviction",
                "pods",
                "Create",
            ),
            (
                Method::DELETE,
                "/api/v1/namespaces/n/configmaps/c",
                "configmaps",
                "Delete",
            ),
            (
                Method::GET,
                "/apis/argoproj.io/v1alpha1/clusteranalysistemplates/t",
                "clusteranalysistemplates",
                "Get",
            ),
            (Method::GET, "/version", "others", "List"),
            (Method::GET, "/apis/argoproj.io", "others", "List"),
        ];
        for (method, path, kind, verb) in cases {
            assert_eq!(
                told(&method, path),
                (kind.to_owned(), verb),
                "{method} {path}"
            );
        }
        let calls = Calls::default();
        calls.count(("pods".to_owned(), "Get"), Some(200));
        calls.count(("pods".to_owned(), "Get"), Some(200));
        calls.count(("pods".to_owned(), "Get"), None);
        let counts: Vec<u64> = calls.all().into_values().collect();
        assert_eq!(counts, [1, 2]);
    }
}
