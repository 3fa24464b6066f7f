//! What is measured, part by part, and in which order things are done so that the numbers mean what they say.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Flags;
use crate::audit::Asked;
use crate::load::{self, FIRST, Fleet, Kind, NAMESPACE};
use crate::report::Report;
use crate::stage::{Controller, Stage};
use crate::usage::{self, Between, Moment};

/// Time after the last thing happened: trailing events are written, and memory is given back.
const SETTLE: Duration = Duration::from_secs(10);

/// Most memory with no Rollout, and with a large index, in MiB.
const IDLE_RSS: f64 = 20.0;
const INDEX_RSS: f64 = 40.0;

/// Size of the binary, and how fast it starts.
pub(crate) async fn start(flags: &Flags, dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let size = std::fs::metadata(&flags.binary)?.len();
    report.at_most(18.0, "binary", count(size) / 1024.0 / 1024.0, "MiB");
    let stage = Stage::set(dir, &flags.binary).await?;
    let (mut healthy, mut ready) = (vec![], vec![]);
    for _ in 0..11 {
        let (to_healthy, to_ready) = stage.time_start()?;
        healthy.push(to_healthy * 1000.0);
        ready.push(to_ready * 1000.0);
    }
    report.runs("start to /healthz", &healthy, "ms");
    report.runs("start to /readyz (every kind listed)", &ready, "ms");
    Ok(())
}

/// Memory, CPU and writes while nothing happens.
pub(crate) async fn idle(flags: &Flags, dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut stage = Stage::set(dir, &flags.binary).await?;
    let fleet = Fleet::new(&stage.client, Kind::Rollout, 1, 0);
    let mut there = 0;
    for &wanted in &flags.idle {
        if wanted > there {
            let controller = stage.controller().await?;
            fleet.create(there..wanted).await?;
            fleet
                .wait(wanted, FIRST, Instant::now(), flags.limit)
                .await?;
            there = wanted;
            tokio::time::sleep(SETTLE).await;
            let (now, peak) = usage::memory(controller.pid())?;
            report.row(&format!("RSS after making {wanted} Rollouts"), now, "MiB");
            report.row(
                &format!("peak RSS while making {wanted} Rollouts"),
                peak,
                "MiB",
            );
            controller.stop().await?;
        }
        let controller = stage.controller().await?;
        tokio::time::sleep(SETTLE).await;
        let tail = stage.tail()?;
        let cpu = usage::cpu(controller.pid())?;
        tokio::time::sleep(flags.idle_for).await;
        let used = usage::cpu(controller.pid())? - cpu;
        let asked = tail.read()?;
        let (now, peak) = usage::memory(controller.pid())?;
        let seconds = flags.idle_for.as_secs_f64();
        let limit = if wanted == 0 { IDLE_RSS } else { f64::INFINITY };
        report.at_most(limit, &format!("idle with {wanted}: RSS"), now, "MiB");
        report.row(
            &format!("idle with {wanted}: peak RSS since its start"),
            peak,
            "MiB",
        );
        report.row(
            &format!("idle with {wanted}: CPU"),
            used / seconds * 100.0,
            "% of one CPU",
        );
        report.at_most(
            0.0,
            &format!("idle with {wanted}: writes"),
            f64::from(asked.all_writes()),
            "",
        );
        report.row(
            &format!("idle with {wanted}: events"),
            f64::from(asked.events),
            "",
        );
        report.row(
            &format!("idle with {wanted}: renewals of the Lease"),
            f64::from(asked.leases),
            "",
        );
        report.row(
            &format!("idle with {wanted}: reads"),
            total(asked.reads.values()),
            "",
        );
        controller.stop().await?;
    }
    Ok(())
}

/// A new image for all Rollouts at once.
pub(crate) async fn updates(
    flags: &Flags,
    dir: &Path,
    report: &mut Report,
    rollouts: usize,
    replicas: usize,
) -> anyhow::Result<()> {
    let mut stage = Stage::set(dir, &flags.binary).await?;
    let controller = stage.controller().await?;
    let fleet = Fleet::new(&stage.client, Kind::Rollout, replicas, 0);
    let begun = Instant::now();
    fleet.create(0..rollouts).await?;
    let times = fleet.wait(rollouts, FIRST, begun, flags.limit).await?;
    report.row("Rollouts", count(rollouts as u64), "");
    report.row("replicas of each", count(replicas as u64), "");
    report.row("made and healthy after", last(&times), "s");
    tokio::time::sleep(SETTLE).await;
    report.row(
        "RSS before the updates",
        usage::memory(controller.pid())?.0,
        "MiB",
    );
    let mut rounds = vec![];
    for run in 0..flags.runs {
        let image = format!("example/web:{}", run + 2);
        rounds.push(round(flags, &stage, &controller, &fleet, rollouts, &image).await?);
    }
    tell(report, &rounds, rollouts);
    let (now, _) = usage::memory(controller.pid())?;
    report.row("RSS after the updates", now, "MiB");
    controller.stop().await?;
    Ok(())
}

/// What one update of all of them took.
struct Round {
    times: Vec<f64>,
    /// Of the controller, in seconds.
    cpu: f64,
    peak: f64,
    asked: Asked,
    between: Between,
}

async fn round(
    flags: &Flags,
    stage: &Stage,
    controller: &Controller,
    fleet: &Fleet,
    rollouts: usize,
    image: &str,
) -> anyhow::Result<Round> {
    let tail = stage.tail()?;
    usage::forget_peak(controller.pid())?;
    let cpu = usage::cpu(controller.pid())?;
    let before = Moment::now()?;
    let begun = Instant::now();
    let (changed, times) = tokio::join!(
        fleet.set_image(rollouts, image),
        fleet.wait(rollouts, image, begun, flags.limit)
    );
    changed?;
    let between = Moment::now()?.since(&before);
    tokio::time::sleep(SETTLE).await;
    Ok(Round {
        times: times?,
        cpu: usage::cpu(controller.pid())? - cpu,
        peak: usage::memory(controller.pid())?.1,
        asked: tail.read()?,
        between,
    })
}

fn tell(report: &mut Report, rounds: &[Round], rollouts: usize) {
    let each = count(rollouts as u64);
    let all = |of: &dyn Fn(&Round) -> f64| rounds.iter().map(of).collect::<Vec<f64>>();
    report.runs(
        "all healthy on the new version after",
        &all(&|r| last(&r.times)),
        "s",
    );
    let half = |r: &Round| r.times.get(r.times.len() / 2).copied().unwrap_or_default();
    report.runs("half of them after", &all(&half), "s");
    report.runs(
        "CPU of the controller, a Rollout",
        &all(&|r| r.cpu * 1000.0 / each),
        "ms",
    );
    report.runs("peak RSS of the controller", &all(&|r| r.peak), "MiB");
    let writes = |r: &Round| f64::from(r.asked.all_writes()) / each;
    report.runs("writes, a Rollout (without events)", &all(&writes), "");
    for what in names(rounds, |r| r.asked.writes.keys()) {
        let of = |r: &Round| f64::from(r.asked.writes.get(&what).copied().unwrap_or(0)) / each;
        report.runs(&format!("  {what}"), &all(&of), "");
    }
    report.runs(
        "events written, a Rollout",
        &all(&|r| f64::from(r.asked.events) / each),
        "",
    );
    for what in names(rounds, |r| r.asked.reads.keys()) {
        let of = |r: &Round| f64::from(r.asked.reads.get(&what).copied().unwrap_or(0)) / each;
        report.runs(&format!("read: {what}, a Rollout"), &all(&of), "");
    }
    for what in names(rounds, |r| r.asked.refused.keys()) {
        let of = |r: &Round| f64::from(r.asked.refused.get(&what).copied().unwrap_or(0));
        report.runs(&format!("refused: {what}, in all"), &all(&of), "");
    }
    machine(
        report,
        &rounds.iter().map(|r| &r.between).collect::<Vec<_>>(),
    );
}

/// Who used the machine meanwhile.
fn machine(report: &mut Report, rounds: &[&Between]) {
    let names = names(rounds, |b| b.ours.keys());
    for name in names {
        let of = |b: &&Between| b.ours.get(&name).copied().unwrap_or_default();
        report.runs(
            &format!("CPU seconds of {name}"),
            &rounds.iter().map(of).collect::<Vec<_>>(),
            "s",
        );
    }
    let busy: Vec<f64> = rounds.iter().map(|b| b.others * 100.0).collect();
    report.runs("machine used by others meanwhile", &busy, "%");
}

fn names<'a, T, K>(rounds: &'a [T], of: impl Fn(&'a T) -> K) -> Vec<String>
where
    K: Iterator<Item = &'a String>,
{
    let mut names: Vec<String> = rounds.iter().flat_map(of).cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// The same with Deployments.
pub(crate) async fn deployments(
    flags: &Flags,
    dir: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    let stage = Stage::set(dir, &flags.binary).await?;
    let fleet = Fleet::new(&stage.client, Kind::Deployment, 2, 0);
    fleet.create(0..flags.count).await?;
    fleet
        .wait(flags.count, FIRST, Instant::now(), flags.limit)
        .await?;
    tokio::time::sleep(SETTLE).await;
    let (mut seconds, mut rounds) = (vec![], vec![]);
    for run in 0..flags.runs {
        let image = format!("example/web:{}", run + 2);
        let before = Moment::now()?;
        let begun = Instant::now();
        let (changed, times) = tokio::join!(
            fleet.set_image(flags.count, &image),
            fleet.wait(flags.count, &image, begun, flags.limit)
        );
        changed?;
        seconds.push(last(&times?));
        rounds.push(Moment::now()?.since(&before));
        tokio::time::sleep(SETTLE).await;
    }
    report.row("Deployments", count(flags.count as u64), "");
    report.runs("all on the new version after", &seconds, "s");
    machine(report, &rounds.iter().collect::<Vec<_>>());
    Ok(())
}

/// Rollouts of the index part; each has [`HISTORY`] old ReplicaSets and a current one.
const ROLLOUTS: usize = 2000;
const HISTORY: usize = 10;
/// Settings that make a template of about 3 KB.
const SETTINGS: usize = 28;

/// Memory with a large index. All sizes are 0, so that no pods are needed.
pub(crate) async fn index(flags: &Flags, dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut stage = Stage::set(dir, &flags.binary).await?;
    let fleet = Fleet::new(&stage.client, Kind::Rollout, 0, SETTINGS);
    let begun = Instant::now();
    let controller = stage.controller().await?;
    fleet.create(0..ROLLOUTS).await?;
    fleet
        .wait(ROLLOUTS, FIRST, Instant::now(), flags.limit)
        .await?;
    controller.stop().await?;
    history(&stage, flags.limit).await?;
    report.row("set up after", begun.elapsed().as_secs_f64(), "s");
    // This one brings the revision numbers up to date; the next one finds everything in order.
    let controller = stage.controller().await?;
    quiet(&stage, flags.limit).await?;
    let (now, peak) = usage::memory(controller.pid())?;
    report.row("RSS after a turn of each", now, "MiB");
    report.row("peak RSS until then", peak, "MiB");
    controller.stop().await?;
    let begun = Instant::now();
    let controller = stage.controller().await?;
    report.row("start to /readyz", begun.elapsed().as_secs_f64(), "s");
    quiet(&stage, flags.limit).await?;
    tokio::time::sleep(SETTLE).await;
    let (now, peak) = usage::memory(controller.pid())?;
    report.at_most(INDEX_RSS, "RSS after everything is listed", now, "MiB");
    report.row("peak RSS since its start", peak, "MiB");
    controller.stop().await?;
    Ok(())
}

/// Waits until the controller has asked nothing for a while.
async fn quiet(stage: &Stage, limit: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let tail = stage.tail()?;
        tokio::time::sleep(SETTLE).await;
        let asked = tail.read()?;
        if asked.all_writes() == 0 && asked.events == 0 && asked.reads.is_empty() {
            return Ok(());
        }
        anyhow::ensure!(
            begun.elapsed() < limit,
            "the controller does not come to rest"
        );
    }
}

/// Gives every Rollout its old ReplicaSets, as earlier updates would have left them.
async fn history(stage: &Stage, limit: Duration) -> anyhow::Result<()> {
    let rollouts = load::api(&stage.client, "argoproj.io", "v1alpha1", "Rollout");
    let sets = load::api(&stage.client, "apps", "v1", "ReplicaSet");
    let all = rollouts.list(&kube::api::ListParams::default()).await?;
    let owners = all
        .items
        .into_iter()
        .filter_map(|rollout| Some((rollout.metadata.name?, rollout.metadata.uid?)));
    let manifests =
        owners.flat_map(|(name, uid)| (0..HISTORY).map(move |number| old_set(&name, &uid, number)));
    load::create_all(&sets, manifests).await?;
    // Kubernetes reports each of them once, in about the order in which they were made.
    let begun = Instant::now();
    for number in (0..ROLLOUTS).step_by(100).chain([ROLLOUTS - 1]) {
        let name = load::name(number);
        let name = format!("{name}-{}", hash(&name, HISTORY - 1));
        while sets
            .get(&name)
            .await?
            .data
            .pointer("/status/observedGeneration")
            .is_none()
        {
            anyhow::ensure!(begun.elapsed() < limit, "{name} is not reported on");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}

/// The pod hash of an old ReplicaSet: no two Rollouts and no two revisions share one.
fn hash(rollout: &str, number: usize) -> String {
    format!("{number:02}old{}", rollout.trim_start_matches("w-"))
}

fn old_set(rollout: &str, uid: &str, number: usize) -> Value {
    let hash = hash(rollout, number);
    let labels = json!({"app": rollout, "rollouts-pod-template-hash": hash});
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{rollout}-{hash}"), "namespace": NAMESPACE, "labels": labels,
            "annotations": {
                "rollout.argoproj.io/revision": (number + 1).to_string(),
                "rollout.argoproj.io/desired-replicas": "0",
                "serin.dev/template": format!("v1:{:064x}", number),
            },
            "ownerReferences": [{
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": rollout, "uid": uid,
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [load::container(&format!("example/web:old-{number}"), SETTINGS)]},
            },
        },
    })
}

fn total<'a>(counts: impl Iterator<Item = &'a u32>) -> f64 {
    f64::from(counts.sum::<u32>())
}

fn last(times: &[f64]) -> f64 {
    times.last().copied().unwrap_or_default()
}

fn count(n: u64) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}
