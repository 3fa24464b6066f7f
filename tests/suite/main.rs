//! All tests that need more than one module of serin, as one program. One module a subject; see CONTRIBUTING.md.

// A test says what it found wrong by panicking.
#![allow(clippy::unwrap_used)]
// Modules of one program: what is `pub` is for the module beside it.
#![allow(unreachable_pub)]
// The bans are the library's: tests wait for other programs by the clock.
#![allow(clippy::disallowed_methods)]

#[path = "../bench/mod.rs"]
mod bench;

mod agents;
mod backtest;
mod bench_faults;
mod bench_outages;
mod bench_smoke;
mod cluster;
mod conformance;
mod controller;
mod corpus;
mod crds;
mod crds_live;
mod crds_own;
mod delivery;
mod deploy;
mod docs;
mod fuzz;
mod helm;
mod lint;
mod live;
mod live_analysis;
mod live_blue_green;
mod live_blue_green_life;
mod live_canary_life;
mod live_canary_more;
mod live_config;
mod live_create;
mod live_experiment;
mod live_faults;
mod live_flags;
mod live_freeze;
mod live_index;
mod live_lease;
mod live_lease_more;
mod live_people;
mod live_pods;
mod live_providers;
mod live_rights;
mod live_shards;
mod live_slo;
mod live_status;
mod live_takeover;
mod live_upgrade;
mod live_webhook;
mod live_webhook_pod;
mod live_whole_life;
mod live_workload;
mod osps;
mod pipelines;
mod policies;
mod properties;
mod rehearsals;
mod slo_worlds;
mod stub;
mod tidy;
mod truth;
