//! The shell around the planner on a real cluster: the only user of the Kubernetes client and of
//! the clock. It observes, performs and reports; it decides nothing about a rollout.
//!
//! Read in this order: [`controller`] (who runs when), `turn` (one turn), `observe`, `perform`,
//! `analysis` (runs and their tasks), [`stores`] (what is known), [`slim`] (how objects are kept),
//! [`watch`], [`queue`], [`lease`].

mod analysis;
pub mod calls;
pub mod client;
pub mod clock;
mod configs;
mod controller;
pub mod crds;
pub mod create;
pub mod events;
mod experiment_index;
mod experiments;
mod freezes;
pub mod http;
pub mod inventory;
mod jobs;
pub mod lease;
pub mod look;
pub mod metrics;
mod observe;
mod perform;
mod pods;
pub mod queue;
pub mod scope;
mod service_index;
mod service_turn;
pub mod settings;
pub mod sharding;
pub mod shards;
pub mod slim;
mod start;
pub mod stats;
pub mod stores;
pub mod templates;
mod turn;
pub mod watch;
mod workloads;

pub use perform::attempt;
pub use start::run;
