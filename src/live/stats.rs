//! Numbers that turns leave behind, by object: counts and durations that no object holds. They go
//! when the object goes, so that memory follows the cluster and not its history (I-24).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::stores::Key;
use crate::api::RolloutStatus;
use crate::api::status::RolloutDuration;

/// Upper bounds of `rollout_reconcile`, in seconds (contract M1).
const RECONCILE: [f64; 5] = [0.01, 0.15, 0.25, 0.5, 1.0];
/// Upper bounds of `rollout_progression_duration_seconds` (contract M7).
const PROGRESSION: [f64; 8] = [30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0];
/// Upper bounds of `rollout_duration_seconds` (contract M7).
const DURATION: [f64; 11] = [
    30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0,
];
/// Upper bounds of `rollout_manual_pause_duration_seconds` (contract M7).
const MANUAL_PAUSE: [f64; 9] = [
    0.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0,
];

/// A histogram of our own, so that its series can be dropped.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    fn observe(&mut self, value: f64) {
        let slot = self
            .bounds
            .iter()
            .position(|b| value <= *b)
            .unwrap_or(self.bounds.len());
        if let Some(count) = self.counts.get_mut(slot) {
            *count = count.saturating_add(1);
        }
        self.sum += value;
    }

    /// Sum, count, and each bucket's upper bound with its own (not cumulated) count.
    pub fn parts(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets = bounds.zip(self.counts.iter().copied()).collect();
        (self.sum, self.counts.iter().sum(), buckets)
    }
}

/// Numbers of one object.
#[derive(Clone, Debug)]
pub struct ObjectStats {
    /// Durations of turns.
    pub reconcile: Histogram,
    /// Turns that failed.
    pub errors: u64,
    /// Events by type and reason.
    pub events: BTreeMap<(&'static str, &'static str), u64>,
}

/// All numbers.
#[derive(Debug, Default)]
pub struct Stats {
    objects: Mutex<HashMap<Key, ObjectStats>>,
    durations: Mutex<BTreeMap<(&'static str, String), Histogram>>,
}

impl Stats {
    /// A turn ended.
    pub fn turn(&self, key: &Key, took: Duration, has_failed: bool) {
        let mut objects = lock(&self.objects);
        let stats = entry(&mut objects, key);
        stats.reconcile.observe(took.as_secs_f64());
        stats.errors = stats.errors.saturating_add(u64::from(has_failed));
    }

    /// An event was reported.
    pub fn event(&self, key: &Key, kind: &'static str, reason: &'static str) {
        let mut objects = lock(&self.objects);
        let count = entry(&mut objects, key)
            .events
            .entry((kind, reason))
            .or_default();
        *count = count.saturating_add(1);
    }

    /// The object is gone.
    pub fn forget(&self, key: &Key) {
        lock(&self.objects).remove(key);
    }

    /// A status was written: an update that ended with it is measured once (contract M7).
    pub fn status_written(&self, before: &RolloutStatus, after: &RolloutStatus) {
        let Some((duration, finished, outcome)) = ended(before, after) else {
            return;
        };
        let Some(started) = &duration.rollout_started_at else {
            return;
        };
        let total = finished.0.duration_since(started.0).as_secs_f64().max(0.0);
        let waited = duration
            .total_manual_pause_duration_seconds
            .unwrap_or(0)
            .max(0);
        let waited = f64::from(u32::try_from(waited).unwrap_or(u32::MAX));
        let mut all = lock(&self.durations);
        let mut observe = |name, bounds, value: f64| {
            all.entry((name, outcome.clone()))
                .or_insert_with(|| Histogram::new(bounds))
                .observe(value);
        };
        observe("rollout_duration_seconds", &DURATION[..], total);
        observe(
            "rollout_progression_duration_seconds",
            &PROGRESSION[..],
            (total - waited).max(0.0),
        );
        observe(
            "rollout_manual_pause_duration_seconds",
            &MANUAL_PAUSE[..],
            waited,
        );
    }

    /// A copy of the numbers of every object.
    pub fn objects(&self) -> Vec<(Key, ObjectStats)> {
        lock(&self.objects)
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    /// A copy of the durations of updates, by metric name and outcome.
    pub fn durations(&self) -> BTreeMap<(&'static str, String), Histogram> {
        lock(&self.durations).clone()
    }
}

/// The update that ended with this write: when, and how. One whose record gives way to another's
/// without an end of its own was superseded (A16: that shows in metrics only).
fn ended<'a>(
    before: &'a RolloutStatus,
    after: &'a RolloutStatus,
) -> Option<(&'a RolloutDuration, Time, String)> {
    let new = after.duration.as_ref()?;
    let old = before.duration.as_ref();
    if let Some(old) = old
        .filter(|old| old.finished_at.is_none() && old.rollout_started_at != new.rollout_started_at)
    {
        let end = new.rollout_started_at.clone()?;
        return Some((old, end, "Superseded".to_owned()));
    }
    let finished = new.finished_at.clone()?;
    if old.is_some_and(|old| old.finished_at.as_ref() == Some(&finished)) {
        return None;
    }
    let outcome = new.completion_status.clone().unwrap_or_default();
    Some((new, finished, outcome))
}

fn entry<'a>(objects: &'a mut HashMap<Key, ObjectStats>, key: &Key) -> &'a mut ObjectStats {
    objects.entry(key.clone()).or_insert_with(|| ObjectStats {
        reconcile: Histogram::new(&RECONCILE),
        errors: 0,
        events: BTreeMap::new(),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_that_gives_way_to_another_was_superseded() {
        let status = |started: &str, finished: Option<&str>| -> RolloutStatus {
            let duration = serde_json::json!({"rolloutStartedAt": started, "finishedAt": finished});
            serde_json::from_value(serde_json::json!({"duration": duration})).unwrap()
        };
        let (one, two) = ("2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z");
        let stats = Stats::default();
        stats.status_written(&status(one, None), &status(two, None));
        let key = ("rollout_duration_seconds", "Superseded".to_owned());
        let (sum, count, _) = stats.durations()[&key].parts();
        assert_eq!((sum as i64, count), (300, 1));
        // A record that had ended is not ended again.
        stats.status_written(&status(one, Some(two)), &status(two, None));
        assert_eq!(stats.durations()[&key].parts().1, 1);
    }

    #[test]
    fn a_value_counts_in_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::new(&RECONCILE);
        histogram.observe(0.01);
        histogram.observe(0.2);
        histogram.observe(7.0);
        let (sum, count, buckets) = histogram.parts();
        assert_eq!(count, 3);
        assert!((sum - 7.21).abs() < 1e-9);
        assert_eq!(
            buckets.iter().map(|b| b.1).collect::<Vec<_>>(),
            [1, 0, 1, 0, 0, 1]
        );
    }
}
