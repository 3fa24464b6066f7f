//! Decides everything: pure, total, no clock, no I/O. Entry points: [`needs`] (what must be known),
//! [`plan_rollout`] (one turn of a Rollout), [`analysis::run::plan_analysis`] (one turn of an
//! AnalysisRun) and [`experiment::plan_experiment`] (one turn of an Experiment). The shells (`live`, `sim`) observe, perform and report; they decide nothing.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod advice;
pub mod analysis;
pub(crate) mod blue_green;
pub(crate) mod canary;
pub mod command;
pub mod config;
pub(crate) mod copies;
pub(crate) mod cursor;
pub(crate) mod descent;
pub(crate) mod draft;
pub mod duration;
pub mod experiment;
pub(crate) mod experiments;
pub(crate) mod failure;
pub(crate) mod fast_track;
pub mod fault;
pub(crate) mod first;
pub mod freeze;
pub(crate) mod history;
pub(crate) mod hold;
pub(crate) mod kept;
pub(crate) mod lost;
pub mod lower;
pub mod needs;
pub mod observed;
pub mod origin;
pub(crate) mod pause_clock;
pub mod plan;
pub(crate) mod promotion;
pub(crate) mod ramp;
pub mod reasons;
pub mod replicas;
pub(crate) mod restart;
pub(crate) mod resume;
pub mod revision;
pub(crate) mod roles;
pub(crate) mod rollback;
pub mod rollout;
pub(crate) mod run_history;
pub(crate) mod runs;
pub(crate) mod scale_down;
pub mod services;
pub(crate) mod sizes;
pub mod slo;
pub mod spec;
pub mod standing;
pub mod status;
pub(crate) mod timing;
pub mod turn;
pub(crate) mod undo;
pub(crate) mod warm;
pub mod workload;

pub use needs::needs;
pub use observed::{Need, Observed};
pub use plan::{Plan, Write};
pub use rollout::plan_rollout;
