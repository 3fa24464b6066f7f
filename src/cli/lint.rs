//! `serin lint`: what is wrong with manifests, before a cluster sees them. The rules are the
//! controller's own, and unknown fields count, which the API server drops without a word.

use std::path::PathBuf;
use std::process::ExitCode;

use super::rehearse;

/// Check manifests: every fault at once, with its file, field and what to do.
///
/// Exits 0 when every Rollout can be used, 1 when one cannot or a file cannot be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rollout manifests (YAML, several documents allowed) or rehearsals
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Checks every manifest in the files and prints what it found.
pub fn run(args: &Args) -> ExitCode {
    let rehearsals = match rehearse::load(&args.files) {
        Ok(rehearsals) => rehearsals,
        Err(faults) => {
            for fault in &faults {
                println!("error: {fault}");
            }
            return ExitCode::FAILURE;
        }
    };
    for rehearsal in &rehearsals {
        let name = rehearsal.rollout.metadata.name.as_deref().unwrap_or("?");
        for warning in rehearsal.warnings() {
            println!("warning: Rollout {name}: {warning}");
        }
    }
    let count = rehearsals.len();
    println!(
        "{count} {} fine",
        if count == 1 {
            "Rollout is"
        } else {
            "Rollouts are"
        }
    );
    ExitCode::SUCCESS
}
