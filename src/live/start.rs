//! Wires everything up: faces first, then streams, election and turns; and takes it down in order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::analysis::Tasks;
use super::client::{Clients, Kind, Rest};
use super::clock;
use super::controller::Controller;
use super::crds::Definitions;
use super::events::Events;
use super::http::{self, Faces};
use super::lease::{Candidate, Election, Guard};
use super::metrics::{self, Sources};
use super::scope::Scope;
use super::settings::Settings;
use super::sharding::{Offices, Sharder};
use super::stores::Index;
use super::watch::{Absence, Change, Feed, Health, Versioned};
use super::workloads::Workloads;
use crate::planner::workload::WorkloadKind;
use crate::providers::{Cluster, Pool};

/// Objects per page of a list: few, because a page is in memory twice while it is read.
const PAGE: u32 = 100;
/// Longest time that an adapter of metrics is waited for.
const METRICS_LIMIT: Duration = Duration::from_secs(30);
/// Longest time that waiting events are given when the process ends.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// Kinds of which a replica knows only what is in its shards. Freeze windows are for all.
const DIVIDED: [Kind; 5] = [
    Kind::Rollout,
    Kind::ReplicaSet,
    Kind::AnalysisRun,
    Kind::Service,
    Kind::Experiment,
];

/// Runs the controller until `stop` is set, then drains: turns end, events are written, the Lease is
/// given back.
///
/// # Errors
/// When an address cannot be bound, or the configuration gives no client.
pub async fn run(
    settings: Settings,
    config: &kube::Config,
    pool: Pool,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let faces = Arc::new(Shown::default());
    let (health, shown) = http::serve(
        settings.health_address,
        settings.metrics_address,
        Arc::<Shown>::clone(&faces),
    )
    .await?;
    tracing::info!(%health, metrics = %shown, "serving");
    let clients = Clients::new(config)?;
    let (term_sender, terms) = watch::channel(None);
    let offices = match &settings.election {
        None => Offices::one(Guard::open()),
        Some(_) if settings.shards > 1 => Offices::of_shards(settings.shards),
        Some(_) => Offices::one(Guard::closed()),
    };
    let index = Index::default();
    if offices.guard().is_none() {
        index.divide(settings.shards);
    }
    let events = Arc::new(Events::new(clients.events.clone(), &settings.instance));
    let controller = Arc::new(Controller {
        tasks: Tasks::new(pool),
        scope: Scope::new(offices.count(), DIVIDED.len()),
        index: Arc::new(index),
        queue: Arc::default(),
        templates: [Arc::default(), Arc::default()],
        offices,
        terms,
        events,
        stats: Arc::default(),
        definitions: Arc::new(Definitions::default()),
        feeds: [
            "rollouts",
            "replicasets",
            "analysisruns",
            "freezewindows",
            "clusterfreezewindows",
            "services",
            "experiments",
        ]
        .map(|n| (n, Arc::default()))
        .into(),
        memory: Mutex::new(HashMap::new()),
        workloads: Workloads::default(),
        clients,
        settings,
    });
    faces.show(&controller);
    let rest = controller.clients.work.clone();
    controller.tasks.connect(Arc::new(MetricsApi(rest)));
    // Streams are aborted with the set when this function returns.
    let mut streams = tokio::task::JoinSet::new();
    follow(&controller, &mut streams);
    let writer = Arc::clone(&controller.events);
    streams.spawn(async move { writer.run().await });

    let (release, released) = watch::channel(false);
    let this = Arc::clone(&controller);
    let election = tokio::spawn(async move {
        match this.settings.election.clone() {
            Some(election) => elect(&this, &election, &term_sender, released).await,
            None => {
                term_sender.send_replace(Some(0));
                wait(released).await;
            }
        }
    });
    controller.run(stop).await;
    tracing::info!("draining");
    controller.events.flush(FLUSH_LIMIT).await;
    release.send_replace(true);
    if let Err(error) = election.await {
        tracing::warn!(%error, "the election ended badly");
    }
    Ok(())
}

/// Leads everything, or a share of the shards, until `released`.
async fn elect(
    this: &Arc<Controller>,
    election: &Election,
    terms: &watch::Sender<Option<u64>>,
    released: watch::Receiver<bool>,
) {
    let leases = &this.clients.leases;
    match this.offices.guard() {
        Some(guard) => {
            let candidate = Candidate::new(election.clone(), leases.clone());
            candidate.run(guard, terms, released).await;
        }
        None => {
            let sharder = Sharder::new(election, this.settings.shards, leases);
            let moved = |shard, is_here| this.shard_moved(shard, is_here);
            sharder.run(&this.offices, terms, moved, released).await;
        }
    }
}

async fn wait(mut flag: watch::Receiver<bool>) {
    // An error means that the sender is gone: then there is nothing to wait for either.
    drop(flag.wait_for(|is_set| *is_set).await);
}

/// One stream per kind: trigger and store at once.
fn follow(controller: &Arc<Controller>, streams: &mut tokio::task::JoinSet<()>) {
    let settings = &controller.settings;
    let instance = settings.instance_selector();
    spawn(
        controller,
        streams,
        (Kind::Rollout, 0, instance.clone()),
        Index::wire_rollout,
    );
    spawn(
        controller,
        streams,
        (Kind::ReplicaSet, 1, settings.set_selector()),
        Index::replica_set,
    );
    spawn(
        controller,
        streams,
        (Kind::AnalysisRun, 2, instance),
        Index::analysis_run,
    );
    // Freezes are for every instance.
    spawn(
        controller,
        streams,
        (Kind::FreezeWindow, 3, String::new()),
        Index::freeze,
    );
    spawn(
        controller,
        streams,
        (Kind::ClusterFreezeWindow, 4, String::new()),
        Index::cluster_freeze,
    );
    spawn(
        controller,
        streams,
        (Kind::Service, 5, String::new()),
        Index::service_change,
    );
    follow_templates(controller, streams);
    spawn(
        controller,
        streams,
        (Kind::Experiment, 6, settings.instance_selector()),
        Index::experiment_change,
    );
    for kind in WorkloadKind::ALL {
        let this = Arc::clone(controller);
        streams.spawn(async move { this.follow_workloads(kind, PAGE).await });
    }
}

fn spawn<T>(
    controller: &Arc<Controller>,
    streams: &mut tokio::task::JoinSet<()>,
    (kind, feed, selector): (Kind, usize, String),
    apply: fn(&Index, Change<T>) -> Vec<super::stores::Key>,
) where
    T: serde::de::DeserializeOwned + Versioned + Clone + Send + 'static,
{
    let health: Arc<Health> = controller
        .feeds
        .get(feed)
        .map(|(_, h)| Arc::clone(h))
        .unwrap_or_default();
    let namespace = controller.settings.namespace.as_deref();
    let (is_ours, is_of_cluster) = match kind {
        Kind::FreezeWindow => (true, false),
        Kind::ClusterFreezeWindow => (true, true),
        _ => (false, false),
    };
    let divided = DIVIDED.iter().position(|of| *of == kind);
    let feed = Feed {
        rest: controller.clients.watches.clone(),
        requests: kind.requests(namespace.filter(|_| !is_of_cluster)),
        selector,
        page: PAGE,
        metadata_only: false,
        health,
        epochs: divided.map(|_| controller.scope.epochs()),
        // Who may look at one namespace only cannot see what is of the cluster.
        absence: match (is_ours, is_of_cluster && namespace.is_some()) {
            (false, _) => Absence::IsTrouble,
            (true, false) => Absence::IsNone,
            (true, true) => Absence::OrForbiddenIsNone,
        },
    };
    let this = Arc::clone(controller);
    streams.spawn(async move {
        let mut began = 0;
        feed.follow(move |change| {
            let is_complete = matches!(change, Change::ListEnds(_));
            if matches!(change, Change::ListBegins) {
                began = this.scope.epoch();
            }
            this.wake(apply(&this.index, change));
            if let Some(stream) = divided.filter(|_| is_complete) {
                let known = this.scope.listed(stream, began);
                known.into_iter().for_each(|shard| this.wake_shard(shard));
            }
        })
        .await;
    });
}

/// Templates, for metrics alone: no turn waits for them.
fn follow_templates(controller: &Arc<Controller>, streams: &mut tokio::task::JoinSet<()>) {
    let namespace = controller.settings.namespace.as_deref();
    let kinds = [Kind::AnalysisTemplate, Kind::ClusterAnalysisTemplate];
    for (kind, templates) in kinds.into_iter().zip(&controller.templates) {
        let is_of_cluster = kind == Kind::ClusterAnalysisTemplate;
        let feed = Feed {
            rest: controller.clients.watches.clone(),
            requests: kind.requests(namespace.filter(|_| !is_of_cluster)),
            selector: String::new(),
            page: PAGE,
            metadata_only: false,
            health: Arc::default(),
            epochs: None,
            // Older roles let templates be read one by one only.
            absence: Absence::OrForbiddenIsNone,
        };
        let templates = Arc::clone(templates);
        streams.spawn(async move { feed.follow(move |change| templates.change(change)).await });
    }
}

fn since_1970(t: jiff::Timestamp) -> f64 {
    t.duration_since(jiff::Timestamp::UNIX_EPOCH).as_secs_f64()
}

/// The metrics APIs of the cluster, for the provider that asks them.
struct MetricsApi(Rest);

impl Cluster for MetricsApi {
    fn get(&self, path: String) -> BoxFuture<'static, Result<(u16, Vec<u8>), String>> {
        let rest = self.0.clone();
        async move {
            let answer = rest.raw(&path, METRICS_LIMIT).await;
            answer.map_err(|_| "no clear answer from the API server".to_owned())
        }
        .boxed()
    }
}

/// What the faces show: nothing much until the controller is wired up.
#[derive(Default)]
struct Shown {
    inner: OnceLock<(Arc<Controller>, prometheus_client::registry::Registry)>,
}

impl Shown {
    fn show(&self, controller: &Arc<Controller>) {
        let sources = Sources {
            index: Arc::clone(&controller.index),
            stats: Arc::clone(&controller.stats),
            templates: controller.templates.clone(),
            queue: Arc::clone(&controller.queue),
            calls: Arc::clone(&controller.clients.calls),
            feeds: controller.feeds.clone(),
            dropped: controller.events.dropped(),
            started: since_1970(clock::now()),
        };
        self.inner
            .get_or_init(|| (Arc::clone(controller), metrics::registry(sources)));
    }
}

impl Faces for Shown {
    fn not_ready(&self) -> Vec<String> {
        match self.inner.get() {
            Some((controller, _)) => controller.shut(),
            None => vec!["starting".to_owned()],
        }
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        if let Some((_, registry)) = self.inner.get()
            && prometheus_client::encoding::text::encode(&mut text, registry).is_err()
        {
            tracing::error!("metrics could not be written");
        }
        text
    }
}
