//! Old ReplicaSets that are no longer needed, of either strategy.

use super::config;
use super::draft::Draft;
use super::revision::Sets;

/// Deletes old ReplicaSets beyond the history limit: only ours, oldest first, and of those only what is
/// at 0 (A8). One that still has pods keeps its place; none that is younger goes for it.
pub(crate) fn clean_up(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let limit = usize::try_from(d.spec.revision_history_limit).unwrap_or(usize::MAX);
    let surplus = sets.older.len().saturating_sub(limit);
    let oldest = sets.older.iter().take(surplus);
    let empty = oldest
        .filter(|rs| rs.replicas == 0 && rs.current == 0 && rs.is_observed && !rs.is_deleting);
    for rs in empty {
        d.delete(rs);
        config::forget(d, rs);
    }
}
