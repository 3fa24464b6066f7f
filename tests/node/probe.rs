//! Readiness and liveness probes over real connections. Knows HTTP's first line; decides nothing about pods.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// Between two probes of a container that has not been ready yet: a test waits for it.
const EAGER: Duration = Duration::from_millis(200);

/// One probe of one container, and how it stands.
pub(crate) struct Probe {
    path: Option<String>,
    port: u16,
    period: Duration,
    timeout: Duration,
    failures_needed: u32,
    successes_needed: u32,
    is_eager: bool,
    next: Instant,
    /// Answers of one kind in a row.
    row: (bool, u32),
}

/// What a row of answers amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As many successes as the probe asks for.
    Passed,
    /// As many failures as the probe allows.
    Failed,
    /// Neither.
    Open,
}

impl Probe {
    /// A readiness probe: eager until the container has been ready once. `port` is the process's, whatever port
    /// the pod names; times are as the pod says, up to `max_period`.
    pub(crate) fn readiness(probe: &core::Probe, port: u16, max_period: Duration) -> Self {
        Self::new(probe, port, max_period, true)
    }

    /// A liveness probe.
    pub(crate) fn liveness(probe: &core::Probe, port: u16, max_period: Duration) -> Self {
        Self::new(probe, port, max_period, false)
    }

    fn new(probe: &core::Probe, port: u16, max_period: Duration, is_eager: bool) -> Self {
        let seconds = |value: Option<i32>, otherwise: u64| {
            let value = value
                .and_then(|value| u64::try_from(value).ok())
                .filter(|v| *v > 0);
            Duration::from_secs(value.unwrap_or(otherwise))
        };
        let count = |value: Option<i32>, otherwise: u32| {
            value
                .and_then(|value| u32::try_from(value).ok())
                .filter(|v| *v > 0)
                .unwrap_or(otherwise)
        };
        let delay = seconds(probe.initial_delay_seconds, 0).min(max_period);
        let first = delay.max(Duration::from_millis(50));
        Self {
            path: probe
                .http_get
                .as_ref()
                .map(|get| get.path.clone().unwrap_or_else(|| "/".to_owned())),
            port,
            period: seconds(probe.period_seconds, 10).min(max_period),
            timeout: seconds(probe.timeout_seconds, 1),
            failures_needed: count(probe.failure_threshold, 3),
            successes_needed: count(probe.success_threshold, 1),
            is_eager,
            next: Instant::now() + first,
            row: (false, 0),
        }
    }

    /// Asks the process if it is time to, and says how it stands after that.
    pub(crate) async fn ask_when_due(&mut self) -> Verdict {
        if Instant::now() < self.next {
            return Verdict::Open;
        }
        let passed = timeout(self.timeout, self.ask()).await.unwrap_or(false);
        self.row = if self.row.0 == passed {
            (passed, self.row.1 + 1)
        } else {
            (passed, 1)
        };
        self.next = Instant::now()
            + if self.is_eager {
                self.period.min(EAGER)
            } else {
                self.period
            };
        match self.row {
            (true, count) if count >= self.successes_needed => {
                self.is_eager = false;
                Verdict::Passed
            }
            (false, count) if count >= self.failures_needed => Verdict::Failed,
            _ => Verdict::Open,
        }
    }

    /// True for a status code of 200 to 399, or where no path is given for an open port.
    async fn ask(&self) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let Ok(mut stream) = TcpStream::connect(address).await else {
            return false;
        };
        let Some(path) = &self.path else {
            return true;
        };
        let request =
            format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nUser-Agent: kube-probe/0\r\n\r\n");
        let mut answer = Vec::new();
        let asked = stream.write_all(request.as_bytes()).await.is_ok();
        if !asked || stream.read_to_end(&mut answer).await.is_err() {
            return false;
        }
        let answer = String::from_utf8_lossy(&answer);
        let code = answer
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse::<u16>().ok());
        code.is_some_and(|code| (200..400).contains(&code))
    }
}
