//! How long a person has been waited for, where that has a limit: `timeout` of a pause step, and
//! `answerWithin` for whatever else asks. While nobody may answer, in a freeze or under `spec.paused`,
//! the clock stands still; where it stands is in `status.serin.pauseClock`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::command::stamp;
use super::cursor;
use super::draft::{Draft, after};
use super::duration;
use super::reasons;
use super::revision::Sets;
use super::spec::Step;
use crate::api::status::{PauseClock, PauseCondition};

/// Pauses that ask what to do about a run.
const QUESTIONS: [&str; 3] = [
    reasons::INCONCLUSIVE_RUN,
    reasons::INCONCLUSIVE_EXPERIMENT,
    reasons::FAILED_RUN,
];

/// A wait for a person that has a limit.
struct Wait {
    /// Since when.
    start: Timestamp,
    /// For so many seconds.
    limit: i64,
    /// What is said when nobody answered.
    why: String,
}

impl Wait {
    fn of(pause: &PauseCondition, limit: i64, nobody: &str) -> Option<Self> {
        Some(Self {
            start: pause.start_time.as_ref()?.0,
            limit,
            why: format!("nobody {nobody} within {}", duration::human(limit)),
        })
    }
}

/// What a person is waited for now, where that has a limit. A question about a run comes before the
/// pause that it interrupts.
fn waited(d: &Draft<'_>) -> Option<Wait> {
    let read = d.read();
    let within = d.spec.answer_within();
    let mut pauses = read.pause_conditions.iter().flatten();
    let asked = pauses
        .clone()
        .find(|c| QUESTIONS.contains(&c.reason.as_str()));
    if let Some(asked) = asked {
        let text = format!("said what to do about it ({})", asked.reason);
        return Wait::of(asked, within?, &text);
    }
    if let Some(blue_green) = d.spec.blue_green() {
        let pause = pauses.find(|c| c.reason == reasons::BLUE_GREEN_PAUSE)?;
        let is_manual = !blue_green.auto_promotion_enabled;
        let limit = within.filter(|_| is_manual)?;
        return Wait::of(pause, limit, "promoted it at the pause before the switch");
    }
    let at = cursor::index(read, d.steps());
    let Some(Step::Pause(step)) = d.spec.steps().get(at) else {
        return None;
    };
    let limit = step.timeout.or(within).filter(|_| step.seconds.is_none())?;
    let pause = pauses.find(|c| c.reason == reasons::CANARY_PAUSE_STEP)?;
    let number = at.saturating_add(1);
    Wait::of(
        pause,
        limit,
        &format!("promoted it at the pause of step {number}"),
    )
}

/// The clock of this wait; one without the time that it is of was written by an earlier release.
fn on_record<'a>(d: &Draft<'a>, wait: &Wait) -> Option<&'a PauseClock> {
    let clock = d.read().serin.as_ref()?.pause_clock.as_ref()?;
    let is_of_it = clock.of.as_ref().is_none_or(|of| of.0 == wait.start);
    is_of_it.then_some(clock)
}

/// Nobody may answer now.
pub(crate) fn stop(d: &mut Draft<'_>) {
    let Some(wait) = waited(d) else { return };
    let (spent, since) = match on_record(d, &wait) {
        None => (0, wait.start),
        Some(PauseClock { spent, since, .. }) => match since {
            Some(since) => (*spent, since.0),
            None => return,
        },
    };
    let more = d.now().as_second().saturating_sub(since.as_second()).max(0);
    d.serin().pause_clock = Some(PauseClock {
        of: Some(Time(wait.start)),
        spent: spent.saturating_add(more),
        since: None,
    });
    d.is_forced = true;
}

/// Aborts where nobody has answered in time; else looks again then. True when it aborted.
pub(crate) fn gives_up(d: &mut Draft<'_>, sets: &Sets<'_>) -> bool {
    let Some(wait) = waited(d) else { return false };
    let end = end(d, &wait);
    if d.now() < end {
        d.wake.at(end);
        return false;
    }
    cursor::abort(d, sets, Some(&wait.why));
    true
}

/// When it has lasted for its limit, as things are. Lets the clock go on where it stood still.
fn end(d: &mut Draft<'_>, wait: &Wait) -> Timestamp {
    let Some(clock) = on_record(d, wait).cloned() else {
        return after(wait.start, wait.limit);
    };
    let left = wait.limit.saturating_sub(clock.spent);
    if let Some(since) = clock.since {
        return after(since.0, left);
    }
    let since = stamp(d);
    d.serin().pause_clock = Some(PauseClock {
        since: Some(since.clone()),
        ..clock
    });
    d.is_forced = true;
    after(since.0, left)
}
