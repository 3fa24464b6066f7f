//! Annotations of the Rollout that its current ReplicaSet carries too (contract S6): kept up to date,
//! removals are not passed on. Knows which are left out.

use sha2::{Digest, Sha256};

use super::draft::Draft;
use super::observed::{ReplicaSetSeen, RolloutSeen};
use crate::api::{COPIED, OWN_PREFIX};

/// Annotations that are copied: all but what speaks of the Rollout alone.
pub(crate) fn copied(rollout: &RolloutSeen) -> impl Iterator<Item = (&String, &String)> {
    rollout.annotations.iter().filter(|(key, _)| {
        !key.starts_with(OWN_PREFIX)
            && !key.starts_with("rollout.argoproj.io/")
            && key.as_str() != "kubectl.kubernetes.io/last-applied-configuration"
            && key.as_str() != "notified.notifications.argoproj.io"
    })
}

/// `serin.dev/copied`: tells one set of copies from another; `None` where nothing is to be copied.
pub(crate) fn mark(rollout: &RolloutSeen) -> Option<String> {
    let mut digest = Sha256::new();
    let mut is_empty = true;
    for (key, value) in copied(rollout) {
        is_empty = false;
        for text in [key, value] {
            digest.update(text.len().to_le_bytes());
            digest.update(text.as_bytes());
        }
    }
    let bytes = digest.finalize();
    let hex = bytes.iter().take(8).map(|byte| format!("{byte:02x}"));
    (!is_empty).then(|| hex.collect())
}

/// Copies what has changed since the last time.
pub(crate) fn keep(d: &mut Draft<'_>, canary: &ReplicaSetSeen) {
    let Some(mark) = mark(&d.seen.rollout) else {
        return;
    };
    if canary.copied.as_ref() == Some(&mark) {
        return;
    }
    let seen = d.seen;
    for (key, value) in copied(&seen.rollout) {
        d.annotate(canary, key, value.clone());
    }
    d.annotate(canary, COPIED, mark);
}
