//! When something happens in a rehearsal, as people write it: `3m`, `50%`, `step 2`,
//! `20s after paused`. Knows the words and nothing of the world.

use std::fmt;
use std::time::Duration;

use super::clock::Ms;

/// A moment that is told by what happens, not by the clock alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// So long after `moment`.
    pub delay: Ms,
    /// The moment itself.
    pub moment: Moment,
}

/// A moment of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// The beginning of the rehearsal; for a metric: the version's first pod.
    Start,
    /// The weight asked for has reached this many percent.
    Weight(u32),
    /// This step has begun, counted from 1.
    Step(usize),
    /// The rollout waits in a pause.
    Paused,
    /// A gate holds the step for want of an answer.
    Held,
    /// The phase is Healthy.
    Healthy,
    /// The phase is Degraded.
    Degraded,
    /// The update was aborted.
    Aborted,
}

/// What may be written for a trigger.
pub const HOW_TO_WRITE: &str = "write a time such as 90s or 3m, a weight such as 50%, a step such as 'step 2', or paused, held, Healthy, Degraded, aborted; '20s after' may stand before any of them";

impl Trigger {
    /// At the very beginning.
    pub const START: Self = Self {
        delay: 0,
        moment: Moment::Start,
    };

    /// Reads a trigger.
    ///
    /// # Errors
    /// A sentence that says what may be written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some((delay, moment)) = text.split_once(" after ") {
            return Ok(Self {
                delay: duration(delay)?,
                moment: moment_of(moment)?,
            });
        }
        if let Ok(delay) = duration(text) {
            return Ok(Self {
                delay,
                moment: Moment::Start,
            });
        }
        Ok(Self {
            delay: 0,
            moment: moment_of(text)?,
        })
    }
}

fn moment_of(text: &str) -> Result<Moment, String> {
    let lower = text.trim().to_lowercase();
    let fault = || format!("{HOW_TO_WRITE}; this is {text:?}");
    if let Some(number) = lower.strip_suffix('%') {
        return number
            .trim()
            .parse()
            .map(Moment::Weight)
            .map_err(|_| fault());
    }
    if let Some(number) = lower.strip_prefix("step") {
        return match number.trim().parse() {
            Ok(0) => Err("steps are counted from 1".into()),
            Ok(step) => Ok(Moment::Step(step)),
            Err(_) => Err(fault()),
        };
    }
    match lower.as_str() {
        "start" => Ok(Moment::Start),
        "paused" => Ok(Moment::Paused),
        "held" => Ok(Moment::Held),
        "healthy" => Ok(Moment::Healthy),
        "degraded" => Ok(Moment::Degraded),
        "aborted" | "rolled back" => Ok(Moment::Aborted),
        _ => Err(fault()),
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.delay, self.moment) {
            (delay, Moment::Start) => write!(f, "{}", text_of(delay)),
            (0, moment) => write!(f, "{moment}"),
            (delay, moment) => write!(f, "{} after {moment}", text_of(delay)),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::Weight(weight) => write!(f, "{weight}%"),
            Self::Step(step) => write!(f, "step {step}"),
            Self::Paused => f.write_str("paused"),
            Self::Held => f.write_str("held"),
            Self::Healthy => f.write_str("Healthy"),
            Self::Degraded => f.write_str("Degraded"),
            Self::Aborted => f.write_str("aborted"),
        }
    }
}

/// Reads a duration as people write it: `90s`, `3m`, `1h 30m`, or bare seconds.
///
/// # Errors
/// A sentence that says what may be written.
pub fn duration(text: &str) -> Result<Ms, String> {
    let text = text.trim();
    let parsed = match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    let parsed = parsed.filter(|duration| duration.as_secs() <= 366 * 86_400);
    parsed
        .and_then(|duration| Ms::try_from(duration.as_millis()).ok())
        .ok_or_else(|| {
            format!("{text:?} is not a duration: write 90s, 3m or 1h30m, at most a year")
        })
}

/// A duration as people read it: `1m30s`.
pub fn text_of(ms: Ms) -> String {
    let duration = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    humantime::format_duration(duration)
        .to_string()
        .replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_read_and_print_the_same() {
        for text in [
            "1m 30s",
            "50%",
            "step 2",
            "20s after paused",
            "Healthy",
            "5m after step 3",
        ] {
            let trigger = Trigger::parse(text).unwrap();
            assert_eq!(
                Trigger::parse(&trigger.to_string()).unwrap(),
                trigger,
                "{text}"
            );
        }
        assert_eq!(
            Trigger::parse("90").unwrap(),
            Trigger {
                delay: 90_000,
                moment: Moment::Start
            }
        );
    }

    #[test]
    fn what_cannot_be_read_says_what_may_be_written() {
        for text in [
            "soon",
            "step 0",
            "step x",
            "-3m",
            "999999999999h",
            "5 apples after paused",
        ] {
            assert!(Trigger::parse(text).is_err(), "{text}");
        }
    }
}
