//! Plays a rehearsal's script on the real control plane, and writes down what was written. Knows the moments and
//! verbs of a script as the simulator does; knows the client.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use serin::api::{Rollout, RolloutStatus};
use serin::sim::Rehearsal;
use serin::sim::script::{Action, Plugin, Verb};
use serin::sim::trigger::Moment;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::facts::{Fact, masked};
use crate::cluster::{PATIENCE, Space};

/// Everything seen so far.
#[derive(Default)]
struct Seen {
    /// With the resourceVersion: one counter for all kinds.
    facts: Vec<(u64, Fact)>,
    statuses: Vec<(Instant, RolloutStatus)>,
    /// Versions of the Rollout that the script wrote: not the controller's.
    ours: Vec<u64>,
}

/// A story that is going on.
pub(crate) struct Replay<'a> {
    space: &'a Space,
    rehearsal: &'a Rehearsal,
    name: String,
    seen: Arc<Mutex<Seen>>,
    changes: watch::Receiver<u64>,
    tasks: Vec<JoinHandle<()>>,
    /// Statuses that were there when the last command was given.
    barrier: usize,
    begun: Instant,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl<'a> Replay<'a> {
    /// Watches the namespace, before anything is in it.
    pub(crate) async fn new(space: &'a Space, rehearsal: &'a Rehearsal) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (tell, mut changes) = watch::channel(0);
        let tell = Arc::new(tell);
        let mut tasks = Vec::new();
        let into = Arc::clone(&seen);
        tasks.push(follow(space.api(), Arc::clone(&tell), move |rollout| {
            take_rollout(&mut into.lock().unwrap(), &rollout);
        }));
        let into = Arc::clone(&seen);
        tasks.push(follow(space.api(), tell, move |set| {
            take_set(&mut into.lock().unwrap(), &set);
        }));
        // Both have listed: nothing can be missed from here on.
        changes.wait_for(|count| *count >= 2).await.unwrap();
        Self {
            space,
            rehearsal,
            name: rehearsal.rollout.name_any(),
            seen,
            changes,
            tasks,
            barrier: 0,
            begun: Instant::now(),
        }
    }

    /// The whole story: the first version gets Healthy, then the script, until the status is `last`. What was written,
    /// and what never came.
    pub(crate) async fn play(
        mut self,
        manifest: &str,
        last: &Value,
    ) -> (Vec<Fact>, Option<String>) {
        let played = self.play_all(manifest, last).await;
        (self.facts(), played.err())
    }

    async fn play_all(&mut self, manifest: &str, last: &Value) -> Result<(), String> {
        self.space.apply(manifest);
        self.until("the first version is Healthy", |s| {
            s.moment(Moment::Healthy).map(|_| ())
        })
        .await?;
        // As the simulator: the story begins when nothing changes any more.
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.begun = Instant::now();
        let rehearsal = self.rehearsal;
        for action in &rehearsal.script {
            self.act(action).await?;
        }
        self.until("the status is as in the simulator", |s| {
            let seen = s.seen.lock().unwrap();
            let (_, status) = seen.statuses.last()?;
            (masked(status) == *last).then_some(())
        })
        .await?;
        // What would be written too much comes now.
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(())
    }

    /// In the order of the writes.
    fn facts(&self) -> Vec<Fact> {
        let seen = self.seen.lock().unwrap();
        let mut facts = seen.facts.clone();
        facts.retain(|(version, _)| !seen.ours.contains(version));
        facts.sort_by_key(|(version, _)| *version);
        facts.into_iter().map(|(_, fact)| fact).collect()
    }

    async fn until<T>(
        &mut self,
        what: &str,
        mut ask: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T, String> {
        let limit = Instant::now() + PATIENCE;
        loop {
            self.changes.mark_unchanged();
            if let Some(answer) = ask(self) {
                return Ok(answer);
            }
            if tokio::time::timeout_at(limit, self.changes.changed())
                .await
                .is_err()
            {
                let seen = self.seen.lock().unwrap();
                let status = seen.statuses.last().map(|(_, status)| masked(status));
                let status = serde_json::to_string_pretty(&status).unwrap();
                return Err(format!("never saw that {what}; the status is {status}"));
            }
        }
    }

    /// Since when a moment holds, if it began after the last command.
    fn moment(&self, moment: Moment) -> Option<Instant> {
        let is = |s: &RolloutStatus| match moment {
            Moment::Start => true,
            Moment::Paused => s.pause_conditions.iter().flatten().next().is_some(),
            Moment::Healthy => s.phase.as_deref() == Some("Healthy"),
            Moment::Degraded => s.phase.as_deref() == Some("Degraded"),
            Moment::Aborted => s.abort == Some(true),
            Moment::Weight(_) | Moment::Step(_) | Moment::Held => {
                panic!("{moment} is not played on the real control plane")
            }
        };
        if moment == Moment::Start {
            return Some(self.begun);
        }
        let seen = self.seen.lock().unwrap();
        let run = seen.statuses.iter().rev().take_while(|(_, s)| is(s));
        let first = seen.statuses.len() - run.count();
        let (since, _) = seen.statuses.get(first)?;
        (first >= self.barrier).then_some(*since)
    }

    async fn act(&mut self, action: &Action) -> Result<(), String> {
        let what = format!("{} ({})", action.at, action.place);
        let moment = action.at.moment;
        let since = self.until(&what, |s| s.moment(moment)).await?;
        let delay = Duration::from_millis(u64::try_from(action.at.delay).unwrap());
        tokio::time::sleep_until(since + delay).await;
        // The same verbs as in the simulator's `note_barriers`.
        if !matches!(action.verb, Verb::Scale(_)) {
            self.barrier = self.seen.lock().unwrap().statuses.len();
        }
        self.carry_out(&action.verb).await;
        Ok(())
    }

    async fn carry_out(&self, verb: &Verb) {
        let annotate =
            |key: &str, value: &str| json!({ "metadata": { "annotations": { key: value } } });
        match verb {
            Verb::Image(version) => {
                let rollout = self.space.api::<Rollout>().get(&self.name).await.unwrap();
                let template = rollout.spec.template.unwrap_or_default();
                let mut containers = template.value()["spec"]["containers"].clone();
                containers[0]["image"] = json!(self.rehearsal.image_of(version));
                let template = json!({ "spec": { "containers": containers } });
                self.patch(&json!({ "spec": { "template": template } }))
                    .await;
            }
            Verb::Promote { full: true } => {
                self.patch(&annotate("serin.dev/promote", "full")).await
            }
            Verb::Promote { full: false } => {
                self.patch(&annotate("serin.dev/promote", "true")).await
            }
            Verb::Abort(reason) => self.patch(&annotate("serin.dev/abort", reason)).await,
            Verb::Retry => self.patch(&annotate("serin.dev/retry", "true")).await,
            Verb::Scale(replicas) => {
                self.patch(&json!({ "spec": { "replicas": replicas } }))
                    .await
            }
            Verb::Plugin(Plugin::Abort) => self.patch_status(&json!({ "abort": true })).await,
            Verb::Plugin(Plugin::Retry) => self.patch_status(&json!({ "abort": false })).await,
            Verb::Plugin(Plugin::PromoteFull) => {
                self.patch_status(&json!({ "promoteFull": true })).await;
            }
            // In a pause, which is where the scripts promote.
            Verb::Plugin(Plugin::Promote) => {
                self.patch_status(&json!({ "pauseConditions": null })).await;
            }
            other => panic!("{} is not played on the real control plane", other.text()),
        }
    }

    async fn patch(&self, patch: &Value) {
        let api: Api<Rollout> = self.space.api();
        let patch = Patch::Merge(patch);
        api.patch(&self.name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    async fn patch_status(&self, status: &Value) {
        let api: Api<Rollout> = self.space.api();
        let patch = Patch::Merge(json!({ "status": status }));
        let params = PatchParams::default();
        let answer = api.patch_status(&self.name, &params, &patch).await;
        let written = version(&answer.unwrap());
        self.seen.lock().unwrap().ours.push(written);
    }
}

/// Takes every version of every object of a kind; counts the first list and each change in `tell`.
fn follow<K>(
    api: Api<K>,
    tell: Arc<watch::Sender<u64>>,
    mut take: impl FnMut(K) + Send + 'static,
) -> JoinHandle<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    tokio::spawn(async move {
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
        while let Some(event) = events.next().await {
            match event.unwrap() {
                watcher::Event::Apply(object) | watcher::Event::InitApply(object) => take(object),
                watcher::Event::InitDone => {}
                watcher::Event::Init | watcher::Event::Delete(_) => continue,
            }
            tell.send_modify(|count| *count += 1);
        }
    })
}

fn take_rollout(seen: &mut Seen, rollout: &Rollout) {
    let version = version(rollout);
    let Some(status) = &rollout.status else {
        return;
    };
    if seen.statuses.last().is_some_and(|(_, last)| last == status) {
        return;
    }
    seen.statuses.push((Instant::now(), status.clone()));
    seen.facts
        .push((version, Fact::Status(Box::new(status.clone()))));
}

fn take_set(seen: &mut Seen, set: &ReplicaSet) {
    let to = set
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .map_or(0, i64::from);
    let name = set.name_any();
    let mut last = seen.facts.iter().rev().filter_map(|(_, fact)| match fact {
        Fact::Scale { set, to, .. } if *set == name => Some(*to),
        Fact::Scale { .. } | Fact::Status(_) => None,
    });
    let from = last.next();
    if from != Some(to) {
        let fact = Fact::Scale {
            set: name,
            from,
            to,
        };
        seen.facts.push((version(set), fact));
    }
}

fn version(object: &impl ResourceExt) -> u64 {
    object
        .resource_version()
        .unwrap_or_default()
        .parse()
        .unwrap()
}
