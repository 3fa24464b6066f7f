//! Who is in office: leader election by a Lease, as client-go does it, and the guard that every
//! write must pass. A holder counts as gone when its record did not change for the whole lease
//! duration by *our own monotonic clock*; wall clocks are never compared (K5, I-15).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::client::{Answer, CallError, Kind, Rest, Target};
use super::clock;

/// Who stands by looks this often, though it may retry less often when it leads: a Lease that is
/// given back is taken within a second.
const STANDBY_PERIOD: Duration = Duration::from_millis(700);

/// How election is done.
#[derive(Clone, Debug)]
pub struct Election {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who we are; unique per process.
    pub identity: String,
    /// How long others wait for a silent holder.
    pub lease_duration: Duration,
    /// How long a holder tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// Time between two tries.
    pub retry_period: Duration,
}

impl Election {
    /// Writes stop this long after the last renewal, so that a call which takes its full 5 s still
    /// ends before the renew deadline, and that before the Lease can be taken by others.
    pub(super) fn write_window(&self) -> Duration {
        self.renew_deadline
            .saturating_sub(super::client::CALL_LIMIT)
    }

    /// All faults of the settings, in words.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.lease_duration <= self.renew_deadline {
            faults.push("--leader-election-lease-duration must be longer than --leader-election-renew-deadline".to_owned());
        }
        if self.write_window() <= self.retry_period {
            faults.push(
                "--leader-election-renew-deadline must be longer than --leader-election-retry-period and 5s together: writes stop 5s before it"
                    .to_owned(),
            );
        }
        faults
    }
}

/// Whether writes may be sent now. Shared by every turn.
#[derive(Debug)]
pub struct Guard {
    /// Tick (ms) from which on nothing may be written; `u64::MAX` without election.
    closes_at: AtomicU64,
}

impl Guard {
    /// A guard that lets everything pass, for a controller that runs alone.
    pub fn open() -> Self {
        Self {
            closes_at: AtomicU64::new(u64::MAX),
        }
    }

    /// A guard that lets nothing pass until the Lease is held.
    pub fn closed() -> Self {
        Self {
            closes_at: AtomicU64::new(0),
        }
    }

    /// True while a write may be sent.
    pub fn may_write(&self) -> bool {
        clock::ticks() < self.closes_at.load(Ordering::Acquire)
    }

    pub(super) fn open_until(&self, since: u64, window: Duration) {
        let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        self.closes_at
            .store(since.saturating_add(window), Ordering::Release);
    }

    pub(super) fn close(&self) {
        self.closes_at.store(0, Ordering::Release);
    }
}

/// What of a Lease is read.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct LeaseObject {
    metadata: Meta,
    spec: Record,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    resource_version: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Record {
    holder_identity: Option<String>,
    lease_transitions: Option<u64>,
    acquire_time: Option<String>,
}

impl Record {
    fn holder(&self) -> &str {
        self.holder_identity.as_deref().unwrap_or_default()
    }
}

/// A candidate, and the holder once it has won.
#[derive(Debug)]
pub struct Candidate {
    election: Election,
    rest: Rest,
    /// The Lease as seen last, and since when it has not changed.
    seen: Option<(LeaseObject, Instant)>,
}

/// One try's result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Try {
    /// We hold it, in this term.
    Held(u64),
    /// Someone else does.
    Other(String),
}

impl Candidate {
    /// A candidate that has not tried yet.
    pub fn new(election: Election, rest: Rest) -> Self {
        Self {
            election,
            rest,
            seen: None,
        }
    }

    /// Tries for ever, until `stop` says so; then gives the Lease back if it is held. `terms` tells
    /// the term in office, `None` while there is none.
    pub async fn run(
        mut self,
        guard: &Guard,
        terms: &watch::Sender<Option<u64>>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut renewed: Option<Instant> = None;
        loop {
            let (started, tick) = (clock::instant(), clock::ticks());
            match self.attempt().await {
                Ok(Try::Held(term)) => {
                    renewed = Some(started);
                    guard.open_until(tick, self.election.write_window());
                    if *terms.borrow() != Some(term) {
                        tracing::info!(term, lease = %self.election.name, "leading");
                        terms.send_replace(Some(term));
                    }
                }
                Ok(Try::Other(holder)) => {
                    self.lose(guard, terms, &format!("{holder} holds the lease"));
                    renewed = None;
                }
                Err(error) => self.report(&error),
            }
            if renewed.is_some_and(|t| t.elapsed() >= self.election.renew_deadline) {
                self.lose(guard, terms, "the lease could not be renewed in time");
                renewed = None;
            }
            let pause = match renewed {
                Some(_) => self.election.retry_period,
                None => self.election.retry_period.min(STANDBY_PERIOD),
            };
            let stopped = tokio::time::timeout(pause, stop.wait_for(|s| *s));
            if stopped.await.is_ok() {
                break;
            }
        }
        guard.close();
        if terms.borrow().is_some() {
            self.release().await;
        }
    }

    fn lose(&self, guard: &Guard, terms: &watch::Sender<Option<u64>>, why: &str) {
        guard.close();
        if terms.borrow().is_some() {
            tracing::warn!(lease = %self.election.name, why, "no longer leading");
            terms.send_replace(None);
        }
    }

    pub(super) fn report(&self, error: &CallError) {
        let Election {
            namespace, name, ..
        } = &self.election;
        match error {
            CallError::NotFound(_) => tracing::error!(
                %namespace, %name,
                "there is no such namespace for the Lease: create it, or name another with --leader-election-namespace or POD_NAMESPACE"
            ),
            CallError::Refused { code: 403, message } => tracing::error!(
                %namespace, %name, message,
                "not allowed to use the Lease: serin deploy generate-rbac | kubectl apply -f -"
            ),
            CallError::Conflict(_)
            | CallError::Exists(_)
            | CallError::Refused { .. }
            | CallError::Busy { .. }
            | CallError::Unclear { .. }
            | CallError::Unreadable(_)
            | CallError::Request(_) => {
                tracing::warn!(%namespace, %name, %error, "the Lease could not be tried");
            }
        }
    }

    pub(super) async fn attempt(&mut self) -> Result<Try, CallError> {
        // A holder renews with the version it wrote last and saves the read.
        let held = self
            .seen
            .as_ref()
            .filter(|(l, _)| l.spec.holder() == self.election.identity);
        if let Some((lease, _)) = held.cloned() {
            match self.write(&lease).await {
                Err(CallError::Conflict(_)) => {}
                other => return other,
            }
        }
        match self.rest.get::<LeaseObject>(self.target()).await {
            Ok(lease) => self.consider(lease).await,
            Err(CallError::NotFound(_)) => self.create().await,
            Err(error) => Err(error),
        }
    }

    async fn consider(&mut self, lease: LeaseObject) -> Result<Try, CallError> {
        let now = clock::instant();
        let unchanged_since = match &self.seen {
            Some((seen, since)) if *seen == lease => *since,
            Some(_) | None => now,
        };
        self.seen = Some((lease.clone(), unchanged_since));
        let holder = lease.spec.holder();
        let is_free = holder.is_empty() || holder == self.election.identity;
        let is_silent = now.duration_since(unchanged_since) >= self.election.lease_duration;
        if is_free || is_silent {
            self.write(&lease).await
        } else {
            Ok(Try::Other(holder.to_owned()))
        }
    }

    async fn create(&mut self) -> Result<Try, CallError> {
        let now = micro_time();
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.election.name, "namespace": self.election.namespace},
            "spec": self.record(0, &now, &now),
        });
        let answer = self
            .rest
            .create(Kind::Lease, &self.election.namespace, &lease, false)
            .await?;
        self.took(&answer)
    }

    async fn write(&mut self, lease: &LeaseObject) -> Result<Try, CallError> {
        let now = micro_time();
        let old = &lease.spec;
        let is_ours = old.holder() == self.election.identity;
        let term = old
            .lease_transitions
            .unwrap_or(0)
            .saturating_add(u64::from(!is_ours));
        let acquired = old
            .acquire_time
            .clone()
            .filter(|_| is_ours)
            .unwrap_or_else(|| now.clone());
        let patch = json!({
            "metadata": {"resourceVersion": lease.metadata.resource_version},
            "spec": self.record(term, &acquired, &now),
        });
        let answer = self.rest.merge(self.target(), None, &patch).await?;
        self.took(&answer)
    }

    fn took(&mut self, answer: &Answer) -> Result<Try, CallError> {
        let lease: LeaseObject = answer.read()?;
        let term = lease.spec.lease_transitions.unwrap_or(0);
        self.seen = Some((lease, clock::instant()));
        Ok(Try::Held(term))
    }

    pub(super) async fn release(&mut self) {
        let Some((lease, _)) = &self.seen else { return };
        let now = micro_time();
        let patch = json!({
            "metadata": {"resourceVersion": lease.metadata.resource_version},
            "spec": {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now},
        });
        match self.rest.merge(self.target(), None, &patch).await {
            Ok(_) => tracing::info!(lease = %self.election.name, "lease given back"),
            Err(error) => tracing::warn!(%error, "the lease could not be given back"),
        }
    }

    fn record(&self, term: u64, acquired: &str, renewed: &str) -> Value {
        json!({
            "holderIdentity": self.election.identity,
            "leaseDurationSeconds": self.election.lease_duration.as_secs().max(1),
            "leaseTransitions": term,
            "acquireTime": acquired,
            "renewTime": renewed,
        })
    }

    fn target(&self) -> Target<'_> {
        Target {
            kind: Kind::Lease,
            namespace: &self.election.namespace,
            name: &self.election.name,
        }
    }
}

fn micro_time() -> String {
    format!("{:.6}", clock::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn election(lease: u64, renew: u64, retry: u64) -> Election {
        Election {
            namespace: "serin-system".to_owned(),
            name: "serin-controller".to_owned(),
            identity: "a".to_owned(),
            lease_duration: Duration::from_secs(lease),
            renew_deadline: Duration::from_secs(renew),
            retry_period: Duration::from_secs(retry),
        }
    }

    #[test]
    fn the_usual_times_are_fine_and_impossible_ones_are_named() {
        assert!(election(15, 10, 2).faults().is_empty());
        assert_eq!(election(10, 10, 2).faults().len(), 1);
        assert_eq!(election(15, 6, 2).faults().len(), 1);
    }

    #[test]
    fn writes_pass_only_within_the_window() {
        let guard = Guard::closed();
        assert!(!guard.may_write());
        guard.open_until(clock::ticks(), Duration::from_secs(5));
        assert!(guard.may_write());
        guard.open_until(clock::ticks().saturating_sub(6000), Duration::from_secs(5));
        // Near the start of the process the subtraction saturates; then the window still stands.
        assert!(clock::ticks() < 6000 || !guard.may_write());
        guard.close();
        assert!(!guard.may_write());
    }

    #[test]
    fn times_are_written_with_microseconds() {
        let text = micro_time();
        assert_eq!(text.len(), "2026-01-02T03:04:05.678901Z".len(), "{text}");
    }
}
