//! Upgrade from an older build and rollback to it, in the middle of updates, on a real control plane: as a
//! Deployment does it, the next controller standing by before the one that leads goes. No pod is touched
//! by any of that, and every step goes on.
//!
//! `make upgrade` builds serin as it was at the commit where shipping it began, and runs this;
//! `SERIN_UPGRADE_FROM` is the folder with that build: `serin`, `crds/` and `rbac.yaml`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;
use serin::api::{AnalysisRun, Rollout};

use crate::bench::control_plane::{Options, User};
use crate::bench::prometheus::{PodLabels, Prometheus};
use crate::cluster::{self, Cluster, Space, until};
use crate::controller::{Serin, at, phase, web};
use crate::live_blue_green::pair;
use crate::live_slo::agent;

/// The folder of the older build; says how to get one where there is none.
fn former() -> Option<PathBuf> {
    let folder = std::env::var_os("SERIN_UPGRADE_FROM").map(PathBuf::from);
    if folder.is_none() {
        eprintln!(
            "skipped: `make upgrade` builds the older controller that this upgrades from, and runs it"
        );
    }
    folder.filter(|_| cluster::is_wanted())
}

/// An installation that is upgraded and rolled back.
struct Release {
    cluster: &'static Cluster,
    former: PathBuf,
    prometheus: String,
    running: Option<Serin>,
    count: u32,
}

/// One of the two builds.
#[derive(Clone, Copy)]
enum Build {
    Former,
    Ours,
}

impl Release {
    fn kubectl(&self, args: &[&str]) -> String {
        let output = self.cluster.plane.kubectl().args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The definitions and rights that come with a build.
    fn apply(&self, build: Build) {
        let ours = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (crds, rbac) = match build {
            Build::Former => (self.former.join("crds"), self.former.join("rbac.yaml")),
            Build::Ours => {
                let rbac = cluster::dir().join("upgrade-rbac.yaml");
                let mut deploy = Command::new(env!("CARGO_BIN_EXE_serin"));
                let text = deploy.args(["deploy", "generate-rbac"]).output().unwrap();
                std::fs::write(&rbac, text.stdout).unwrap();
                (ours.join("crds"), rbac)
            }
        };
        for path in [crds, rbac] {
            self.kubectl(&["apply", "-f", &path.display().to_string()]);
        }
        let all = ["wait", "--for=condition=established", "crd", "--all"];
        self.kubectl(&all);
    }

    /// With the rights of the ServiceAccount, whatever those are now, and no others.
    fn user(&self) -> User {
        let token = self.kubectl(&["create", "token", "serin", "--namespace=serin-system"]);
        let user = User {
            name: "serin",
            token: token.trim().to_owned(),
            kubeconfig: cluster::dir().join("upgrade.kubeconfig"),
        };
        let plane = &self.cluster.plane;
        plane
            .write_kubeconfig(&user, &user.kubeconfig, "default")
            .unwrap();
        user
    }

    /// Replaces what runs as a rolling update does: the next one is ready, then the one before is stopped.
    /// Returns when the new one has looked at every Rollout of these namespaces.
    async fn roll(&mut self, build: Build, spaces: &[&Space]) {
        self.apply(build);
        self.count += 1;
        let program = match build {
            Build::Former => self.former.join("serin"),
            Build::Ours => PathBuf::from(env!("CARGO_BIN_EXE_serin")),
        };
        let prometheus = format!("--prometheus={}", self.prometheus);
        let name = format!("upgrade-{}", self.count);
        let plane = &self.cluster.plane;
        let next = Serin::start_program(&program, plane, &self.user(), &name, &[&prometheus]);
        next.ready().await;
        if let Some(mut before) = self.running.take() {
            assert!(!next.log().contains(" leading "), "it stands by");
            before.process.ask_to_stop();
            until("the one before ends", || before.process.ended()).await;
        }
        let looked = || {
            let log = next.log();
            let turns: BTreeSet<&str> = log.lines().filter(|l| l.contains("turn")).collect();
            let is_seen = |space: &&Space| {
                let name = format!("rollout={}/", space.namespace);
                let quoted = format!("rollout=\"{}/", space.namespace);
                turns
                    .iter()
                    .any(|l| l.contains(&name) || l.contains(&quoted))
            };
            spaces.iter().all(is_seen).then_some(())
        };
        until("it has looked at everything", looked).await;
        self.running = Some(next);
    }
}

/// Everything of the pods and sizes that an update of the controller must leave alone.
async fn untouched(space: &Space) -> (Vec<String>, Vec<String>) {
    let all = ListParams::default();
    let pods = space.api::<Pod>().list(&all).await.unwrap();
    let mut pods: Vec<String> = pods
        .iter()
        .map(|p| {
            let version = p.resource_version().unwrap_or_default();
            format!("{} {} {version}", p.name_any(), p.uid().unwrap_or_default())
        })
        .collect();
    let sets = space.api::<ReplicaSet>().list(&all).await.unwrap();
    let size = |s: &ReplicaSet| s.spec.as_ref().and_then(|s| s.replicas).unwrap_or_default();
    let mut sets: Vec<String> = sets
        .iter()
        .map(|s| {
            format!(
                "{} {} {}",
                s.name_any(),
                s.uid().unwrap_or_default(),
                size(s)
            )
        })
        .collect();
    pods.sort();
    sets.sort();
    (pods, sets)
}

async fn all_untouched(spaces: &[&Space]) -> Vec<(Vec<String>, Vec<String>)> {
    let mut all = vec![];
    for space in spaces {
        all.push(untouched(space).await);
    }
    all
}

/// Measurements of the gate of the version that goes out, and the run's uid.
async fn measured(space: &Space) -> (BTreeSet<String>, usize) {
    let runs = space.api::<AnalysisRun>();
    let runs = runs.list(&ListParams::default()).await.unwrap();
    let going = runs.iter().filter(|run| {
        let phase = run.status.as_ref().and_then(|s| s.phase.as_deref());
        !matches!(
            phase,
            Some("Successful" | "Failed" | "Error" | "Inconclusive")
        )
    });
    let mut uids = BTreeSet::new();
    let mut count = 0;
    for run in going {
        uids.extend(run.uid());
        let results = run.status.iter().filter_map(|s| s.metric_results.as_ref());
        let counts = results
            .flatten()
            .map(|r| r.count.unwrap_or(0).unsigned_abs());
        count += usize::try_from(counts.max().unwrap_or(0)).unwrap();
    }
    (uids, count)
}

/// Waits until the gate has measured again, twice.
async fn gate_goes_on(space: &Space, what: &str) {
    let (uids, before) = measured(space).await;
    assert_eq!(uids.len(), 1, "{what}: one gate runs");
    for _ in 0..300 {
        let (now, count) = measured(space).await;
        if now == uids && count >= before + 2 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("{what}: the gate stands still at {before} measurements");
}

fn pause_began(rollout: &Rollout) -> Option<String> {
    let conditions = rollout.status.as_ref()?.pause_conditions.as_ref()?;
    let began = conditions.first()?.start_time.as_ref()?;
    Some(began.0.to_string())
}

const WAITING: &str = "{steps: [{setWeight: 40}, {pause: {}}, {setWeight: 80}, {pause: {}}]}";
const MANUAL: &str = "{activeService: live, previewService: next, autoPromotionEnabled: false, scaleDownDelaySeconds: 600}";

fn service(name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}}}"
    )
}

fn healthy_on(tag: &'static str) -> impl Fn(Option<&Rollout>) -> bool {
    move |r| {
        let is_stable = |r: &Rollout| {
            let status = r.status.as_ref();
            status.is_some_and(|s| s.stable_rs.is_some() && s.stable_rs == s.current_pod_hash)
        };
        let is_of =
            |r: &Rollout| serde_json::to_string(&r.spec.template).is_ok_and(|t| t.contains(tag));
        phase("Healthy")(r) && r.is_some_and(|r| is_stable(r) && is_of(r))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_and_its_rollback_touch_no_pod_of_an_update_under_way() {
    let Some(former) = former() else { return };
    let options = Options {
        crds: Some(former.join("crds")),
        ..Options::default()
    };
    let cluster = cluster::apart("upgrade", options, true);
    let folder = cluster::dir().join("upgrade/prometheus");
    let prometheus = Prometheus::start(&folder, &cluster.plane, PodLabels::All).unwrap();
    let mut release = Release {
        cluster,
        former,
        prometheus: prometheus.url(),
        running: None,
        count: 0,
    };
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: serin-system}}";
    cluster.plane.apply(namespace).unwrap();
    let (timed, manual) = (cluster.space("timed").await, cluster.space("manual").await);
    let (blue, undone) = (cluster.space("blue").await, cluster.space("undone").await);
    let steps = json!([
        {"setWeight": 50}, {"pause": {"duration": "55s"}},
        {"setWeight": 75}, {"pause": {"duration": "55s"}},
    ]);
    let timed_version = |tag: &str| {
        agent(tag, json!({}), steps.clone()).replace("\"replicas\":2", "\"replicas\":4")
    };

    // With the former build: two versions, and two canaries in the middle, one of them under a gate.
    release.roll(Build::Former, &[]).await;
    timed.apply(&timed_version("1.0.0"));
    manual.apply(&web("1", 5, WAITING));
    undone.apply(&web("1", 2, "{}"));
    undone
        .reaches("web", "1 is there", healthy_on("web:1"))
        .await;
    undone.apply(&web("2", 2, "{}"));
    timed
        .reaches("agent", "1 is there", healthy_on("1.0.0"))
        .await;
    manual
        .reaches("web", "1 is there", healthy_on("web:1"))
        .await;
    manual.apply(&web("2", 5, WAITING));
    manual
        .reaches("web", "it waits for a person", at(1, "Paused"))
        .await;
    timed.apply(&timed_version("1.0.1"));
    timed
        .reaches("agent", "it waits for a time", at(1, "Paused"))
        .await;
    gate_goes_on(&timed, "with the former build").await;
    let began = pause_began(&timed.rollout("agent").await);
    let before = (untouched(&timed).await, untouched(&manual).await);
    let gates = measured(&timed).await.0;

    // Upgraded in the middle of both pauses.
    release.roll(Build::Ours, &[&timed, &manual]).await;
    gate_goes_on(&timed, "after the upgrade").await;
    assert_eq!(measured(&timed).await.0, gates, "the same run goes on");
    let now = timed.rollout("agent").await;
    assert!(at(1, "Paused")(Some(&now)), "{:?}", now.status);
    assert_eq!(pause_began(&now), began, "the same pause");
    assert!(at(1, "Paused")(Some(&manual.rollout("web").await)));
    assert_eq!((untouched(&timed).await, untouched(&manual).await), before);

    // The steps go on: the pause ends in its time, the other by a person.
    manual.command("web", "promote", "true");
    manual
        .reaches("web", "the next step", at(3, "Paused"))
        .await;
    assert_eq!(
        manual.sizes().await,
        [("1".to_owned(), 1), ("2".to_owned(), 4)]
    );
    timed
        .reaches("agent", "the next pause", at(3, "Paused"))
        .await;
    gate_goes_on(&timed, "at the next step").await;

    // What only the newer build can do is done and begun, too.
    undone
        .reaches("web", "2 was there", healthy_on("web:2"))
        .await;
    undone.command("web", "undo", "true");
    undone
        .reaches("web", "1 is back", healthy_on("web:1"))
        .await;
    for name in ["live", "next"] {
        blue.apply(&service(name));
    }
    blue.apply(&pair("1", MANUAL));
    blue.reaches("web", "1 is there", healthy_on("web:1")).await;
    blue.apply(&pair("2", MANUAL));
    blue.reaches("web", "it waits for a person", phase("Paused"))
        .await;
    let all = [&timed, &manual, &blue, &undone];
    let began = pause_began(&timed.rollout("agent").await);
    let before = all_untouched(&all).await;

    // Rolled back, with the former definitions and rights.
    release.roll(Build::Former, &all).await;
    gate_goes_on(&timed, "after the rollback").await;
    let now = timed.rollout("agent").await;
    assert!(at(3, "Paused")(Some(&now)), "{:?}", now.status);
    assert_eq!(pause_began(&now), began, "the same pause");
    assert_eq!(all_untouched(&all).await, before);

    // Carried to the end by the former build.
    timed
        .reaches("agent", "1.0.1 is promoted", healthy_on("1.0.1"))
        .await;
    manual.command("web", "promote", "true");
    manual
        .reaches("web", "2 is promoted", healthy_on("web:2"))
        .await;
    assert_eq!(
        manual.sizes().await,
        [("1".to_owned(), 0), ("2".to_owned(), 5)]
    );

    // Upgraded again at rest, and in the middle of what the former build could not carry on.
    let before = all_untouched(&all).await;
    release.roll(Build::Ours, &all).await;
    blue.reaches("web", "the same pause", phase("Paused")).await;
    assert_eq!(all_untouched(&all).await, before);
    blue.command("web", "promote", "true");
    blue.reaches("web", "2 is promoted", healthy_on("web:2"))
        .await;
    for (space, name) in [(&timed, "agent"), (&manual, "web"), (&undone, "web")] {
        let state = space.rollout(name).await;
        assert!(phase("Healthy")(Some(&state)), "{:?}", state.status);
    }
}
