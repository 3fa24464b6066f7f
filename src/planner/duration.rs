//! Durations as Kubernetes clients write them: Go syntax (`1h30m`, `500ms`) and, for a pause, bare
//! seconds. Knows only text and numbers; `kube::core::Duration` panics on overflow (hazard K13).

/// Parses Go duration text to milliseconds, at most about 292 million years; negative values keep
/// their sign. The error says what is expected.
///
/// ```
/// use serin::planner::duration::parse;
/// assert_eq!(parse("1m30s"), Ok(90_000));
/// assert!(parse("5 minutes").is_err());
/// ```
///
/// # Errors
/// Text that is not a Go duration, or one that does not fit.
pub fn parse(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not a duration: write it like 30s, 5m or 1h30m");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: f64 = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let letters = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        total += number * millis_of(unit).ok_or_else(wrong)?;
        rest = tail;
    }
    if total > 9.2e15 {
        return Err(format!("{text:?} is too long a duration"));
    }
    let total = total as i64;
    Ok(if negative {
        total.saturating_neg()
    } else {
        total
    })
}

fn millis_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-6,
        "us" | "µs" | "μs" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        "h" => 3_600e3,
        _ => return None,
    })
}

/// Seconds of a pause: an integer, a bare number of seconds, or a Go duration whose fraction of a
/// second is cut (C4).
///
/// # Errors
/// Text that is neither.
pub fn pause_seconds(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(seconds);
    }
    parse(text).map(|ms| ms.checked_div(1000).unwrap_or(0))
}

/// A length of time as people read it: `45s`, `2m30s`, `1h5m`.
pub fn human(seconds: i64) -> String {
    let s = seconds.max(0).unsigned_abs();
    let part = |n: u64, unit: &str| {
        if n == 0 {
            String::new()
        } else {
            format!("{n}{unit}")
        }
    };
    let hours = s.checked_div(3600).unwrap_or(0);
    let minutes = s.checked_div(60).unwrap_or(0).checked_rem(60).unwrap_or(0);
    let secs = s.checked_rem(60).unwrap_or(0);
    let text = format!(
        "{}{}{}",
        part(hours, "h"),
        part(minutes, "m"),
        part(secs, "s")
    );
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_parse_and_nothing_panics() {
        for (text, ms) in [
            ("10s", 10_000),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("500ms", 500),
            ("0", 0),
            ("-5s", -5_000),
        ] {
            assert_eq!(parse(text), Ok(ms), "{text}");
        }
        for text in [
            "",
            "5",
            "abc",
            "--5s",
            "1d",
            "5 m",
            "99999999999999999999h",
            "1.2.3s",
            "s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(pause_seconds("30"), Ok(30));
        assert_eq!(pause_seconds("1500ms"), Ok(1));
        assert_eq!(human(3_725), "1h2m5s");
        assert_eq!(human(0), "0s");
    }

    proptest::proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,24}") {
            drop(parse(&text));
            drop(pause_seconds(&text));
        }
    }
}
