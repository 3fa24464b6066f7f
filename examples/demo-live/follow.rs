//! Watches the live objects of one namespace and gathers their changes into bursts: what one turn of the controller
//! does reaches a watcher as several changes a few milliseconds apart. Knows the client; tells no story.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll, select_all};
use futures::{StreamExt, future};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::events::v1::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serin::api::{AnalysisRun, POD_HASH_LABEL, Rollout};
use serin::planner::lower::lower;
use serin::planner::spec::Spec;
use serin::view::story::{Scene, SetSeen};
use serin::view::timeline::Pods;

/// The namespace of examples/live.
pub(crate) const NAMESPACE: &str = "astra-agents";
/// The Rollout of examples/live.
pub(crate) const NAME: &str = "support-agent";
/// A burst ends when nothing came for so long.
const QUIET: Duration = Duration::from_millis(150);
/// A burst lasts at most so long.
const LONGEST: Duration = Duration::from_millis(600);
/// An empty burst is given after so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is known of the live objects.
pub(crate) struct Follower {
    news: SelectAll<BoxStream<'static, News>>,
    rollout: Option<(Rollout, Option<Spec>)>,
    sets: BTreeMap<String, Set>,
    runs: BTreeMap<String, AnalysisRun>,
    /// How often each event was seen, by uid.
    events: HashMap<String, i32>,
}

/// What of a ReplicaSet is shown.
struct Set {
    hash: String,
    image: String,
    pods: Pods,
}

enum News {
    Rollout(Box<Rollout>),
    Set(Box<ReplicaSet>),
    SetGone(String),
    Run(Box<AnalysisRun>),
    Event(Box<Event>),
    Nothing,
}

/// What came together, besides the state.
#[derive(Default)]
pub(crate) struct Burst {
    /// Runs as they were and as they are.
    pub(crate) runs: Vec<(AnalysisRun, AnalysisRun)>,
    /// Events about the Rollout, in order.
    pub(crate) events: Vec<Said>,
}

/// An event about the Rollout.
pub(crate) struct Said {
    at: Option<Timestamp>,
    pub(crate) reason: String,
    pub(crate) note: String,
    pub(crate) is_warning: bool,
}

impl Follower {
    /// Watches from now on.
    pub(crate) fn start(client: Client) -> Self {
        let rollouts = watch(&client, |rollout, is_there| match is_there {
            true => News::Rollout(Box::new(rollout)),
            false => News::Nothing,
        });
        let sets = watch(&client, |set: ReplicaSet, is_there| match is_there {
            true => News::Set(Box::new(set)),
            false => News::SetGone(set.name_any()),
        });
        let runs = watch(&client, |run, _| News::Run(Box::new(run)));
        let events = watch(&client, |event, is_there| match is_there {
            true => News::Event(Box::new(event)),
            false => News::Nothing,
        });
        Self {
            news: select_all([rollouts, sets, runs, events]),
            rollout: None,
            sets: BTreeMap::new(),
            runs: BTreeMap::new(),
            events: HashMap::new(),
        }
    }

    /// The next changes that come together; none when nothing changes for a while.
    pub(crate) async fn burst(&mut self) -> Burst {
        let mut burst = Burst::default();
        let first = tokio::time::timeout(PATIENCE, self.news.next()).await;
        let Ok(Some(first)) = first else {
            return burst;
        };
        self.take(first, &mut burst);
        let end = tokio::time::Instant::now() + LONGEST;
        let mut quiet = tokio::time::Instant::now() + QUIET;
        while let Ok(Some(news)) = tokio::time::timeout_at(quiet.min(end), self.news.next()).await {
            self.take(news, &mut burst);
            quiet = tokio::time::Instant::now() + QUIET;
        }
        // Several tasks of the controller write events: they may come in another order.
        burst.events.sort_by_key(|said| said.at);
        burst
    }

    /// The state as it is; none before the Rollout is there.
    pub(crate) fn scene(&self) -> Option<Scene<'_>> {
        let (rollout, spec) = self.rollout.as_ref()?;
        let status = rollout.status.as_ref()?;
        let has_role = |hash: &String| {
            status.stable_rs.as_ref() == Some(hash)
                || status.current_pod_hash.as_ref() == Some(hash)
        };
        // Old versions at 0 take no part.
        let sets = self.sets.iter();
        let sets = sets.filter(|(_, set)| set.pods != Pods::default() || has_role(&set.hash));
        let sets = sets.map(|(name, set)| SetSeen {
            name,
            hash: &set.hash,
            image: &set.image,
            pods: set.pods,
        });
        Some(Scene {
            namespace: NAMESPACE,
            rollout: NAME,
            spec: spec.as_ref(),
            is_frozen: rollout.spec.paused == Some(true),
            status,
            sets: sets.collect(),
            behind: BTreeMap::default(),
        })
    }

    /// True when the status is about the spec as it is now.
    pub(crate) fn is_observed(&self) -> bool {
        let Some((rollout, _)) = &self.rollout else {
            return false;
        };
        let observed = rollout.status.as_ref();
        let observed = observed.and_then(|status| status.observed_generation.as_deref());
        observed.and_then(|text| text.parse().ok()) == rollout.metadata.generation
    }

    fn take(&mut self, news: News, burst: &mut Burst) {
        match news {
            News::Rollout(rollout) => {
                let spec = lower(&rollout).ok();
                self.rollout = Some((*rollout, spec));
            }
            News::Set(set) => {
                let name = set.name_any();
                if let Some(set) = Set::of(&set) {
                    self.sets.insert(name, set);
                }
            }
            News::SetGone(name) => drop(self.sets.remove(&name)),
            News::Run(run) => {
                let name = run.name_any();
                let fresh = || AnalysisRun::new(&name, run.spec.clone());
                let before = self.runs.insert(name.clone(), AnalysisRun::clone(&run));
                let mut known = burst.runs.iter_mut();
                match known.find(|(before, _)| before.name_any() == name) {
                    Some((_, after)) => *after = *run,
                    None => burst.runs.push((before.unwrap_or_else(fresh), *run)),
                }
            }
            News::Event(event) => burst.events.extend(self.said(*event)),
            News::Nothing => {}
        }
    }

    /// An event about the Rollout that was not seen before, or happened again.
    fn said(&mut self, event: Event) -> Option<Said> {
        let about = event.regarding.as_ref()?;
        if about.kind.as_deref() != Some("Rollout") || about.name.as_deref() != Some(NAME) {
            return None;
        }
        let count = event.series.as_ref().map_or(1, |series| series.count);
        if self.events.insert(event.uid()?, count) >= Some(count) {
            return None;
        }
        let again = event.series.map(|series| series.last_observed_time.0);
        Some(Said {
            at: again.or(event.event_time.map(|time| time.0)),
            reason: event.reason.unwrap_or_default(),
            note: event.note.unwrap_or_default(),
            is_warning: event.type_.as_deref() == Some("Warning"),
        })
    }
}

impl Set {
    fn of(set: &ReplicaSet) -> Option<Self> {
        let hash = set.labels().get(POD_HASH_LABEL)?.clone();
        let template = set.spec.as_ref()?.template.as_ref()?;
        let container = template.spec.as_ref()?.containers.first()?;
        let status = set.status.as_ref();
        let count = |number: Option<i32>| number.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        Some(Self {
            hash,
            image: container.image.clone().unwrap_or_default(),
            pods: Pods {
                available: count(status.and_then(|status| status.available_replicas)),
                total: count(status.map(|status| status.replicas)),
            },
        })
    }
}

/// All objects of a kind in the namespace, and whether each is there or gone.
fn watch<K>(
    client: &Client,
    news: impl Fn(K, bool) -> News + Copy + Send + 'static,
) -> BoxStream<'static, News>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + Send + DeserializeOwned + 'static,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(client.clone(), NAMESPACE);
    let events = watcher(api, watcher::Config::default()).default_backoff();
    let news = events.filter_map(move |event| {
        future::ready(match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                Some(news(object, true))
            }
            Ok(watcher::Event::Delete(object)) => Some(news(object, false)),
            Ok(watcher::Event::Init | watcher::Event::InitDone) => None,
            Err(trouble) => {
                eprintln!("demo-live: watch: {trouble}");
                None
            }
        })
    });
    news.boxed()
}
