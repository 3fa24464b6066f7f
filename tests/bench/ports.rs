//! Free loopback ports. Knows how not to collide with other tests; knows no protocol.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which Linux takes the ports of outgoing connections (32768 and up).
const FIRST: u16 = 18_000;
const COUNT: u16 = 14_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A loopback port that nobody listens on, different at each call, and different from those that another process
/// is likely to get.
pub(crate) fn free_port() -> u16 {
    let start = process::id().wrapping_mul(389) % u32::from(COUNT);
    let start = u16::try_from(start).unwrap_or(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + step % COUNT) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
