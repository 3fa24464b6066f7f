//! The bench: the real parts that tests and `make demo-live` run against, started from Rust.
//!
//! Knows how a control plane, a Prometheus and a node are started and ended on one machine without containers.
//! Must not know serin: nothing here uses the library, so that each program that wants the bench includes it with
//! `#[path = "../bench/mod.rs"] mod bench;` (the test suite, and the live demo).
//!
//! # Before the first start
//! ```sh
//! tests/control-plane/install.sh      # openssl, Go, Prometheus: only what is lacking; quiet when all is there
//! tests/control-plane/build.sh        # etcd, kube-apiserver, kube-controller-manager, kubectl: 3 to 5 minutes once
//! cargo build --examples              # the node and the agent
//! ```
//!
//! # Everything, from Rust
//! ```ignore
//! let options = Options { crds: Some("crds".into()), ..Options::default() };
//! let plane = ControlPlane::start_with(&dir.join("plane"), options)?; // 3 to 5 s
//! let node = Node::start(&dir, &plane, "node-1", &[])?;               // pods run from here on
//! let prometheus = Prometheus::start(&dir.join("prometheus"), &plane, PodLabels::All)?;
//! plane.give_serin_its_rights()?;                                     // what deploy/ gives it
//! // serin controller --kubeconfig {plane.serin.kubeconfig} --prometheus {prometheus.url()}
//! ```
//! All calls block, and do no work of an async runtime's: call them inside `spawn_blocking` where that matters.
//!
//! # How it ends
//! Dropping a part ends its processes. Whatever is not dropped (a static, a SIGKILL of the test) dies with the
//! program that started it, by the kernel: see `process.rs`. Directories are left for whoever looks for a cause;
//! [`scratch`] removes those of earlier runs.

// Each program that includes the bench uses another part of it.
#![allow(dead_code)]

pub(crate) mod control_plane;
pub(crate) mod fault_proxy;
pub(crate) mod http;
pub(crate) mod node;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod prometheus;
pub(crate) mod request;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A new directory `NAME-PID` under `parent`. Removes those whose process is gone, so that only the newest run of
/// a program leaves its logs.
///
/// # Errors
/// When the directory cannot be made.
pub(crate) fn scratch(parent: &Path, name: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(parent)?;
    let prefix = format!("{name}-");
    for entry in fs::read_dir(parent)?.flatten() {
        let entry_name = entry.file_name();
        let pid = entry_name
            .to_str()
            .and_then(|text| text.strip_prefix(&prefix));
        let is_gone = pid.is_some_and(|pid| {
            pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()
        });
        if is_gone {
            // Another program may be removing it at this moment.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    let dir = parent.join(format!("{prefix}{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    Ok(dir)
}
