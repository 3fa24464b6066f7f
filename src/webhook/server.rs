//! The HTTP face of the webhook: one path, a bound on how many questions are answered at once, on
//! their size and on their time. What it does not answer with a verdict, the API server decides by the
//! configuration's `failurePolicy`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::sync::Semaphore;

use super::judge::{Known, judge};
use super::keeper::InUse;
use super::known::Reader;
use super::review;
use super::stats::{End, Stats};
use crate::live::clock;
use crate::live::http::Faces;

/// Path that questions are asked at.
pub const PATH: &str = "/validate";
/// Largest question: two objects of the largest size that API servers store, and room.
const LARGEST: usize = 8 * 1024 * 1024;

/// What all questions share.
#[derive(Debug)]
pub struct Server {
    /// Reads what questions refer to; `None` where nothing is looked up.
    pub reader: Option<Reader>,
    /// How many are answered at once.
    pub places: Semaphore,
    /// Longest time for one.
    pub limit: Duration,
    /// What became of them.
    pub stats: Stats,
    /// The certificate.
    pub certificate: Arc<InUse>,
    /// No more are asked for.
    pub is_ending: AtomicBool,
}

impl Server {
    /// The routes.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new().route(PATH, post(validate)).with_state(self)
    }

    async fn answer(&self, body: Body) -> (End, Response) {
        let Ok(_place) = self.places.try_acquire() else {
            let told = (
                StatusCode::TOO_MANY_REQUESTS,
                [(header::RETRY_AFTER, "1")],
                "too many questions at once\n",
            );
            return (End::Shed, told.into_response());
        };
        match tokio::time::timeout(self.limit, self.judged(body)).await {
            Ok(answer) => answer,
            Err(_) => {
                let told = (StatusCode::SERVICE_UNAVAILABLE, "no verdict in time\n");
                (End::Late, told.into_response())
            }
        }
    }

    async fn judged(&self, body: Body) -> (End, Response) {
        let Ok(bytes) = to_bytes(body, LARGEST).await else {
            let told = (StatusCode::PAYLOAD_TOO_LARGE, "too large, or cut off\n");
            return (End::Unreadable, told.into_response());
        };
        let (uid, asked) = match review::read(&bytes) {
            Ok(read) => read,
            Err(why) => {
                let told = (StatusCode::BAD_REQUEST, format!("{why}\n"));
                return (End::Unreadable, told.into_response());
            }
        };
        drop(bytes);
        let known = match &self.reader {
            Some(reader) => reader.read(&asked).await,
            None => Known::default(),
        };
        let verdict = judge(&asked, &known, clock::now());
        let end = match verdict.faults.is_empty() {
            true => End::Allowed,
            false => End::Denied,
        };
        let name = asked.object["metadata"]["name"]
            .as_str()
            .unwrap_or_default();
        tracing::debug!(
            kind = asked.object["kind"].as_str(),
            namespace = asked.namespace,
            name,
            faults = verdict.faults.len(),
            warnings = verdict.warnings.len(),
            "judged"
        );
        let told = (
            [(header::CONTENT_TYPE, "application/json")],
            review::answer(&uid, &verdict).to_string(),
        );
        (end, told.into_response())
    }
}

async fn validate(State(server): State<Arc<Server>>, body: Body) -> Response {
    let since = clock::ticks();
    let (end, response) = server.answer(body).await;
    server
        .stats
        .ended(end, clock::ticks().saturating_sub(since));
    response
}

impl Faces for Server {
    fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.certificate.is_there() {
            reasons.push("no certificate yet".to_owned());
        }
        if self.is_ending.load(Ordering::Acquire) {
            reasons.push("ending".to_owned());
        }
        reasons
    }

    fn metrics(&self) -> String {
        self.stats.text(self.certificate.until())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn server(places: usize, limit: Duration) -> Arc<Server> {
        Arc::new(Server {
            reader: None,
            places: Semaphore::new(places),
            limit,
            stats: Stats::default(),
            certificate: Arc::default(),
            is_ending: AtomicBool::new(false),
        })
    }

    fn question(spec: &Value) -> String {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "7", "namespace": "shop", "oldObject": null, "object": {
                "apiVersion": "serin.dev/v1alpha1", "kind": "FreezeWindow",
                "metadata": {"name": "x", "namespace": "shop"}, "spec": spec,
            }},
        })
        .to_string()
    }

    async fn ask(server: &Arc<Server>, body: impl Into<Body>) -> (u16, String) {
        let response = validate(State(Arc::clone(server)), body.into()).await;
        let code = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), LARGEST).await.unwrap();
        (code, String::from_utf8(bytes.to_vec()).unwrap())
    }

    const LONG: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn good_is_let_in_bad_is_refused_and_both_are_counted() {
        let server = server(1, LONG);
        let (code, said) = ask(&server, question(&json!({"reason": "r"}))).await;
        assert!(code == 200 && said.contains(r#""allowed":true"#), "{said}");
        let (code, said) = ask(
            &server,
            question(&json!({"reason": "r", "schedule": "never"})),
        )
        .await;
        assert!(code == 200 && said.contains(r#""allowed":false"#), "{said}");
        let text = server.metrics();
        assert!(
            text.contains(r#"serin_webhook_requests_total{end="denied"} 1"#),
            "{text}"
        );
        assert!(
            text.contains(r#"serin_webhook_requests_total{end="allowed"} 1"#),
            "{text}"
        );
    }

    #[tokio::test]
    async fn what_is_too_much_too_large_too_slow_or_nonsense_is_not_judged() {
        let full = server(0, LONG);
        assert_eq!(ask(&full, question(&json!({}))).await.0, 429);
        let server_ = server(1, LONG);
        assert_eq!(ask(&server_, "x").await.0, 400);
        assert_eq!(ask(&server_, "[".repeat(200_000)).await.0, 400);
        assert_eq!(ask(&server_, vec![b'x'; LARGEST + 1]).await.0, 413);
        let slow = server(1, Duration::from_millis(20));
        let never =
            Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        assert_eq!(ask(&slow, never).await.0, 503);
        // Its place is free again.
        assert_eq!(ask(&slow, question(&json!({"reason": "r"}))).await.0, 200);
    }

    #[test]
    fn it_is_ready_with_a_certificate_and_until_it_ends() {
        let server = server(1, LONG);
        assert_eq!(server.not_ready(), ["no certificate yet"]);
        server.is_ending.store(true, Ordering::Release);
        assert_eq!(server.not_ready().len(), 2);
    }
}
