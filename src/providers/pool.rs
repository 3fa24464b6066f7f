//! The one pool of connections to providers, and single flight: equal questions that are under way
//! at the same time are asked once. Knows time limits and trust, no provider in particular.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use jiff::Timestamp;

use super::address::{AllowList, GuardedResolver, check_host};
use super::{PROVIDERS, Provider, short};
use crate::planner::analysis::{Answer, MetricValue, Task};

/// What the operator has decided about providers.
#[derive(Clone, Debug, Default)]
pub struct PoolConfig {
    /// `--prometheus`: asked where an object names no address, on whatever address it stands.
    pub prometheus: Option<String>,
    /// Addresses that objects may name although they are refused otherwise.
    pub allow: AllowList,
    /// Whether objects may switch off the verification of certificates.
    pub allow_insecure: bool,
}

/// Connections, and what may be connected to.
#[derive(Clone, Debug)]
pub struct Net {
    config: PoolConfig,
    trusted: reqwest::Client,
    guarded: reqwest::Client,
    insecure: Option<reqwest::Client>,
}

impl Net {
    /// The address to ask and the client to ask it with.
    ///
    /// # Errors
    /// No address at all, one that cannot be read, or one that is refused.
    pub(super) fn client(
        &self,
        address: Option<&str>,
        insecure: bool,
    ) -> Result<(String, &reqwest::Client), String> {
        let own = self.config.prometheus.as_deref();
        let address = address.filter(|a| !a.is_empty());
        let Some(chosen) = address.or(own) else {
            return Err("no address of Prometheus: name one in the metric or in slos, or start the controller with --prometheus".to_owned());
        };
        let url: reqwest::Url = chosen
            .parse()
            .map_err(|_| "the address of Prometheus cannot be read".to_owned())?;
        let is_own = Some(chosen) == own;
        if !is_own {
            check_host(&url, &self.config.allow)?;
        }
        let client = match (insecure, &self.insecure) {
            (true, Some(client)) => client,
            (true, None) => return Err(
                "insecure is refused: the operator has not allowed it (--allow-insecure-providers)"
                    .to_owned(),
            ),
            (false, _) if is_own => &self.trusted,
            (false, _) => &self.guarded,
        };
        Ok((chosen.trim_end_matches('/').to_owned(), client))
    }
}

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
        let base = || {
            reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(Duration::from_secs(5))
                .pool_idle_timeout(Duration::from_secs(60))
                .pool_max_idle_per_host(4)
                .user_agent("serin")
                .referer(false)
        };
        let guard = || GuardedResolver(Arc::new(config.allow.clone()));
        // Behind a proxy the checked address would not be the one that is connected to.
        let guarded = base().no_proxy().dns_resolver(guard()).build()?;
        let insecure = if config.allow_insecure {
            let builder = base().no_proxy().dns_resolver(guard());
            Some(builder.tls_danger_accept_invalid_certs(true).build()?)
        } else {
            None
        };
        let net = Net {
            trusted: base().build()?,
            guarded,
            insecure,
            config,
        };
        Ok(Self {
            net: Arc::new(net),
            flights: Arc::default(),
            clock,
        })
    }

    /// Carries a task out. Dropping the future cancels it, unless another task waits for the same
    /// answer.
    pub async fn ask(&self, task: Task) -> Answer {
        let Task::Measure {
            key,
            provider,
            timeout,
        } = task;
        let limit = timeout.unsigned_abs();
        let now = (self.clock)();
        let asked = PROVIDERS.into_iter().find(|p| p.is_asked(&provider));
        let identity = asked
            .ok_or_else(|| "this provider is not supported yet".to_owned())
            .and_then(|p| p.identity(&provider, now).map(|identity| (p, identity)));
        let flown = match identity {
            Ok((asked, identity)) => {
                let identity = format!("{identity}\n{}", limit.as_millis());
                let make = || self.fly(asked, *provider, limit);
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
        provider: crate::api::providers::MetricProvider,
        limit: Duration,
    ) -> BoxFuture<'static, Flown> {
        let (net, clock) = (Arc::clone(&self.net), self.clock);
        async move {
            let started = clock();
            let answer = tokio::time::timeout(limit, asked.measure(&net, &provider, started)).await;
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
