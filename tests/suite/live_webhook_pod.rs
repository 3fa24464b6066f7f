//! The admission webhook as it is installed: the generated manifests as they are, its pods behind their
//! Service, and an API server that finds them there. This test is the kubelet. The API server takes no
//! loopback address for an endpoint, so all of it runs in a network of its own, where pods have addresses
//! like those of a cluster and nothing else is reached.

use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::bench::control_plane::{ControlPlane, Options, User};
use crate::bench::http;
use crate::bench::ports::free_port;
use crate::bench::process::Process;
use crate::cluster::{self, Space, until};
use crate::controller::web;

const NAMESPACE: &str = "serin-system";

/// Set in the process that runs in the network of its own.
const INSIDE: &str = "SERIN_TEST_WEBHOOK_POD_INSIDE";
/// The addresses of the pods there.
const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

/// Runs this very test again in a network of its own; fails as it does.
fn run_inside(test: &str) {
    let add = ADDRESSES.map(|a| format!("ip address add {a}/32 dev lo"));
    let script = format!(
        "ip link set lo up && {} && exec \"$0\" \"$@\"",
        add.join(" && ")
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--map-root-user", "--net", "sh", "-c", &script]);
    unshare.arg(std::env::current_exe().unwrap());
    unshare.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    let output = unshare.env(INSIDE, "1").output();
    let output = output.expect("unshare, of util-linux, gives it a network of its own");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

fn kubectl(plane: &ControlPlane, args: &[&str]) -> (bool, String) {
    let output = plane.kubectl().args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (
        output.status.success(),
        text + &String::from_utf8_lossy(&output.stderr),
    )
}

fn done(plane: &ControlPlane, args: &[&str]) -> String {
    let (is_done, text) = kubectl(plane, args);
    assert!(is_done, "kubectl {args:?}: {text}");
    text
}

/// The process of a pod: its container's arguments and environment, the rights of its account.
fn run(plane: &ControlPlane, pod: &Pod, address: &str, health: u16) -> Process {
    let spec = pod.spec.as_ref().unwrap();
    let container = &spec.containers[0];
    let account = spec.service_account_name.as_deref().unwrap();
    let token = done(plane, &["-n", NAMESPACE, "create", "token", account]);
    let user = User {
        name: "serin-webhook",
        token: token.trim().to_owned(),
        kubeconfig: plane.dir.join("webhook-pod.kubeconfig"),
    };
    plane
        .write_kubeconfig(&user, &user.kubeconfig, NAMESPACE)
        .unwrap();
    let port = |name: &str| {
        let ports = container.ports.iter().flatten();
        let mut named = ports.filter(|p| p.name.as_deref() == Some(name));
        named.next().unwrap().container_port
    };
    let mut serin = Command::new(env!("CARGO_BIN_EXE_serin"));
    serin.args(container.args.iter().flatten());
    serin.env_remove("KUBECONFIG");
    for variable in container.env.iter().flatten() {
        let field = variable
            .value_from
            .as_ref()
            .and_then(|v| v.field_ref.as_ref());
        assert_eq!(field.unwrap().field_path, "metadata.namespace");
        serin.env(&variable.name, pod.namespace().unwrap());
    }
    // What a pod has and a process has not: its account's token, and an address of its own.
    serin.arg("--kubeconfig").arg(&user.kubeconfig);
    serin.arg(format!("--bind-address={address}:{}", port("webhook")));
    serin.arg(format!("--health-bind-address=127.0.0.1:{health}"));
    serin.arg(format!("--metrics-bind-address=127.0.0.1:{}", free_port()));
    serin.arg("--log-level=info,serin=debug");
    Process::start("serin-webhook", &serin, &log_of(plane, address)).unwrap()
}

fn log_of(plane: &ControlPlane, address: &str) -> PathBuf {
    plane.dir.join(format!("webhook-{address}.log"))
}

/// Plays the next pod of the Deployment that nobody plays yet.
async fn play(space: &Space, plane: &ControlPlane, address: &str) -> (Process, String) {
    let pods: kube::Api<Pod> = kube::Api::namespaced(space.client.clone(), NAMESPACE);
    let params = ListParams::default().labels("app.kubernetes.io/name=serin-webhook");
    let mut found = None;
    for _ in 0..300 {
        let all = pods.list(&params).await.unwrap();
        let is_new = |p: &Pod| {
            let spec = p.spec.as_ref();
            spec.is_some_and(|s| s.node_name.is_none()) && p.metadata.deletion_timestamp.is_none()
        };
        found = all.into_iter().find(is_new);
        if found.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let pod = found.expect("the Deployment makes a pod");
    let name = pod.name_any();
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": NAMESPACE},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "by-hand"},
    });
    let body = plane.dir.join("binding.json");
    std::fs::write(&body, binding.to_string()).unwrap();
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}/binding");
    done(
        plane,
        &["create", "--raw", &path, "-f", &body.display().to_string()],
    );
    let health = free_port();
    let process = run(plane, &pod, address, health);
    let probe = pod.spec.unwrap().containers[0].readiness_probe.clone();
    let path = probe.unwrap().http_get.unwrap().path.unwrap();
    let ready = || {
        http::get(health, &path)
            .ok()
            .filter(|(code, _)| *code == 200)
    };
    until("the webhook is ready", ready).await;
    let yes = |kind: &str| json!({"type": kind, "status": "True"});
    let status = json!({"status": {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
        "conditions": [yes("Initialized"), yes("ContainersReady"), yes("Ready")],
    }});
    let patch = Patch::Strategic(status);
    let params = PatchParams::default();
    pods.patch_status(&name, &params, &patch).await.unwrap();
    (process, name)
}

/// Asks the API server, without storing anything.
fn offer(space: &Space, plane: &ControlPlane, manifest: &str) -> (bool, String) {
    let file = plane.dir.join("offer.yaml");
    std::fs::write(&file, manifest).unwrap();
    let file = file.display().to_string();
    let args = [
        "-n",
        &space.namespace,
        "apply",
        "--dry-run=server",
        "-f",
        &file,
    ];
    kubectl(plane, &args)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_generated_webhook_answers_behind_its_service() {
    if !cluster::is_wanted() {
        return;
    }
    if std::env::var_os(INSIDE).is_none() {
        return run_inside("live_webhook_pod::the_generated_webhook_answers_behind_its_service");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let options = Options {
        // Nothing forwards a Service's address here: the API server asks the endpoints themselves.
        apiserver_args: vec![
            "--enable-aggregator-routing=true".to_owned(),
            format!("--advertise-address={}", ADDRESSES[0]),
        ],
        crds: Some(folder.join("crds")),
        ..Options::default()
    };
    let cluster = cluster::apart("webhook-pod", options, false);
    let plane = &cluster.plane;
    let space = cluster.space("asked").await;
    let deploy = |part: &str, more: &[&str]| {
        let mut serin = Command::new(env!("CARGO_BIN_EXE_serin"));
        let output = serin.args(["deploy", part]).args(more).output().unwrap();
        plane
            .apply(&String::from_utf8(output.stdout).unwrap())
            .unwrap();
    };
    // Without its Node a pod is no endpoint.
    let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"by-hand"}}"#;
    plane.apply(node).unwrap();
    deploy("generate-namespace", &[]);
    deploy("generate-webhook", &["--webhook-fail-closed"]);
    let bad = web("1", 1, "{steps: [{setWeight: 500}, {}]}");
    let good = web("1", 1, "{steps: [{setWeight: 50}]}");
    let (is_in, text) = offer(&space, plane, &good);
    assert!(
        !is_in && text.contains("failed calling webhook"),
        "nobody is there: {text}"
    );

    let [one, two] = ADDRESSES;
    let (process, name) = play(&space, plane, one).await;
    let open = || offer(&space, plane, &good).0.then_some(());
    until("the API server finds it behind its Service", open).await;
    let asked = |address: &str| {
        let log = std::fs::read_to_string(log_of(plane, address)).unwrap();
        assert!(!log.contains("refused (403)"), "a right is missing: {log}");
        log.contains("judged")
    };
    // The API server keeps its connection to one of them, and checks its certificate for the Service's name.
    let _second = play(&space, plane, two).await;
    for _ in 0..10 {
        let (is_in, text) = offer(&space, plane, &bad);
        let refused = "rollouts.serin.dev\" denied the request";
        assert!(!is_in && text.contains(refused), "{text}");
        for word in ["steps[0]", "steps[1]"] {
            assert!(text.contains(word), "{word} is not in {text}");
        }
        assert!(offer(&space, plane, &good).0);
    }
    assert!(asked(one));

    // A pod goes as pods do: out of the Service, and told to end. Nobody is refused for it, and the other
    // is asked, whose certificate is another.
    done(
        plane,
        &["-n", NAMESPACE, "delete", "pod", &name, "--wait=false"],
    );
    process.ask_to_stop();
    until("the other is asked", || {
        let (is_in, text) = offer(&space, plane, &good);
        assert!(is_in, "{text}");
        (asked(two) && !is_running(&process)).then_some(())
    })
    .await;
    assert!(!offer(&space, plane, &bad).0);
}

fn is_running(process: &Process) -> bool {
    // One that has ended and is not waited for yet has no command line.
    let command = format!("/proc/{}/cmdline", process.pid());
    std::fs::read(command).is_ok_and(|line| !line.is_empty())
}
