//! A proxy between serin, and only serin, and the API server: it records what passes, and makes go wrong what a
//! test wants to go wrong. Knows requests and rules (reliability §2.0); knows nothing of rollouts.
//!
//! ```ignore
//! let proxy = FaultProxy::start(&plane, &plane.serin)?;      // give proxy.kubeconfig to the controller
//! proxy.when(Match::write("rollouts/status").nth(3), Fault::KillAfter { pid });
//! proxy.when(Match::verb("create").on("replicasets"), Fault::ApplyThenRefuse { code: 504 });
//! proxy.freeze_watches("replicasets");                        // … and later thaw_watches
//! let writes = proxy.writes();
//! ```
//! It speaks plain HTTP to its client and adds the user's token on the way to the API server.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode, header};
use futures::StreamExt;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use super::control_plane::{ControlPlane, User};
use super::request::{Asked, Match};

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Refused with this code; the API server never sees it.
    Refuse { code: u16 },
    /// Done by the API server, and then answered with this code.
    ApplyThenRefuse { code: u16 },
    /// Neither done nor answered: the client waits until its own time limit.
    Hang,
    /// Done and not answered.
    ApplyThenHang,
    /// Done, after this time.
    Delay(Duration),
    /// Done after this time, when the client has long given it up: a queue on the way.
    Hold(Duration),
    /// The client is killed (SIGKILL) and the request not done.
    KillBefore { pid: u32 },
    /// The request is done, and the client killed before it can learn of it.
    KillAfter { pid: u32 },
}

/// A request that changed something, or tried to.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// What was asked.
    pub(crate) asked: Asked,
    /// The body, as JSON where it is.
    pub(crate) body: Value,
    /// The API server's answer, also where the client got another one; none where it was never asked.
    pub(crate) code: Option<u16>,
}

/// A running proxy; dropping it cuts its connections.
#[derive(Debug)]
pub(crate) struct FaultProxy {
    /// For the client that is to meet the faults.
    pub(crate) kubeconfig: PathBuf,
    shared: Arc<Shared>,
    frozen: watch::Sender<BTreeSet<String>>,
    _stop: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Shared {
    rules: Mutex<Vec<Rule>>,
    writes: Mutex<Vec<Write>>,
}

#[derive(Debug)]
struct Rule {
    when: Match,
    fault: Fault,
    seen: u32,
}

impl FaultProxy {
    /// Starts a proxy that speaks to `plane` as `user`.
    ///
    /// # Errors
    /// When no port or no client is to be had.
    pub(crate) fn start(plane: &ControlPlane, user: &User) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let kubeconfig = plane
            .dir
            .join(format!("proxy-{}.kubeconfig", address.port()));
        fs::write(&kubeconfig, kubeconfig_for(address))?;
        let (frozen, watched) = watch::channel(BTreeSet::new());
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::new(Shared::default());
        let passing = Passing {
            shared: Arc::clone(&shared),
            frozen: watched,
        };
        let upstream = Kubeconfig::read_from(&user.kubeconfig).map_err(io::Error::other)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        // A thread of its own: the runtime of the test that starts it may end, or block.
        thread::spawn(move || {
            let served = runtime.block_on(serve(listener, upstream, passing, stopped));
            if let Err(trouble) = served {
                eprintln!("fault proxy: {trouble}");
            }
        });
        Ok(Self {
            kubeconfig,
            shared,
            frozen,
            _stop: stop,
        })
    }

    /// Makes requests go wrong from now on; of several rules that match, the first one is followed.
    pub(crate) fn when(&self, when: Match, fault: Fault) {
        lock(&self.shared.rules).push(Rule {
            when,
            fault,
            seen: 0,
        });
    }

    /// Forgets all rules.
    pub(crate) fn all_well(&self) {
        lock(&self.shared.rules).clear();
    }

    /// Holds back the events of a resource (`rollouts`) on all watches: the client's view of it grows old. What it
    /// reads by get and list stays true.
    pub(crate) fn freeze_watches(&self, resource: &str) {
        self.frozen
            .send_modify(|frozen| frozen.extend([resource.to_owned()]));
    }

    /// Lets the events of a resource through again, those that were held back first.
    pub(crate) fn thaw_watches(&self, resource: &str) {
        self.frozen
            .send_modify(|frozen| frozen.retain(|other| other != resource));
    }

    /// All writes so far, in order, without the renewals of Leases.
    pub(crate) fn writes(&self) -> Vec<Write> {
        let is_lease = |write: &&Write| write.asked.resource == "leases";
        lock(&self.shared.writes)
            .iter()
            .filter(|write| !is_lease(write))
            .cloned()
            .collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kubeconfig_for(address: SocketAddr) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
        "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "proxy", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
    })
    .to_string()
}

async fn serve(
    listener: std::net::TcpListener,
    upstream: Kubeconfig,
    passing: Passing,
    stopped: oneshot::Receiver<()>,
) -> Result<(), Box<dyn std::error::Error>> {
    // Fails only when a provider is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(upstream, &options).await?;
    config.default_retry = false;
    let client = Client::try_from(config)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let service = axum::Router::new()
        .fallback(pass)
        .with_state((client, passing));
    tokio::select! {
        served = async { axum::serve(listener, service).await } => Ok(served?),
        // Its sender is only ever dropped. Leaving drops the runtime, and with it all connections.
        _ = stopped => Ok(()),
    }
}

/// What each request needs.
#[derive(Clone)]
struct Passing {
    shared: Arc<Shared>,
    frozen: watch::Receiver<BTreeSet<String>>,
}

async fn pass(
    State((client, passing)): State<(Client, Passing)>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let asked = Asked::read(&parts.method, &parts.uri);
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let note = passing.shared.note(&asked, &body);
    let fault = passing.shared.fault(&asked);
    match &fault {
        Some(Fault::Refuse { code }) => return refusal(*code),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
        Some(Fault::KillBefore { pid }) => {
            kill(*pid);
            std::future::pending().await
        }
        Some(
            Fault::ApplyThenRefuse { .. }
            | Fault::ApplyThenHang
            | Fault::KillAfter { .. }
            | Fault::Hold(_),
        )
        | None => {}
    }
    let mut request = axum::http::Request::from_parts(parts, kube::client::Body::from(body));
    // Those of this connection are not those of the next.
    for name in [header::HOST, header::CONNECTION] {
        request.headers_mut().remove(name);
    }
    if let Some(Fault::Hold(time)) = &fault {
        let (time, shared) = (*time, Arc::clone(&passing.shared));
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            if let Ok(answer) = client.send(request).await {
                shared.answered(note, answer.status());
            }
        });
        std::future::pending::<()>().await;
        return refusal(504);
    }
    let answer = match client.send(request).await {
        Ok(answer) => answer,
        Err(trouble) => {
            eprintln!("fault proxy: {asked:?}: {trouble}");
            return refusal(502);
        }
    };
    passing.shared.answered(note, answer.status());
    match fault {
        Some(Fault::ApplyThenRefuse { code }) => return refusal(code),
        Some(Fault::ApplyThenHang) => std::future::pending().await,
        Some(Fault::KillAfter { pid }) => {
            kill(pid);
            std::future::pending().await
        }
        Some(
            Fault::Refuse { .. }
            | Fault::Hang
            | Fault::Delay(_)
            | Fault::Hold(_)
            | Fault::KillBefore { .. },
        )
        | None => {}
    }
    let (parts, body) = answer.into_parts();
    let body = Body::new(body);
    let body = if asked.verb == "watch" {
        passing.held_back(&asked.resource, body)
    } else {
        body
    };
    Response::from_parts(parts, body)
}

impl Passing {
    /// The same body, each piece of which waits while the resource's watches are frozen.
    fn held_back(&self, resource: &str, body: Body) -> Body {
        let (frozen, resource) = (self.frozen.clone(), resource.to_owned());
        let pieces = body.into_data_stream().then(move |piece| {
            let (mut frozen, resource) = (frozen.clone(), resource.clone());
            async move {
                // Fails when the proxy ends, and the connection with it.
                drop(frozen.wait_for(|frozen| !frozen.contains(&resource)).await);
                piece
            }
        });
        Body::from_stream(pieces)
    }
}

impl Shared {
    /// Records a write; the number it has.
    fn note(&self, asked: &Asked, body: &[u8]) -> Option<usize> {
        if !asked.is_write() {
            return None;
        }
        let body = serde_json::from_slice(body).unwrap_or_default();
        let mut writes = lock(&self.writes);
        writes.push(Write {
            asked: asked.clone(),
            body,
            code: None,
        });
        writes.len().checked_sub(1)
    }

    fn answered(&self, note: Option<usize>, status: StatusCode) {
        let mut writes = lock(&self.writes);
        if let Some(write) = note.and_then(|at| writes.get_mut(at)) {
            write.code = Some(status.as_u16());
        }
    }

    /// What goes wrong with this request. Counts it for every rule that it matches.
    fn fault(&self, asked: &Asked) -> Option<Fault> {
        let mut found = None;
        for rule in lock(&self.rules)
            .iter_mut()
            .filter(|rule| rule.when.matches(asked))
        {
            rule.seen += 1;
            if found.is_none() && rule.when.is_at(rule.seen) {
                found = Some(rule.fault.clone());
            }
        }
        found
    }
}

/// SIGKILL: the process runs no instruction of its own after this.
fn kill(pid: u32) {
    let mut kill = Command::new("sh");
    kill.args(["-c", "kill -s KILL \"$0\"", &pid.to_string()])
        .stderr(Stdio::null());
    // Fails only when it is gone already.
    drop(kill.status());
}

/// A refusal as the API server words it.
fn refusal(code: u16) -> Response<Body> {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "Unknown",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("{reason}: as the test wants it"), "reason": reason, "code": code,
    });
    let mut answer = Response::new(Body::from(status.to_string()));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY);
    let json = header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    if code == 429 {
        answer
            .headers_mut()
            .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    answer
}
