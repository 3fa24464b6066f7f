//! What the controller asked of the API server, from the audit log: counts by verb and resource.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Reads the log from where it ended when this was made.
pub(crate) struct Tail {
    path: PathBuf,
    from: u64,
}

/// Requests by what they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// `create replicasets`, `patch rollouts/status`, …: writes that were done, without Leases and events.
    pub(crate) writes: BTreeMap<String, u32>,
    /// Writes of events that were done.
    pub(crate) events: u32,
    /// Writes of the Lease.
    pub(crate) leases: u32,
    /// Gets and lists; watches are not counted.
    pub(crate) reads: BTreeMap<String, u32>,
    /// Writes that were refused, by code.
    pub(crate) refused: BTreeMap<String, u32>,
}

impl Asked {
    /// All writes that were done, without Leases and events.
    pub(crate) fn all_writes(&self) -> u32 {
        self.writes.values().sum()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    verb: String,
    user: User,
    object_ref: Option<Object>,
    response_status: Option<Status>,
    #[serde(default)]
    request_uri: String,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

impl Tail {
    /// From the present end of the log.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let from = match std::fs::metadata(path) {
            Ok(meta) => meta.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Self {
            path: path.to_owned(),
            from,
        })
    }

    /// What was asked since.
    pub(crate) fn read(&self) -> io::Result<Asked> {
        let mut asked = Asked::default();
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        for line in BufReader::new(file).lines() {
            // The last line may still be in the writing.
            if let Ok(line) = serde_json::from_str::<Line>(&line?) {
                count(&mut asked, line);
            }
        }
        Ok(asked)
    }
}

fn count(asked: &mut Asked, line: Line) {
    if line.user.username != "serin" || line.verb == "watch" {
        return;
    }
    let Some(object) = line.object_ref else {
        return;
    };
    let mut what = format!("{} {}", line.verb, object.resource);
    if !object.subresource.is_empty() {
        what = format!("{what}/{}", object.subresource);
    }
    let code = line.response_status.map_or(0, |s| s.code);
    let is_read = matches!(line.verb.as_str(), "get" | "list");
    if is_read {
        *asked.reads.entry(what).or_default() += 1;
    } else if code >= 300 || code == 0 {
        *asked.refused.entry(format!("{what} {code}")).or_default() += 1;
    } else if object.resource == "leases" {
        asked.leases += 1;
    } else if object.resource == "events" {
        asked.events += 1;
    } else if line.request_uri.contains("dryRun=") {
        *asked.reads.entry(format!("{what} (dry run)")).or_default() += 1;
    } else {
        *asked.writes.entry(what).or_default() += 1;
    }
}
