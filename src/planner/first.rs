//! `analyzeFirstDeployment`: slos and analysis of the very first version, of either strategy. It is stable at
//! once, as clients expect (A30), but Healthy only when they hold; there is nothing to go back to.

use super::cursor;
use super::draft::Draft;
use super::observed::Observed;
use super::plan::Event;
use super::reasons;
use super::revision::Sets;
use crate::api::RolloutStatus;

const PENDING: &str = "pending";
const PASSED: &str = "passed";
const FAILED: &str = "failed: ";

fn state(status: &RolloutStatus) -> Option<&str> {
    status.serin.as_ref().and_then(|s| s.first.as_deref())
}

/// A first deployment begins.
pub(crate) fn begin(d: &mut Draft<'_>) {
    if d.spec.judges_first() {
        d.serin().first = Some(PENDING.to_owned());
    }
}

/// True while there is no verdict.
pub(crate) fn is_pending(status: &RolloutStatus) -> bool {
    state(status) == Some(PENDING)
}

/// What other steps leave of it: without a good verdict it is measured anew, never forgotten.
pub(crate) fn carried(status: &RolloutStatus) -> Option<String> {
    let is_open = is_pending(status) || failure(status).is_some();
    is_open.then(|| PENDING.to_owned())
}

/// True while a verdict is waited for. Without pods there is nothing to judge: that waits until
/// there are some, and nothing waits for it.
pub(crate) fn is_awaited(d: &Draft<'_>) -> bool {
    d.spec.replicas > 0 && is_pending(&d.next)
}

/// True when its runs shall be there: its pods are all available, or were when the runs began.
pub(crate) fn is_judged(seen: &Observed, sets: &Sets<'_>) -> bool {
    let status = &seen.rollout.status;
    let wanted = seen.rollout.spec.as_ref().map_or(0, |spec| spec.replicas);
    let has_begun = seen.runs.iter().any(|run| {
        let labels = run.metadata.labels.as_ref();
        let hash = labels.and_then(|l| l.get(crate::api::POD_HASH_LABEL));
        hash == Some(&sets.canary.hash)
    });
    is_pending(status) && (has_begun || (wanted > 0 && sets.canary.available >= wanted))
}

/// Why it failed, if it did.
pub(crate) fn failure(status: &RolloutStatus) -> Option<&str> {
    state(status).and_then(|text| text.strip_prefix(FAILED))
}

/// All that was asked holds.
pub(crate) fn pass(d: &mut Draft<'_>) {
    d.serin().first = Some(PASSED.to_owned());
    d.is_forced = true;
}

/// It does not hold: said, and nothing else can be done.
pub(crate) fn fail(d: &mut Draft<'_>, message: &str) {
    d.serin().first = Some(format!("{FAILED}{message}"));
    d.is_forced = true;
    let text = format!("The first deployment failed its analysis: {message}");
    d.event(Event::warning(reasons::FIRST_FAILED, text));
}

/// `retry`: measured anew.
pub(crate) fn retry(d: &mut Draft<'_>) {
    d.serin().first = Some(PENDING.to_owned());
    cursor::next_attempt(d);
}
