//! Sharding: a fixed number of Leases, of which every replica holds a fair share. A replica says that
//! it is there by a heartbeat in one Lease that all share; who works on a shard is decided by that
//! shard's Lease alone. What to wish for is decided in `shards`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::client::{CALL_LIMIT, CallError, Kind, Rest, Target};
use super::clock;
use super::lease::{Candidate, Election, Guard, Try};
use super::shards::{Members, Wish, shard_of};

/// Annotation of a member in the shared Lease.
const MEMBER: &str = "serin.dev/member-";

/// The right to write, shard by shard; without shards there is one for everything.
#[derive(Debug)]
pub struct Offices(Vec<Office>);

/// One shard's, or the only one.
#[derive(Debug)]
struct Office {
    guard: Guard,
    term: Mutex<Option<u64>>,
}

impl Offices {
    /// One for everything, with this guard.
    pub fn one(guard: Guard) -> Self {
        Self(vec![Office {
            guard,
            term: Mutex::new(None),
        }])
    }

    /// One for each shard, none of them held.
    pub fn of_shards(count: u32) -> Self {
        let office = |_| Office {
            guard: Guard::closed(),
            term: Mutex::new(None),
        };
        Self((0..count.max(1)).map(office).collect())
    }

    /// The guard of everything, where there are no shards.
    pub fn guard(&self) -> Option<&Guard> {
        match self.0.as_slice() {
            [one] => Some(&one.guard),
            _ => None,
        }
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// True while a write in this namespace may be sent.
    pub fn may_write(&self, namespace: &str) -> bool {
        self.of(namespace).is_some_and(|o| o.guard.may_write())
    }

    /// The term of this namespace's shard; `None` while another holds it.
    pub fn term(&self, namespace: &str) -> Option<u64> {
        *self.of(namespace)?.lock()
    }

    /// Whether a namespace is in this shard.
    pub fn is_in(&self, namespace: &str, shard: u32) -> bool {
        self.shard(namespace) == shard
    }

    fn shard(&self, namespace: &str) -> u32 {
        shard_of(namespace, self.count())
    }

    fn of(&self, namespace: &str) -> Option<&Office> {
        self.get(self.shard(namespace))
    }

    fn get(&self, shard: u32) -> Option<&Office> {
        self.0.get(usize::try_from(shard).ok()?)
    }

    /// Nothing more is written in this shard. True when it was held.
    fn leave(&self, shard: u32) -> bool {
        self.get(shard).is_some_and(Office::leave)
    }

    fn is_any_held(&self) -> bool {
        self.0.iter().any(|office| office.lock().is_some())
    }
}

impl Office {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.term.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self) -> bool {
        self.guard.close();
        self.lock().take().is_some()
    }
}

/// What a member says of itself.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
struct Beat {
    who: String,
    /// Changes with every beat: that it changes shows that it lives.
    beat: u64,
    holds: Vec<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Shared {
    metadata: Meta,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    annotations: Option<BTreeMap<String, String>>,
}

/// One shard, as this replica sees it.
#[derive(Debug)]
struct Shard {
    candidate: Candidate,
    renewed: Option<Instant>,
    /// It is being given back since then: nothing is written, and calls under way may end.
    leaving: Option<Instant>,
}

/// A replica among others.
#[derive(Debug)]
pub struct Sharder {
    election: Election,
    rest: Rest,
    shards: Vec<Shard>,
    beat: u64,
    /// Members by annotation: what they said last, and when that was new.
    seen: BTreeMap<String, (String, Instant)>,
}

impl Sharder {
    /// One that holds nothing yet. The Leases are named for the number of shards, so that replicas
    /// which were told different numbers do not share anything.
    pub fn new(election: &Election, count: u32, rest: &Rest) -> Self {
        let shard = |i: u32| {
            let name = format!("{}-shard-{i}-of-{count}", election.name);
            let election = Election {
                name,
                ..election.clone()
            };
            Shard {
                candidate: Candidate::new(election, rest.clone()),
                renewed: None,
                leaving: None,
            }
        };
        let election = Election {
            name: format!("{}-members-of-{count}", election.name),
            ..election.clone()
        };
        Self {
            shards: (0..count).map(shard).collect(),
            election,
            rest: rest.clone(),
            beat: 0,
            seen: BTreeMap::new(),
        }
    }

    /// Holds its share until `stop`, then gives it back. `moved` is told of every shard that comes (true) or
    /// goes; `terms` is set while there is any.
    pub async fn run(
        mut self,
        offices: &Offices,
        terms: &watch::Sender<Option<u64>>,
        moved: impl Fn(u32, bool),
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            self.round(offices, &moved).await;
            let is_any = offices.is_any_held().then_some(0);
            terms.send_if_modified(|now| std::mem::replace(now, is_any) != is_any);
            let rest = self.election.retry_period;
            if tokio::time::timeout(rest, stop.wait_for(|s| *s))
                .await
                .is_ok()
            {
                break;
            }
        }
        for office in &offices.0 {
            office.leave();
        }
        let held = self.shards.iter_mut().filter(|s| s.renewed.is_some());
        join_all(held.map(|s| s.candidate.release())).await;
        let key = self.key();
        self.tell(json!({key: null})).await.unwrap_or_default();
    }

    async fn round(&mut self, offices: &Offices, moved: &impl Fn(u32, bool)) {
        let holds = self.holds();
        self.beat(holds).await;
        let count = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        let wish = self.living().wish(&self.election.identity, count);
        self.let_go(&wish, offices, moved).await;
        let (started, tick) = (clock::instant(), clock::ticks());
        let numbered = (0_u32..).zip(self.shards.iter_mut());
        let tries = numbered
            .filter(|(i, s)| s.renewed.is_some() || wish.take.contains(i))
            .map(|(i, s)| async move { (i, s.candidate.attempt().await) });
        for (i, outcome) in join_all(tries).await {
            self.settle(i, outcome, (started, tick), offices, moved);
        }
        self.expire(offices, moved);
    }

    fn settle(
        &mut self,
        i: u32,
        outcome: Result<Try, CallError>,
        (started, tick): (Instant, u64),
        offices: &Offices,
        moved: &impl Fn(u32, bool),
    ) {
        let shard = usize::try_from(i).ok().and_then(|i| self.shards.get_mut(i));
        let (Some(shard), Some(office)) = (shard, offices.get(i)) else {
            return;
        };
        match outcome {
            Ok(Try::Held(term)) => {
                shard.renewed = Some(started);
                if shard.leaving.is_some() {
                    return;
                }
                office.guard.open_until(tick, self.election.write_window());
                if office.lock().replace(term) != Some(term) {
                    tracing::info!(shard = i, term, "leading");
                    moved(i, true);
                }
            }
            Ok(Try::Other(holder)) => {
                if shard.renewed.take().is_some() {
                    tracing::warn!(shard = i, holder, "no longer leading");
                }
                shard.leaving = None;
                if office.leave() {
                    moved(i, false);
                }
            }
            Err(error) => shard.candidate.report(&error),
        }
    }

    /// Begins to give back what is more than the share, and ends what was begun.
    async fn let_go(&mut self, wish: &Wish, offices: &Offices, moved: &impl Fn(u32, bool)) {
        let now = clock::instant();
        for (i, shard) in (0_u32..).zip(self.shards.iter_mut()) {
            if wish.give.contains(&i) && shard.renewed.is_some() && shard.leaving.is_none() {
                tracing::info!(shard = i, "giving a shard back");
                if offices.leave(i) {
                    moved(i, false);
                }
                shard.leaving = Some(now);
            }
            // A call that was sent before may take so long.
            let is_over = shard
                .leaving
                .is_some_and(|since| now.duration_since(since) >= CALL_LIMIT);
            if is_over {
                shard.candidate.release().await;
                (shard.renewed, shard.leaving) = (None, None);
            }
        }
    }

    /// What could not be renewed in time is held no longer.
    fn expire(&mut self, offices: &Offices, moved: &impl Fn(u32, bool)) {
        for (i, shard) in (0_u32..).zip(self.shards.iter_mut()) {
            let limit = self.election.renew_deadline;
            if shard.renewed.is_some_and(|since| since.elapsed() >= limit) {
                tracing::warn!(
                    shard = i,
                    "no longer leading: the lease could not be renewed in time"
                );
                (shard.renewed, shard.leaving) = (None, None);
                if offices.leave(i) {
                    moved(i, false);
                }
            }
        }
    }

    fn holds(&self) -> Vec<u32> {
        let numbered = (0_u32..).zip(&self.shards);
        numbered
            .filter(|(_, s)| s.renewed.is_some())
            .map(|(i, _)| i)
            .collect()
    }

    /// The annotation of this replica.
    fn key(&self) -> String {
        let digest = Sha256::digest(self.election.identity.as_bytes());
        let short: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        format!("{MEMBER}{short}")
    }

    /// Tells the others that it lives and what it holds, and learns the same of them. What cannot be
    /// told changes nothing: the Leases decide.
    async fn beat(&mut self, holds: Vec<u32>) {
        self.beat = self.beat.wrapping_add(1);
        let who = self.election.identity.clone();
        let beat = Beat {
            who,
            beat: self.beat,
            holds,
        };
        let mut told = Map::from_iter([(self.key(), json!(json!(beat).to_string()))]);
        // Those that are long gone are taken out by whoever comes by.
        for (key, (_, since)) in &self.seen {
            if since.elapsed() > self.election.lease_duration.saturating_mul(4) {
                told.insert(key.clone(), Value::Null);
            }
        }
        match self.tell(Value::Object(told)).await {
            Ok(all) => self.listen(all),
            Err(error) => tracing::warn!(%error, "the other replicas could not be told"),
        }
    }

    async fn tell(&self, annotations: Value) -> Result<BTreeMap<String, String>, CallError> {
        let Election {
            namespace, name, ..
        } = &self.election;
        let target = Target {
            kind: Kind::Lease,
            namespace,
            name,
        };
        let patch = json!({"metadata": {"annotations": annotations}});
        let answer = match self.rest.merge(target, None, &patch).await {
            Err(CallError::NotFound(_)) => {
                let mut lease = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": name, "namespace": namespace},
                });
                if let Some(map) = annotations.as_object() {
                    let there = map.iter().filter(|(_, value)| !value.is_null());
                    let there: Map<String, Value> =
                        there.map(|(k, v)| (k.clone(), v.clone())).collect();
                    lease["metadata"]["annotations"] = Value::Object(there);
                }
                self.rest
                    .create(Kind::Lease, namespace, &lease, false)
                    .await?
            }
            other => other?,
        };
        let shared: Shared = answer.read()?;
        Ok(shared.metadata.annotations.unwrap_or_default())
    }

    fn listen(&mut self, all: BTreeMap<String, String>) {
        let now = clock::instant();
        let mut seen = std::mem::take(&mut self.seen);
        for (key, value) in all {
            if !key.starts_with(MEMBER) {
                continue;
            }
            let since = match seen.remove(&key) {
                Some((before, since)) if before == value => since,
                Some(_) | None => now,
            };
            self.seen.insert(key, (value, since));
        }
    }

    /// Who has said something new of late: a member that is silent for three beats has no share.
    fn living(&self) -> Members {
        let limit = self.election.retry_period.saturating_mul(3) + Duration::from_secs(1);
        let seen = self.seen.values();
        let fresh = seen.filter(|(_, since)| since.elapsed() < limit);
        let beats = fresh.filter_map(|(text, _)| serde_json::from_str::<Beat>(text).ok());
        let mut all: BTreeMap<String, Vec<u32>> = beats.map(|b| (b.who, b.holds)).collect();
        // Itself it knows best, also when it could not say so.
        all.insert(self.election.identity.clone(), self.holds());
        Members(all)
    }
}
