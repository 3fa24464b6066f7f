//! What the objectives of a Rollout would have done in the past: which questions to ask Prometheus
//! about its history, and what the answers mean. Pure: asks nothing itself, knows no clock.

mod analyses;
mod judge;
mod page;
mod plan;
mod report;
mod text;

pub use analyses::Templates;
pub use judge::{Values, judge};
pub use page::render as page;
pub use plan::{Ask, Asked, Plan, Range, VersionSeen, of_history};
pub use report::{Episode, Found, Report, Suggestion, Verdict, Version};
pub use text::render as text;

#[cfg(test)]
mod tests;
