//! Verdicts: of a measurement (N6), of a metric (N7-N11), of a run (N12). Total over every answer:
//! NaN, infinity and emptiness never make a success by themselves (invariant I-10).

use super::expr::Condition;
use super::metric::MetricSpec;
use super::value::MetricValue;
use crate::api::analysis::MetricResult;

/// The six phases of runs, metrics and measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not begun.
    Pending,
    /// Under way.
    Running,
    /// Good.
    Successful,
    /// Bad.
    Failed,
    /// Could not be measured.
    Error,
    /// Neither good nor bad.
    Inconclusive,
}

impl Phase {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Successful => "Successful",
            Self::Failed => "Failed",
            Self::Error => "Error",
            Self::Inconclusive => "Inconclusive",
        }
    }

    /// Reads the word; anything else is as if nothing had begun.
    pub fn read(text: &str) -> Self {
        match text {
            "Running" => Self::Running,
            "Successful" => Self::Successful,
            "Failed" => Self::Failed,
            "Error" => Self::Error,
            "Inconclusive" => Self::Inconclusive,
            _ => Self::Pending,
        }
    }

    /// True for a verdict.
    pub fn is_completed(self) -> bool {
        match self {
            Self::Successful | Self::Failed | Self::Error | Self::Inconclusive => true,
            Self::Pending | Self::Running => false,
        }
    }

    /// True for a verdict that ends the whole run early (N13).
    pub fn is_bad(self) -> bool {
        self.is_completed() && self != Self::Successful
    }

    /// Place in the order from best to worst (N12).
    pub fn badness(self) -> u8 {
        match self {
            Self::Successful => 0,
            Self::Running => 1,
            Self::Pending => 2,
            Self::Inconclusive => 3,
            Self::Error => 4,
            Self::Failed => 5,
        }
    }
}

/// The verdict on one answer, with a message where there is something to say.
pub fn measurement(metric: &MetricSpec, answer: &MetricValue) -> (Phase, Option<String>) {
    let asked = |condition: &Option<Condition>, field: &str| -> Result<Option<bool>, String> {
        let Some(condition) = condition else {
            return Ok(None);
        };
        condition.evaluate(answer).map(Some).map_err(|why| {
            let why = if answer.is_empty() {
                format!("metric result is nil or empty: no data returned from the metric provider ({why})")
            } else {
                why
            };
            format!("could not evaluate {field} {:?}: {why}", condition.text())
        })
    };
    // Failure is asked first: a measurement that is both good and bad is bad.
    let failure = match asked(&metric.failure, "failureCondition") {
        Ok(verdict) => verdict,
        Err(message) => return (Phase::Error, Some(message)),
    };
    let success = match asked(&metric.success, "successCondition") {
        Ok(verdict) => verdict,
        Err(message) => return (Phase::Error, Some(message)),
    };
    match (failure, success) {
        (Some(true), _) => (Phase::Failed, None),
        (None | Some(false), Some(true)) | (None | Some(false), None) => {
            unless_hollow(metric, answer)
        }
        (None, Some(false)) => (Phase::Failed, None),
        (Some(false), Some(false)) => (Phase::Inconclusive, None),
    }
}

/// A success stands, unless it rests on an answer that is none: then it is Inconclusive, unless the
/// conditions asked about exactly that. `!(result[0] > 5)` is true of NaN, `all(result, # < 5)` of
/// nothing, and neither is a reason to go on.
fn unless_hollow(metric: &MetricSpec, answer: &MetricValue) -> (Phase, Option<String>) {
    let conditions = || [&metric.success, &metric.failure].into_iter().flatten();
    if answer.has_non_finite() && !conditions().any(Condition::asks_for_nan) {
        let message = "the result is not a finite number and no condition asks isNaN or isInf";
        return (Phase::Inconclusive, Some(message.to_owned()));
    }
    if answer.is_empty() && !conditions().any(Condition::asks_for_absence) {
        let message = "no data returned from the metric provider, and no condition asks len, isNil or default";
        return (Phase::Inconclusive, Some(message.to_owned()));
    }
    (Phase::Successful, None)
}

/// The verdict on a metric after its measurements, and why it is not Successful.
pub fn metric(
    spec: &MetricSpec,
    result: &MetricResult,
    is_terminating: bool,
) -> (Phase, Option<String>) {
    let n = |count: Option<i64>| count.unwrap_or(0);
    let (failed, inconclusive) = (n(result.failed), n(result.inconclusive));
    let errors = n(result.consecutive_error);
    // Where several limits are exceeded, Error beats Inconclusive beats Failed (N12).
    if errors > spec.consecutive_error_limit {
        let why = format!(
            "consecutiveErrors ({errors}) > consecutiveErrorLimit ({})",
            spec.consecutive_error_limit
        );
        return (Phase::Error, Some(why));
    }
    if inconclusive > spec.inconclusive_limit {
        let why = format!(
            "inconclusive ({inconclusive}) > inconclusiveLimit ({})",
            spec.inconclusive_limit
        );
        return (Phase::Inconclusive, Some(why));
    }
    if let Some(limit) = spec.failure_limit
        && failed > limit
    {
        return (
            Phase::Failed,
            Some(format!("failed ({failed}) > failureLimit ({limit})")),
        );
    }
    if spec
        .consecutive_success_limit
        .is_some_and(|limit| n(result.consecutive_success) >= limit)
    {
        return (Phase::Successful, None);
    }
    if is_terminating {
        return (Phase::Successful, None);
    }
    let reached = spec.count.is_some_and(|count| n(result.count) >= count);
    match (reached, spec.consecutive_success_limit, spec.failure_limit) {
        (false, _, _) => (Phase::Running, None),
        (true, Some(limit), Some(_)) => {
            let had = n(result.consecutive_success);
            (
                Phase::Inconclusive,
                Some(format!(
                    "consecutiveSuccess ({had}) < consecutiveSuccessLimit ({limit}) when count was reached"
                )),
            )
        }
        (true, Some(limit), None) => {
            let had = n(result.consecutive_success);
            (
                Phase::Failed,
                Some(format!(
                    "consecutiveSuccess ({had}) < consecutiveSuccessLimit ({limit}) when count was reached"
                )),
            )
        }
        (true, None, _) => (Phase::Successful, None),
    }
}

/// The sentence of N14 for a metric that ended badly.
pub fn sentence(spec: &MetricSpec, phase: Phase, why: &str, last: Option<&str>) -> String {
    let mut text = if spec.is_dry_run {
        format!("Metric assessed {} due to {why}", phase.as_str())
    } else {
        format!(
            "Metric \"{}\" assessed {} due to {why}",
            spec.name,
            phase.as_str()
        )
    };
    if let Some(last) = last.filter(|m| !m.is_empty()) {
        text.push_str(&format!(": \"Error Message: {last}\""));
    }
    text
}
