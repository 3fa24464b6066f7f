//! Follows one kind: list, then watch, and again after every break, for ever. Errors are counted,
//! told by readiness and end here, so that one failing stream never holds up another (K3).
//!
//! kube's `watcher` is not used because it waits for a list without limit, and because it swallows
//! bookmarks and reconnections, so that nobody can tell a quiet stream from a dead one (K2, K4).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::client::{CallError, Page, Rest, chain};
use super::clock;

/// The server is asked to end a watch after this many seconds, so that a connection which died
/// silently is noticed soon after.
const WATCH_SECONDS: u32 = 50;
/// A watch on which nothing came, not even its end, for this long is dead.
const IDLE_LIMIT: Duration = Duration::from_secs(55);
/// Longest time for one page of a list.
const PAGE_LIMIT: Duration = Duration::from_secs(60);
/// Longest time until a watch answers at all.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How often a kind that is not installed is looked for.
const ABSENT_PERIOD: Duration = Duration::from_secs(20);
/// A view older than this is reported as not ready: an idle stream is renewed every 50 s.
pub const OLDEST_VIEW: Duration = Duration::from_secs(75);

/// What a stream tells whoever keeps the objects.
#[derive(Debug)]
pub enum Change<T> {
    /// A list begins: what is not in it is gone when it is complete.
    ListBegins,
    /// An object of the list.
    Listed(T),
    /// The list is complete; it shows the state at this version.
    ListEnds(u64),
    /// An object was made or changed.
    Upsert(T),
    /// An object was removed.
    Remove(T),
    /// Everything up to this version has been told.
    Progress(u64),
}

/// An object that tells its version and where it is.
pub trait Versioned {
    /// `metadata.resourceVersion` as the server wrote it.
    fn version(&self) -> &str;
    /// Its namespace; empty for an object of the cluster.
    fn namespace(&self) -> &str;
}

/// Versions compare as decimal numbers; one that is none compares as the oldest.
pub fn number(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}

/// How a stream is doing, for readiness and metrics.
#[derive(Debug, Default)]
pub struct Health {
    is_listed: AtomicBool,
    seen_at: AtomicU64,
    errors: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Health {
    /// The first list is complete.
    pub fn is_listed(&self) -> bool {
        self.is_listed.load(Ordering::Acquire)
    }

    /// Time since the server was last heard on this stream.
    pub fn age(&self) -> Duration {
        Duration::from_millis(clock::ticks().saturating_sub(self.seen_at.load(Ordering::Relaxed)))
    }

    /// Errors so far.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// The last error, until the stream works again.
    pub fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn heard(&self) {
        self.seen_at.store(clock::ticks(), Ordering::Relaxed);
    }

    fn works(&self) {
        self.heard();
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn failed(&self, message: String) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
    }
}

/// What to follow.
#[derive(Debug)]
pub struct Feed {
    /// Connection.
    pub rest: Rest,
    /// Where the objects are.
    pub requests: Request,
    /// Label selector, empty for all.
    pub selector: String,
    /// Objects per page of a list.
    pub page: u32,
    /// Only the metadata of the objects is wanted.
    pub metadata_only: bool,
    /// Where to tell how it goes.
    pub health: Arc<Health>,
    /// What it means when the kind is not there.
    pub absence: Absence,
    /// Where a new list is asked for: when this number moves on.
    pub epochs: Option<watch::Receiver<u64>>,
}

/// What it means when a kind cannot be listed because it is not installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The controller cannot work.
    IsTrouble,
    /// There are no objects of it; it is looked for again from time to time.
    IsNone,
    /// The same, also where it must not be read.
    OrForbiddenIsNone,
}

impl Absence {
    fn excuses(self, error: &CallError) -> bool {
        match (self, error) {
            (Self::IsNone | Self::OrForbiddenIsNone, CallError::NotFound(_)) => true,
            (Self::OrForbiddenIsNone, CallError::Refused { code, .. }) => *code == 403,
            _ => false,
        }
    }
}

impl Feed {
    /// Follows the objects and tells `sink` every change, for ever.
    pub async fn follow<T>(self, mut sink: impl FnMut(Change<T>))
    where
        T: DeserializeOwned + Versioned + Clone,
    {
        let mut version: Option<String> = None;
        let mut epoch = self.epoch();
        let mut failures = 0_u32;
        loop {
            let before = self.health.errors();
            let now = self.epoch();
            if now != epoch {
                (version, epoch) = (None, now);
            }
            version = self.round(version, epoch, &mut sink).await;
            if self.health.errors() == before {
                failures = 0;
            } else {
                failures = failures.saturating_add(1);
                tokio::time::sleep(pause(failures)).await;
            }
        }
    }

    /// One list, or one watch from `version` to its end. Returns the version to go on from, `None`
    /// when a new list is needed.
    async fn round<T>(
        &self,
        version: Option<String>,
        epoch: u64,
        sink: &mut impl FnMut(Change<T>),
    ) -> Option<String>
    where
        T: DeserializeOwned + Versioned + Clone,
    {
        match version {
            None => match self.list(sink).await {
                Ok(version) => Some(version),
                Err(error) if self.absence.excuses(&error) => {
                    // The list had begun: what it did not show is gone.
                    sink(Change::ListEnds(u64::MAX));
                    self.health.works();
                    self.health.is_listed.store(true, Ordering::Release);
                    tracing::debug!(%error, "a kind is not installed: looked for again later");
                    tokio::time::sleep(ABSENT_PERIOD).await;
                    None
                }
                Err(error) => {
                    self.health.failed(format!("list: {error}"));
                    None
                }
            },
            Some(version) => self.watch(version, epoch, sink).await,
        }
    }

    fn epoch(&self) -> u64 {
        self.epochs.as_ref().map_or(0, |epochs| *epochs.borrow())
    }

    /// Waits until a list is asked for that is newer than this.
    async fn outdated(&self, epoch: u64) {
        let Some(mut epochs) = self.epochs.clone() else {
            return std::future::pending().await;
        };
        if epochs.wait_for(|now| *now != epoch).await.is_err() {
            // Nobody is there who could ask.
            std::future::pending::<()>().await;
        }
    }

    async fn list<T>(&self, sink: &mut impl FnMut(Change<T>)) -> Result<String, CallError>
    where
        T: DeserializeOwned + Versioned,
    {
        sink(Change::ListBegins);
        let mut params = ListParams::default().limit(self.page);
        if !self.selector.is_empty() {
            params = params.labels(&self.selector);
        }
        loop {
            let request = match self.metadata_only {
                true => self.requests.list_metadata(&params),
                false => self.requests.list(&params),
            };
            let page: Page<T> = self.rest.read(request, PAGE_LIMIT).await?;
            self.health.heard();
            page.items
                .into_iter()
                .for_each(|item| sink(Change::Listed(item)));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => {
                    let version = page.metadata.resource_version.unwrap_or_default();
                    sink(Change::ListEnds(number(&version)));
                    self.health.works();
                    self.health.is_listed.store(true, Ordering::Release);
                    return Ok(version);
                }
            }
        }
    }

    async fn watch<T>(
        &self,
        mut version: String,
        epoch: u64,
        sink: &mut impl FnMut(Change<T>),
    ) -> Option<String>
    where
        T: DeserializeOwned + Versioned + Clone,
    {
        let stream = match self.open::<T>(&version).await {
            Ok(stream) => stream,
            Err(Broken { message, is_gone }) => {
                self.health.failed(format!("watch: {message}"));
                return (!is_gone).then_some(version);
            }
        };
        self.health.works();
        let mut stream = std::pin::pin!(stream);
        let mut outdated = std::pin::pin!(self.outdated(epoch));
        loop {
            let next = tokio::select! {
                () = &mut outdated => return None,
                next = tokio::time::timeout(IDLE_LIMIT, stream.next()) => next,
            };
            let next = match next {
                Err(_) => {
                    self.health
                        .failed(format!("watch: silent for {} s", IDLE_LIMIT.as_secs()));
                    return Some(version);
                }
                Ok(None) => return Some(version),
                Ok(Some(next)) => next,
            };
            self.health.heard();
            match next {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    object.version().clone_into(&mut version);
                    sink(Change::Upsert(object));
                }
                Ok(WatchEvent::Deleted(object)) => {
                    object.version().clone_into(&mut version);
                    sink(Change::Remove(object));
                }
                Ok(WatchEvent::Bookmark(mark)) => {
                    version = mark.metadata.resource_version;
                    sink(Change::Progress(number(&version)));
                }
                Ok(WatchEvent::Error(status)) => {
                    self.health
                        .failed(format!("watch: {} ({})", status.message, status.code));
                    return (status.code != 410).then_some(version);
                }
                Err(error) => {
                    self.health.failed(format!("watch: {}", chain(&error)));
                    return Some(version);
                }
            }
        }
    }

    async fn open<T>(
        &self,
        version: &str,
    ) -> Result<impl Stream<Item = kube::Result<WatchEvent<T>>> + use<T>, Broken>
    where
        T: DeserializeOwned + Clone,
    {
        let mut params = WatchParams::default().timeout(WATCH_SECONDS);
        if !self.selector.is_empty() {
            params = params.labels(&self.selector);
        }
        let request = match self.metadata_only {
            true => self.requests.watch_metadata(&params, version),
            false => self.requests.watch(&params, version),
        };
        let request = request.map_err(|e| Broken {
            message: e.to_string(),
            is_gone: true,
        })?;
        let opening = self.rest.client().request_events::<T>(request);
        match tokio::time::timeout(START_LIMIT, opening).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Broken::from(&error)),
            Err(_) => Err(Broken {
                message: format!("no answer within {} s", START_LIMIT.as_secs()),
                is_gone: false,
            }),
        }
    }
}

/// Why a watch could not be opened.
struct Broken {
    message: String,
    /// The version is too old, or the kind is not there: list again.
    is_gone: bool,
}

impl From<&kube::Error> for Broken {
    fn from(error: &kube::Error) -> Self {
        let is_gone = matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 410));
        Self {
            message: chain(error),
            is_gone,
        }
    }
}

/// How long to wait before the stream is tried again: 0.2 s doubling to 30 s, spread by a little
/// that differs from stream to stream so that they do not come back all at once.
fn pause(failures: u32) -> Duration {
    let base = 200_u64
        .saturating_mul(1 << failures.saturating_sub(1).min(8))
        .min(30_000);
    Duration::from_millis(base.saturating_add(clock::ticks() % (base / 5).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(number("999") < number("1000"));
        assert_eq!(number("not a number"), 0);
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        assert!(pause(1) >= Duration::from_millis(200));
        assert!(pause(1) < Duration::from_millis(300));
        assert!(pause(50) <= Duration::from_secs(36));
    }
}
