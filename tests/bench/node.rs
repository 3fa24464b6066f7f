//! Starts the small node of tests/node. Knows its flags and when it is ready; knows nothing of pods.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::control_plane::ControlPlane;
use super::process::Process;
use super::programs;

const START_LIMIT: Duration = Duration::from_secs(60);

/// A running node; dropping it ends it and the processes of its pods. The pods stay, as on a real node that dies.
#[derive(Debug)]
pub(crate) struct Node {
    process: Process,
}

impl Node {
    /// Starts the node `name` with its log and those of its pods in `dir`, and returns when it takes pods. `args` are flags of its own,
    /// as in `["--agent-env", "AGENT_SELF_LOAD=10"]`.
    ///
    /// # Errors
    /// When the examples are not built (the message says what to run) or the node does not start.
    pub(crate) fn start(
        dir: &Path,
        plane: &ControlPlane,
        name: &str,
        args: &[&str],
    ) -> io::Result<Self> {
        let mut command = Command::new(programs::example("node")?);
        command.arg("--kubeconfig").arg(&plane.admin.kubeconfig);
        command
            .arg("--agent-binary")
            .arg(programs::example("agent")?);
        command
            .arg("--targets")
            .arg(plane.targets_dir().join(format!("{name}.json")));
        command.arg("--log-dir").arg(dir.join("pods"));
        command.args(["--node-name", name]).args(args);
        let log = dir.join(format!("{name}.log"));
        // The log of an earlier node would say `ready` for this one.
        drop(fs::remove_file(&log));
        let mut process = Process::start(name, &command, &log)?;
        process.wait_until(START_LIMIT, || {
            fs::read_to_string(&log).is_ok_and(|text| text.contains("node ready: "))
        })?;
        Ok(Self { process })
    }

    /// The node's own process, to freeze or kill it.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
