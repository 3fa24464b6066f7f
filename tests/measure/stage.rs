//! What a part is measured on: a control plane of its own, a node, and the controller started from its binary.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kube::Client;

use crate::audit::Tail;
use crate::bench::control_plane::{ControlPlane, Options};
use crate::bench::http;
use crate::bench::node::Node;
use crate::bench::ports::free_port;
use crate::bench::process::Process;
use crate::load::{self, blocking};

/// Bodies are left out of the log: writing them would cost the API server more than the writes.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ['system:serviceaccount:serin-system:serin']
- level: None
";

/// A control plane with a node on it. Fields in the order in which they are dropped.
pub(crate) struct Stage {
    /// Somebody who may do everything.
    pub(crate) client: Client,
    _node: Node,
    /// The control plane.
    pub(crate) plane: ControlPlane,
    dir: PathBuf,
    binary: PathBuf,
    starts: u32,
}

impl Stage {
    /// Starts all of it but the controller.
    pub(crate) async fn set(dir: &Path, binary: &Path) -> anyhow::Result<Self> {
        let (dir, binary) = (dir.to_owned(), binary.canonicalize()?);
        let at = dir.clone();
        let (plane, node) = blocking(move || start(&at)).await?;
        Ok(Self {
            client: load::client(&plane).await?,
            _node: node,
            plane,
            dir,
            binary,
            starts: 0,
        })
    }

    /// Starts the controller as its manifests do, with leader election, and waits until it is ready.
    pub(crate) async fn controller(&mut self) -> io::Result<Controller> {
        self.controller_with(&[]).await
    }

    /// The same, with more flags.
    pub(crate) async fn controller_with(&mut self, flags: &[String]) -> io::Result<Controller> {
        self.starts += 1;
        let (health, metrics) = (free_port(), free_port());
        let mut command = self.command(health, metrics);
        command.args(flags);
        let log = self.dir.join(format!("serin-{}.log", self.starts));
        blocking(move || {
            let mut process = Process::start("serin", &command, &log)?;
            process.wait_until(Duration::from_secs(120), || answers(health, "/readyz"))?;
            Ok(Controller { process })
        })
        .await
    }

    /// Starts it once more and tells the seconds to `/healthz` and to `/readyz`; then ends it.
    pub(crate) fn time_start(&self) -> io::Result<(f64, f64)> {
        let (health, metrics) = (free_port(), free_port());
        let mut command = self.command(health, metrics);
        let log = fs::File::create(self.dir.join("serin-starts.log"))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let begun = Instant::now();
        let mut child = Killed(command.spawn()?);
        let mut times = [0.0; 2];
        for (time, path) in times.iter_mut().zip(["/healthz", "/readyz"]) {
            while !answers(health, path) {
                if begun.elapsed() > Duration::from_secs(60) || child.0.try_wait()?.is_some() {
                    return Err(io::Error::other("the controller did not get ready"));
                }
                thread::sleep(Duration::from_micros(500));
            }
            *time = begun.elapsed().as_secs_f64();
        }
        Ok(times.into())
    }

    fn command(&self, health: u16, metrics: u16) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("controller");
        command
            .arg("--kubeconfig")
            .arg(&self.plane.serin.kubeconfig);
        command.args(["--leader-election-namespace", load::NAMESPACE]);
        command.arg(format!("--health-bind-address=127.0.0.1:{health}"));
        command.arg(format!("--metrics-bind-address=127.0.0.1:{metrics}"));
        command
    }

    /// What the controller asks from now on.
    pub(crate) fn tail(&self) -> io::Result<Tail> {
        Tail::of(&self.plane.audit_log())
    }
}

fn start(dir: &Path) -> io::Result<(ControlPlane, Node)> {
    fs::create_dir_all(dir)?;
    let policy = dir.join("audit.yaml");
    fs::write(&policy, AUDIT_POLICY)?;
    let options = Options {
        crds: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("crds")),
        apiserver_args: vec![format!("--audit-policy-file={}", policy.display())],
        ..Options::default()
    };
    let plane = ControlPlane::start_with(&dir.join("plane"), options)?;
    plane.let_serin_do_everything()?;
    let node = Node::start(dir, &plane, "node-1", &[])?;
    Ok((plane, node))
}

fn answers(port: u16, path: &str) -> bool {
    http::get(port, path).is_ok_and(|(code, _)| code == 200)
}

/// A running controller.
pub(crate) struct Controller {
    process: Process,
}

impl Controller {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Asks it to end, which gives the Lease back, and waits for that.
    pub(crate) async fn stop(mut self) -> io::Result<()> {
        blocking(move || {
            self.process.ask_to_stop();
            let begun = Instant::now();
            while self.process.ended().is_none() {
                if begun.elapsed() > Duration::from_secs(30) {
                    return Err(io::Error::other("the controller did not end within 30 s"));
                }
                thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        })
        .await
    }
}

/// Ended when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
