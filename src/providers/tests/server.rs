//! A server that plays a metric service over TLS: what it says, how it fails, what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// How a server answers.
#[derive(Clone, Debug)]
pub(super) enum Way {
    /// With a body, by the beginning of the path that is longest.
    Well(Vec<(String, String)>),
    /// With this status and a body that says SEEN.
    Status(u16),
    /// With 200 and this.
    Says(Vec<u8>),
    /// With two megabytes.
    TooMuch,
    /// With a kilobyte that stands for much more.
    Bomb,
    /// Not at all.
    Hangs,
    /// With half of what it announces.
    BreaksOff,
}

/// A certificate authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    pub(super) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// The acceptor of a server with a certificate for that host.
    pub(super) fn server(
        &self,
        host: &str,
        adjust: impl FnOnce(&mut CertificateParams),
    ) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        adjust(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        acceptor(&certificate, &key)
    }
}

/// The acceptor of a server that signed its certificate itself.
pub(super) fn self_signed(host: &str) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    acceptor(&params.self_signed(&key).unwrap(), &key)
}

fn acceptor(certificate: &rcgen::Certificate, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A running server.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// Requests as they came.
    pub(super) asked: Arc<Mutex<Vec<String>>>,
    way: Arc<Mutex<Way>>,
}

impl Server {
    pub(super) async fn start(tls: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            way: Arc::new(Mutex::new(Way::Status(500))),
        };
        let (asked, way) = (Arc::clone(&server.asked), Arc::clone(&server.way));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, asked, way) = (tls.clone(), Arc::clone(&asked), Arc::clone(&way));
                tokio::spawn(async move {
                    if let Ok(mut stream) = tls.accept(stream).await {
                        let request = read(&mut stream).await;
                        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                        asked.lock().unwrap().push(request);
                        let way = way.lock().unwrap().clone();
                        answer(&mut stream, way, &path).await;
                        drop(stream.shutdown().await);
                    }
                });
            }
        });
        server
    }

    pub(super) fn does(&self, way: Way) {
        *self.way.lock().unwrap() = way;
    }

    pub(super) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(super) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 16_384];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length
                .split_once("content-length: ")
                .and_then(|(_, rest)| rest.lines().next()?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0_usize) {
                return text;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(n) if n > 0 => bytes.extend_from_slice(&chunk[..n]),
            _ => return String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), way: Way, path: &str) {
    let reply = |code: u16, headers: &str, body: &[u8]| {
        let mut all = format!(
            "HTTP/1.1 {code} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        all.extend_from_slice(body);
        all
    };
    let bytes = match way {
        Way::Well(bodies) => {
            let fitting = bodies.iter().filter(|(start, _)| path.starts_with(start));
            match fitting.max_by_key(|(start, _)| start.len()) {
                Some((_, body)) => reply(200, "", body.as_bytes()),
                None => reply(404, "", b"SEEN"),
            }
        }
        Way::Status(code) => reply(code, "location: http://169.254.169.254/\r\n", b"SEEN"),
        Way::Says(body) => reply(200, "", &body),
        Way::TooMuch => reply(200, "", &vec![b'x'; 2 << 20]),
        Way::Bomb => reply(200, "content-encoding: gzip\r\n", &[0x1f; 1000]),
        Way::Hangs => return std::future::pending().await,
        Way::BreaksOff => b"HTTP/1.1 200 X\r\ncontent-length: 50\r\n\r\nSEEN".to_vec(),
    };
    drop(stream.write_all(&bytes).await);
    drop(stream.flush().await);
}
