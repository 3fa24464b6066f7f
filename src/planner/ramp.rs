//! A weight that rises by itself: one step with several weights. To clients it is one step, with one
//! index; which of its weights it has reached stands in `status.serin.ramp`. Each weight is kept
//! for `every`, from when its pods are there, and given up for the next one only through the gate.

use super::command::stamp;
use super::cursor;
use super::draft::{Draft, after};
use super::duration;
use super::hold::gate_opens;
use super::revision::Sets;
use super::spec::Ramp;
use crate::api::RolloutStatus;
use crate::api::status::WeightLevel;

/// The weights of a ramp from its bounds: `from`, then one `by` more each time (or `by` times as
/// much), and `to` last. Example: 10 to 45 by 15 are 10, 25, 40, 45; 1 to 20 times 3 are 1, 3, 9, 20.
pub(crate) fn levels(from: u32, to: u32, by: u32, is_exponential: bool) -> Vec<u32> {
    let mut levels = vec![];
    let mut at = from;
    while at < to {
        levels.push(at);
        let next = if is_exponential {
            at.saturating_mul(by.max(2))
        } else {
            at.saturating_add(by.max(1))
        };
        at = next.max(at.saturating_add(1));
    }
    levels.push(to);
    levels
}

fn mark(status: &RolloutStatus) -> Option<&WeightLevel> {
    status.serin.as_ref().and_then(|s| s.ramp.as_ref())
}

/// The weight that a ramp asks for while it is the current step.
pub(crate) fn weight(status: &RolloutStatus, ramp: &Ramp) -> u32 {
    let first = ramp.levels.first().copied().unwrap_or(0);
    mark(status)
        .and_then(|level| u32::try_from(level.weight).ok())
        .filter(|weight| ramp.levels.contains(weight))
        .unwrap_or(first)
}

/// True while a weight is kept for its time: nothing is waited for but the clock.
pub(crate) fn is_keeping(status: &RolloutStatus) -> bool {
    mark(status).is_some_and(|level| level.since.is_some())
}

/// One look at the ramp at step `at`.
pub(crate) fn steer(d: &mut Draft<'_>, sets: &Sets<'_>, at: usize, ramp: &Ramp, settled: bool) {
    let now = weight(d.read(), ramp);
    let next = ramp.levels.iter().copied().find(|level| *level > now);
    let since = mark(d.read()).and_then(|level| level.since.clone());
    let Some(since) = since else {
        if !settled {
            d.note(format!("ramp: waiting for the pods of weight {now}"));
            return;
        }
        if next.is_none() {
            return cursor::advance(d, at);
        }
        let start = stamp(d);
        d.wake.at(after(start.0, ramp.every));
        return put(d, now, Some(start));
    };
    let end = after(since.0, ramp.every);
    if d.now() < end {
        d.wake.at(end);
        let left = end.as_second().saturating_sub(d.now().as_second());
        let left = duration::human(left);
        d.note(format!("ramp: weight {now} is kept for another {left}"));
        return;
    }
    // A person cleared the pause that the gate's silence had led to: the gate is overridden.
    let read = d.read();
    let has_pause = read
        .pause_conditions
        .as_ref()
        .is_some_and(|c| !c.is_empty());
    let is_released = read.controller_pause == Some(true) && !has_pause;
    if is_released {
        cursor::override_hold(d);
        cursor::clear_pause(d);
    }
    match next {
        Some(next) if is_released || gate_opens(d, sets) => put(d, next, None),
        Some(_) => {}
        None => cursor::advance(d, at),
    }
}

fn put(
    d: &mut Draft<'_>,
    weight: u32,
    since: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
) {
    d.serin().ramp = Some(WeightLevel {
        weight: i64::from(weight),
        since,
    });
    d.is_forced = true;
}

#[cfg(test)]
mod tests {
    use super::levels;

    #[test]
    fn levels_of_ramps() {
        for (from, to, by, is_exponential, wanted) in [
            (10, 45, 15, false, vec![10, 25, 40, 45]),
            (10, 30, 10, false, vec![10, 20, 30]),
            (1, 20, 3, true, vec![1, 3, 9, 20]),
            (5, 100, 2, true, vec![5, 10, 20, 40, 80, 100]),
            (1, 3, 0, false, vec![1, 2, 3]),
            (1, 3, 1, true, vec![1, 2, 3]),
            (50, 50, 1, false, vec![50]),
        ] {
            assert_eq!(
                levels(from, to, by, is_exponential),
                wanted,
                "{from} {to} {by}"
            );
        }
    }
}
