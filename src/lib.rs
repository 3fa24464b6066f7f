//! serin: progressive delivery for Kubernetes. Read planner first; live and sim are its two shells.
pub mod api;
pub mod backtest;
pub mod check;
pub mod cli;
pub mod deploy;
pub mod lint;
pub mod live;
pub mod planner;
pub mod providers;
pub mod sim;
pub mod view;
pub mod webhook;
