//! The one place that reads clocks. Everything else is told what time it is.

#![allow(clippy::disallowed_methods)]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Wall-clock time, at full precision: goes into plans and into what is written.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Monotonic time: for timeouts, leases, ages and back-off.
pub fn instant() -> Instant {
    Instant::now()
}

/// Milliseconds since the process first asked; fits into an atomic.
pub fn ticks() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// How long it is until `t`, zero when it has passed, rounded up to whole milliseconds so that a
/// timer never ends before the time it was set for.
pub fn until(t: Timestamp) -> Duration {
    let left = t.duration_since(now());
    Duration::try_from(left).map_or(Duration::ZERO, |d| {
        d.saturating_add(Duration::from_millis(1))
    })
}
