//! What this process takes of the machine, where the system tells it (Linux): the names that every
//! exporter has.

use std::fmt::Error;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Memory, processor time, open files, and when it began.
pub(super) fn encode_process(e: &mut DescriptorEncoder<'_>, started: f64) -> Result<(), Error> {
    let gauges = [
        (
            "process_resident_memory_bytes",
            "Resident memory.",
            memory("VmRSS:"),
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory.",
            memory("VmSize:"),
        ),
        ("process_open_fds", "Open files.", open_files()),
        (
            "process_start_time_seconds",
            "When this process began, in seconds since 1970.",
            Some(started),
        ),
    ];
    for (name, help, value) in gauges {
        let Some(value) = value else { continue };
        let mut metric = e.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value)?;
    }
    if let Some(seconds) = cpu_seconds() {
        let mut metric = e.encode_descriptor(
            "process_cpu_seconds",
            "Processor time, user and system.",
            None,
            MetricType::Counter,
        )?;
        metric.encode_counter::<NoLabelSet, _, f64>(&seconds, None)?;
    }
    Ok(())
}

fn memory(line: &str) -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(line))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0)
}

fn open_files() -> Option<f64> {
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    u32::try_from(count).ok().map(f64::from)
}

fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold spaces; the fields after it do not.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    // Linux counts these in hundredths of a second for every program.
    Some((user + system) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_tells_its_memory() {
        assert!(memory("VmRSS:").is_some_and(|b| b > 1e5));
        assert!(memory("VmSize:") >= memory("VmRSS:"));
        assert!(open_files().is_some_and(|n| n >= 3.0));
        assert!(cpu_seconds().is_some());
    }
}
