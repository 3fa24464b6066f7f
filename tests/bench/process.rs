//! Child processes that cannot outlive us. Knows setpriv and signals; knows nothing of what it runs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A running child. Dropping it kills it and waits until it is gone.
///
/// It dies with us also where nothing is dropped (a static, a SIGKILL): the kernel kills it when we go.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts `command`, its output going to `log` (appended).
    ///
    /// # Errors
    /// Says which program could not be started, and why.
    pub(crate) fn start(name: &str, command: &Command, log: &Path) -> io::Result<Self> {
        let named = |cause: io::Error| io::Error::new(cause.kind(), format!("{name}: {cause}"));
        if let Some(dir) = log.parent() {
            fs::create_dir_all(dir).map_err(named)?;
        }
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(named)?;
        let err = out.try_clone().map_err(named)?;
        let mut wrapped = dying_with_us(command);
        wrapped.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = spawn_from_keeper(wrapped).map_err(named)?;
        Ok(Self {
            name: name.to_owned(),
            log: log.to_owned(),
            child,
        })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to stop (SIGTERM) and does not wait.
    pub(crate) fn ask_to_stop(&self) {
        self.signal("TERM");
    }

    /// Stops it in its tracks (SIGSTOP), as a machine does that hangs. [`Process::thaw`] lets it go on.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen process go on (SIGCONT).
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    /// Kills it (SIGKILL) and waits until it is gone and its ports are free.
    pub(crate) fn kill(&mut self) {
        // Both fail only when the process is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// The last lines of its log, for a message about its failure.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(15);
        let tail = lines.get(from..).unwrap_or_default().join("\n  ");
        format!("the end of {}:\n  {tail}", self.log.display())
    }

    /// Waits until `is_ready` says so.
    ///
    /// # Errors
    /// When the process ends before, or `limit` passes; with its last words.
    pub(crate) fn wait_until(
        &mut self,
        limit: Duration,
        mut is_ready: impl FnMut() -> bool,
    ) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            if is_ready() {
                return Ok(());
            }
            if let Some(status) = self.ended() {
                return Err(self.trouble(&format!("ended with {status} before it was ready")));
            }
            if begun.elapsed() > limit {
                return Err(self.trouble(&format!("was not ready within {} s", limit.as_secs())));
            }
            thread::sleep(Duration::from_millis(30));
        }
    }

    fn trouble(&self, what: &str) -> io::Error {
        io::Error::other(format!("{} {what}; {}", self.name, self.last_words()))
    }

    fn signal(&self, signal: &str) {
        // The shell has a `kill` of its own: not every machine has the program.
        let mut kill = Command::new("sh");
        kill.args([
            "-c",
            "kill -s \"$0\" \"$1\"",
            signal,
            &self.pid().to_string(),
        ])
        .stderr(Stdio::null());
        // Fails only when the process is gone already.
        drop(kill.status());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The same command, killed by the kernel when the thread that starts it ends. `setpriv` replaces itself by the
/// program, so the child's pid is the program's.
fn dying_with_us(command: &Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped
        .args(["--pdeathsig", "KILL", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        wrapped.current_dir(dir);
    }
    wrapped
}

type Request = (Command, Sender<io::Result<Child>>);

/// Starts a child from a thread that lives as long as the process: the kernel ties a child to the *thread* that
/// started it, and the threads of tests and of async runtimes come and go.
fn spawn_from_keeper(command: Command) -> io::Result<Child> {
    static KEEPER: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (requests, inbox) = channel::<Request>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                // The asker may have gone: then the child is dropped, which leaves it running until we end.
                drop(reply.send(command.spawn()));
            }
        });
        Mutex::new(requests)
    });
    let (reply, answer) = channel();
    let gone = || io::Error::other("the thread that starts processes is gone");
    keeper
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, reply))
        .map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}
