//! `serin status` against a real API server: what it shows, how it waits, and what it says when it cannot.

use std::process::{Command, Output};

use crate::bench::control_plane::User;
use crate::cluster::{self, Space};
use crate::controller::{Serin, at, phase, space, web};

const CANARY: &str = "{steps: [{setWeight: 50}, {pause: {}}]}";

fn status(space: &Space, user: &User, flags: &[&str]) -> (i32, String, String) {
    let kubeconfig = user.kubeconfig.display().to_string();
    let namespace = space.namespace.as_str();
    let common = ["status", "--kubeconfig", &kubeconfig, "-n", namespace];
    let output = Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(common)
        .args(flags)
        .env_remove("KUBECONFIG")
        .output();
    ended(&output.unwrap())
}

fn ended(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    (code, text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_waits_and_tells_how_it_ended() {
    let Some(space) = space("status").await else {
        return;
    };
    let admin = &cluster::shared().unwrap().plane.admin;
    let serin = Serin::start(&space, &[]);
    serin.ready().await;
    space.apply(&web("1", 2, CANARY));
    let watch = ["web", "--watch", "--timeout", "60s"];
    let (code, said, _) = status(&space, admin, &watch);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("stable, 2/2 ready"), "{said}");

    // The update begins after this: the old status must not pass for its end.
    space.apply(&web("2", 2, CANARY));
    let (code, said, _) = status(&space, admin, &watch);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("to go on  kubectl -n"), "{said}");
    assert!(said.contains("step      2/2, pause"), "{said}");
    assert!(said.lines().all(|l| l.chars().count() <= 80), "{said}");

    // A promotion that is not taken yet is waited for, not reported as a pause.
    space.command("web", "promote", "true");
    assert_eq!(status(&space, admin, &watch).0, 0);

    space.apply(&web("3", 2, CANARY));
    space.reaches("web", "it is paused", at(1, "Paused")).await;
    let over = ["web", "--watch", "--through-pauses", "--timeout", "1s"];
    let (code, _, said) = status(&space, admin, &over);
    assert_eq!(code, 3, "what it waits for says more than the time: {said}");
    assert!(said.contains("not there after 1s"), "{said}");
    space.command("web", "abort", "odd");
    let (code, said, _) = status(&space, admin, &[&watch[..], &["--output", "json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, json["wait"].as_str()),
        (1, Some("degraded")),
        "{said}"
    );
    space.reaches("web", "it is back", phase("Degraded")).await;

    // Nobody works on it: still going on.
    drop(serin);
    space.apply(&web("4", 2, CANARY));
    let (code, said, _) = status(&space, admin, &["web"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("update to be observed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_why_it_cannot_tell() {
    let Some(space) = space("status-not").await else {
        return;
    };
    let plane = &cluster::shared().unwrap().plane;
    let (code, _, said) = status(&space, &plane.admin, &["nobody"]);
    assert_eq!(code, 2, "{said}");
    let wanted = format!("there is no Rollout {}/nobody", space.namespace);
    assert!(said.contains(&wanted), "{said}");

    let (code, _, said) = status(&space, &plane.admin, &["web", "--context", "none-such"]);
    assert!(code == 2 && said.contains("none-such"), "{said}");

    let text = std::fs::read_to_string(&plane.admin.kubeconfig).unwrap();
    let nobody = cluster::dir().join("nobody.kubeconfig");
    let text = text.replace(&plane.url, "https://127.0.0.1:1");
    std::fs::write(&nobody, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(["status", "web", "--kubeconfig"])
        .arg(nobody)
        .output();
    let (code, _, said) = ended(&output.unwrap());
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("no answer from the cluster at https://127.0.0.1:1"),
        "{said}"
    );
}

/// The release checklist of a namespace as it is.
#[tokio::test(flavor = "multi_thread")]
async fn the_checklist_reads_a_namespace_and_its_history() {
    let Some(space) = space("checked").await else {
        return;
    };
    let admin = &cluster::shared().unwrap().plane.admin;
    let check = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_serin"))
            .args(["check", "--output=json", "--kubeconfig"])
            .arg(&admin.kubeconfig)
            .args(more)
            .output();
        ended(&output.unwrap())
    };
    let _serin = Serin::start(&space, &[]);
    let on = |tag: &'static str| {
        move |r: Option<&serin::api::Rollout>| {
            let text = r.and_then(|r| serde_json::to_string(&r.spec.template).ok());
            let is_out = r.and_then(|r| r.status.as_ref());
            let is_out = is_out.is_some_and(|s| s.stable_rs == s.current_pod_hash);
            phase("Healthy")(r) && is_out && text.is_some_and(|t| t.contains(tag))
        }
    };
    for (tag, image) in [("1", "web:1"), ("2", "web:2")] {
        space.apply(&web(tag, 1, "{}"));
        space.reaches("web", "it is out", on(image)).await;
    }
    space.command("web", "undo", "true");
    space.reaches("web", "it is back", on("web:1")).await;
    let (code, said, trouble) = check(&["--namespace", &space.namespace]);
    assert_eq!(code, 1, "{said}{trouble}");
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    let line = |id: &str| {
        let mut lines = told["lines"].as_array().unwrap().iter();
        lines.find(|line| line["id"] == id).unwrap().to_string()
    };
    let web = format!("Rollout {}/web", space.namespace);
    assert!(line("pods-hardened").contains(&web), "{said}");
    assert!(
        line("policies-active").contains("does not enforce"),
        "{said}"
    );
    assert!(
        line("rollback-tested").contains("went back to web-"),
        "{said}"
    );
    let (code, _, said) = check(&["--namespace=no-such-place"]);
    assert!(
        code == 2 && said.contains("there is no namespace no-such-place"),
        "{said}"
    );
}
