//! Bounds of objectives: durations, percents, numbers, and comparisons with stable; and how values
//! read to people. Knows units, no metric.

use crate::api::{Bound, IntOrString};
use crate::planner::analysis::value::number_text;

/// What a measured value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
    /// Not less than the first, not more than the second.
    Between(f64, f64),
    /// The canary's value divided by stable's is not more than `1 + share`.
    RatioAtMost(f64),
    /// The canary's value divided by stable's is not less than `1 - share`.
    RatioAtLeast(f64),
    /// A test says that the canary is not worse than stable by more than this.
    NotWorseBy(f64),
}

impl Limit {
    /// True where the canary is held against stable.
    pub fn is_relative(self) -> bool {
        match self {
            Self::RatioAtMost(_) | Self::RatioAtLeast(_) | Self::NotWorseBy(_) => true,
            Self::AtMost(_) | Self::AtLeast(_) | Self::Between(..) => false,
        }
    }

    /// Whether a value is as it must be: what `query::conditions` says, as a function. `None` for NaN
    /// and infinities, which are no verdict.
    pub fn is_kept_by(self, value: f64) -> Option<bool> {
        let is_kept = match self {
            Self::AtMost(most) | Self::RatioAtMost(most) => value <= most,
            Self::AtLeast(least) | Self::RatioAtLeast(least) => value >= least,
            Self::Between(low, high) => low <= value && value <= high,
            // A test has no value: its evidence judges.
            Self::NotWorseBy(_) => return None,
        };
        value.is_finite().then_some(is_kept)
    }
}

/// Unit of a histogram's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
}

impl Unit {
    /// Reads `s`, `ms`, `us`, `ns`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "s" | "seconds" => Some(Self::Seconds),
            "ms" | "milliseconds" => Some(Self::Millis),
            "us" | "µs" | "microseconds" => Some(Self::Micros),
            "ns" | "nanoseconds" => Some(Self::Nanos),
            _ => None,
        }
    }

    /// How many of it make a second.
    pub fn per_second(self) -> f64 {
        match self {
            Self::Seconds => 1.0,
            Self::Millis => 1e3,
            Self::Micros => 1e6,
            Self::Nanos => 1e9,
        }
    }
}

/// A bound as written: a value of its own or a share of stable's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Read {
    /// A value.
    Value(f64),
    /// So much worse than stable, as a share: 0.2 for `20%`.
    Worse(f64),
}

/// Reads a bound with the given reader of texts and a judge of numbers.
pub fn read(bound: &Bound, text: impl Fn(&str) -> Result<f64, String>) -> Result<Read, String> {
    let value = match bound {
        Bound::Int(n) => text(&n.to_string())?,
        Bound::Number(n) => text(&number_text(*n))?,
        Bound::Text(t) => text(t.trim())?,
        Bound::Relative(relative) => {
            let share = match &relative.no_worse_than_stable {
                IntOrString::Int(_) => {
                    return Err("noWorseThanStable is a percent: write it like 20%".to_owned());
                }
                IntOrString::String(t) => percent(t.trim())?,
            };
            return Ok(Read::Worse(share));
        }
    };
    Ok(Read::Value(value))
}

/// `99%` as 0.99.
pub fn percent(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is not a percent: write it like 99%");
    let share = number(text.strip_suffix('%').ok_or_else(wrong)?).map_err(|_| wrong())? / 100.0;
    if share > 100.0 {
        Err(wrong())
    } else {
        Ok(share)
    }
}

/// A share: `99%` or `0.99`.
pub fn share(text: &str) -> Result<f64, String> {
    let share = if text.ends_with('%') {
        percent(text)?
    } else {
        number(text)?
    };
    if share > 1.0 {
        return Err(format!(
            "{text} is more than everything: write it like 99% or 0.99"
        ));
    }
    Ok(share)
}

/// A number from 0 up.
pub fn number(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is not a number from 0 up");
    let plain = text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let value: f64 = text.parse().map_err(|_| wrong())?;
    if plain && value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(wrong())
    }
}

/// Any finite number.
pub fn any_number(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is not a number");
    text.parse()
        .ok()
        .filter(|v: &f64| v.is_finite())
        .ok_or_else(wrong)
}

/// A duration in the unit of a histogram: `800ms`, `1m30s`, or a bare number in that unit.
pub fn duration_in(text: &str, unit: Unit) -> Result<f64, String> {
    if let Ok(value) = number(text) {
        return Ok(value);
    }
    let wrong = || format!("{text:?} is not a duration: write it like 800ms or 2s");
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let letters = rest.find(|c: char| c.is_alphabetic()).ok_or_else(wrong)?;
        let (digits, tail) = rest.split_at(letters);
        let end = tail
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(tail.len());
        let (name, tail) = tail.split_at(end);
        let factor = match name {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        seconds += number(digits).map_err(|_| wrong())? * factor;
        rest = tail;
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(tidy(seconds * unit.per_second()))
    }
}

/// Cuts the dust of decimal fractions: 0.8 and not 0.8000000000000000444.
fn tidy(value: f64) -> f64 {
    format!("{value:.12}").parse().unwrap_or(value)
}

/// A value to four significant digits, as people read it.
pub fn short(value: f64) -> String {
    if !value.is_finite() {
        return number_text(value);
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor();
    let digits = (3.0 - magnitude).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Seconds as people read them: `850ms`, `1.25s`.
pub fn seconds_text(seconds: f64) -> String {
    if seconds.is_finite() && seconds != 0.0 && seconds.abs() < 1.0 {
        format!("{}ms", short(seconds * 1e3))
    } else {
        format!("{}s", short(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_read_in_the_unit_they_are_for() {
        assert_eq!(duration_in("800ms", Unit::Seconds), Ok(0.8));
        assert_eq!(duration_in("2s", Unit::Millis), Ok(2000.0));
        assert_eq!(duration_in("1m30s", Unit::Seconds), Ok(90.0));
        assert_eq!(duration_in("0.5", Unit::Seconds), Ok(0.5));
        assert_eq!(share("99%"), Ok(0.99));
        assert_eq!(share("0.95"), Ok(0.95));
        assert_eq!(number("0.05"), Ok(0.05));
        for text in ["", "ms", "8 ms", "-1s", "5d", "1e400", "NaN", "inf"] {
            assert!(duration_in(text, Unit::Seconds).is_err(), "{text}");
        }
        for text in ["99", "101%", "-1%", "%", "abc"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_read_well() {
        assert_eq!(seconds_text(0.85), "850ms");
        assert_eq!(seconds_text(1.2345678), "1.235s");
        assert_eq!(short(97.456789), "97.46");
        assert_eq!(short(0.00012345), "0.0001234");
        assert_eq!(short(12345.6), "12346");
    }

    proptest::proptest! {
        #[test]
        fn any_text_reads_or_is_refused(text in ".{0,16}") {
            drop(duration_in(&text, Unit::Seconds));
            drop(share(&text));
            drop(any_number(&text));
        }
    }
}
