//! View models for people: what a rollout did, as data, as text and as a page. Pure: no clock, no
//! I/O, no decisions.

pub mod chart;
pub(crate) mod gates;
pub mod html;
pub mod status;
pub mod story;
pub mod text;
pub mod timeline;
