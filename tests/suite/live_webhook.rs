//! `serin webhook` as a real webhook of the real API server: what is refused and with which words, what
//! happens when nobody answers, and certificates that are renewed under load.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::{Value, json};

use crate::bench::control_plane::User;
use crate::bench::http;
use crate::bench::ports::free_port;
use crate::bench::process::Process;
use crate::cluster::{self, Space, until};
use crate::controller::{space, web};
use crate::deploy::documents;

/// A webhook process, and the configuration that leads to it, for one namespace.
struct Webhook {
    process: Process,
    port: u16,
    health: u16,
    log: PathBuf,
    command: Vec<String>,
    configuration: String,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        kubectl(&[
            "delete",
            "validatingwebhookconfiguration",
            &self.configuration,
            "--ignore-not-found",
        ]);
    }
}

fn kubectl(args: &[&str]) -> (bool, String) {
    let plane = &cluster::shared().unwrap().plane;
    said(&plane.kubectl().args(args).output().unwrap())
}

fn said(output: &Output) -> (bool, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// The generated manifests of an installation.
fn generated() -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(["deploy", "generate-webhook"])
        .output()
        .unwrap();
    documents(&String::from_utf8(output.stdout).unwrap())
}

impl Webhook {
    /// Starts it for this user, and applies the generated configuration with another address.
    fn start(
        space: &Space,
        user: &User,
        configuration: &str,
        policy: &str,
        flags: &[&str],
    ) -> Self {
        let (port, health) = (free_port(), free_port());
        let plane = &cluster::shared().unwrap().plane;
        configure(space, configuration, policy, port);
        let mut command = vec![
            "webhook".to_owned(),
            "--kubeconfig".to_owned(),
            user.kubeconfig.display().to_string(),
            format!("--bind-address=127.0.0.1:{port}"),
            format!("--health-bind-address=127.0.0.1:{health}"),
            format!("--metrics-bind-address=127.0.0.1:{}", free_port()),
            format!("--configuration={configuration}"),
            "--host=127.0.0.1".to_owned(),
            "--log-level=info,serin=debug".to_owned(),
        ];
        command.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let log = plane.dir.join(format!("webhook-{port}.log"));
        Self {
            process: spawn(&command, &log),
            port,
            health,
            log,
            command,
            configuration: configuration.to_owned(),
        }
    }

    async fn ready(&self) {
        let ask = || {
            let answer = http::get(self.health, "/readyz").ok();
            answer.filter(|(code, _)| *code == 200)
        };
        until("the webhook is ready", ask).await;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The certificates that the API server believes.
    fn bundle(&self) -> String {
        let path = "jsonpath={.webhooks[0].clientConfig.caBundle}";
        let (_, text) = kubectl(&[
            "get",
            "validatingwebhookconfiguration",
            &self.configuration,
            "-o",
            path,
        ]);
        let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim());
        String::from_utf8(bytes.unwrap()).unwrap()
    }
}

fn spawn(command: &[String], log: &Path) -> Process {
    let mut serin = Command::new(env!("CARGO_BIN_EXE_serin"));
    serin.args(command).env_remove("KUBECONFIG");
    Process::start("serin-webhook", &serin, log).unwrap()
}

/// The generated configuration, for one namespace and a process on this machine.
fn configure(space: &Space, name: &str, policy: &str, port: u16) {
    let all = generated();
    let found = all
        .iter()
        .find(|o| o["kind"] == "ValidatingWebhookConfiguration");
    let mut configuration = found.unwrap().clone();
    configuration["metadata"]["name"] = json!(name);
    for webhook in configuration["webhooks"].as_array_mut().unwrap() {
        webhook["failurePolicy"] = json!(policy);
        webhook["clientConfig"] = json!({"url": format!("https://127.0.0.1:{port}/validate")});
        webhook["namespaceSelector"] =
            json!({"matchLabels": {"kubernetes.io/metadata.name": space.namespace}});
        let resources = webhook["rules"][0]["resources"].as_array_mut().unwrap();
        // Other tests make objects of the cluster.
        resources.retain(|r| !r.as_str().unwrap().starts_with("cluster"));
    }
    space.apply(&configuration.to_string());
}

/// Asks the API server, without storing anything.
fn offer(space: &Space, manifest: &str) -> (bool, String) {
    let file = cluster::dir().join(format!("{}-offer.yaml", space.namespace));
    std::fs::write(&file, manifest).unwrap();
    let namespace = space.namespace.as_str();
    let file = file.display().to_string();
    let args = ["-n", namespace, "apply", "--dry-run=server", "-f", &file];
    kubectl(&args)
}

/// A user with the rights of the generated manifests, and no others.
fn with_rights() -> User {
    let cluster = cluster::shared().unwrap();
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kustomize/base");
    let namespace = base.join("namespace.yaml").display().to_string();
    assert!(kubectl(&["apply", "-f", &namespace]).0);
    let wanted = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding"];
    for object in generated() {
        if wanted.contains(&object["kind"].as_str().unwrap()) {
            cluster.plane.apply(&object.to_string()).unwrap();
        }
    }
    let (_, token) = kubectl(&["-n", "serin-system", "create", "token", "serin-webhook"]);
    let user = User {
        name: "serin-webhook",
        token: token.trim().to_owned(),
        kubeconfig: cluster::dir().join("webhook.kubeconfig"),
    };
    let plane = &cluster.plane;
    plane
        .write_kubeconfig(&user, &user.kubeconfig, "default")
        .unwrap();
    user
}

const TEMPLATE: &str = "{apiVersion: argoproj.io/v1alpha1, kind: AnalysisTemplate, metadata: {name: endless},
  spec: {metrics: [{name: one, interval: 1m, provider: {prometheus: {address: \"http://p:9090\", query: up}}}]}}";
const FREEZE: &str =
    "{apiVersion: serin.dev/v1alpha1, kind: FreezeWindow, metadata: {name: launch},
  spec: {reason: launch day, owner: ann}}";

#[tokio::test(flavor = "multi_thread")]
async fn wrong_manifests_are_refused_with_all_their_faults_and_good_ones_pass() {
    let Some(space) = space("webhook").await else {
        return;
    };
    // With the rights that the generated manifests give, and the name that they fix.
    let webhook = Webhook::start(&space, &with_rights(), "serin-webhook", "Fail", &[]);
    webhook.ready().await;
    let good = |canary: &str| web("1", 2, canary);
    let pause = "{steps: [{setWeight: 50}, {pause: {}}]}";
    let (is_in, text) = offer(&space, &good(pause));
    assert!(is_in && !text.contains("Warning"), "{text}");

    space.apply(TEMPLATE);
    space.apply("{apiVersion: v1, kind: Service, metadata: {name: other}, spec: {selector: {app: other}, ports: [{port: 80}]}}");
    let two = "{maxSurge: 0, maxUnavailable: 0, steps: [{setWeight: 500}, {pause: {duration: soon}}, {}]}";
    for (manifest, words) in [
        // Everything at once.
        (good(two), &["steps[0]", "steps[1]", "steps[2]"][..]),
        (good(pause).replace("{app: web}}\n  template", "{app: shop}}\n  template"), &["labels"][..]),
        // Objects that it refers to, as they are in the cluster.
        (good("{stableService: other, canaryService: missing}"), &["stableService", "Warning", "\"missing\" is not there"][..]),
        (good("{steps: [{analysis: {templates: [{templateName: endless}]}}]}"), &["endless"][..]),
        ("{apiVersion: argoproj.io/v1alpha1, kind: AnalysisTemplate, metadata: {name: x}, spec: {metrics: [{name: a, successCondition: 'result <', provider: {prometheus: {query: up}}}]}}".to_owned(), &["successCondition"][..]),
        ("{apiVersion: serin.dev/v1alpha1, kind: FreezeWindow, metadata: {name: x}, spec: {reason: r, schedule: '99 * * * *', duration: 1h}}".to_owned(), &["schedule"][..]),
    ] {
        let (is_in, text) = offer(&space, &manifest);
        assert!(!is_in, "{manifest} was let in: {text}");
        assert!(text.contains("serin.dev\" denied the request"), "{text}");
        for word in words {
            assert!(text.contains(word), "{word} is not in {text}");
        }
    }

    // A freeze: new pods are let in with a warning, an old one is changed in nothing.
    space.apply(&good(pause));
    space.apply(FREEZE);
    let (is_in, text) = offer(&space, &web("2", 2, pause));
    assert!(is_in && text.contains("launch day (owner: ann)"), "{text}");
    let held = r#"{"status":{"serin":{"freeze":{"message":"m"}}}}"#;
    space.kubectl(&[
        "patch",
        "rollout",
        "web",
        "--subresource=status",
        "--type=merge",
        "-p",
        held,
    ]);
    let ask = |value: &str| {
        let annotation = format!("serin.dev/promote={value}");
        let namespace = space.namespace.as_str();
        kubectl(&[
            "-n",
            namespace,
            "annotate",
            "rollout",
            "web",
            &annotation,
            "--dry-run=server",
        ])
    };
    let (is_in, text) = ask("true");
    assert!(!is_in && text.contains("override-freeze"), "{text}");
    assert!(ask("full").0);

    // What was stored before there was a webhook can be labelled and deleted.
    let log = webhook.log();
    assert!(!log.contains("refused (403)"), "a right is missing: {log}");
    drop(webhook);
    space.apply(&good("{steps: [{}]}").replace("name: web", "name: bad"));
    let webhook = Webhook::start(&space, &with_rights(), "serin-webhook", "Fail", &[]);
    webhook.ready().await;
    space.kubectl(&["label", "rollout", "bad", "team=shop"]);
    space.kubectl(&["delete", "rollout", "bad"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nobody_answers_the_policy_decides() {
    let Some(space) = space("webhook-down").await else {
        return;
    };
    let admin = &cluster::shared().unwrap().plane.admin;
    let mut webhook = Webhook::start(&space, admin, &space.namespace, "Ignore", &[]);
    webhook.ready().await;
    let good = web("1", 2, "{}");
    let bad = web("1", 2, "{steps: [{}]}");
    assert!(!offer(&space, &bad).0);
    webhook.process.kill();
    assert!(offer(&space, &bad).0, "fail-open lets it in");

    // Closed: nothing new, but what is there can still be labelled, scaled and deleted by whoever the
    // configuration leaves alone; here nobody is.
    space.apply(&good);
    configure(&space, &space.namespace, "Fail", webhook.port);
    let closed = || (!offer(&space, &web("2", 2, "{}")).0).then_some(());
    until("fail-closed refuses", closed).await;
    space.kubectl(&["scale", "rollout", "web", "--replicas=3"]);
    let status = r#"{"status":{"phase":"Healthy"}}"#;
    space.kubectl(&[
        "patch",
        "rollout",
        "web",
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    ]);
    space.kubectl(&["delete", "rollout", "web"]);

    // It comes back with another certificate, and is believed.
    webhook.process = spawn(&webhook.command, &webhook.log);
    webhook.ready().await;
    let open = || offer(&space, &good).0.then_some(());
    until("it is asked again", open).await;
    assert!(!offer(&space, &bad).0);

    // A clean end takes its certificate out of the bundle; the one of the crash stays until it ends.
    let before = webhook.bundle().matches("BEGIN").count();
    webhook.process.ask_to_stop();
    until("it ends", || webhook.process.ended()).await;
    assert_eq!(webhook.bundle().matches("BEGIN").count(), before - 1);
}

/// A new connection, believing what the API server believes; the certificate that it was shown.
fn shake_hands(webhook: &Webhook) -> Result<Vec<u8>, String> {
    let say = |e: &dyn std::fmt::Display| e.to_string();
    let mut roots = RootCertStore::empty();
    for block in CertificateDer::pem_slice_iter(webhook.bundle().as_bytes()) {
        roots.add(block.unwrap()).map_err(|e| say(&e))?;
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(|e| say(&e))?;
    let mut stream = TcpStream::connect(("127.0.0.1", webhook.port)).map_err(|e| say(&e))?;
    while session.is_handshaking() {
        session.complete_io(&mut stream).map_err(|e| say(&e))?;
    }
    Ok(session.peer_certificates().unwrap()[0].to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_in_time_while_questions_are_asked() {
    let Some(space) = space("webhook-renews").await else {
        return;
    };
    let admin = &cluster::shared().unwrap().plane.admin;
    let short = ["--certificate-lifetime=30s"];
    let webhook = Webhook::start(&space, admin, &space.namespace, "Fail", &short);
    webhook.ready().await;
    let first = shake_hands(&webhook).unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let (good, told) = (web("1", 2, "{}"), Arc::clone(&ended));
    let asking = async {
        let mut questions = 0;
        while !told.load(Ordering::Relaxed) {
            let (is_in, text) = offer(&space, &good);
            assert!(is_in, "after {questions} questions: {text}");
            questions += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let watching = async {
        let renewed = || {
            shake_hands(&webhook)
                .map(|now| (now != first).then_some(now))
                .unwrap()
        };
        until("another certificate is served", renewed).await;
        ended.store(true, Ordering::Relaxed);
    };
    tokio::join!(asking, watching);
    // The old one goes from the bundle.
    let one = || (webhook.bundle().matches("BEGIN").count() == 1).then_some(());
    until("the old certificate is believed no longer", one).await;
    // Somebody overwrites the bundle: it is written again.
    configure(&space, &space.namespace, "Fail", webhook.port);
    let patch = r#"[{"op":"replace","path":"/webhooks/0/clientConfig/caBundle","value":""}]"#;
    let name = space.namespace.as_str();
    kubectl(&[
        "patch",
        "validatingwebhookconfiguration",
        name,
        "--type=json",
        "-p",
        patch,
    ]);
    until("the bundle is mended", || {
        offer(&space, &good).0.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_a_mounted_secret_are_read_again() {
    let Some(space) = space("webhook-files").await else {
        return;
    };
    let admin = &cluster::shared().unwrap().plane.admin;
    let folder = cluster::dir().join(&space.namespace);
    std::fs::create_dir_all(&folder).unwrap();
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let renew = || {
        let new = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let pem = params.self_signed(&new).unwrap().pem();
        std::fs::write(&certificate, &pem).unwrap();
        std::fs::write(&key, new.serialize_pem()).unwrap();
        pem
    };
    let first = renew();
    let flags = [
        format!("--tls-cert-file={}", certificate.display()),
        format!("--tls-key-file={}", key.display()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let webhook = Webhook::start(&space, admin, &space.namespace, "Fail", &flags);
    let believe = |pem: &str| {
        let bundle = base64::engine::general_purpose::STANDARD.encode(pem);
        let patch: Vec<Value> = (0..3)
            .map(|i| json!({"op": "add", "path": format!("/webhooks/{i}/clientConfig/caBundle"), "value": bundle}))
            .collect();
        let patch = json!(patch).to_string();
        let name = space.namespace.as_str();
        let args = [
            "patch",
            "validatingwebhookconfiguration",
            name,
            "--type=json",
            "-p",
            &patch,
        ];
        assert!(kubectl(&args).0);
    };
    believe(&first);
    webhook.ready().await;
    let good = web("1", 2, "{}");
    until("the first is believed", || {
        offer(&space, &good).0.then_some(())
    })
    .await;
    let shown = shake_hands(&webhook).unwrap();
    let second = renew();
    believe(&format!("{first}{second}"));
    let renewed = || shake_hands(&webhook).ok().filter(|now| *now != shown);
    until("the second is served", renewed).await;
    // Half of a change is not taken.
    std::fs::write(&key, "no key").unwrap();
    until("it is told", || {
        webhook.log().contains("cannot be used").then_some(())
    })
    .await;
    assert!(shake_hands(&webhook).is_ok());
}
