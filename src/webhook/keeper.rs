//! Keeps the certificate that TLS is served with: from files that somebody mounts and renews, or our
//! own, renewed when two thirds of its life are over. Holds the time and the I/O; what is published is
//! decided in `certificate`.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde_json::Value;
use tokio::sync::watch;

use super::certificate::{self, Pair};
use crate::live::client::{CallError, Kind, Rest, Target};
use crate::live::clock;

/// How long API servers are given to see a new bundle before the new certificate is served.
const SETTLE: Duration = Duration::from_secs(2);
/// How often files, or the bundle, are looked at.
const PERIOD: Duration = Duration::from_secs(20);
/// How long to wait after a failure.
const AGAIN: Duration = Duration::from_secs(2);
/// Tries of one patch: other replicas write too.
const TRIES: u32 = 8;

/// The certificate in use.
#[derive(Debug, Default)]
pub struct InUse(RwLock<Option<(Arc<CertifiedKey>, Option<Timestamp>)>>);

impl InUse {
    /// There is one.
    pub fn is_there(&self) -> bool {
        self.get().is_some()
    }

    /// When it ends, where that is known.
    pub fn until(&self) -> Option<Timestamp> {
        self.get()?.1
    }

    fn get(&self) -> Option<(Arc<CertifiedKey>, Option<Timestamp>)> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, key: Arc<CertifiedKey>, until: Option<Timestamp>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some((key, until));
    }
}

impl ResolvesServerCert for InUse {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get()?.0)
    }
}

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Files of a mounted Secret: somebody else renews them, and has the API server believe them.
    Files {
        /// The certificate chain, PEM.
        certificate: PathBuf,
        /// Its key, PEM.
        key: PathBuf,
    },
    /// Our own.
    Own(Own),
}

/// A certificate of our own.
#[derive(Clone, Debug)]
pub struct Own {
    /// Connection.
    pub rest: Rest,
    /// The ValidatingWebhookConfiguration that must name it.
    pub configuration: String,
    /// Names it is for.
    pub names: Vec<String>,
    /// How long it is valid.
    pub lifetime: Duration,
}

/// Keeps `in_use` current until `stop`, when nothing is served any more; then our own is believed no longer.
pub async fn keep(source: Source, in_use: Arc<InUse>, stop: watch::Receiver<bool>) {
    match source {
        Source::Files { certificate, key } => files(certificate, key, &in_use, stop).await,
        Source::Own(own) => own.keep(&in_use, stop).await,
    }
}

async fn files(
    certificate: PathBuf,
    key: PathBuf,
    in_use: &InUse,
    mut stop: watch::Receiver<bool>,
) {
    let mut last: Option<(Vec<u8>, Vec<u8>)> = None;
    loop {
        let read = async {
            let say = |path: &PathBuf, e: std::io::Error| format!("{}: {e}", path.display());
            let chain = tokio::fs::read(&certificate).await;
            let chain = chain.map_err(|e| say(&certificate, e))?;
            let secret = tokio::fs::read(&key).await.map_err(|e| say(&key, e))?;
            Ok::<_, String>((chain, secret))
        };
        match read.await {
            Ok(now) if last.as_ref() != Some(&now) => {
                match certificate::certified(&now.0, &now.1) {
                    Ok(pair) => {
                        tracing::info!(file = %certificate.display(), "serving this certificate");
                        in_use.set(pair, None);
                        last = Some(now);
                    }
                    // Half of a change may be seen; the old one serves on.
                    Err(error) => {
                        tracing::error!(file = %certificate.display(), error, "this certificate cannot be used")
                    }
                }
            }
            Ok(_) => {}
            Err(error) => tracing::error!(error, "the certificate cannot be read"),
        }
        if rest(PERIOD.min(Duration::from_secs(5)), &mut stop).await {
            return;
        }
    }
}

/// Waits; true when it is time to end.
async fn rest(time: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    let stopped = tokio::time::timeout(time, stop.wait_for(|s| *s)).await;
    stopped.is_ok()
}

impl Own {
    async fn keep(self, in_use: &InUse, mut stop: watch::Receiver<bool>) {
        let mut current: Option<Pair> = None;
        loop {
            let pause = match self.round(&mut current, in_use).await {
                Ok(()) => PERIOD.min(self.lifetime / 10),
                Err(error) => {
                    tracing::error!(configuration = %self.configuration, error, "the certificate is not known to the API server");
                    AGAIN
                }
            };
            if rest(pause, &mut stop).await {
                break;
            }
        }
        let Some(pair) = current else { return };
        let now = clock::now();
        if let Err(error) = self
            .write(|c| certificate::withdraw(c, &pair.pem, now))
            .await
        {
            tracing::warn!(error, "the certificate stays in the bundle until it ends");
        }
    }

    /// Renews where it is time, and sees to it that what is served is published.
    async fn round(&self, current: &mut Option<Pair>, in_use: &InUse) -> Result<(), String> {
        let now = clock::now();
        if let Some(pair) = current.as_ref().filter(|pair| !self.is_due(pair, now)) {
            return self.publish(pair).await;
        }
        let new = certificate::make(&self.names, now, self.lifetime)?;
        // Believed before it is served: no call in between fails.
        self.publish(&new).await?;
        tokio::time::sleep(SETTLE).await;
        tracing::info!(until = %new.until, "serving a new certificate");
        in_use.set(Arc::clone(&new.key), Some(new.until));
        let old = current.replace(new);
        if let Some(old) = old {
            self.write(|c| certificate::withdraw(c, &old.pem, now))
                .await?;
        }
        Ok(())
    }

    /// A third of its life is left.
    fn is_due(&self, pair: &Pair, now: Timestamp) -> bool {
        let left = pair.until.duration_since(now).as_secs();
        left < i64::try_from(self.lifetime.as_secs() / 3).unwrap_or(i64::MAX)
    }

    async fn publish(&self, pair: &Pair) -> Result<(), String> {
        self.write(|c| certificate::publish(c, &pair.pem, pair.until, clock::now()))
            .await
    }

    async fn write(&self, patch: impl Fn(&Value) -> Option<Value>) -> Result<(), String> {
        let target = Target {
            kind: Kind::ValidatingWebhookConfiguration,
            namespace: "",
            name: &self.configuration,
        };
        for _ in 0..TRIES {
            let configuration: Value = self.rest.get(target).await.map_err(|e| e.to_string())?;
            let Some(patch) = patch(&configuration) else {
                return Ok(());
            };
            match self.rest.merge(target, None, &patch).await {
                Ok(_) => return Ok(()),
                Err(CallError::Conflict(_)) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("others change the configuration all the time".to_owned())
    }
}
