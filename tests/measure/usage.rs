//! What processes use, read from /proc: memory, CPU time, and how busy the machine was with other things.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Instant;

/// Clock ticks a second, on every Linux that we meet.
const TICKS: f64 = 100.0;

/// Memory of a process in MiB: now, and the most since it started or [`forget_peak`].
pub(crate) fn memory(pid: u32) -> io::Result<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or_default() / 1024.0
    };
    Ok((field("VmRSS:"), field("VmHWM:")))
}

/// The peak is measured from now on.
pub(crate) fn forget_peak(pid: u32) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

/// CPU time of a process since it started, user and system, in seconds.
pub(crate) fn cpu(pid: u32) -> io::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(stat(&text).map_or(0.0, |stat| stat.seconds))
}

/// CPU time of the calling thread since it started, in seconds.
pub(crate) fn own_thread() -> io::Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/stat")?;
    Ok(stat(&text).map_or(0.0, |stat| stat.seconds))
}

struct Stat {
    name: String,
    parent: u32,
    seconds: f64,
}

/// The name may hold anything, so fields are counted from the last parenthesis.
fn stat(text: &str) -> Option<Stat> {
    let (head, tail) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some(Stat {
        name,
        parent: fields.get(1)?.parse().ok()?,
        seconds: (ticks(11)? + ticks(12)?) / TICKS,
    })
}

/// CPU time of everybody, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    at: Instant,
    machine: f64,
    ours: BTreeMap<String, f64>,
}

/// CPU time between two moments.
#[derive(Clone, Debug)]
pub(crate) struct Between {
    /// CPU seconds of this program's processes by name.
    pub(crate) ours: BTreeMap<String, f64>,
    /// What others took of the machine, from 0 to 1: the noise.
    pub(crate) others: f64,
}

impl Moment {
    /// Now.
    pub(crate) fn now() -> io::Result<Self> {
        let me = std::process::id();
        let mut ours = BTreeMap::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else {
                continue;
            };
            // It may be gone by now.
            let text = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            if let Some(stat) = stat(&text)
                && (stat.parent == me || pid == me)
            {
                *ours.entry(stat.name).or_insert(0.0) += stat.seconds;
            }
        }
        Ok(Self {
            at: Instant::now(),
            machine: machine()?,
            ours,
        })
    }

    /// What was used since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Between {
        let seconds = self.at.duration_since(earlier.at).as_secs_f64();
        let ours: BTreeMap<String, f64> = self
            .ours
            .iter()
            .map(|(name, now)| (name.clone(), now - earlier.ours.get(name).unwrap_or(&0.0)))
            .collect();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let capacity = seconds * f64::from(u32::try_from(cpus).unwrap_or(1));
        let all: f64 = ours.values().sum();
        let others = ((self.machine - earlier.machine - all) / capacity).clamp(0.0, 1.0);
        Between { ours, others }
    }
}

/// CPU seconds that the machine has worked, all CPUs together.
fn machine() -> io::Result<f64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|f| f.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    let busy = [0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|i: &usize| fields.get(*i));
    Ok(busy.sum::<f64>() / TICKS)
}
