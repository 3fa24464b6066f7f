//! A real Kubernetes control plane on loopback: etcd, kube-apiserver, kube-controller-manager.
//! Knows their flags, users and tokens; knows nothing of what is tested with it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::http;
use super::ports::free_port;
use super::process::Process;
use super::programs::{ControlPlanePrograms, new_secret};

/// Generous: on a loaded machine a start takes seconds, not the 3 s it takes on an idle one.
const START_LIMIT: Duration = Duration::from_secs(90);

/// What a test may want different from the ordinary.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// More arguments for kube-apiserver; a later one wins over an earlier one of the same name.
    pub(crate) apiserver_args: Vec<String>,
    /// More arguments for kube-controller-manager.
    pub(crate) controller_manager_args: Vec<String>,
    /// A directory of CustomResourceDefinitions to apply before the controllers start: of kinds that come later the
    /// garbage collector learns only every 30 s.
    pub(crate) crds: Option<PathBuf>,
    /// Leave the Deployment and ReplicaSet controllers and all others out.
    pub(crate) without_controllers: bool,
}

/// Somebody who may talk to the API server.
#[derive(Clone, Debug)]
pub(crate) struct User {
    /// Name, as RBAC and the audit log see it.
    pub(crate) name: &'static str,
    /// Bearer token.
    pub(crate) token: String,
    /// A kubeconfig file for this user.
    pub(crate) kubeconfig: PathBuf,
}

/// A running control plane; dropping it ends its processes and leaves logs and data in its directory.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    /// Where logs, certificates, kubeconfigs and data are.
    pub(crate) dir: PathBuf,
    /// `https://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// The certificate that signed the API server's.
    pub(crate) ca: PathBuf,
    /// In group `system:masters`: may do everything.
    pub(crate) admin: User,
    /// The controller's ServiceAccount: may do nothing until a role is bound to it, as
    /// [`ControlPlane::give_serin_its_rights`] does. Its writes are in the audit log.
    pub(crate) serin: User,
    programs: ControlPlanePrograms,
    options: Options,
    port: u16,
    etcd_port: u16,
    // In the order in which they are dropped: clients before the servers they talk to.
    controller_manager: Option<Process>,
    apiserver: Option<Process>,
    etcd: Process,
}

impl ControlPlane {
    /// Starts a control plane that keeps everything in `dir`, and returns when it answers.
    ///
    /// # Errors
    /// When a program is missing (the message says what to run) or does not start (with the end of its log).
    pub(crate) fn start(dir: &Path) -> io::Result<Self> {
        Self::start_with(dir, Options::default())
    }

    /// As [`ControlPlane::start`], with other than the ordinary options.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub(crate) fn start_with(dir: &Path, options: Options) -> io::Result<Self> {
        let programs = ControlPlanePrograms::find()?;
        fs::create_dir_all(dir.join("certs"))?;
        fs::create_dir_all(dir.join("targets"))?;
        let dir = dir.canonicalize()?;
        let (port, etcd_port) = (free_port(), free_port());
        write_account_key(&dir)?;
        fs::write(dir.join("audit-policy.yaml"), AUDIT_POLICY)?;
        let user = |name| -> io::Result<User> {
            let kubeconfig = dir.join(format!("{name}.kubeconfig"));
            Ok(User {
                name,
                token: new_secret()?,
                kubeconfig,
            })
        };
        let (admin, serin) = (user("admin")?, user("serin")?);
        let tokens = format!(
            "{},admin,admin,\"system:masters\"\n{},{ACCOUNT},serin,\"system:serviceaccounts\"\n",
            admin.token, serin.token
        );
        fs::write(dir.join("tokens.csv"), tokens)?;
        let etcd = start_etcd(&programs, &dir, etcd_port)?;
        let mut this = Self {
            url: format!("https://127.0.0.1:{port}"),
            ca: dir.join("certs/apiserver.crt"),
            dir,
            admin,
            serin,
            programs,
            options,
            port,
            etcd_port,
            controller_manager: None,
            apiserver: None,
            etcd,
        };
        this.write_kubeconfig(&this.admin, &this.admin.kubeconfig, "default")?;
        this.write_kubeconfig(&this.serin, &this.serin.kubeconfig, "default")?;
        this.start_apiserver()?;
        this.apply_crds()?;
        this.start_controller_manager()?;
        Ok(this)
    }

    /// Writes a kubeconfig for `user`, with `namespace` as the default one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write_kubeconfig(
        &self,
        user: &User,
        path: &Path,
        namespace: &str,
    ) -> io::Result<()> {
        let text = format!(
            "apiVersion: v1
kind: Config
current-context: test
clusters:
- name: test
  cluster: {{server: \"{url}\", certificate-authority: \"{ca}\"}}
users:
- name: {name}
  user: {{token: \"{token}\"}}
contexts:
- name: test
  context: {{cluster: test, user: {name}, namespace: {namespace}}}
",
            url = self.url,
            ca = self.ca.display(),
            name = user.name,
            token = user.token,
        );
        fs::write(path, text)
    }

    /// `kubectl` as the admin; add arguments and run it.
    pub(crate) fn kubectl(&self) -> Command {
        let mut kubectl = Command::new(&self.programs.kubectl);
        kubectl.arg("--kubeconfig").arg(&self.admin.kubeconfig);
        // Where it keeps what it has learned of the API: not in the user's home.
        kubectl
            .arg("--cache-dir")
            .arg(self.dir.join("kubectl-cache"));
        kubectl
    }

    /// `kubectl apply -f -` as the admin.
    ///
    /// # Errors
    /// What kubectl said on failure.
    pub(crate) fn apply(&self, manifest: &str) -> io::Result<()> {
        let mut kubectl = self.kubectl();
        kubectl.args(["apply", "-f", "-"]).stdin(Stdio::piped());
        kubectl.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = kubectl.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(manifest.as_bytes())?;
        }
        succeeded("kubectl apply", &child.wait_with_output()?)
    }

    /// Gives the controller's ServiceAccount what deploy/ gives it, and no more.
    ///
    /// # Errors
    /// What kubectl said on failure.
    pub(crate) fn give_serin_its_rights(&self) -> io::Result<()> {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kustomize/base");
        for file in ["namespace.yaml", "rbac.yaml"] {
            let mut kubectl = self.kubectl();
            kubectl.args(["apply", "-f"]).arg(base.join(file));
            succeeded("kubectl apply", &kubectl.output()?)?;
        }
        Ok(())
    }

    /// Lets the controller's ServiceAccount do everything, for measurements and for earlier builds, whose rights
    /// were others.
    ///
    /// # Errors
    /// What kubectl said on failure.
    pub(crate) fn let_serin_do_everything(&self) -> io::Result<()> {
        let mut kubectl = self.kubectl();
        kubectl.args(["create", "clusterrolebinding", "serin-may-do-everything"]);
        kubectl.args(["--clusterrole=cluster-admin", "--user", ACCOUNT]);
        succeeded("kubectl create clusterrolebinding", &kubectl.output()?)
    }

    /// What the user `serin` has written, and asked: one JSON object a line (audit.k8s.io/v1 Event). Writes are
    /// there with request and response, reads by their metadata.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    /// Where the nodes write what Prometheus is to scrape, one file a node.
    pub(crate) fn targets_dir(&self) -> PathBuf {
        self.dir.join("targets")
    }

    /// Where etcd answers, without TLS.
    pub(crate) fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_port)
    }

    /// The running kube-apiserver, to freeze it for instance.
    pub(crate) fn apiserver(&self) -> Option<&Process> {
        self.apiserver.as_ref()
    }

    /// The running etcd, to freeze it for instance.
    pub(crate) fn etcd(&self) -> &Process {
        &self.etcd
    }

    /// Kills the API server: clients see refused connections until [`ControlPlane::start_apiserver`].
    pub(crate) fn kill_apiserver(&mut self) {
        self.apiserver = None;
    }

    /// Starts the API server, at first or again on the same port and data.
    ///
    /// # Errors
    /// When it does not get ready.
    pub(crate) fn start_apiserver(&mut self) -> io::Result<()> {
        self.apiserver = None;
        let command = self.apiserver_command();
        let log = self.dir.join("kube-apiserver.log");
        let mut process = Process::start("kube-apiserver", &command, &log)?;
        process.wait_until(START_LIMIT, || self.answers())?;
        self.apiserver = Some(process);
        Ok(())
    }

    /// Kills the Kubernetes controllers: ReplicaSets make no pods until
    /// [`ControlPlane::start_controller_manager`].
    pub(crate) fn kill_controller_manager(&mut self) {
        self.controller_manager = None;
    }

    /// Starts the Kubernetes controllers, at first or again.
    ///
    /// # Errors
    /// When the program cannot be started. That it works shows when it acts.
    pub(crate) fn start_controller_manager(&mut self) -> io::Result<()> {
        self.controller_manager = None;
        if self.options.without_controllers {
            return Ok(());
        }
        let command = self.controller_manager_command();
        let log = self.dir.join("kube-controller-manager.log");
        let process = Process::start("kube-controller-manager", &command, &log)?;
        self.controller_manager = Some(process);
        Ok(())
    }

    fn apply_crds(&self) -> io::Result<()> {
        let Some(crds) = &self.options.crds else {
            return Ok(());
        };
        let applied = self.kubectl().arg("apply").arg("-f").arg(crds).output()?;
        succeeded("kubectl apply -f crds", &applied)?;
        let established = [
            "wait",
            "--for=condition=established",
            "--timeout=60s",
            "crd",
            "--all",
        ];
        succeeded(
            "kubectl wait for crds",
            &self.kubectl().args(established).output()?,
        )
    }

    fn answers(&self) -> bool {
        // kubectl is the one TLS client that is here anyway.
        self.ca.exists()
            && self
                .kubectl()
                .args(["get", "--raw", "/readyz"])
                .output()
                .is_ok_and(|output| output.status.success())
    }

    fn apiserver_command(&self) -> Command {
        let mut command = Command::new(&self.programs.apiserver);
        let at = |name: &str| self.dir.join(name).display().to_string();
        let key = at("account.key");
        command.args([
            format!("--etcd-servers={}", self.etcd_url()),
            format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--cert-dir={}", at("certs")),
            format!("--token-auth-file={}", at("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={key}"),
            format!("--service-account-signing-key-file={key}"),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            // Nobody serves the accounts that it would give to pods.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            // The `kubernetes` Service would need an address that is not loopback.
            "--endpoint-reconciler-type=none".to_owned(),
            "--max-requests-inflight=3000".to_owned(),
            "--max-mutating-requests-inflight=1000".to_owned(),
            format!("--audit-policy-file={}", at("audit-policy.yaml")),
            format!("--audit-log-path={}", self.audit_log().display()),
        ]);
        command.args(&self.options.apiserver_args);
        command
    }

    fn controller_manager_command(&self) -> Command {
        let mut command = Command::new(&self.programs.controller_manager);
        command.arg(format!("--kubeconfig={}", self.admin.kubeconfig.display()));
        command.arg(format!("--controllers={}", CONTROLLERS.join(",")));
        command.args([
            "--secure-port=0",
            "--use-service-account-credentials=false",
            "--leader-elect=false",
            // The default of 20 requests per second would measure this program in place of serin.
            "--kube-api-qps=3000",
            "--kube-api-burst=5000",
            "--concurrent-replicaset-syncs=20",
            "--concurrent-deployment-syncs=20",
        ]);
        command.args(&self.options.controller_manager_args);
        command
    }
}

/// The Kubernetes controllers that a rollout meets. The node lifecycle is left out: our node sends no heartbeats.
const CONTROLLERS: [&str; 9] = [
    "deployment-controller",
    "replicaset-controller",
    "job-controller",
    "garbage-collector-controller",
    "endpointslice-controller",
    "namespace-controller",
    "disruption-controller",
    "horizontal-pod-autoscaler-controller",
    "resourcequota-controller",
];

/// The name of the controller's ServiceAccount as the API server knows it.
const ACCOUNT: &str = "system:serviceaccount:serin-system:serin";

const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: RequestResponse
  users: ['system:serviceaccount:serin-system:serin']
  verbs: [create, update, patch, delete, deletecollection]
- level: Metadata
  users: ['system:serviceaccount:serin-system:serin']
- level: None
";

fn start_etcd(programs: &ControlPlanePrograms, dir: &Path, port: u16) -> io::Result<Process> {
    let peers = format!("http://127.0.0.1:{}", free_port());
    let clients = format!("http://127.0.0.1:{port}");
    let mut command = Command::new(&programs.etcd);
    command.arg(format!("--data-dir={}", dir.join("etcd").display()));
    command.arg(format!("--listen-client-urls={clients}"));
    command.arg(format!("--advertise-client-urls={clients}"));
    command.arg(format!("--listen-peer-urls={peers}"));
    command.arg(format!("--initial-advertise-peer-urls={peers}"));
    command.arg(format!("--initial-cluster=default={peers}"));
    // A test's data need not survive a power cut.
    command.args([
        "--unsafe-no-fsync",
        "--log-level=warn",
        "--quota-backend-bytes=4294967296",
    ]);
    let mut process = Process::start("etcd", &command, &dir.join("etcd.log"))?;
    process.wait_until(START_LIMIT, || {
        http::get(port, "/health").is_ok_and(|a| a.0 == 200)
    })?;
    Ok(process)
}

/// The key that service account tokens are signed with, made anew for each control plane.
fn write_account_key(dir: &Path) -> io::Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args([
        "ecparam",
        "-name",
        "prime256v1",
        "-genkey",
        "-noout",
        "-out",
    ]);
    openssl.arg(dir.join("account.key"));
    let output = openssl.output().map_err(|cause| {
        io::Error::other(format!(
            "openssl: {cause}; run tests/control-plane/install.sh"
        ))
    })?;
    succeeded("openssl ecparam", &output)
}

fn succeeded(what: &str, output: &Output) -> io::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!(
        "{what} failed ({}): {}",
        output.status,
        said.trim()
    )))
}
