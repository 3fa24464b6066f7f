//! The one pool of connections to providers, and single flight: equal questions that are under way
//! at the same time are asked once. Knows time limits and trust, no provider in particular.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use jiff::Timestamp;

use super::net::{Cluster, Net, PoolConfig};
use super::{PROVIDERS, Provider, Question, short};
use crate::planner::analysis::{Answer, MetricValue, Task};

/// What one question came to, shared by all who asked it.
#[derive(Clone, Debug)]
struct Flown {
    started: Timestamp,
    finished: Timestamp,
    result: Result<MetricValue, String>,
}

type Flight = Shared<BoxFuture<'static, Flown>>;
type Flights = Mutex<HashMap<String, WeakShared<BoxFuture<'static, Flown>>>>;

/// Asks providers on behalf of AnalysisRuns. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    net: Arc<Net>,
    flights: Arc<Flights>,
    clock: fn() -> Timestamp,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("net", &self.net)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool. The process must have a TLS provider installed by now. `clock` is the shell's.
    ///
    /// # Errors
    /// When no client can be built (no roots of trust, for example).
    pub fn new(config: PoolConfig, clock: fn() -> Timestamp) -> Result<Self, reqwest::Error> {
        Ok(Self {
            net: Arc::new(Net::new(config, clock)?),
            flights: Arc::default(),
            clock,
        })
    }

    pub(super) fn net(&self) -> &Net {
        &self.net
    }

    /// Hands in the API server, which only the live shell can ask. The first one stays.
    pub fn connect(&self, cluster: Arc<dyn Cluster>) {
        drop(self.net.cluster.set(cluster));
    }

    /// Carries a task out. Dropping the future cancels it, unless another task waits for the same
    /// answer.
    pub async fn ask(&self, task: Task) -> Answer {
        let Task::Measure {
            key,
            provider,
            credentials,
            namespace,
            since_last,
            timeout,
        } = task;
        let limit = timeout.unsigned_abs();
        let now = (self.clock)();
        let asked = PROVIDERS.into_iter().find(|p| p.is_asked(&provider));
        let question = Question {
            provider: *provider,
            credentials,
            namespace,
            since_last,
            at: now,
        };
        let identity = asked
            .ok_or_else(|| "this provider is not supported yet".to_owned())
            .and_then(|p| {
                p.identity(&self.net, &question)
                    .map(|identity| (p, identity))
            });
        let flown = match identity {
            Ok((asked, identity)) => {
                let identity = format!("{identity}\n{}", limit.as_millis());
                let make = || self.fly(asked, question, limit);
                self.join(&identity, make).await
            }
            Err(message) => Flown {
                started: now,
                finished: now,
                result: Err(message),
            },
        };
        Answer {
            key,
            started: flown.started,
            finished: flown.finished,
            result: flown.result.map_err(|message| short(&message)),
            metadata: std::collections::BTreeMap::new(),
        }
    }

    fn fly(
        &self,
        asked: &'static dyn Provider,
        question: Question,
        limit: Duration,
    ) -> BoxFuture<'static, Flown> {
        let (net, clock) = (Arc::clone(&self.net), self.clock);
        async move {
            let started = clock();
            let answer = tokio::time::timeout(limit, asked.measure(&net, &question)).await;
            let result = answer.unwrap_or_else(|_| {
                Err(format!(
                    "no answer within {}",
                    humantime::format_duration(limit)
                ))
            });
            Flown {
                started,
                finished: clock(),
                result,
            }
        }
        .boxed()
    }

    /// The flight of that identity, begun now unless it is under way.
    fn join(&self, identity: &str, make: impl FnOnce() -> BoxFuture<'static, Flown>) -> Flight {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| flight.upgrade().is_some_and(|f| f.peek().is_none()));
        if let Some(flight) = flights.get(identity).and_then(WeakShared::upgrade) {
            return flight;
        }
        let flight = make().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(identity.to_owned(), weak);
        }
        flight
    }
}

#[cfg(test)]
mod tests;
