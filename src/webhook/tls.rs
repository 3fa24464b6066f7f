//! Connections over TLS for the HTTP server: handshakes beside each other and within a time, so that
//! one that dawdles holds nobody up; a limited number, and none that is silent for long.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::keeper::InUse;

/// Connections at the same time; more wait in the kernel's queue.
const MOST: usize = 256;
/// Longest time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A connection on which nothing has moved for so long is closed. Longer than any answer takes.
const IDLE: Duration = Duration::from_secs(90);

/// Gives connections whose handshake is done.
#[derive(Debug)]
pub struct Tls {
    ready: mpsc::Receiver<(Held, SocketAddr)>,
    address: SocketAddr,
}

impl Tls {
    /// Serves the certificate that is in use at the moment of each handshake.
    ///
    /// # Errors
    /// When the address of the listener is not known.
    pub fn new(listener: TcpListener, certificate: Arc<InUse>) -> io::Result<Self> {
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(MOST);
        tokio::spawn(accept(
            listener,
            TlsAcceptor::from(Arc::new(config)),
            sender,
        ));
        Ok(Self { ready, address })
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<(Held, SocketAddr)>,
) {
    let permits = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let (stream, from) = tokio::select! {
            () = ready.closed() => return,
            accepted = listener.accept() => match accepted {
                Ok(it) => it,
                Err(error) => {
                    // Mostly: too many open files. It passes.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            },
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let held = Held {
                        stream: Box::new(stream),
                        silence: Box::pin(tokio::time::sleep(IDLE)),
                        _permit: permit,
                    };
                    // Closed: the server has ended.
                    drop(ready.send((held, from)).await);
                }
                Ok(Err(error)) => tracing::debug!(%from, %error, "no handshake"),
                Err(_) => tracing::debug!(%from, "no handshake in time"),
            }
        });
    }
}

impl Listener for Tls {
    type Io = Held;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

/// A connection, its place among all, and how long it has been silent.
#[derive(Debug)]
pub struct Held {
    stream: Box<TlsStream<TcpStream>>,
    silence: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Held {
    fn moved(&mut self) {
        self.silence.as_mut().reset(Instant::now() + IDLE);
    }
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => match self.silence.as_mut().poll(cx) {
                // As if the other side had closed it.
                Poll::Ready(()) => Poll::Ready(Ok(())),
                Poll::Pending => Poll::Pending,
            },
            ready => {
                self.moved();
                ready
            }
        }
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.moved();
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
