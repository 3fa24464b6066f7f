//! One real control plane with one node for all tests of this process, and a namespace for each test.
//!
//! ```ignore
//! #[tokio::test]
//! async fn a_deployment_gets_its_pods() {
//!     let Some(cluster) = cluster::shared() else { return };
//!     let space = cluster.space("deployment");            // a namespace, deleted when dropped
//!     space.apply("{apiVersion: apps/v1, kind: Deployment, …}");
//!     let done = |it: Option<&Deployment>| it.is_some_and(|it| …);
//!     space.wait("pods are available", "web", done).await; // fails with the object as it was last seen
//! }
//! ```

use std::ffi::OsString;
use std::fmt::Debug;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;
use serin::deploy::rights::{LEASE, rules};

use crate::bench::control_plane::{ControlPlane, Options, User};
use crate::bench::node::Node;
use crate::bench::prometheus::{PodLabels, Prometheus};
use crate::bench::scratch;

/// How long a test waits for what must happen: a failure's time, not a measure of speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The parts that tests share.
pub(crate) struct Cluster {
    /// The control plane, with crds/ applied; its user `serin` has the rights of deploy/'s rbac.yaml.
    pub(crate) plane: ControlPlane,
    _node: Option<Node>,
}

/// The shared cluster, started by the first test that asks. None where `SERIN_APISERVER` is not set: such tests do
/// nothing then. With `SERIN_APISERVER=start`, as `make test` has it, a control plane that does not start is a failure.
pub(crate) fn shared() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
    if !is_wanted() {
        return None;
    }
    let cluster = CLUSTER.get_or_init(|| start().map_err(|trouble| trouble.to_string()));
    Some(
        cluster
            .as_ref()
            .unwrap_or_else(|trouble| panic!("no control plane: {trouble}")),
    )
}

/// Whether tests on a real API server are to run.
pub(crate) fn is_wanted() -> bool {
    match std::env::var("SERIN_APISERVER").as_deref() {
        Ok("start") => true,
        Err(_) => {
            eprintln!("skipped: set SERIN_APISERVER=start to run this on a real API server");
            false
        }
        Ok(other) => panic!("SERIN_APISERVER={other}: set it to `start`, or unset it"),
    }
}

/// This process's directory for logs and data; that of an earlier run stays until the next run.
pub(crate) fn dir() -> &'static Path {
    static DIR: OnceLock<std::path::PathBuf> = OnceLock::new();
    DIR.get_or_init(|| scratch(Path::new(env!("CARGO_TARGET_TMPDIR")), "suite").unwrap())
}

/// A control plane beside the shared one, with or without a node. It ends with this process.
pub(crate) fn apart(name: &str, options: Options, has_node: bool) -> &'static Cluster {
    let folder = dir().join(name);
    let plane = ControlPlane::start_with(&folder.join("plane"), options).unwrap();
    let node =
        has_node.then(|| Node::start(&folder, &plane, &format!("{name}-node"), &[]).unwrap());
    Box::leak(Box::new(Cluster { plane, _node: node }))
}

fn start() -> std::io::Result<Cluster> {
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let options = Options {
        crds: Some(crds),
        // Who makes what somebody owns needs a right to the owner: live_rights.rs shows that serin has it.
        apiserver_args: vec![
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned(),
        ],
        ..Options::default()
    };
    let plane = ControlPlane::start_with(&dir().join("plane"), options)?;
    plane.give_serin_its_rights()?;
    // Enough for a gate: 100 tasks of one agent in the 20 s that tests look back.
    let node = Node::start(
        dir(),
        &plane,
        "node-1",
        &["--agent-env", "AGENT_SELF_LOAD=5"],
    )?;
    Ok(Cluster {
        plane,
        _node: Some(node),
    })
}

/// A Prometheus for all tests that only ask it; one that is to be killed is started by its test.
pub(crate) fn prometheus(labels: PodLabels) -> &'static Prometheus {
    static ALL: OnceLock<Prometheus> = OnceLock::new();
    static NAME_ONLY: OnceLock<Prometheus> = OnceLock::new();
    let (slot, name) = match labels {
        PodLabels::All => (&ALL, "prometheus"),
        PodLabels::NameOnly => (&NAME_ONLY, "prometheus-name-only"),
    };
    let plane = &shared().expect("only asked with a cluster").plane;
    slot.get_or_init(|| Prometheus::start(&dir().join(name), plane, labels).unwrap())
}

/// A client for `user`.
pub(crate) async fn client(user: &User) -> Client {
    // Fails only when it is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let kubeconfig = Kubeconfig::read_from(&user.kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

impl Cluster {
    /// A new namespace whose name starts with `name`.
    pub(crate) async fn space(&'static self, name: &str) -> Space {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let namespace = format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let manifest =
            format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}");
        self.plane.apply(&manifest).unwrap();
        Space {
            plane: &self.plane,
            namespace,
            client: client(&self.plane.admin).await,
        }
    }
}

/// A test's namespace. Dropping it deletes it; where the test fails, its objects are shown before.
pub(crate) struct Space {
    plane: &'static ControlPlane,
    /// Its name.
    pub(crate) namespace: String,
    /// The admin's client.
    pub(crate) client: Client,
}

impl Space {
    /// The objects of a kind in this namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Lets the controller's ServiceAccount keep Leases here: a controller under test is at home in its test's
    /// namespace.
    pub(crate) fn is_home(&self) {
        let rules = rules([&LEASE]);
        self.apply(&format!(
            "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: serin-lease}}
rules:
{rules}---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: serin-lease}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: serin-lease}}
subjects: [{{kind: ServiceAccount, name: serin, namespace: serin-system}}]
"
        ));
    }

    /// Gives the controller rights that it has only where somebody asks for them: what
    /// `serin deploy generate-rbac` prints with these flags is applied. A flag's value follows this namespace's name.
    pub(crate) fn grant(&self, flags: &[(&str, &str)]) {
        let mut deploy = Command::new(env!("CARGO_BIN_EXE_serin"));
        deploy.args(["deploy", "generate-rbac"]);
        for (flag, what) in flags {
            deploy.arg(format!("{flag}={}{what}", self.namespace));
        }
        let rbac = deploy.output().unwrap();
        assert!(rbac.status.success(), "{rbac:?}");
        self.plane
            .apply(&String::from_utf8(rbac.stdout).unwrap())
            .unwrap();
    }

    /// `kubectl ARGS --namespace THIS`, as the admin; its output. Panics with what it said when it fails.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        let output = self
            .plane
            .kubectl()
            .args(["--namespace", &self.namespace])
            .args(args)
            .output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "kubectl {}: {said}",
            args.join(" ")
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The `kubectl` program, for one that is to be another user.
    pub(crate) fn kubectl_program(&self) -> OsString {
        self.plane.kubectl().get_program().to_owned()
    }

    /// `kubectl apply` of a manifest that names no namespace.
    pub(crate) fn apply(&self, manifest: &str) {
        let file = dir().join(format!("{}.yaml", self.namespace));
        std::fs::write(&file, manifest).unwrap();
        self.kubectl(&["apply", "-f", &file.display().to_string()]);
    }

    /// [`wait`] for an object in this namespace.
    pub(crate) async fn wait<K>(
        &self,
        what: &str,
        name: &str,
        condition: impl Condition<K>,
    ) -> Option<K>
    where
        K: Resource<Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Send
            + DeserializeOwned
            + 'static,
        K::DynamicType: Default,
    {
        wait(&self.api::<K>(), what, name, condition).await
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let show = |args: &[&str]| {
            let mut kubectl = self.plane.kubectl();
            if let Ok(output) = kubectl
                .args(["--namespace", &self.namespace])
                .args(args)
                .output()
            {
                eprintln!("{}", String::from_utf8_lossy(&output.stdout));
            }
        };
        if thread::panicking() {
            eprintln!(
                "namespace {} at the end; logs are in {}",
                self.namespace,
                dir().display()
            );
            show(&["get", "all", "-o", "wide"]);
            show(&["get", "events", "--sort-by=.metadata.creationTimestamp"]);
        }
        show(&[
            "delete",
            "namespace",
            &self.namespace,
            "--wait=false",
            "--output=name",
        ]);
    }
}

/// Waits until the object `name` is as `condition` says, absence included, and gives it back.
/// Panics after [`PATIENCE`] with the object as it is then.
pub(crate) async fn wait<K>(
    api: &Api<K>,
    what: &str,
    name: &str,
    condition: impl Condition<K>,
) -> Option<K>
where
    K: Resource + Clone + Debug + Send + DeserializeOwned + 'static,
{
    let met = await_condition(api.clone(), name, condition);
    match tokio::time::timeout(PATIENCE, met).await {
        Ok(met) => met.unwrap(),
        Err(_) => panic!(
            "never saw that {what}; {name} is {:#?}",
            api.get_opt(name).await
        ),
    }
}

/// Asks again and again until there is an answer, for what cannot be watched. Panics after [`PATIENCE`].
pub(crate) async fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let answer = tokio::time::timeout(PATIENCE, asking).await;
    answer.unwrap_or_else(|_| panic!("never saw that {what}"))
}
