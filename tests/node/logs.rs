//! What a kubelet says when it is asked for a container's log: the pod's annotation `test.serin.dev/log`, its
//! last `tailLines` lines. Nothing else is answered.

use std::sync::Arc;

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Answers for as long as the process lives; the port at which it does.
pub(crate) async fn serve(client: Client) -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let acceptor = acceptor().context("a certificate for the node's logs")?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, client) = (acceptor.clone(), client.clone());
            tokio::spawn(async move {
                if let Err(trouble) = answer(&acceptor, &client, stream).await {
                    eprintln!("node: logs: {trouble:#}");
                }
            });
        }
    });
    Ok(port)
}

/// API servers do not verify a kubelet's certificate unless they are told to.
fn acceptor() -> anyhow::Result<TlsAcceptor> {
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn answer(acceptor: &TlsAcceptor, client: &Client, stream: TcpStream) -> anyhow::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part).await? {
            0 => return Ok(()),
            n => head.extend(part.iter().take(n)),
        }
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (code, body) = match log(client, path).await {
        Some(log) => (200, log),
        None => (404, "there is no such log\n".to_owned()),
    };
    let reply = format!(
        "HTTP/1.1 {code} X\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

/// `/containerLogs/NAMESPACE/POD/CONTAINER?tailLines=N`.
async fn log(client: &Client, path: &str) -> Option<String> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut parts = path.trim_start_matches('/').split('/');
    let ["containerLogs", namespace, name] = [parts.next()?, parts.next()?, parts.next()?] else {
        return None;
    };
    let pod = Api::<Pod>::namespaced(client.clone(), namespace);
    let pod = pod.get(name).await.ok()?;
    let log = pod.annotations().get("test.serin.dev/log")?;
    let asked = query.split('&').find_map(|p| p.strip_prefix("tailLines="));
    let lines: Vec<&str> = log.lines().collect();
    let most = asked.and_then(|n| n.parse().ok()).unwrap_or(lines.len());
    let tail = lines.iter().skip(lines.len().saturating_sub(most));
    Some(tail.map(|line| format!("{line}\n")).collect())
}
