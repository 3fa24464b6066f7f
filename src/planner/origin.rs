//! What a ReplicaSet has on record of its version: when it was made for the first time, and whether
//! it was ever the stable one. Both outlive the object, so that a ReplicaSet which is made again is no
//! younger, and one that failed is never taken for one that was good.

use jiff::Timestamp;

use super::draft::Draft;
use super::observed::ReplicaSetSeen;
use super::revision::Sets;
use crate::api::{RolloutStatus, WAS_STABLE};

/// On a ReplicaSet whose version is or was the stable one.
pub(crate) const YES: &str = "true";
/// On one that is made for an update: until it is promoted nobody knows.
pub(crate) const NO: &str = "false";

/// Reads `serin.dev/was-stable`. Without it nothing is known: another controller made the ReplicaSet.
pub fn was_stable(text: Option<&str>) -> Option<bool> {
    match text {
        Some(YES) => Some(true),
        Some(NO) => Some(false),
        Some(_) | None => None,
    }
}

/// When the version was made: as recorded where its ReplicaSet was made again, else with it. A record
/// never makes a ReplicaSet younger than it is.
pub fn created(recorded: Option<&str>, made: Timestamp) -> Timestamp {
    let recorded = recorded.and_then(|text| text.parse::<Timestamp>().ok());
    recorded.map_or(made, |recorded| recorded.min(made))
}

/// What orders versions by age. A ReplicaSet's time is told in whole seconds, and a quick pipeline makes
/// two in one: then the revision that each had first decides.
pub(crate) fn age(rs: &ReplicaSetSeen) -> (Timestamp, u64) {
    let history = rs.revision_history.as_deref().unwrap_or_default();
    let first = history
        .split(',')
        .find_map(|text| text.trim().parse().ok())
        .unwrap_or(rs.revision);
    // Without a number nothing is known, and nothing is older for it.
    (rs.created, if first == 0 { u64::MAX } else { first })
}

/// False where it is known that this version was never the stable one: it was aborted, or another one
/// took its place.
pub(crate) fn may_be_good(status: &RolloutStatus, rs: &ReplicaSetSeen) -> bool {
    let is_stable = status.stable_rs.as_deref() == Some(rs.hash.as_str());
    is_stable || rs.was_stable != Some(false)
}

/// Notes on the stable version's ReplicaSet that it is the stable one. Asked whenever that one is
/// changed anyway, and at the latest when another takes its place: it costs no write of its own before.
pub(crate) fn mark_stable(d: &mut Draft<'_>, rs: &ReplicaSetSeen) {
    let is_stable = d.read().stable_rs.as_deref() == Some(rs.hash.as_str());
    if is_stable && rs.was_stable != Some(true) {
        d.annotate(rs, WAS_STABLE, YES.to_owned());
    }
}

/// An update is aborted: of a version that another controller made it is known now that it is not good.
pub(crate) fn mark_aborted(d: &mut Draft<'_>, sets: &Sets<'_>) {
    if sets.canary.was_stable.is_none() {
        d.annotate(sets.canary, WAS_STABLE, NO.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_makes_a_replica_set_older_and_never_younger() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let made = at("2026-03-01T12:00:00Z");
        for (recorded, wanted) in [
            (None, made),
            (Some("2026-03-01T10:00:00Z"), at("2026-03-01T10:00:00Z")),
            (Some("2026-03-01T14:00:00Z"), made),
            (Some("yesterday"), made),
        ] {
            assert_eq!(created(recorded, made), wanted, "{recorded:?}");
        }
    }
}
