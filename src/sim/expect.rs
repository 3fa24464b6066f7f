//! What a rehearsal is expected to come to: `Healthy within 10m`, `rolled back before 50%`. Knows the
//! words and how a finished timeline answers them.

use super::clock::Ms;
use super::trigger::{duration, text_of};
use crate::view::timeline::{Sample, Timeline};

/// One expectation.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// As it was written.
    pub text: String,
    what: What,
    within: Option<Ms>,
    before: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    /// Ends Healthy.
    Healthy,
    /// Ends Degraded.
    Degraded,
    /// Ends with this version as stable and Healthy.
    HealthyOn(String),
    /// Was aborted, and ends with stable at its full size.
    RolledBack,
    /// Was paused, at this step if one is named.
    Paused(Option<usize>),
    /// Was held by a gate, at this step if one is named.
    Held(Option<usize>),
    /// The weight reached was never above this.
    NeverAbove(f64),
    /// Available pods were never fewer than this.
    NeverBelow(u32),
    /// Pods that answer behind this Service were never fewer than this.
    NeverBelowBehind(u32, String),
}

/// What may be written for an expectation.
pub const HOW_TO_WRITE: &str = "write 'Healthy', 'Healthy on v2', 'Degraded', 'rolled back', 'paused at step 2', 'held at step 2', each with 'within 10m' or 'before 50%' as needed, or 'never above 34%', 'never below 2 pods', 'never below 2 pods behind my-service'";

impl Expect {
    /// Ends Healthy: what is expected when nothing is said.
    pub fn healthy() -> Self {
        Self {
            text: "Healthy".into(),
            what: What::Healthy,
            within: None,
            before: None,
        }
    }

    /// Reads an expectation.
    ///
    /// # Errors
    /// A sentence that says what may be written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        let mut within = None;
        let mut before = None;
        if let Some((head, tail)) = rest.split_once(" within ") {
            within = Some(duration(tail)?);
            rest = head;
        }
        if let Some((head, tail)) = rest.split_once(" before ") {
            let weight = tail
                .trim()
                .strip_suffix('%')
                .and_then(|n| n.trim().parse().ok());
            before = Some(weight.ok_or_else(|| format!("{HOW_TO_WRITE}; this is {text:?}"))?);
            rest = head;
        }
        let what = what_of(rest).ok_or_else(|| format!("{HOW_TO_WRITE}; this is {text:?}"))?;
        Ok(Self {
            text: text.trim().to_owned(),
            what,
            within,
            before,
        })
    }

    /// Whether the timeline holds it: nothing when it does, else what was seen instead.
    pub fn miss(&self, timeline: &Timeline) -> Option<String> {
        let samples = &timeline.samples;
        let happened = match &self.what {
            What::NeverAbove(most) => return above(samples, *most),
            What::NeverBelow(least) => return below(samples, *least),
            What::NeverBelowBehind(least, service) => {
                return below_behind(samples, *least, service);
            }
            What::Paused(step) => first(samples, |s| s.pause.is_some() && is_at(s, *step)),
            What::Held(step) => first(samples, |s| s.hold.is_some() && is_at(s, *step)),
            What::Healthy => since_when(samples, |s| s.phase == "Healthy"),
            What::Degraded => since_when(samples, |s| s.phase == "Degraded"),
            What::HealthyOn(version) => since_when(samples, |s| {
                s.phase == "Healthy" && s.stable_version.as_ref() == Some(version)
            }),
            What::RolledBack => since_when(samples, |s| {
                s.is_aborted && s.stable.available >= s.desired && s.canary.total == 0
            }),
        };
        let Some(at) = happened else {
            return Some(ending(timeline));
        };
        if let Some(within) = self.within.filter(|within| at > *within) {
            return Some(format!("it took {}, not {}", text_of(at), text_of(within)));
        }
        let limit = self.before?;
        let reached = samples
            .iter()
            .filter(|s| s.at <= at)
            .filter_map(|s| s.asked)
            .max()
            .unwrap_or(0);
        (reached >= limit).then(|| format!("the weight asked for had reached {reached}%"))
    }
}

fn what_of(text: &str) -> Option<What> {
    let lower = text.trim().to_lowercase();
    let step = |prefix: &str| -> Option<Option<usize>> {
        match lower.strip_prefix(prefix)?.trim() {
            "" => Some(None),
            rest => rest.strip_prefix("at step")?.trim().parse().ok().map(Some),
        }
    };
    if let Some(step) = step("paused") {
        return Some(What::Paused(step));
    }
    if let Some(step) = step("held") {
        return Some(What::Held(step));
    }
    if let Some(rest) = lower.strip_prefix("never above") {
        return rest
            .trim()
            .strip_suffix('%')?
            .trim()
            .parse()
            .ok()
            .map(What::NeverAbove);
    }
    if let Some(rest) = lower.strip_prefix("never below") {
        let (rest, service) = match rest.split_once(" behind ") {
            Some((rest, service)) => (rest, Some(service.trim().to_owned())),
            None => (rest, None),
        };
        let count = rest.trim().trim_end_matches("pods").trim_end_matches("pod");
        let count = count.trim().parse().ok()?;
        return Some(match service {
            Some(service) => What::NeverBelowBehind(count, service),
            None => What::NeverBelow(count),
        });
    }
    if lower.starts_with("healthy on ") {
        let version = text.trim().get("healthy on ".len()..)?;
        return Some(What::HealthyOn(version.trim().to_owned()));
    }
    match lower.as_str() {
        "healthy" => Some(What::Healthy),
        "degraded" => Some(What::Degraded),
        "rolled back" => Some(What::RolledBack),
        _ => None,
    }
}

fn is_at(sample: &Sample, step: Option<usize>) -> bool {
    step.is_none_or(|step| sample.step + 1 == step)
}

fn first(samples: &[Sample], is: impl Fn(&Sample) -> bool) -> Option<Ms> {
    samples
        .iter()
        .find(|sample| is(sample))
        .map(|sample| sample.at)
}

/// Since when it has been so up to the end.
fn since_when(samples: &[Sample], is: impl Fn(&Sample) -> bool) -> Option<Ms> {
    let ending = samples.iter().rev().take_while(|sample| is(sample));
    ending.last().map(|sample| sample.at)
}

fn above(samples: &[Sample], most: f64) -> Option<String> {
    let worst = samples
        .iter()
        .max_by(|a, b| a.reached().total_cmp(&b.reached()))?;
    let reached = worst.reached();
    (reached > most + 0.5).then(|| format!("it was {reached:.0}% at {}", text_of(worst.at)))
}

fn below(samples: &[Sample], least: u32) -> Option<String> {
    let worst = samples.iter().min_by_key(|sample| sample.available())?;
    let pods = worst.available();
    (pods < least).then(|| format!("only {pods} were available at {}", text_of(worst.at)))
}

fn below_behind(samples: &[Sample], least: u32, service: &str) -> Option<String> {
    let counts = samples
        .iter()
        .filter_map(|sample| Some((sample.at, *sample.behind.get(service)?)));
    let Some((at, pods)) = counts.min_by_key(|(_, pods)| *pods) else {
        return Some(format!("there is no Service {service}"));
    };
    (pods < least).then(|| {
        format!(
            "only {pods} answered behind Service {service} at {}",
            text_of(at)
        )
    })
}

fn ending(timeline: &Timeline) -> String {
    match timeline.samples.last() {
        Some(last) if last.message.is_empty() => format!("it ended {}", last.phase),
        Some(last) => format!("it ended {}: {}", last.phase, last.message),
        None => "nothing happened at all".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_read() {
        for text in [
            "Healthy within 10m",
            "rolled back before 50%",
            "rolled back before 50% within 10m",
            "paused at step 2",
            "held",
            "Healthy on v3",
            "never above 34%",
            "never below 2 pods",
            "never below 2 pods behind checkout",
        ] {
            assert!(Expect::parse(text).is_ok(), "{text}");
        }
        for text in [
            "fine",
            "Healthy within soon",
            "rolled back before half",
            "paused at lunch",
        ] {
            assert!(Expect::parse(text).is_err(), "{text}");
        }
    }
}
