//! The two HTTP faces: health and metrics. They only answer GET, and they answer before anything
//! else is up.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

/// What the two faces show.
pub trait Faces: Send + Sync + 'static {
    /// Why this process is not ready; empty when it is.
    fn not_ready(&self) -> Vec<String>;
    /// The metrics in OpenMetrics text.
    fn metrics(&self) -> String;
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Binds both addresses and serves for ever in the background. Returns the addresses really bound.
///
/// # Errors
/// When an address cannot be bound; the error names it.
pub async fn serve(
    health: SocketAddr,
    metrics: SocketAddr,
    faces: Arc<dyn Faces>,
) -> std::io::Result<(SocketAddr, SocketAddr)> {
    let health = spawn(health, health_router(Arc::clone(&faces))).await?;
    let metrics = spawn(metrics, metrics_router(faces)).await?;
    Ok((health, metrics))
}

async fn spawn(address: SocketAddr, router: Router) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| std::io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))?;
    let bound = listener.local_addr()?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%bound, %error, "no longer serving");
        }
    });
    Ok(bound)
}

fn health_router(faces: Arc<dyn Faces>) -> Router {
    let ready = move || {
        let reasons = faces.not_ready();
        async move {
            if reasons.is_empty() {
                (StatusCode::OK, "ok\n".to_owned())
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
            }
        }
    };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
}

fn metrics_router(faces: Arc<dyn Faces>) -> Router {
    let metrics = move || {
        let text = faces.metrics();
        async move { ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response() }
    };
    Router::new().route("/metrics", get(metrics))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    struct Fixed(Vec<String>);

    impl Faces for Fixed {
        fn not_ready(&self) -> Vec<String> {
            self.0.clone()
        }
        fn metrics(&self) -> String {
            "# EOF\n".to_owned()
        }
    }

    async fn ask(address: SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn health_and_metrics_answer_get_only() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let faces = Arc::new(Fixed(vec!["rollouts: not listed yet".to_owned()]));
        let (health, metrics) = serve(any, any, faces).await.unwrap();
        assert!(
            ask(health, "GET /healthz")
                .await
                .starts_with("HTTP/1.1 200")
        );
        let ready = ask(health, "GET /readyz").await;
        assert!(
            ready.starts_with("HTTP/1.1 503") && ready.contains("not listed yet"),
            "{ready}"
        );
        assert!(ask(metrics, "GET /metrics").await.contains("# EOF"));
        assert!(
            ask(metrics, "POST /metrics")
                .await
                .starts_with("HTTP/1.1 405")
        );
        assert!(
            ask(health, "PUT /healthz")
                .await
                .starts_with("HTTP/1.1 405")
        );
    }
}
