//! Which servers are believed: certificates of all kinds, authorities that change, replies that are
//! larger than they look.

use jiff::SignedDuration;
use rcgen::date_time_ymd;
use serde_json::json;

use super::server::{Authority, Server, Way, self_signed};
use super::*;
use crate::planner::analysis::{Task, TaskKey};

pub(super) fn task(question: Question, millis: i64) -> Task {
    Task::Measure {
        key: TaskKey {
            metric: "m".to_owned(),
            slot: 1,
            is_diagnosis: false,
        },
        provider: Box::new(question.provider),
        credentials: question.credentials,
        namespace: question.namespace,
        since_last: question.since_last,
        timeout: SignedDuration::from_millis(millis),
    }
}

async fn asked(pool: &Pool, url: &str) -> Result<String, String> {
    let question = question(json!({"web": {"url": url, "jsonPath": "{$.v}"}}), &[]);
    let answer = pool.ask(task(question, 20_000)).await;
    answer.result.map(|v| v.to_string())
}

fn well() -> Way {
    Way::Well(vec![("/".to_owned(), r#"{"v": 1}"#.to_owned())])
}

#[tokio::test]
async fn certificates_that_are_not_good_are_told_apart() {
    let (authority, _) = authority();
    let pool = pool(|_| {});
    let host = "127.0.0.1";
    for (tls, expected) in [
        (authority.server(host, |_| {}), Ok("1")),
        (
            authority.server(host, |p| p.not_after = date_time_ymd(2020, 1, 1)),
            Err("has expired"),
        ),
        (
            authority.server(host, |p| p.not_before = date_time_ymd(2090, 1, 1)),
            Err("is not valid yet"),
        ),
        (
            authority.server("other.example.com", |_| {}),
            Err("is for another name"),
        ),
        (self_signed(host), Err("is not trusted: give its authority")),
        (
            Authority::new("someone else").server(host, |_| {}),
            Err("is not trusted: give its authority"),
        ),
    ] {
        let server = Server::start(tls).await;
        server.does(well());
        let answer = asked(&pool, &server.url()).await;
        match expected {
            Ok(value) => assert_eq!(answer.as_deref(), Ok(value)),
            Err(part) => {
                let error = answer.unwrap_err();
                assert!(error.contains(part), "{error} lacks {part}");
                assert!(server.requests().is_empty(), "nothing was sent");
            }
        }
    }
}

#[tokio::test]
async fn a_new_authority_is_taken_up_without_a_restart() {
    let _ = authority();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let file = std::env::temp_dir().join(format!("serin-ca-turn-{}.pem", std::process::id()));
    std::fs::write(&file, old.pem()).unwrap();
    let pool = pool(|config| config.ca_file = Some(file.clone()));
    let server = Server::start(new.server("127.0.0.1", |_| {})).await;
    server.does(well());
    assert!(
        asked(&pool, &server.url())
            .await
            .unwrap_err()
            .contains("is not trusted")
    );
    // As kubelets and people do it: another file takes the name.
    let next = file.with_extension("next");
    std::fs::write(&next, old.pem() + &new.pem()).unwrap();
    std::fs::rename(&next, &file).unwrap();
    assert_eq!(asked(&pool, &server.url()).await.as_deref(), Ok("1"));
    // What cannot be read changes nothing.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(
        &file,
        "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    assert_eq!(asked(&pool, &server.url()).await.as_deref(), Ok("1"));
    drop(std::fs::remove_file(&file));
}

/// A reply that unpacks to gigabytes is never unpacked: what is compressed is refused at its headers.
#[tokio::test]
async fn a_compressed_reply_is_refused_unread() {
    let server = Server::start(authority().0.server("127.0.0.1", |_| {})).await;
    server.does(Way::Bomb);
    let error = asked(&pool(|_| {}), &server.url()).await.unwrap_err();
    assert_eq!(error, "the reply is compressed, which was not asked for");
    let sent = server.requests().remove(0).to_ascii_lowercase();
    assert!(!sent.contains("accept-encoding"), "{sent}");
}
