//! Events for people, through `events.k8s.io/v1`. Best effort: a queue that drops its oldest rather
//! than hold up a turn. Only events with equal notes become a series (K10): messages are read by
//! clients, so "step 1 completed" must not swallow "step 2 completed".

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::client::{CallError, Kind, Rest, Target};
use super::clock;

/// Events that wait at most; beyond it the oldest goes.
const CAPACITY: usize = 4096;
/// Events that are written at the same time.
const WRITERS: usize = 4;
/// An equal event within this time joins its series.
const SERIES: Duration = Duration::from_secs(6 * 60);
/// Series remembered at most.
const SERIES_KEPT: usize = 2048;
/// Longest note that the API takes, in bytes.
const LONGEST_NOTE: usize = 1024;
/// Tries of one event.
const TRIES: u32 = 4;

/// The object that an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Regarding {
    /// Rollout or AnalysisRun.
    pub kind: Kind,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Identity.
    pub uid: String,
}

/// One event to write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// What it is about.
    pub regarding: Regarding,
    /// Normal or Warning.
    pub kind: &'static str,
    /// Why, in one word.
    pub reason: &'static str,
    /// What was done, in one word.
    pub action: &'static str,
    /// The sentence.
    pub note: String,
}

/// The queue and what is remembered of series.
#[derive(Debug)]
pub struct Events {
    rest: Rest,
    instance: String,
    waiting: Mutex<VecDeque<(Report, Timestamp)>>,
    changed: Notify,
    series: Mutex<HashMap<Report, Series>>,
    busy: AtomicUsize,
    count: AtomicU64,
    dropped: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
struct Series {
    event: String,
    count: u32,
    last: Instant,
}

impl Events {
    /// A writer that reports as `instance` (the pod, or the host and process).
    pub fn new(rest: Rest, instance: &str) -> Self {
        Self {
            rest,
            instance: cut(instance, 128).to_owned(),
            waiting: Mutex::default(),
            changed: Notify::new(),
            series: Mutex::default(),
            busy: AtomicUsize::new(0),
            count: AtomicU64::new(0),
            dropped: Arc::default(),
        }
    }

    /// Puts an event in the queue.
    pub fn report(&self, mut report: Report) {
        report.note = cut(&report.note, LONGEST_NOTE).to_owned();
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= CAPACITY {
            waiting.pop_front();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        waiting.push_back((report, clock::now()));
        drop(waiting);
        self.changed.notify_one();
    }

    /// The count of events that were not written.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Writes events for ever.
    pub async fn run(&self) {
        futures::future::join_all((0..WRITERS).map(|_| self.write_all())).await;
    }

    /// Waits until everything is written, or for `limit`.
    pub async fn flush(&self, limit: Duration) {
        let until = clock::instant() + limit;
        while clock::instant() < until {
            if lock(&self.waiting).is_empty() && self.busy.load(Ordering::Acquire) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn write_all(&self) {
        loop {
            let changed = self.changed.notified();
            let next = {
                let mut waiting = lock(&self.waiting);
                let next = waiting.pop_front();
                if next.is_some() {
                    self.busy.fetch_add(1, Ordering::AcqRel);
                }
                (next, waiting.len())
            };
            let (Some((report, at)), left) = next else {
                changed.await;
                continue;
            };
            if left > 0 {
                self.changed.notify_one();
            }
            self.write(report, at).await;
            self.busy.fetch_sub(1, Ordering::AcqRel);
        }
    }

    async fn write(&self, report: Report, at: Timestamp) {
        for attempt in 1..=TRIES {
            match self.write_once(&report, at).await {
                Ok(()) | Err(CallError::Exists(_)) => return,
                Err(CallError::Busy { after, .. } | CallError::Unclear { after, .. })
                    if attempt < TRIES =>
                {
                    let pause = Duration::from_millis(200).saturating_mul(1 << attempt);
                    tokio::time::sleep(after.unwrap_or(pause)).await;
                }
                Err(error) => {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                    let object = &report.regarding.name;
                    tracing::debug!(%object, reason = report.reason, %error, "event not written");
                    return;
                }
            }
        }
    }

    async fn write_once(&self, report: &Report, at: Timestamp) -> Result<(), CallError> {
        let known = lock(&self.series)
            .get(report)
            .filter(|s| s.last.elapsed() < SERIES)
            .cloned();
        if let Some(known) = known {
            match self.join(report, &known, at).await {
                Err(CallError::NotFound(_)) => {}
                other => return other,
            }
        }
        let event = self.object(report, at);
        self.rest
            .create(Kind::Event, &report.regarding.namespace, &event, false)
            .await?;
        let name = event["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.remember(
            report,
            Series {
                event: name,
                count: 1,
                last: clock::instant(),
            },
        );
        Ok(())
    }

    async fn join(&self, report: &Report, known: &Series, at: Timestamp) -> Result<(), CallError> {
        let count = known.count.saturating_add(1);
        let patch = json!({"series": {"count": count, "lastObservedTime": micro(at)}});
        let target = Target {
            kind: Kind::Event,
            namespace: &report.regarding.namespace,
            name: &known.event,
        };
        self.rest.merge(target, None, &patch).await?;
        self.remember(
            report,
            Series {
                event: known.event.clone(),
                count,
                last: clock::instant(),
            },
        );
        Ok(())
    }

    fn remember(&self, report: &Report, series: Series) {
        let mut all = lock(&self.series);
        if all.len() >= SERIES_KEPT {
            all.retain(|_, s| s.last.elapsed() < SERIES);
        }
        if all.len() >= SERIES_KEPT {
            all.clear();
        }
        all.insert(report.clone(), series);
    }

    fn object(&self, report: &Report, at: Timestamp) -> Value {
        let about = &report.regarding;
        // Unique among processes by time and among our own by count.
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let nanos = at.as_nanosecond();
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "namespace": about.namespace,
                "name": format!("{}.{nanos:x}{:02x}", cut(&about.name, 220), count % 256),
            },
            "eventTime": micro(at),
            "reportingController": "serin",
            "reportingInstance": self.instance,
            "type": report.kind,
            "reason": report.reason,
            "action": report.action,
            "note": report.note,
            "regarding": {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": about.kind.name(),
                "namespace": about.namespace,
                "name": about.name,
                "uid": about.uid,
            },
        })
    }
}

fn micro(t: Timestamp) -> String {
    format!("{t:.6}")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The text, cut at a character boundary to at most `bytes` bytes.
fn cut(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    let end = (0..=bytes)
        .rev()
        .find(|i| text.is_char_boundary(*i))
        .unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_cut_between_characters() {
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("é", 2), "é");
    }
}
