//! `gradualRollback`: after an abort the weight goes down in steps. Where it stands is in
//! `status.serin.descent`; it goes by the clock alone, so that an abort waits for nothing.

use super::command::stamp;
use super::draft::{Draft, after};
use super::replicas::Pair;
use super::spec::Descent;
use crate::api::RolloutStatus;
use crate::api::status::WeightLevel;

/// The weight that an aborted update still has; 0 where it goes back at once.
pub(crate) fn weight(status: &RolloutStatus) -> u32 {
    status
        .serin
        .as_ref()
        .and_then(|s| s.descent.as_ref())
        .and_then(|level| u32::try_from(level.weight).ok())
        .unwrap_or(0)
}

/// An abort begins, from this weight: the first step down is taken with it.
pub(crate) fn begin(d: &mut Draft<'_>, from: u32) {
    let Some(descent) = d.spec.canary().and_then(|c| c.gradual_rollback) else {
        return;
    };
    put(d, descent, from);
}

fn put(d: &mut Draft<'_>, descent: Descent, from: u32) {
    let left = from.saturating_sub(descent.by.max(1));
    let since = Some(stamp(d));
    d.serin().descent = (left > 0).then(|| WeightLevel {
        weight: i64::from(left),
        since,
    });
    d.is_forced = true;
}

/// The next step down when its time has come. True when it was put on record.
pub(crate) fn steer(d: &mut Draft<'_>) -> bool {
    let serin = d.read().serin.as_ref();
    let Some(level) = serin.and_then(|s| s.descent.as_ref()) else {
        return false;
    };
    let canary = d.spec.canary();
    let descent = canary
        .and_then(|c| c.gradual_rollback)
        .unwrap_or(Descent { by: 100, every: 0 });
    let since = level.since.as_ref().map_or(d.now(), |t| t.0);
    let end = after(since, descent.every);
    if d.now() < end {
        d.wake.at(end);
        let left = end.as_second().saturating_sub(d.now().as_second());
        d.note(format!(
            "going back: weight {} for another {}",
            level.weight,
            super::duration::human(left)
        ));
        return false;
    }
    let from = weight(d.read());
    put(d, descent, from);
    true
}

/// An aborted canary never grows: where it has fewer pods than the weight asks for, stable has more.
pub(crate) fn capped(pair: Pair, canary: u32, replicas: u32) -> Pair {
    let kept = pair.canary.min(canary);
    Pair {
        canary: kept,
        stable: pair.stable.max(replicas.saturating_sub(kept)),
    }
}
