//! A Kubernetes request in the words of RBAC: verb, resource, namespace, name; and what a rule matches. Pure.

use axum::http::{Method, Uri};

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// `create`, `update`, `patch`, `delete`, `get`, `list`, `watch`.
    pub(crate) verb: &'static str,
    /// `rollouts`, `rollouts/status`, `replicasets`; empty for what is no resource (`/version`).
    pub(crate) resource: String,
    /// Empty where there is none.
    pub(crate) namespace: String,
    /// Empty where there is none; a created object's name is in its body.
    pub(crate) name: String,
}

impl Asked {
    /// Reads a request line.
    pub(crate) fn read(method: &Method, uri: &Uri) -> Self {
        let mut parts: Vec<&str> = uri
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        let prefix = match parts.first() {
            Some(&"api") => 2,
            Some(&"apis") => 3,
            _ => parts.len(),
        };
        parts.drain(..prefix.min(parts.len()));
        let mut asked = Self::default();
        // `namespaces/x/pods/y` is a pod; `namespaces/x` and `namespaces/x/status` are the namespace itself.
        if let [first, namespace, rest @ ..] = parts.as_slice()
            && *first == "namespaces"
            && !matches!(rest, [] | ["status" | "finalize"])
        {
            asked.namespace = (*namespace).to_owned();
            parts.drain(..2);
        }
        match parts.as_slice() {
            [] => {}
            [resource] => asked.resource = (*resource).to_owned(),
            [resource, name] => {
                (asked.resource, asked.name) = ((*resource).to_owned(), (*name).to_owned());
            }
            [resource, name, sub, ..] => {
                (asked.resource, asked.name) = (format!("{resource}/{sub}"), (*name).to_owned());
            }
        }
        let is_watch = uri.query().is_some_and(|query| {
            query
                .split('&')
                .any(|pair| matches!(pair, "watch=true" | "watch=1"))
        });
        asked.verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ if is_watch => "watch",
            _ if asked.name.is_empty() => "list",
            _ => "get",
        };
        asked
    }

    /// Whether it changes something.
    pub(crate) fn is_write(&self) -> bool {
        matches!(self.verb, "create" | "update" | "patch" | "delete")
    }
}

/// Which requests a rule is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Match {
    verb: Option<&'static str>,
    resource: Option<String>,
    name: Option<String>,
    nth: Option<u32>,
    writes_only: bool,
}

impl Match {
    /// Every request.
    pub(crate) fn any() -> Self {
        Self::default()
    }

    /// Requests with this verb.
    pub(crate) fn verb(verb: &'static str) -> Self {
        Self {
            verb: Some(verb),
            ..Self::default()
        }
    }

    /// Every write but the renewals of Leases.
    pub(crate) fn any_write() -> Self {
        Self {
            writes_only: true,
            ..Self::default()
        }
    }

    /// Writes of this resource (`rollouts/status`).
    pub(crate) fn write(resource: &str) -> Self {
        Self::any_write().on(resource)
    }

    /// Of this resource only.
    pub(crate) fn on(self, resource: &str) -> Self {
        Self {
            resource: Some(resource.to_owned()),
            ..self
        }
    }

    /// Of this object only; what is created has no name yet.
    pub(crate) fn named(self, name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            ..self
        }
    }

    /// Only the nth that matches, counted from 1 and from when the rule was made.
    pub(crate) fn nth(self, nth: u32) -> Self {
        Self {
            nth: Some(nth),
            ..self
        }
    }

    /// Whether this is such a request, whichever in number.
    pub(crate) fn matches(&self, asked: &Asked) -> bool {
        let is_lease = || asked.resource == "leases" && self.resource.is_none();
        self.verb.is_none_or(|verb| verb == asked.verb)
            && self
                .resource
                .as_ref()
                .is_none_or(|resource| *resource == asked.resource)
            && self.name.as_ref().is_none_or(|name| *name == asked.name)
            && (!self.writes_only || asked.is_write() && !is_lease())
    }

    /// Whether the rule is about the request that is this one in number.
    pub(crate) fn is_at(&self, number: u32) -> bool {
        self.nth.is_none_or(|nth| nth == number)
    }
}
