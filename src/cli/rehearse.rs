//! `serin rehearse`: plays a rollout on a virtual clock, shows what it would do, and tells by the exit
//! code whether that is what was expected. Reads and writes files; everything else is `sim`'s and `view`'s.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use crate::planner::fault::Fault;
use crate::sim::clock::Ms;
use crate::sim::manifests::Manifests;
use crate::sim::{self, Rehearsal, trigger};
use crate::view::text::Colour;
use crate::view::timeline::Timeline;
use crate::view::{html, text};

/// Play a rollout without a cluster and see what it will do.
///
/// FILE is a rehearsal, or a Rollout manifest (with the analysis templates it uses): then its image
/// changes at once and all metrics are healthy. Exits 0 when all expectations hold (without any: when
/// it ends Healthy), 1 when one does not, 2 when the input is wrong.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Rehearsal files, or manifests
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How the timeline is printed
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Also write the timeline as a page with charts to this file
    #[arg(long, value_name = "OUT.html")]
    pub report: Option<PathBuf>,
    /// End the rehearsal after so much virtual time (default: what the file says, or 2h)
    #[arg(long, value_name = "DURATION", value_parser = trigger::duration)]
    pub until: Option<Ms>,
    /// No colours, also on a terminal
    #[arg(long)]
    pub no_color: bool,
}

/// Forms of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people, in 80 columns
    Text,
    /// For programs
    Json,
}

const WRONG_INPUT: u8 = 2;

/// Runs the verb.
///
/// # Errors
/// The report or the output cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let rehearsals = match load(&args.files) {
        Ok(rehearsals) => rehearsals,
        Err(faults) => return Ok(refuse(&faults)),
    };
    if args.report.is_some() && rehearsals.len() > 1 {
        let what = "--report: takes one rehearsal, and there are several: rehearse them one by one";
        return Ok(refuse(&[what.to_owned()]));
    }
    let timelines: Vec<Timeline> = rehearsals
        .into_iter()
        .map(|mut rehearsal| {
            rehearsal.until = args.until.unwrap_or(rehearsal.until);
            sim::run(&rehearsal)
        })
        .collect();
    if let (Some(path), Some(timeline)) = (&args.report, timelines.first()) {
        std::fs::write(path, html::render(timeline)).with_context(|| {
            format!(
                "--report: cannot write {}: name a file in a folder that exists",
                path.display()
            )
        })?;
    }
    print(&args, &timelines)?;
    let is_as_expected = timelines.iter().all(Timeline::is_as_expected);
    Ok(if is_as_expected {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(args: &Args, timelines: &[Timeline]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let printed = match args.output {
        Output::Json => match timelines {
            [one] => serde_json::to_string_pretty(one)? + "\n",
            many => serde_json::to_string_pretty(many)? + "\n",
        },
        Output::Text => {
            let is_plain = args.no_color
                || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
                || !std::io::stdout().is_terminal();
            let colour = if is_plain { Colour::Off } else { Colour::On };
            let pages: Vec<String> = timelines.iter().map(|t| text::render(t, colour)).collect();
            pages.join("\n")
        }
    };
    match out.write_all(printed.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has seen enough: `serin rehearse x | head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot print the timeline"),
    }
}

fn refuse(faults: &[String]) -> ExitCode {
    for fault in faults {
        eprintln!("error: {fault}");
    }
    ExitCode::from(WRONG_INPUT)
}

/// Reads all files: each rehearsal file is one rehearsal, and so is each Rollout among the manifests.
///
/// # Errors
/// Every fault of every file, each with its file and path.
pub fn load(files: &[PathBuf]) -> Result<Vec<Rehearsal>, Vec<String>> {
    let mut faults = Vec::new();
    let mut rehearsals = Vec::new();
    let mut manifests = Manifests::default();
    for file in files {
        let name = file.display().to_string();
        match documents(file) {
            Err(message) => faults.push(message),
            Ok(all) => match all.as_slice() {
                [one] if is_rehearsal(one) => match read_rehearsal(file, one) {
                    Ok(rehearsal) => rehearsals.push(rehearsal),
                    Err(found) => {
                        faults.extend(found.iter().map(|fault| format!("{name}: {fault}")))
                    }
                },
                many => {
                    let mut found: Vec<Fault> = Vec::new();
                    many.iter()
                        .for_each(|document| manifests.add(&name, document, &mut found));
                    faults.extend(found.iter().map(ToString::to_string));
                }
            },
        }
    }
    let templates = Manifests {
        rollouts: Vec::new(),
        ..manifests.clone()
    };
    for rollout in manifests.rollouts {
        let name = rollout.metadata.name.clone().unwrap_or_default();
        rehearsals.push(Rehearsal::of_manifest(&name, rollout, templates.clone()));
    }
    if rehearsals.is_empty() && faults.is_empty() {
        let names: Vec<String> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        faults.push(format!(
            "{}: neither a rehearsal nor a Rollout: name a file that holds one",
            names.join(", ")
        ));
    }
    if faults.is_empty() {
        Ok(rehearsals)
    } else {
        Err(faults)
    }
}

fn is_rehearsal(document: &Value) -> bool {
    document.get("apiVersion").is_none() && document.get("kind").is_none()
}

/// A document that is a rehearsal, with the files that it names beside `file`.
///
/// # Errors
/// All its faults.
pub fn read_rehearsal(file: &Path, document: &Value) -> Result<Rehearsal, Vec<Fault>> {
    let name = file
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    let folder = file.parent().unwrap_or(Path::new("."));
    Rehearsal::parse(&name.unwrap_or_default(), document, &|path| {
        documents(&folder.join(path))
    })
}

/// The YAML documents of a file, empty ones left out.
pub(super) fn documents(file: &Path) -> Result<Vec<Value>, String> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("{name}: cannot be read: {error}: check the path"))?;
    let all: Vec<Value> = serde_saphyr::from_multiple(&text)
        .map_err(|error| format!("{name}: is not YAML: {error}"))?;
    Ok(all
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}
