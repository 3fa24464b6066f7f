//! A backtest for people, in 80 columns.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::report::{Found, Report, Verdict, Version};
use crate::view::text::{span, wrap};

/// The report as text; every line ends with a newline.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    let mut say = |indent: usize, text: &str| {
        for (n, line) in wrap(text, 78 - indent).iter().enumerate() {
            let more = if n == 0 { 0 } else { 2 };
            // Writing to a String cannot fail.
            writeln!(out, "{}{line}", " ".repeat(indent + more)).unwrap_or_default();
        }
    };
    say(0, &head(report));
    say(0, &rule(report));
    for found in &report.objectives {
        say(0, "");
        say(0, &format!("{}: {}", found.name, found.bound));
        objective(report, found)
            .iter()
            .for_each(|(indent, line)| say(*indent, line));
    }
    say(0, "");
    if report.versions.is_empty() {
        say(
            0,
            "Versions: no version came after another one in that time.",
        );
    } else {
        say(0, "Versions that came in that time");
    }
    for one in &report.versions {
        say(2, &version(one));
    }
    if !report.left_out.is_empty() {
        say(0, "");
        say(0, "Not judged over the past");
    }
    for one in &report.left_out {
        say(2, one);
    }
    out
}

/// What was looked at.
pub(super) fn head(report: &Report) -> String {
    format!(
        "{}/{}: from {} to {}, a value every {}",
        report.namespace,
        report.rollout,
        minute(report.from),
        minute(report.until),
        span(report.every * 1000)
    )
}

/// When a rollout is stopped.
pub(super) fn rule(report: &Report) -> String {
    format!(
        "A rollout is measured {} times over {}, and stopped when more than {} of an objective's measurements miss its bound.",
        report.measurements,
        span(report.length * 1000),
        report.failure_limit
    )
}

/// What was found about an objective: lines, each with its indentation.
pub(super) fn objective(report: &Report, found: &Found) -> Vec<(usize, String)> {
    let mut lines = vec![];
    let mut say = |indent: usize, line: String| lines.push((indent, line));
    if found.failure_limit != report.failure_limit {
        say(
            2,
            format!("stops when more than {} miss it", found.failure_limit),
        );
    }
    if found.is_compared {
        say(2,
            "compares with stable: see the versions below, there were two of them at once only then"
                .to_owned(),
        );
        return lines;
    }
    let (Some(median), Some(p95), Some(worst)) = (&found.median, &found.p95, &found.worst) else {
        say(2, "no value in all that time: the gate would hold every rollout. Are the metric's name, the namespace label and the window right? See docs/gates.md".to_owned());
        return lines;
    };
    let none = found.moments - found.values;
    let share_of_none = percent(none as f64 / found.moments.max(1) as f64);
    say(
        2,
        format!(
            "values: half {}, 95 of 100 {}, worst {worst}; none at {share_of_none} of the moments",
            direction(found, median),
            direction(found, p95)
        ),
    );
    if found.stopped == 0 {
        say(
            2,
            "would have stopped no rollout, whenever it began".to_owned(),
        );
    } else {
        say(
            2,
            format!(
                "would have stopped {} of the rollouts that may have begun in that time ({} tolerated)",
                percent(found.share),
                percent(report.tolerated)
            ),
        );
        say(2, format!("bound missed {}:", times(found.times)));
        for episode in &found.episodes {
            say(
                4,
                format!(
                    "{} for {}, up to {}",
                    minute(episode.from),
                    span((episode.until - episode.from).max(report.every) * 1000),
                    episode.worst
                ),
            );
        }
    }
    if let Some(better) = &found.suggestion {
        let bound = direction(found, &better.bound);
        say(
            2,
            match better.is_too_strict {
                true => format!(
                    "suggestion: {bound} would have stopped {} or fewer",
                    percent(report.tolerated)
                ),
                false => format!(
                    "suggestion: there is room; {bound} would still have stopped {} or fewer",
                    percent(report.tolerated)
                ),
            },
        );
    }
    lines
}

/// `at most 1s`, `at least 98%`: the way the objective looks.
fn direction(found: &Found, value: &str) -> String {
    match found.is_upper {
        true => format!("at most {value}"),
        false => format!("at least {value}"),
    }
}

fn times(n: usize) -> String {
    match n {
        1 => "once".to_owned(),
        n if n > 5 => format!("{n} times, longest"),
        n => format!("{n} times"),
    }
}

pub(super) fn version(version: &Version) -> String {
    let verdict = match &version.verdict {
        Verdict::Passed => "would have passed".to_owned(),
        Verdict::Stopped {
            at,
            objective,
            value,
            bound,
        } => format!(
            "would have been stopped after {}: {objective} {value}, must be {bound}",
            span((at - version.at).max(0) * 1000)
        ),
        Verdict::Held { objective } => {
            format!("would have been held: {objective} had no value")
        }
    };
    format!(
        "{} {} after {}: {verdict}",
        minute(version.at),
        version.hash,
        version.after
    )
}

/// A share as people read it: `0.4 %`, `12 %`.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 10.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// A moment to the minute, in UTC.
pub(super) fn minute(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map(|at| at.strftime("%Y-%m-%d %H:%MZ").to_string())
        .unwrap_or_default()
}
