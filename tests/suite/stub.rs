//! A Prometheus that answers every query with one number: for what a real one cannot be told to say.

use std::time::SystemTime;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Serves `value` for ever; gives its address.
pub(crate) async fn prometheus(value: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = vec![0; 16_384];
                drop(stream.read(&mut bytes).await);
                let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
                let body = format!(
                    r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[{now},"{value}"]}}]}}}}"#
                );
                let length = body.len();
                let reply = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                drop(stream.write_all(reply.as_bytes()).await);
            });
        }
    });
    format!("http://127.0.0.1:{port}")
}

/// A template whose one metric is measured once and must be at least 0.95; it asks the operator's
/// Prometheus.
pub(crate) const TEMPLATE: &str = r#"{apiVersion: argoproj.io/v1alpha1, kind: AnalysisTemplate, metadata: {name: judge},
  spec: {metrics: [{name: tool-success, successCondition: "result[0] >= 0.95", provider: {prometheus: {query: up}}}]}}"#;
