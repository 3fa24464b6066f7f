//! How the API server is spoken to: connections apart for work, watches, leases and events, a
//! limit on every call, no hidden retries, and errors told apart by what they mean for a write.
//! Knows no rule of rollouts.

use std::sync::Arc;
use std::time::Duration;

use axum::http;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::{
    DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::client::Body;
use kube::core::Request;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::calls::{self, Calls};

/// Name under which the server records who changed which field.
pub const FIELD_MANAGER: &str = "serin";

/// Longest time one call may take. A turn has 30 s in all.
pub const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Longest wait that a `Retry-After` of the server is honoured for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);

/// The kinds that are read or written, and where they live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `argoproj.io/v1alpha1` Rollout.
    Rollout,
    /// `argoproj.io/v1alpha1` AnalysisRun.
    AnalysisRun,
    /// `argoproj.io/v1alpha1` Experiment.
    Experiment,
    /// `argoproj.io/v1alpha1` AnalysisTemplate.
    AnalysisTemplate,
    /// `argoproj.io/v1alpha1` ClusterAnalysisTemplate.
    ClusterAnalysisTemplate,
    /// `serin.dev/v1alpha1` FreezeWindow.
    FreezeWindow,
    /// `serin.dev/v1alpha1` ClusterFreezeWindow.
    ClusterFreezeWindow,
    /// `apps/v1` ReplicaSet.
    ReplicaSet,
    /// `v1` Service.
    Service,
    /// `apps/v1` Deployment.
    Deployment,
    /// `v1` PodTemplate.
    PodTemplate,
    /// `v1` Pod.
    Pod,
    /// `apps/v1` ControllerRevision.
    ControllerRevision,
    /// `v1` Secret.
    Secret,
    /// `v1` ConfigMap.
    ConfigMap,
    /// `batch/v1` Job.
    Job,
    /// `events.k8s.io/v1` Event.
    Event,
    /// `coordination.k8s.io/v1` Lease.
    Lease,
    /// `networking.k8s.io/v1` Ingress.
    Ingress,
    /// `admissionregistration.k8s.io/v1` ValidatingWebhookConfiguration.
    ValidatingWebhookConfiguration,
}

impl Kind {
    /// Name of the kind as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rollout => "Rollout",
            Self::AnalysisRun => "AnalysisRun",
            Self::Experiment => "Experiment",
            Self::AnalysisTemplate => "AnalysisTemplate",
            Self::ClusterAnalysisTemplate => "ClusterAnalysisTemplate",
            Self::FreezeWindow => "FreezeWindow",
            Self::ClusterFreezeWindow => "ClusterFreezeWindow",
            Self::ReplicaSet => "ReplicaSet",
            Self::Service => "Service",
            Self::Deployment => "Deployment",
            Self::PodTemplate => "PodTemplate",
            Self::Pod => "Pod",
            Self::ControllerRevision => "ControllerRevision",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::Job => "Job",
            Self::Event => "Event",
            Self::Lease => "Lease",
            Self::Ingress => "Ingress",
            Self::ValidatingWebhookConfiguration => "ValidatingWebhookConfiguration",
        }
    }

    fn group_and_plural(self) -> (&'static str, &'static str) {
        match self {
            Self::Rollout => ("apis/argoproj.io/v1alpha1", "rollouts"),
            Self::AnalysisRun => ("apis/argoproj.io/v1alpha1", "analysisruns"),
            Self::Experiment => ("apis/argoproj.io/v1alpha1", "experiments"),
            Self::AnalysisTemplate => ("apis/argoproj.io/v1alpha1", "analysistemplates"),
            Self::ClusterAnalysisTemplate => {
                ("apis/argoproj.io/v1alpha1", "clusteranalysistemplates")
            }
            Self::FreezeWindow => ("apis/serin.dev/v1alpha1", "freezewindows"),
            Self::ClusterFreezeWindow => ("apis/serin.dev/v1alpha1", "clusterfreezewindows"),
            Self::ReplicaSet => ("apis/apps/v1", "replicasets"),
            Self::Service => ("api/v1", "services"),
            Self::Deployment => ("apis/apps/v1", "deployments"),
            Self::PodTemplate => ("api/v1", "podtemplates"),
            Self::Pod => ("api/v1", "pods"),
            Self::ControllerRevision => ("apis/apps/v1", "controllerrevisions"),
            Self::Secret => ("api/v1", "secrets"),
            Self::ConfigMap => ("api/v1", "configmaps"),
            Self::Job => ("apis/batch/v1", "jobs"),
            Self::Event => ("apis/events.k8s.io/v1", "events"),
            Self::Lease => ("apis/coordination.k8s.io/v1", "leases"),
            Self::Ingress => ("apis/networking.k8s.io/v1", "ingresses"),
            Self::ValidatingWebhookConfiguration => (
                "apis/admissionregistration.k8s.io/v1",
                "validatingwebhookconfigurations",
            ),
        }
    }

    /// Requests for the objects of this kind in a namespace, or in all of them.
    pub fn requests(self, namespace: Option<&str>) -> Request {
        let (group, plural) = self.group_and_plural();
        Request::new(match namespace {
            Some(ns) => format!("/{group}/namespaces/{ns}/{plural}"),
            None => format!("/{group}/{plural}"),
        })
    }
}

/// One object by kind, namespace and name.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for kinds that have none.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl Target<'_> {
    fn requests(&self) -> Request {
        self.kind
            .requests((!self.namespace.is_empty()).then_some(self.namespace))
    }
}

impl std::fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}

/// Why a call failed, told apart by what it means for whoever decides next.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// 409: the object moved on since it was read.
    #[error("the object has changed since it was read: {0}")]
    Conflict(String),
    /// 409 on a create: the name is taken.
    #[error("the name is taken: {0}")]
    Exists(String),
    /// 404 or 410.
    #[error("not found: {0}")]
    NotFound(String),
    /// 400, 403, 422 and their like: asking again does not help.
    #[error("refused ({code}): {message}")]
    Refused {
        /// HTTP status.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// 429: not done, and when to ask again.
    #[error("the server is busy: {message}")]
    Busy {
        /// The server's words.
        message: String,
        /// Its `Retry-After`, at most 30 s.
        after: Option<Duration>,
    },
    /// No answer that tells: a time-out, a broken connection, a 5xx. A write may have happened.
    #[error("no clear answer: {message}")]
    Unclear {
        /// What is known of it.
        message: String,
        /// `Retry-After` of a 503, at most 30 s.
        after: Option<Duration>,
    },
    /// The answer could not be read.
    #[error("the answer could not be read: {0}")]
    Unreadable(#[source] serde_json::Error),
    /// The request could not be built.
    #[error("the request could not be built: {0}")]
    Request(String),
}

impl CallError {
    /// When the server wishes to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { after, .. } | Self::Unclear { after, .. } => *after,
            Self::Conflict(_)
            | Self::Exists(_)
            | Self::NotFound(_)
            | Self::Refused { .. }
            | Self::Unreadable(_)
            | Self::Request(_) => None,
        }
    }

    /// One word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Conflict(_) => "conflict",
            Self::Exists(_) => "exists",
            Self::NotFound(_) => "not_found",
            Self::Refused { .. } => "refused",
            Self::Busy { .. } => "busy",
            Self::Unclear { .. } => "unclear",
            Self::Unreadable(_) => "unreadable",
            Self::Request(_) => "request",
        }
    }

    fn from_kube(error: &kube::Error) -> Self {
        match error {
            kube::Error::BuildRequest(e) => Self::Request(e.to_string()),
            other => Self::Unclear {
                message: chain(other),
                after: None,
            },
        }
    }

    fn from_status(code: u16, after: Option<Duration>, body: &[u8]) -> Self {
        let told: Told = serde_json::from_slice(body).unwrap_or_default();
        let message = told
            .message
            .unwrap_or_else(|| format!("HTTP status {code}"));
        match code {
            409 if told.reason.as_deref() == Some("AlreadyExists") => Self::Exists(message),
            409 => Self::Conflict(message),
            404 | 410 => Self::NotFound(message),
            429 => Self::Busy { message, after },
            400..=499 => Self::Refused { code, message },
            _ => Self::Unclear {
                message: format!("{message} ({code})"),
                after,
            },
        }
    }
}

/// An error with everything it was caused by: kube's own text often ends at `ServiceError`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = e.source();
    }
    text
}

/// What of a `Status` answer is used.
#[derive(Default, Deserialize)]
struct Told {
    message: Option<String>,
    reason: Option<String>,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub struct Page<T> {
    /// Version of the list and the token of the next page.
    #[serde(default)]
    pub metadata: ListMeta,
    /// The objects.
    #[serde(
        default = "Vec::new",
        deserialize_with = "null_is_empty",
        bound(deserialize = "T: Deserialize<'de>")
    )]
    pub items: Vec<T>,
}

fn null_is_empty<'de, D, T>(d: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Vec<T>>::deserialize(d)?.unwrap_or_default())
}

/// Connections, apart by purpose so that none starves another.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Reads and writes of turns.
    pub work: Rest,
    /// Long-lived watches.
    pub watches: Rest,
    /// The Lease.
    pub leases: Rest,
    /// Events.
    pub events: Rest,
    /// What was asked of the API server, by all four.
    pub calls: Arc<Calls>,
}

impl Clients {
    /// Makes the four clients from one configuration.
    ///
    /// # Errors
    /// When the TLS or authentication material of the configuration cannot be used.
    pub fn new(config: &kube::Config) -> Result<Self, kube::Error> {
        let calls = Arc::<Calls>::default();
        let one = || -> Result<Rest, kube::Error> {
            let mut config = config.clone();
            // Writes are retried by planning again, never blindly: a POST answered 504 may have
            // happened, and a retry may come after the Lease is lost.
            config.default_retry = false;
            // A read timeout would cut watches; every call has its own limit instead.
            config.read_timeout = None;
            config.connect_timeout = Some(CALL_LIMIT);
            Ok(Rest {
                client: kube::Client::try_from(config)?,
                calls: Arc::clone(&calls),
            })
        };
        Ok(Self {
            work: one()?,
            watches: one()?,
            leases: one()?,
            events: one()?,
            calls,
        })
    }
}

/// One client and the few verbs that are used.
#[derive(Clone)]
pub struct Rest {
    client: kube::Client,
    calls: Arc<Calls>,
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rest")
    }
}

impl Rest {
    /// The kube client itself, for watches.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// Reads one object.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn get<T: DeserializeOwned>(&self, target: Target<'_>) -> Result<T, CallError> {
        let request = target
            .requests()
            .get(target.name, &kube::api::GetParams::default());
        parse(&self.call(request).await?)
    }

    /// Reads one page of a list; `limit` bounds a page of many objects in time.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn list<T: DeserializeOwned>(
        &self,
        requests: &Request,
        params: &ListParams,
        limit: Duration,
    ) -> Result<Page<T>, CallError> {
        parse(&self.call_within(requests.list(params), limit).await?)
    }

    /// Sends a request that reads, and reads its answer as `T`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn read<T: DeserializeOwned>(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
        limit: Duration,
    ) -> Result<T, CallError> {
        parse(&self.call_within(request, limit).await?)
    }

    /// Creates an object and returns it as stored; with a dry run it is not stored.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn create(
        &self,
        kind: Kind,
        namespace: &str,
        object: &Value,
        dry_run: bool,
    ) -> Result<Answer, CallError> {
        let params = PostParams {
            dry_run,
            field_manager: Some(FIELD_MANAGER.to_owned()),
        };
        let body = serde_json::to_vec(object).map_err(|e| CallError::Request(e.to_string()))?;
        self.call(kind.requests(Some(namespace)).create(&params, body))
            .await
            .map(Answer)
    }

    /// Sends an RFC 7386 merge patch and returns the object as it is afterwards.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn merge(
        &self,
        target: Target<'_>,
        subresource: Option<&str>,
        patch: &Value,
    ) -> Result<Answer, CallError> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..Default::default()
        };
        let requests = target.requests();
        let patch = Patch::Merge(patch);
        let request = match subresource {
            Some(sub) => requests.patch_subresource(sub, target.name, &params, &patch),
            None => requests.patch(target.name, &params, &patch),
        };
        self.call(request).await.map(Answer)
    }

    /// Deletes an object if it still is the one that was read.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn delete(
        &self,
        target: Target<'_>,
        uid: &str,
        version: &str,
    ) -> Result<(), CallError> {
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: Some(version.to_owned()),
        });
        self.delete_with(target, &params).await
    }

    /// Deletes an object as told.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn delete_with(
        &self,
        target: Target<'_>,
        params: &DeleteParams,
    ) -> Result<(), CallError> {
        self.call(target.requests().delete(target.name, params))
            .await
            .map(drop)
    }

    /// Evicts a pod if it still is the one that was read; budgets are kept by the server (429).
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn evict(&self, target: Target<'_>, uid: &str) -> Result<(), CallError> {
        let params = EvictParams {
            delete_options: Some(DeleteParams::default().preconditions(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            })),
            post_options: PostParams::default(),
        };
        self.call(target.requests().evict(target.name, &params))
            .await
            .map(drop)
    }

    /// Reads a document that is not an object: discovery.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn document<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        let request = http::Request::get(path)
            .header(http::header::ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|e| CallError::Request(e.to_string()))?;
        parse(&self.call(Ok(request)).await?)
    }

    /// Reads a path as it is: status and body, whatever they are.
    ///
    /// # Errors
    /// When there was no clear answer.
    pub async fn raw(&self, path: &str, limit: Duration) -> Result<(u16, Vec<u8>), CallError> {
        let request = http::Request::get(path)
            .header(http::header::ACCEPT, "application/json")
            .body(Body::empty())
            .map_err(|e| CallError::Request(e.to_string()))?;
        let exchange = async {
            let sent = self.client.send(request).await;
            let answer = sent.map_err(|e| CallError::from_kube(&e))?;
            let code = answer.status().as_u16();
            let body = answer.into_body().collect_bytes().await;
            let body = body.map_err(|e| CallError::from_kube(&e))?;
            Ok((code, body.into()))
        };
        let late = |_| {
            let message = format!("no answer within {} s", limit.as_secs());
            Err(CallError::Unclear {
                message,
                after: None,
            })
        };
        tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or_else(late)
    }

    async fn call(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Vec<u8>, CallError> {
        self.call_within(request, CALL_LIMIT).await
    }

    async fn call_within(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
        limit: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let request = request.map_err(|e| CallError::Request(e.to_string()))?;
        let told = calls::told(request.method(), request.uri().path());
        let mut status = None;
        let ended = tokio::time::timeout(limit, self.exchange(request, &mut status)).await;
        self.calls.count(told, status);
        match ended {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Unclear {
                message: format!("no answer within {} s", limit.as_secs()),
                after: None,
            }),
        }
    }

    async fn exchange(
        &self,
        request: http::Request<Vec<u8>>,
        status: &mut Option<u16>,
    ) -> Result<Vec<u8>, CallError> {
        let sent = self.client.send(request.map(Body::from)).await;
        let answer = sent.map_err(|e| CallError::from_kube(&e))?;
        let code = answer.status().as_u16();
        *status = Some(code);
        let after = answer
            .headers()
            .get("retry-after")
            .and_then(|v| v.to_str().ok()?.parse().ok())
            .map(|s| Duration::from_secs(s).min(LONGEST_RETRY_AFTER));
        let body = answer
            .into_body()
            .collect_bytes()
            .await
            .map_err(|e| CallError::from_kube(&e))?;
        if (200..300).contains(&code) {
            Ok(body.into())
        } else {
            Err(CallError::from_status(code, after, &body))
        }
    }
}

/// An object as the server answered it.
#[derive(Debug)]
pub struct Answer(Vec<u8>);

impl Answer {
    /// Reads it as `T`.
    ///
    /// # Errors
    /// When it is not a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        parse(&self.0)
    }

    /// Its `metadata.resourceVersion`, empty when it has none.
    pub fn version(&self) -> String {
        #[derive(Deserialize)]
        struct Object {
            metadata: Meta,
        }
        #[derive(Deserialize)]
        struct Meta {
            #[serde(rename = "resourceVersion", default)]
            version: String,
        }
        serde_json::from_slice::<Object>(&self.0)
            .map(|o| o.metadata.version)
            .unwrap_or_default()
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, CallError> {
    serde_json::from_slice(body).map_err(CallError::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: u16, reason: &str) -> &'static str {
        let body = format!(r#"{{"kind":"Status","reason":"{reason}","message":"m"}}"#);
        CallError::from_status(code, None, body.as_bytes()).kind()
    }

    #[test]
    fn a_status_tells_what_a_write_may_have_done() {
        assert_eq!(told(409, "Conflict"), "conflict");
        assert_eq!(told(409, "AlreadyExists"), "exists");
        assert_eq!(told(404, "NotFound"), "not_found");
        assert_eq!(told(422, "Invalid"), "refused");
        assert_eq!(told(403, "Forbidden"), "refused");
        assert_eq!(told(429, "TooManyRequests"), "busy");
        assert_eq!(told(504, "Timeout"), "unclear");
        assert_eq!(told(500, "InternalError"), "unclear");
    }
}
