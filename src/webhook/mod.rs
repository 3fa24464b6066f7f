//! The validating admission webhook: what `serin lint` says, said to the API server before an object
//! is stored. A shell of its own: it reads the cluster, and writes nothing but the `caBundle` of its
//! own configuration.
//!
//! Read in this order: [`judge`] (what is said), [`review`] (the wire), [`known`] (what is read for
//! it), [`server`], [`tls`], [`certificate`], [`keeper`].

pub mod certificate;
pub mod judge;
pub mod keeper;
pub mod known;
pub mod review;
pub mod server;
pub mod stats;
pub mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::live::http;
use keeper::{InUse, Source};
use known::Reader;
use server::Server;
use stats::Stats;

/// After SIGTERM questions are still answered for so long: API servers learn late that a pod goes.
const LINGER: Duration = Duration::from_secs(5);

/// Settings of one webhook process.
#[derive(Debug)]
pub struct Settings {
    /// Where questions are answered, over TLS.
    pub address: SocketAddr,
    /// Where health is served.
    pub health_address: SocketAddr,
    /// Where metrics are served.
    pub metrics_address: SocketAddr,
    /// Where the certificate comes from.
    pub certificate: Source,
    /// Reads what questions refer to; `None` where nothing is looked up.
    pub reader: Option<Reader>,
    /// How many questions are answered at once.
    pub places: usize,
    /// Longest time for one.
    pub limit: Duration,
}

/// Answers until `stop`, and a little longer.
///
/// # Errors
/// When an address cannot be bound.
pub async fn run(settings: Settings, mut stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let certificate = Arc::<InUse>::default();
    let server = Arc::new(Server {
        reader: settings.reader,
        places: Semaphore::new(settings.places.max(1)),
        limit: settings.limit,
        stats: Stats::default(),
        certificate: Arc::clone(&certificate),
        is_ending: AtomicBool::new(false),
    });
    let (health, metrics) = (settings.health_address, settings.metrics_address);
    let (health, metrics) = http::serve(health, metrics, server.clone()).await?;
    let listener = TcpListener::bind(settings.address).await.map_err(|e| {
        std::io::Error::new(
            e.kind(),
            format!("cannot listen on {}: {e}", settings.address),
        )
    })?;
    let bound = listener.local_addr()?;
    tracing::info!(%bound, %health, %metrics, "answering");
    let (ended, drained) = watch::channel(false);
    let keeper = tokio::spawn(keeper::keep(
        settings.certificate,
        Arc::clone(&certificate),
        drained,
    ));
    let router = Arc::clone(&server).router();
    let served = axum::serve(tls::Tls::new(listener, certificate)?, router);
    let until = async move {
        // Without a sender nobody asks for the end.
        if stop.wait_for(|s| *s).await.is_err() {
            std::future::pending::<()>().await;
        }
        server.is_ending.store(true, Ordering::Release);
        tokio::time::sleep(LINGER).await;
    };
    // Questions under way have their own limit; connections that stay open have not.
    let limit = settings.limit;
    let (told, telling) = tokio::sync::oneshot::channel();
    let served = served.with_graceful_shutdown(async move {
        until.await;
        if told.send(()).is_err() {
            tracing::debug!("it has ended already");
        }
    });
    tokio::select! {
        done = served.into_future() => done?,
        () = async {
            drop(telling.await);
            tokio::time::sleep(limit).await;
        } => {}
    }
    ended.send_replace(true);
    if tokio::time::timeout(Duration::from_secs(5), keeper)
        .await
        .is_err()
    {
        tracing::warn!("the certificate could not be withdrawn in time");
    }
    Ok(())
}
