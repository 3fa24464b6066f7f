//! Which finished AnalysisRuns and Experiments of a Rollout go (A14): beyond the limits, oldest first,
//! and at once those whose ReplicaSet is gone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::revision::Sets;
use super::spec::Spec;
use crate::api::POD_HASH_LABEL;

/// Those that go, of finished ones with their metadata and whether they ended well.
pub(crate) fn surplus<'a, T>(
    spec: &Spec,
    sets: &Sets<'_>,
    mut finished: Vec<(&'a T, &'a ObjectMeta, bool)>,
) -> Vec<&'a T> {
    finished.retain(|(_, meta, _)| meta.deletion_timestamp.is_none());
    finished.sort_by(|(_, a, _), (_, b, _)| {
        let key = |m: &ObjectMeta| m.creation_timestamp.as_ref().map(|t| t.0);
        (key(b), &b.name).cmp(&(key(a), &a.name))
    });
    let (mut good, mut bad) = (0_u32, 0_u32);
    let mut surplus = vec![];
    for (item, meta, is_good) in finished {
        let hash = meta.labels.as_ref().and_then(|l| l.get(POD_HASH_LABEL));
        let is_orphan =
            hash.is_none_or(|hash| !sets.all().any(|rs| rs.hash == *hash && !rs.is_deleting));
        let (kept, limit) = if is_good {
            (&mut good, spec.successful_run_history_limit)
        } else {
            (&mut bad, spec.unsuccessful_run_history_limit)
        };
        if is_orphan || *kept >= limit {
            surplus.push(item);
        } else {
            *kept = kept.saturating_add(1);
        }
    }
    surplus
}
