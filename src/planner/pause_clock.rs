//! How long a pause with a `timeout` has waited for a person. While nobody may answer, in a freeze or
//! under `spec.paused`, the clock stands still; where it stands is in `status.serin.pauseClock`.

use jiff::Timestamp;

use super::command::stamp;
use super::cursor;
use super::draft::{Draft, after};
use super::reasons;
use super::spec::Step;
use crate::api::status::PauseClock;

/// Since when the present pause waits, where it has a limit.
fn began(d: &Draft<'_>) -> Option<Timestamp> {
    let read = d.read();
    let at = cursor::index(read, d.steps());
    let Some(Step::Pause(pause)) = d.spec.steps().get(at) else {
        return None;
    };
    pause.timeout.filter(|_| pause.seconds.is_none())?;
    let mut conditions = read.pause_conditions.iter().flatten();
    let pause = conditions.find(|c| c.reason == reasons::CANARY_PAUSE_STEP)?;
    pause.start_time.as_ref().map(|start| start.0)
}

fn on_record<'a>(d: &Draft<'a>) -> Option<&'a PauseClock> {
    d.read().serin.as_ref()?.pause_clock.as_ref()
}

/// Nobody may answer now.
pub(crate) fn stop(d: &mut Draft<'_>) {
    let Some(start) = began(d) else { return };
    let (spent, since) = match on_record(d) {
        None => (0, start),
        Some(PauseClock { spent, since }) => match since {
            Some(since) => (*spent, since.0),
            None => return,
        },
    };
    let more = d.now().as_second().saturating_sub(since.as_second()).max(0);
    d.serin().pause_clock = Some(PauseClock {
        spent: spent.saturating_add(more),
        since: None,
    });
    d.is_forced = true;
}

/// When the pause that began at `start` has waited for `limit` seconds, as things are. Lets the clock
/// go on where it stood still.
pub(crate) fn end(d: &mut Draft<'_>, start: Timestamp, limit: i64) -> Timestamp {
    let Some(clock) = on_record(d).cloned() else {
        return after(start, limit);
    };
    let left = limit.saturating_sub(clock.spent);
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
