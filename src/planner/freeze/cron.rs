//! Cron's five fields: which minutes of the calendar they pick, and which one came last or comes
//! next in a time zone. Pure: the time is given, the zones are data.

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

/// Days that are looked through for the next occurrence: a 29 February may be eight years away.
const FORWARD_DAYS: u32 = 366 * 9;
/// Days that are looked through for the last one; no freeze lasts longer.
const BACK_DAYS: u32 = 368;

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// A schedule: the numbers that each field picks, as bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both fields of days are restricted: either of them is enough, as cron has it.
    either_day: bool,
}

/// One of the five fields.
struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        first: 0,
        last: 59,
        names: &[],
    },
    Field {
        name: "hour",
        first: 0,
        last: 23,
        names: &[],
    },
    Field {
        name: "day of the month",
        first: 1,
        last: 31,
        names: &[],
    },
    Field {
        name: "month",
        first: 1,
        last: 12,
        names: &MONTHS,
    },
    // 7 is Sunday too.
    Field {
        name: "weekday",
        first: 0,
        last: 7,
        names: &WEEKDAYS,
    },
];

impl Cron {
    /// Reads five fields.
    ///
    /// # Errors
    /// A sentence that says which field is wrong and what may be written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = words.as_slice() else {
            return Err(format!(
                "has {} fields: write five (minute, hour, day, month, weekday), such as 0 18 * * FRI",
                words.len()
            ));
        };
        let [minutes, hours, days, months, weekdays] = &FIELDS;
        let mut on = field(weekday, weekdays)?;
        if has(on, 7) {
            on |= bit(0);
        }
        let cron = Self {
            minutes: field(minute, minutes)?,
            hours: field(hour, hours)?,
            days: field(day, days)?,
            months: field(month, months)?,
            weekdays: on,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        // A 30 February never comes.
        match cron.next_after(Timestamp::UNIX_EPOCH, &TimeZone::UTC) {
            Some(_) => Ok(cron),
            None => Err("picks a day that never comes".to_owned()),
        }
    }

    /// The last occurrence at or before `at`, where there was one within a year.
    pub fn last_until(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut date = zone.to_datetime(at).date();
        for _ in 0..BACK_DAYS {
            if self.picks(date) {
                let times = self.minutes_of(date, zone).into_iter().rev();
                if let Some(found) = times.into_iter().find(|t| *t <= at) {
                    return Some(found);
                }
            }
            date = date.yesterday().ok()?;
        }
        None
    }

    /// The first occurrence after `at`.
    pub fn next_after(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut date = zone.to_datetime(at).date();
        for _ in 0..FORWARD_DAYS {
            if self.picks(date) {
                let found = self.minutes_of(date, zone).into_iter().find(|t| *t > at);
                if found.is_some() {
                    return found;
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn picks(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, weekday_number(date.weekday()));
        let is_day = if self.either_day {
            day || weekday
        } else {
            day && weekday
        };
        has(self.months, date.month()) && is_day
    }

    /// Occurrences on a day, in order. A time of day that a change of the clock leaves out comes as
    /// much later; one that comes twice counts once, at its first.
    fn minutes_of(&self, date: Date, zone: &TimeZone) -> Vec<Timestamp> {
        let mut times = Vec::new();
        for hour in (0..24_i8).filter(|h| has(self.hours, *h)) {
            for minute in (0..60_i8).filter(|m| has(self.minutes, *m)) {
                let at = date.at(hour, minute, 0, 0);
                times.extend(zone.to_ambiguous_timestamp(at).compatible().ok());
            }
        }
        times.sort_unstable();
        times
    }
}

fn bit(n: u32) -> u64 {
    1_u64.checked_shl(n).unwrap_or(0)
}

fn has(bits: u64, n: i8) -> bool {
    u32::try_from(n).is_ok_and(|n| bits & bit(n) != 0)
}

fn weekday_number(day: Weekday) -> i8 {
    day.to_sunday_zero_offset()
}

fn field(text: &str, of: &Field) -> Result<u64, String> {
    let mut bits = 0_u64;
    for part in text.split(',') {
        bits |= range(part, of).ok_or_else(|| {
            format!(
                "{part:?} is no {}: write {} to {}, lists (1,3), ranges (1-5), steps (*/10){}",
                of.name,
                of.first,
                of.last,
                if of.names.is_empty() {
                    ""
                } else {
                    ", or names (MON, JAN)"
                },
            )
        })?;
    }
    Ok(bits)
}

fn range(part: &str, of: &Field) -> Option<u64> {
    let (range, step) = match part.split_once('/') {
        None => (part, None),
        Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|s| *s > 0)?)),
    };
    let (first, last) = match range.split_once('-') {
        _ if range == "*" => (of.first, of.last),
        Some((first, last)) => (number(first, of)?, number(last, of)?),
        None => {
            let first = number(range, of)?;
            // 5/10 means from 5 on.
            (first, if step.is_some() { of.last } else { first })
        }
    };
    if first > last {
        return None;
    }
    let step = usize::try_from(step.unwrap_or(1)).ok()?;
    Some(
        (first..=last)
            .step_by(step)
            .fold(0, |bits, n| bits | bit(n)),
    )
}

fn number(text: &str, of: &Field) -> Option<u32> {
    let upper = text.to_uppercase();
    if let Some(at) = of.names.iter().position(|name| *name == upper) {
        return u32::try_from(at).ok()?.checked_add(of.first);
    }
    let n = text.parse::<u32>().ok()?;
    (of.first..=of.last).contains(&n).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> TimeZone {
        super::super::window::named(name).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_occurrence_is_cron_s() {
        for (cron, zone_name, from, next) in [
            (
                "0 18 * * FRI",
                "UTC",
                "2026-11-21T12:00:00Z",
                "2026-11-27T18:00:00Z",
            ),
            (
                "0 18 * * 5",
                "Europe/Warsaw",
                "2026-11-21T12:00:00Z",
                "2026-11-27T17:00:00Z",
            ),
            (
                "*/15 * * * *",
                "UTC",
                "2026-11-21T12:00:00Z",
                "2026-11-21T12:15:00Z",
            ),
            (
                "0 0 1 jan *",
                "UTC",
                "2026-11-21T12:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
            (
                "0 0 29 2 *",
                "UTC",
                "2026-11-21T12:00:00Z",
                "2028-02-29T00:00:00Z",
            ),
            // Both fields of days are given: either is enough.
            (
                "0 0 13 * FRI",
                "UTC",
                "2026-11-21T12:00:00Z",
                "2026-11-27T00:00:00Z",
            ),
            (
                "0 0 * * 7",
                "UTC",
                "2026-11-21T12:00:00Z",
                "2026-11-22T00:00:00Z",
            ),
            (
                "30 9-17/4 * * MON-FRI",
                "UTC",
                "2026-11-23T10:00:00Z",
                "2026-11-23T13:30:00Z",
            ),
            // 2026-03-29 02:30 does not exist in Warsaw: an hour later it does.
            (
                "30 2 * * *",
                "Europe/Warsaw",
                "2026-03-28T12:00:00Z",
                "2026-03-29T01:30:00Z",
            ),
            // 2026-10-25 02:30 comes twice: the first counts.
            (
                "30 2 * * *",
                "Europe/Warsaw",
                "2026-10-24T12:00:00Z",
                "2026-10-25T00:30:00Z",
            ),
        ] {
            let cron = Cron::parse(cron).unwrap();
            assert_eq!(
                cron.next_after(at(from), &zone(zone_name)),
                Some(at(next)),
                "{cron:?}"
            );
            assert_eq!(
                cron.last_until(at(next), &zone(zone_name)),
                Some(at(next)),
                "{cron:?}"
            );
            let before = cron.last_until(at(from), &zone(zone_name));
            assert!(before.is_none_or(|before| before <= at(from)));
        }
    }

    #[test]
    fn what_is_wrong_with_a_schedule_is_said() {
        for (cron, told) in [
            ("0 18 * *", "has 4 fields"),
            ("61 0 * * *", "\"61\" is no minute"),
            ("0 0 * * FRY", "\"FRY\" is no weekday"),
            ("0 0 5-2 * *", "\"5-2\" is no day of the month"),
            ("*/0 0 * * *", "\"*/0\" is no minute"),
            ("0 0 30 2 *", "never comes"),
        ] {
            let error = Cron::parse(cron).unwrap_err();
            assert!(error.contains(told), "{cron}: {error}");
        }
    }
}
