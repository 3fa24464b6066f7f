//! Every provider against a server that plays its service. Bodies are written from the services'
//! public documentation.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::server::{Server, Way};
use super::tls::task;
use super::*;

/// A service, what is asked of it, and what comes of it. `$URL` and `$HOST` are the server's.
#[derive(serde::Deserialize)]
struct Case {
    provider: Value,
    credentials: BTreeMap<String, String>,
    /// Bodies by the beginning of the path.
    bodies: Vec<(String, String)>,
    /// What must be in the last request.
    sent: Vec<String>,
    value: String,
    /// A good status with a bad body: that, and what is told of it.
    refused: Option<(String, String)>,
}

/// The table of services; `tests/suite/live_providers.rs` asks them too.
fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("services.json")).unwrap()
}

fn with_address(value: &Value, server: &Server) -> Value {
    let text = value.to_string().replace("$URL", &server.url());
    serde_json::from_str(&text.replace("$HOST", &server.address.to_string())).unwrap()
}

/// A server and a pool for a case, the operator's parts included.
async fn scene(case: &Case) -> (Server, Pool, Question) {
    let (authority, _) = authority();
    let server = Server::start(authority.server("127.0.0.1", |_| {})).await;
    let name = format!(
        "serin-plugins-{}-{}",
        std::process::id(),
        server.address.port()
    );
    let plugins = std::env::temp_dir().join(name);
    if case.provider.get("plugin").is_some() {
        let text = format!(
            "plugins:\n  acme/latency: {{url: \"{}/measure\"}}\n",
            server.url()
        );
        std::fs::write(&plugins, text).unwrap();
    }
    let url = server.url();
    let pool = pool(|config| {
        config.plugins = Some(plugins);
        config.aws = aws::Environment {
            access_key_id: Some("AKIDEXAMPLE".to_owned()),
            secret_access_key: Some("hush-hush".to_owned()),
            region: Some("eu-west-1".to_owned()),
            cloud_watch_endpoint: Some(url),
            ..aws::Environment::default()
        };
    });
    let credentials = case.credentials.iter();
    let credentials: Vec<_> = credentials.map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let mut asked = question(with_address(&case.provider, &server), &credentials);
    for value in asked.credentials.values_mut() {
        *value = value
            .replace("$GOOGLE_KEY", include_str!("google-key.json"))
            .replace("$URL", &server.url())
            // Written here, so that no file of the repository reads as a key to who looks for keys.
            .replace("$KIND", "PRIVATE KEY");
    }
    (server, pool, asked)
}

fn is_login(path: &str) -> bool {
    path.contains("token") || path.starts_with("/canary")
}

#[tokio::test]
async fn every_service_is_asked_and_read_as_its_documentation_says() {
    for case in cases() {
        let (server, pool, asked) = scene(&case).await;
        let bodies = case.bodies.iter();
        server.does(Way::Well(bodies.cloned().collect()));
        let answer = pool.ask(task(asked.clone(), 20_000)).await;
        let shown = answer.result.map(|v| v.to_string());
        let shown = shown.unwrap_or_else(|e| panic!("{}: {e}", case.provider));
        assert!(shown.contains(&case.value), "{}: {shown}", case.provider);
        let requests = server.requests();
        let last = requests.last().unwrap();
        for part in &case.sent {
            assert!(last.contains(part), "{last}\nlacks {part}");
        }
        // A token is used until it ends.
        let again = pool.ask(task(asked.clone(), 20_000)).await;
        assert!(again.result.is_ok());
        let logins = server.requests();
        let logins = logins.iter().filter(|r| r.contains("grant_type"));
        assert_eq!(logins.count(), 0, "{}", case.provider);
        if let Some((body, expected)) = case.refused {
            let wrong = case.bodies.iter().map(|(path, good)| {
                let is_kept = is_login(path) && *path != "/canaryConfig";
                (path.clone(), if is_kept { good } else { &body }.clone())
            });
            server.does(Way::Well(wrong.collect()));
            let error = pool.ask(task(asked, 20_000)).await.result.unwrap_err();
            assert!(error.contains(&expected), "{}: {error}", case.provider);
            assert!(!error.contains("SEEN"), "{error}");
        }
    }
}

/// F49 for every provider: each misbehaviour is one short sentence of ours, without a word of the
/// reply and without a secret.
#[tokio::test]
async fn every_service_may_misbehave() {
    let ways = [
        (Way::Status(401), "refuses the credentials"),
        (Way::Status(403), "refuses the credentials"),
        (Way::Status(429), "too often"),
        (Way::Status(500), "HTTP 500"),
        (Way::Status(503), "HTTP 503"),
        (Way::Status(302), "redirect (HTTP 302)"),
        (Way::Says(b"<html>SEEN".to_vec()), "the reply is not"),
        (Way::Says(b"{\"SEEN\": ".to_vec()), "the reply is not"),
        (Way::Says(vec![0xff, 0xfe, 0]), "the reply is not"),
        (Way::TooMuch, "more than 1024 KiB"),
        (Way::Bomb, "compressed"),
        (Way::BreaksOff, "broke off"),
        (Way::Hangs, "no answer within"),
    ];
    for case in cases() {
        let (server, pool, asked) = scene(&case).await;
        for (way, expected) in &ways {
            server.does(way.clone());
            let limit = if matches!(way, Way::Hangs) {
                200
            } else {
                20_000
            };
            let answer = pool.ask(task(asked.clone(), limit)).await;
            let error = answer
                .result
                .expect_err(&format!("{}: {way:?}", case.provider));
            assert!(
                error.contains(expected),
                "{}: {way:?}: {error}",
                case.provider
            );
            assert!(
                !error.contains("SEEN") && !error.contains("hush"),
                "{error}"
            );
            assert!(error.len() <= MAX_ERROR, "{error}");
        }
    }
}

/// RFC 6749 2.3.1: servers differ in where they look for id and secret; both are tried.
#[tokio::test]
async fn a_token_that_is_refused_is_asked_for_anew() {
    let case = cases().remove(0);
    let (server, pool, asked) = scene(&case).await;
    let good = || Way::Well(case.bodies.clone());
    server.does(good());
    assert!(pool.ask(task(asked.clone(), 20_000)).await.result.is_ok());
    let first = server.requests();
    assert!(
        first[0].contains("authorization: Basic bWU6aHVzaC1odXNo"),
        "{}",
        first[0]
    );
    server.does(Way::Status(401));
    assert!(pool.ask(task(asked.clone(), 20_000)).await.result.is_err());
    drop(server.requests());
    server.does(good());
    assert!(pool.ask(task(asked, 20_000)).await.result.is_ok());
    let paths: Vec<String> = server
        .requests()
        .iter()
        .map(|r| r.lines().next().unwrap().to_owned())
        .collect();
    assert_eq!(
        paths,
        ["POST /token HTTP/1.1", "POST /api/v1/query HTTP/1.1"]
    );
}

/// Plugins may be programs in any language.
#[tokio::test]
async fn a_program_is_asked_on_its_standard_input() {
    let folder = std::env::temp_dir();
    let file = folder.join(format!("serin-programs-{}", std::process::id()));
    let pool = pool(|config| config.plugins = Some(file.clone()));
    let asked = || question(json!({"plugin": {"p": {"n": 7}}}), &[]);
    for (script, expected) in [
        (
            "read q; case \"$q\" in *'\"n\":7'*) echo '{\"value\": [7]}';; esac",
            Ok("[7]"),
        ),
        ("echo '{\"value\": null}'", Ok("")),
        (
            "echo '{\"error\": \"no-data\"}'",
            Err("the plugin has no answer: no-data"),
        ),
        (
            "echo '{\"error\": \"SEEN this\"}'",
            Err("the plugin has no answer"),
        ),
        ("echo SEEN; exit 3", Err("ended with code 3")),
        ("echo SEEN", Err("the reply is not one of the plugin")),
        ("yes SEEN", Err("more than 1024 KiB")),
        ("sleep 60", Err("no answer within")),
    ] {
        // The file is read at every question: the plugin changes without a restart.
        let text = json!({"plugins": {"p": {"command": ["/bin/sh", "-c", script]}}});
        std::fs::write(&file, text.to_string()).unwrap();
        let limit = if script.starts_with("sleep") {
            200
        } else {
            20_000
        };
        let answer = pool.ask(task(asked(), limit)).await.result;
        match expected {
            Ok(value) => assert!(answer.unwrap().to_string().contains(value), "{script}"),
            Err(part) => {
                let error = answer.unwrap_err();
                assert!(
                    error.contains(part) && !error.contains("SEEN"),
                    "{script}: {error}"
                );
            }
        }
    }
    std::fs::write(&file, "plugins: {p: {url: 'http://x', command: [y]}}").unwrap();
    let answer = pool.ask(task(asked(), 20_000)).await.result;
    assert!(answer.unwrap_err().contains("url or command"));
    drop(std::fs::remove_file(&file));
}

#[test]
fn the_metrics_api_of_the_cluster_is_read() {
    let read = |status: u16, body: &str| {
        let reply = Reply {
            status,
            body: body.into(),
        };
        kubernetes::parse(&reply).map(|v| v.to_string())
    };
    let body = r#"{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1","items":[{"metricName":"q","timestamp":"2026-11-21T15:00:00Z","value":"1500m"},{"metricName":"q","value":"2"}]}"#;
    assert_eq!(read(200, body).as_deref(), Ok("[1.5,2]"));
    assert!(read(403, "SEEN").unwrap_err().contains("generate-rbac"));
    assert!(read(404, "SEEN").unwrap_err().contains("no such metric"));
    assert!(
        read(200, r#"{"items":[{"value":"SEEN"}]}"#)
            .unwrap_err()
            .contains("the reply is not")
    );
}
