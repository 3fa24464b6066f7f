//! Old ReplicaSets that are no longer needed, of either strategy.

use super::config;
use super::draft::Draft;
use super::revision::Sets;

/// Deletes old ReplicaSets beyond the history limit: only ours, only at 0, oldest first (A8).
pub(crate) fn clean_up(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let limit = usize::try_from(d.spec.revision_history_limit).unwrap_or(usize::MAX);
    let surplus = sets.older.len().saturating_sub(limit);
    let empty = sets
        .older
        .iter()
        .filter(|rs| rs.replicas == 0 && rs.current == 0 && rs.is_observed && !rs.is_deleting);
    for rs in empty.take(surplus) {
        d.delete(rs);
        config::forget(d, rs);
    }
}
