//! Faults of a server, single flight, trust.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::SignedDuration;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;
use crate::planner::analysis::TaskKey;
use crate::providers::address::AllowList;

const GOOD: &str = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#;

/// How a server misbehaves.
#[derive(Clone)]
enum Way {
    /// Answers with this text.
    Says(String),
    /// Says nothing until told, then answers well.
    Waits(Arc<Notify>),
    /// One byte at a time, for ever.
    Drips,
    /// Headers, then more than anyone reads.
    Floods,
    /// Answers GET only.
    GetOnly,
}

struct Server {
    address: SocketAddr,
    hits: Arc<AtomicUsize>,
}

impl Server {
    async fn start(way: Way) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&hits);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, way.clone()));
            }
        });
        Self { address, hits }
    }

    fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, way: Way) {
    let mut request = vec![0; 16_384];
    let n = stream.read(&mut request).await.unwrap_or(0);
    let is_get = request[..n].starts_with(b"GET ");
    let reply = |code: u16, body: &str| {
        format!(
            "HTTP/1.1 {code} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    match way {
        Way::Says(text) => drop(stream.write_all(text.as_bytes()).await),
        Way::Waits(until) => {
            until.notified().await;
            drop(stream.write_all(reply(200, GOOD).as_bytes()).await);
        }
        Way::Drips => {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await);
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Way::Floods => {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await);
            while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
        }
        Way::GetOnly => drop(
            stream
                .write_all(reply(if is_get { 200 } else { 405 }, GOOD).as_bytes())
                .await,
        ),
    }
}

fn pool(config: PoolConfig) -> Pool {
    // The first test of the process installs it.
    drop(rustls::crypto::ring::default_provider().install_default());
    Pool::new(config, || Timestamp::UNIX_EPOCH).unwrap()
}

fn allowing() -> Pool {
    pool(PoolConfig {
        allow: AllowList::parse(["127.0.0.1"]).unwrap(),
        ..PoolConfig::default()
    })
}

fn task(address: Option<String>, query: &str, millis: i64) -> Task {
    let provider = json!({"prometheus": {"address": address, "query": query}});
    Task::Measure {
        key: TaskKey {
            metric: "m".to_owned(),
            slot: 1,
            is_diagnosis: false,
        },
        provider: serde_json::from_value(provider).unwrap(),
        credentials: std::collections::BTreeMap::new(),
        namespace: "ns".to_owned(),
        since_last: None,
        timeout: SignedDuration::from_millis(millis),
    }
}

fn at(server: &Server, query: &str, millis: i64) -> Task {
    task(Some(format!("http://{}", server.address)), query, millis)
}

/// F49: each misbehaviour is one sentence.
#[tokio::test]
async fn faults_of_a_server_are_told_in_a_sentence() {
    let says = |text: &str| Way::Says(text.to_owned());
    for (way, expected) in [
        (
            says(
                "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
            ),
            "redirect (HTTP 302)",
        ),
        (
            says("HTTP/1.1 500 X\r\ncontent-length: 4\r\n\r\nSEEN"),
            "HTTP 500",
        ),
        (
            says("HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\nSEEN"),
            "more than 1024 KiB",
        ),
        (
            says("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nSEEN"),
            "broke off",
        ),
        (says("SEEN"), "no answer from 127.0.0.1"),
        (Way::Floods, "more than 1024 KiB"),
        (Way::Drips, "no answer within 300ms"),
        (
            Way::Waits(Arc::new(Notify::new())),
            "no answer within 300ms",
        ),
    ] {
        let server = Server::start(way).await;
        let answer = allowing().ask(at(&server, "up", 300)).await;
        let error = answer.result.unwrap_err();
        assert!(error.contains(expected), "{error} lacks {expected}");
        assert!(!error.contains("SEEN"), "{error}");
    }
    let server = Server::start(Way::GetOnly).await;
    assert_eq!(
        allowing().ask(at(&server, "up", 5000)).await.result,
        Ok(MetricValue::Float(2.0))
    );
    let nobody = allowing()
        .ask(task(Some("http://127.0.0.1:1".to_owned()), "up", 5000))
        .await;
    assert_eq!(
        nobody.result,
        Err("cannot connect to 127.0.0.1:1: connection refused".to_owned())
    );
}

#[tokio::test]
async fn equal_questions_under_way_are_asked_once() {
    let until = Arc::new(Notify::new());
    let server = Server::start(Way::Waits(Arc::clone(&until))).await;
    let pool = allowing();
    let mut asking: Vec<_> = (0..5)
        .map(|_| Box::pin(pool.ask(at(&server, "up", 60_000))))
        .collect();
    let mut other = Box::pin(pool.ask(at(&server, "down", 60_000)));
    while server.hits() < 2 {
        for future in &mut asking {
            assert!(futures::poll!(future.as_mut()).is_pending());
        }
        assert!(futures::poll!(other.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    // One who goes away does not spoil it for the others.
    drop(asking.remove(0));
    tokio::spawn(async move {
        loop {
            until.notify_waiters();
            tokio::task::yield_now().await;
        }
    });
    for answer in futures::future::join_all(asking).await {
        assert_eq!(answer.result, Ok(MetricValue::Float(2.0)));
    }
    assert_eq!(other.await.result, Ok(MetricValue::Float(2.0)));
    assert_eq!(server.hits(), 2, "one for each question");
    // What has landed is not asked for again from memory.
    assert_eq!(
        pool.ask(at(&server, "up", 60_000)).await.result,
        Ok(MetricValue::Float(2.0))
    );
    assert_eq!(server.hits(), 3);
}

/// S10: an address from an object is checked, the operator's own is not.
#[tokio::test]
async fn only_the_operator_may_name_loopback() {
    let server = Server::start(Way::GetOnly).await;
    let named = format!("http://{}", server.address);
    let refused = pool(PoolConfig::default())
        .ask(task(Some(named.clone()), "up", 5000))
        .await;
    assert!(
        refused
            .result
            .unwrap_err()
            .contains("address of the provider is refused")
    );
    let by_name = format!("http://localhost:{}", server.address.port());
    let refused = pool(PoolConfig::default())
        .ask(task(Some(by_name), "up", 5000))
        .await;
    assert!(
        refused
            .result
            .unwrap_err()
            .contains("address of the provider is refused")
    );
    assert_eq!(server.hits(), 0, "nothing was connected to");

    let own = pool(PoolConfig {
        prometheus: Some(named.clone()),
        ..PoolConfig::default()
    });
    for address in [None, Some(named)] {
        assert_eq!(
            own.ask(task(address, "up", 5000)).await.result,
            Ok(MetricValue::Float(2.0))
        );
    }
    let nowhere = pool(PoolConfig::default())
        .ask(task(None, "up", 5000))
        .await;
    assert!(nowhere.result.unwrap_err().contains("--prometheus"));
}

#[tokio::test]
async fn unverified_certificates_need_the_operator() {
    let provider =
        json!({"prometheus": {"address": "https://10.0.0.1", "query": "up", "insecure": true}});
    let task = Task::Measure {
        key: TaskKey {
            metric: "m".to_owned(),
            slot: 1,
            is_diagnosis: false,
        },
        provider: serde_json::from_value(provider).unwrap(),
        credentials: std::collections::BTreeMap::new(),
        namespace: "ns".to_owned(),
        since_last: None,
        timeout: SignedDuration::from_secs(5),
    };
    let answer = allowing().ask(task).await;
    assert!(answer.result.unwrap_err().contains("insecure is refused"));
}
