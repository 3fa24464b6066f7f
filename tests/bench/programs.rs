//! Where the programs are that tests run. Knows the caches of tests/control-plane; starts nothing.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The programs of the control plane.
#[derive(Clone, Debug)]
pub(crate) struct ControlPlanePrograms {
    pub(crate) etcd: PathBuf,
    pub(crate) apiserver: PathBuf,
    pub(crate) controller_manager: PathBuf,
    pub(crate) kubectl: PathBuf,
}

impl ControlPlanePrograms {
    /// From `KUBEBUILDER_ASSETS` when it is set, else from where tests/control-plane/build.sh puts them.
    ///
    /// # Errors
    /// Says which one is missing and what to run.
    pub(crate) fn find() -> io::Result<Self> {
        let dir = match env::var_os("KUBEBUILDER_ASSETS") {
            Some(dir) => PathBuf::from(dir),
            None => cache().join("control-plane/bin"),
        };
        let program = |name: &str| existing(&dir.join(name), "tests/control-plane/build.sh");
        Ok(Self {
            etcd: program("etcd")?,
            apiserver: program("kube-apiserver")?,
            controller_manager: program("kube-controller-manager")?,
            kubectl: program("kubectl").or_else(|missing| on_path("kubectl").ok_or(missing))?,
        })
    }
}

/// The Prometheus server: `SERIN_PROMETHEUS`, or the one on the path, or the one that
/// tests/control-plane/install.sh has unpacked.
///
/// # Errors
/// Says what to run when there is none.
pub(crate) fn prometheus() -> io::Result<PathBuf> {
    if let Some(path) = env::var_os("SERIN_PROMETHEUS") {
        return existing(
            Path::new(&path),
            "unset SERIN_PROMETHEUS, and tests/control-plane/install.sh",
        );
    }
    if let Some(path) = on_path("prometheus") {
        return Ok(path);
    }
    existing(
        &cache().join("prometheus/usr/bin/prometheus"),
        "tests/control-plane/install.sh",
    )
}

/// One of the programs that tests/delivery-tools/build.sh builds: helm, gator, actionlint.
///
/// # Errors
/// Says what to run when it is not built.
pub(crate) fn delivery_tool(name: &str) -> io::Result<PathBuf> {
    let path = cache().join("delivery-tools/bin").join(name);
    existing(&path, "tests/delivery-tools/build.sh")
}

/// An example program of this package (`node`, `agent`), built beside the running program: it is looked for where
/// cargo puts examples for the profile that the running program has.
///
/// # Errors
/// Says what to run when it is not built.
pub(crate) fn example(name: &str) -> io::Result<PathBuf> {
    let running = env::current_exe()?;
    let near = running
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("examples").join(name));
    let found = near.into_iter().find(|path| path.exists());
    found.ok_or_else(|| {
        io::Error::other(format!(
            "the example program {name} is not built: run cargo build --examples"
        ))
    })
}

/// A secret that nobody on this machine can guess, 36 characters.
///
/// # Errors
/// When the kernel gives none.
pub(crate) fn new_secret() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/uuid")?
        .trim()
        .to_owned())
}

/// `SERIN_CACHE`, or `.cache` at the top of the repository.
fn cache() -> PathBuf {
    match env::var_os("SERIN_CACHE") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache"),
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|program| program.is_file())
}

fn existing(path: &Path, run: &str) -> io::Result<PathBuf> {
    if path.is_file() {
        return Ok(path.to_owned());
    }
    Err(io::Error::other(format!(
        "{} is not there: run {run}",
        path.display()
    )))
}
