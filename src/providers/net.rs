//! Connections, and what may be connected to: who named an address decides how it is checked. Knows
//! no provider.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;

use super::address::{AllowList, GuardedResolver, check_host};
use super::auth::Tokens;
use super::aws::Environment;

/// What the operator has decided about providers.
#[derive(Clone, Debug, Default)]
pub struct PoolConfig {
    /// `--prometheus`: asked where an object names no address, on whatever address it stands.
    pub prometheus: Option<String>,
    /// Addresses that objects may name although they are refused otherwise.
    pub allow: AllowList,
    /// Whether objects may switch off the verification of certificates.
    pub allow_insecure: bool,
    /// File with authorities that are trusted besides the system's; read again when it changes.
    pub ca_file: Option<PathBuf>,
    /// File that says where plugins are; read again when it changes.
    pub plugins: Option<PathBuf>,
    /// The controller's identity on AWS.
    pub aws: Environment,
}

/// Who named an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The operator, by a flag, a file or a Secret of the controller's: not checked.
    Operator,
    /// An object in the cluster: checked before and after its name is resolved.
    Object,
}

/// Reads from the API server on behalf of a provider. The live shell has it.
pub trait Cluster: Send + Sync {
    /// GET of a path; status and body.
    fn get(&self, path: String) -> BoxFuture<'static, Result<(u16, Vec<u8>), String>>;
}

/// Connections, and what may be connected to.
pub struct Net {
    pub(super) config: PoolConfig,
    pub(super) tokens: Tokens,
    pub(super) clock: fn() -> Timestamp,
    pub(super) cluster: OnceLock<Arc<dyn Cluster>>,
    clients: Mutex<(Stamp, Arc<Clients>)>,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What a file looked like when it was read.
type Stamp = Option<(u64, i64, i64, u64)>;

#[derive(Debug)]
struct Clients {
    trusted: reqwest::Client,
    guarded: reqwest::Client,
    insecure: Option<reqwest::Client>,
}

impl Net {
    pub(super) fn new(
        config: PoolConfig,
        clock: fn() -> Timestamp,
    ) -> Result<Self, reqwest::Error> {
        let stamp = stamp(&config);
        let clients = Clients::new(&config)?;
        Ok(Self {
            config,
            tokens: Tokens::default(),
            clock,
            cluster: OnceLock::new(),
            clients: Mutex::new((stamp, Arc::new(clients))),
        })
    }

    /// The client to ask an address with.
    ///
    /// # Errors
    /// An address that is refused, or certificates that must be verified.
    pub(super) fn client(
        &self,
        url: &reqwest::Url,
        trust: Trust,
        insecure: bool,
    ) -> Result<reqwest::Client, String> {
        if trust == Trust::Object {
            check_host(url, &self.config.allow)?;
        }
        let clients = self.clients();
        match (insecure, &clients.insecure, trust) {
            (true, Some(client), _) => Ok(client.clone()),
            (true, None, _) => Err(
                "insecure is refused: the operator has not allowed it (--allow-insecure-providers)"
                    .to_owned(),
            ),
            (false, _, Trust::Operator) => Ok(clients.trusted.clone()),
            (false, _, Trust::Object) => Ok(clients.guarded.clone()),
        }
    }

    /// The clients; new ones when the file of authorities has changed. While it cannot be read the
    /// old ones go on: half a file is no reason to stop asking.
    fn clients(&self) -> Arc<Clients> {
        let mut known = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&self.config);
        if now != known.0
            && let Ok(clients) = Clients::new(&self.config)
        {
            *known = (now, Arc::new(clients));
        }
        Arc::clone(&known.1)
    }
}

fn stamp(config: &PoolConfig) -> Stamp {
    let meta = std::fs::metadata(config.ca_file.as_ref()?).ok()?;
    Some((meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
}

impl Clients {
    fn new(config: &PoolConfig) -> Result<Self, reqwest::Error> {
        let mut authorities = Vec::new();
        if let Some(pem) = config.ca_file.as_ref().and_then(|f| std::fs::read(f).ok()) {
            authorities = reqwest::Certificate::from_pem_bundle(&pem)?;
        }
        let base = || {
            let builder = reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(Duration::from_secs(5))
                .pool_idle_timeout(Duration::from_secs(60))
                .pool_max_idle_per_host(4)
                .user_agent("serin")
                .referer(false);
            if authorities.is_empty() {
                builder
            } else {
                builder.tls_certs_merge(authorities.clone())
            }
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
        Ok(Self {
            trusted: base().build()?,
            guarded,
            insecure,
        })
    }
}
