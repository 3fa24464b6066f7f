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

use std::cell::OnceCell;
use std::sync::Arc;

use super::value::MetricValue;
use parse::Node;

/// Longest condition, in bytes.
pub const MAX_LENGTH: usize = 4096;
/// Deepest nesting of brackets, operators and closures.
pub const MAX_DEPTH: usize = 48;
/// Largest range literal (`0..1000`).
pub const MAX_RANGE: i64 = 10_000;
/// Steps an evaluation may take: one per node and per element made. A reply of 1 MiB holds some
/// 40,000 samples, and a condition over each takes a handful of steps.
pub const MAX_STEPS: u64 = 2_000_000;

/// A condition, and the tree it is read to: at once, or when it is asked for the first time.
#[derive(Clone, Debug)]
pub struct Condition {
    text: String,
    tree: OnceCell<Result<Arc<Node>, String>>,
}

impl Condition {
    /// Reads a condition; refuses one that cannot be read, names unknown functions or variables, is
    /// over-long, over-deep, or spans a large range. The message says what and where (byte offset
    /// from 1).
    ///
    /// # Errors
    /// What is wrong with it, in one sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let condition = Self::read_before(text);
        condition.tree()?;
        Ok(condition)
    }

    /// A condition that was read without fault before, such as that of a run under way: it is read
    /// again when it is asked, which most turns do not.
    pub fn read_before(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            tree: OnceCell::new(),
        }
    }

    fn tree(&self) -> Result<&Node, String> {
        let tree = self
            .tree
            .get_or_init(|| parse::parse(&self.text).map(Arc::new));
        tree.as_deref().map_err(Clone::clone)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Evaluates it over `result`.
    ///
    /// # Errors
    /// It cannot be read, an operation has no meaning for the values at hand, it does not yield true
    /// or false, or it takes too long.
    pub fn evaluate(&self, result: &MetricValue) -> Result<bool, String> {
        match eval::run(self.tree()?, result)? {
            MetricValue::Bool(verdict) => Ok(verdict),
            other => Err(format!("expected bool, but got {}", other.kind())),
        }
    }

    /// True where it asks about NaN or infinity itself, so that such a number is no surprise.
    pub fn asks_for_nan(&self) -> bool {
        self.mentions(&["isNaN", "isInf"])
    }

    /// True where it asks whether there is a result at all.
    pub fn asks_for_absence(&self) -> bool {
        self.mentions(&["len", "isNil", "default", "nil", "??"])
    }

    fn mentions(&self, words: &[&str]) -> bool {
        let tokens = lex::lex(&self.text);
        tokens.is_ok_and(|tokens| tokens.iter().any(|t| words.contains(&t.token.text())))
    }
}

/// Reads a condition and evaluates it once: see [`Condition`].
///
/// # Errors
/// As [`Condition::parse`] and [`Condition::evaluate`].
pub fn evaluate(condition: &str, result: &MetricValue) -> Result<bool, String> {
    Condition::parse(condition)?.evaluate(result)
}

#[cfg(test)]
mod tests;
