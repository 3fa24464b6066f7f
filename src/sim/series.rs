//! Scripted metrics: what a measurement of a version would find at a time. Knows the words of a
//! rehearsal file; knows no metric provider and no condition.

use super::clock::Ms;
use super::trigger::{Trigger, duration};

/// A metric's course: segments, each from its trigger on until a later one takes over.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq)]
struct Segment {
    value: Reading,
    /// Time taken to get there from the segment before.
    over: Ms,
    /// Ends by itself after so long.
    lasts: Option<Ms>,
    from: Trigger,
}

/// What one measurement finds.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// A number: seconds, a share, a count.
    Number(f64),
    /// The answer is empty.
    NoData,
    /// The provider answers with an error.
    Error(String),
    /// Whatever satisfies the condition.
    Healthy,
}

/// What may be written for a series.
pub const HOW_TO_WRITE: &str = "write values such as 420ms, 99%, 0.03, NaN, 'no data', error or healthy, joined by commas, each with '… over 2m', '… for 30s' and '… after 50%' as needed: '420ms, rises to 1.2s over 1m after 50%'";

impl Series {
    /// The same reading all the time.
    pub fn constant(value: Reading) -> Self {
        Self {
            segments: vec![Segment {
                value,
                over: 0,
                lasts: None,
                from: Trigger::START,
            }],
        }
    }

    /// Reads a series.
    ///
    /// # Errors
    /// A sentence that says what may be written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let segments: Vec<Segment> = parts.map(segment).collect::<Result<_, _>>()?;
        if segments.is_empty() {
            return Err(HOW_TO_WRITE.into());
        }
        Ok(Self { segments })
    }

    /// What is found now. `since` tells how long ago a trigger came true, `None` when it has not.
    pub fn at(&self, since: impl Fn(&Trigger) -> Option<Ms>) -> Reading {
        let mut current = Reading::Healthy;
        for segment in &self.segments {
            let Some(age) = since(&segment.from).filter(|age| *age >= 0) else {
                continue;
            };
            if segment.lasts.is_some_and(|lasts| age >= lasts) {
                continue;
            }
            current = blend(&current, &segment.value, age, segment.over);
        }
        current
    }
}

/// On the way from one reading to the next: straight, where both are numbers.
fn blend(from: &Reading, to: &Reading, age: Ms, over: Ms) -> Reading {
    match (from, to) {
        (Reading::Number(a), Reading::Number(b)) if age < over => {
            let share = age as f64 / over as f64;
            Reading::Number(a + (b - a) * share)
        }
        (_, to) => to.clone(),
    }
}

fn segment(text: &str) -> Result<Segment, String> {
    let mut rest = text.strip_prefix("then ").unwrap_or(text);
    for word in ["rises to ", "falls to ", "is "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let (rest, from) = match ["after ", "from ", "at "]
        .iter()
        .find_map(|word| cut(rest, word))
    {
        Some((rest, trigger)) => (rest, Trigger::parse(trigger)?),
        None => (rest, Trigger::START),
    };
    let (rest, lasts) = timed(rest, "for ")?;
    let (rest, over) = timed(rest, "over ")?;
    Ok(Segment {
        value: reading(rest)?,
        over: over.unwrap_or(0),
        lasts,
        from,
    })
}

/// Cuts ` word tail` off the end.
fn cut<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let at = text.find(&format!(" {word}"))?;
    let (head, tail) = text.split_at(at);
    Some((head, tail.trim_start().strip_prefix(word).unwrap_or(tail)))
}

fn timed<'a>(text: &'a str, word: &str) -> Result<(&'a str, Option<Ms>), String> {
    match cut(text, word) {
        Some((head, tail)) => Ok((head, Some(duration(tail)?))),
        None => Ok((text, None)),
    }
}

fn reading(text: &str) -> Result<Reading, String> {
    let lower = text.trim().to_lowercase();
    let named = match lower.as_str() {
        "no data" | "none" => Some(Reading::NoData),
        "healthy" => Some(Reading::Healthy),
        "nan" => Some(Reading::Number(f64::NAN)),
        "inf" | "+inf" => Some(Reading::Number(f64::INFINITY)),
        "error" => Some(Reading::Error(
            "server answered 500 Internal Server Error".into(),
        )),
        _ => None,
    };
    named
        .or_else(|| number(&lower).map(Reading::Number))
        .ok_or_else(|| format!("{HOW_TO_WRITE}; this is {text:?}"))
}

/// A number with an optional unit, in the base unit: `420ms` is 0.42, `99%` is 0.99.
pub fn number(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 6] = [
        ("%", 0.01),
        ("ms", 0.001),
        ("us", 0.000_001),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let text = text.trim();
    let finite = |text: &str| {
        text.trim()
            .parse::<f64>()
            .ok()
            .filter(|value| value.is_finite())
    };
    finite(text).or_else(|| {
        let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
        let value = finite(text.strip_suffix(unit)?)? * factor;
        // 99 * 0.01 is not 0.99 in binary; nine digits are what anybody wrote.
        Some((value * 1e9).round() / 1e9)
    })
}

#[cfg(test)]
mod tests {
    use super::super::trigger::Moment;
    use super::*;

    /// Reads the series `now` ms after the start and `half` ms after the weight reached 50 %.
    fn at(text: &str, now: Ms, half: Option<Ms>) -> Reading {
        let since = |trigger: &Trigger| match trigger.moment {
            Moment::Start => Some(now - trigger.delay),
            Moment::Weight(50) => half.map(|ms| ms - trigger.delay),
            _ => None,
        };
        Series::parse(text).unwrap().at(since)
    }

    #[test]
    fn a_series_follows_its_triggers() {
        let text = "420ms, rises to 1.2s over 1m after 50%";
        assert_eq!(at(text, 0, None), Reading::Number(0.42));
        assert_eq!(at(text, 90_000, Some(0)), Reading::Number(0.42));
        assert_eq!(at(text, 90_000, Some(30_000)), Reading::Number(0.81));
        assert_eq!(at(text, 90_000, Some(60_000)), Reading::Number(1.2));
    }

    #[test]
    fn a_segment_may_end_by_itself() {
        let text = "99%, no data for 30s after 1m";
        assert_eq!(at(text, 59_999, None), Reading::Number(0.99));
        assert_eq!(at(text, 60_000, None), Reading::NoData);
        assert_eq!(at(text, 90_000, None), Reading::Number(0.99));
    }

    #[test]
    fn before_the_first_trigger_all_is_well() {
        assert_eq!(at("3 after 50%", 0, None), Reading::Healthy);
    }

    #[test]
    fn what_cannot_be_read_says_what_may_be_written() {
        for text in ["", "fast", "1.2 parsecs", "1s after lunch", "1s over soon"] {
            assert!(Series::parse(text).is_err(), "{text}");
        }
    }
}
