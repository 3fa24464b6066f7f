//! The condition language of analysis metrics: `result[0] >= 0.95 && !isNaN(result[0])`. Knows the
//! language only; what a verdict means for a metric is in `assess`.
//!
//! The language is that of expr-lang.org as far as conditions use it. It is evaluated here and not
//! by a crate because a condition is a stranger's text inside the controller: evaluation must be
//! total (the crate panics on `{a: {b: 1}}`, and we abort on panic) and bounded (`0..9e18`):
//! every evaluation has a budget of steps, every text a longest length and a deepest nesting.

// The language is dynamic: an operation has a meaning for the kinds it names and for no other.
#![allow(clippy::wildcard_enum_match_arm)]

mod eval;
mod functions;
mod lex;
mod parse;

use super::value::MetricValue;

/// Longest condition, in bytes.
pub const MAX_LENGTH: usize = 4096;
/// Deepest nesting of brackets, operators and closures.
pub const MAX_DEPTH: usize = 48;
/// Largest range literal (`0..1000`).
pub const MAX_RANGE: i64 = 10_000;
/// Steps an evaluation may take: one per node and per element made. A reply of 1 MiB holds some
/// 40,000 samples, and a condition over each takes a handful of steps.
pub const MAX_STEPS: u64 = 2_000_000;

/// Refuses a condition that cannot be read, names unknown functions or variables, is over-long,
/// over-deep, or spans a large range. The message says what and where (byte offset from 1).
pub fn check(condition: &str) -> Result<(), String> {
    parse::parse(condition).map(|_| ())
}

/// Evaluates a condition over `result`. `Err` where it cannot be read, where an operation has no
/// meaning for the values at hand, where it does not yield true or false, or where it takes too long.
pub fn evaluate(condition: &str, result: &MetricValue) -> Result<bool, String> {
    let tree = parse::parse(condition)?;
    match eval::run(&tree, result)? {
        MetricValue::Bool(verdict) => Ok(verdict),
        other => Err(format!("expected bool, but got {}", other.kind())),
    }
}

/// True where the condition asks about NaN or infinity itself, so that such a number is no surprise.
pub fn asks_for_nan(condition: &str) -> bool {
    mentions(condition, &["isNaN", "isInf"])
}

/// True where the condition asks whether there is a result at all.
pub fn asks_for_absence(condition: &str) -> bool {
    mentions(condition, &["len", "isNil", "default", "nil", "??"])
}

fn mentions(condition: &str, words: &[&str]) -> bool {
    lex::lex(condition).is_ok_and(|tokens| tokens.iter().any(|t| words.contains(&t.token.text())))
}

#[cfg(test)]
mod tests;
