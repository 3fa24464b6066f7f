//! What the tests of all providers share, and the table of services.

mod server;
mod services;
mod tls;

use std::sync::OnceLock;

use serde_json::Value;

use self::server::Authority;
use super::*;

/// A question at a fixed time, from a run in the namespace `ns`.
pub(super) fn question(provider: Value, credentials: &[(&str, &str)]) -> Question {
    Question {
        provider: serde_json::from_value(provider).unwrap(),
        credentials: credentials
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        namespace: "ns".to_owned(),
        since_last: None,
        at: now(),
    }
}

/// 2026-11-21 15:04:05.
fn now() -> Timestamp {
    Timestamp::from_second(1_795_273_445).unwrap()
}

/// The authority that the servers of these tests have their certificates from, and its file.
fn authority() -> &'static (Authority, std::path::PathBuf) {
    static ONE: OnceLock<(Authority, std::path::PathBuf)> = OnceLock::new();
    ONE.get_or_init(|| {
        drop(rustls::crypto::ring::default_provider().install_default());
        let authority = Authority::new("serin tests");
        let file = std::env::temp_dir().join(format!("serin-ca-{}.pem", std::process::id()));
        std::fs::write(&file, authority.pem()).unwrap();
        (authority, file)
    })
}

/// A pool that may ask this machine and trusts the tests' authority.
fn pool(with: impl FnOnce(&mut PoolConfig)) -> Pool {
    let mut config = PoolConfig {
        allow: address::AllowList::parse(["127.0.0.1", "localhost"]).unwrap(),
        ca_file: Some(authority().1.clone()),
        ..PoolConfig::default()
    };
    with(&mut config);
    Pool::new(config, now).unwrap()
}
