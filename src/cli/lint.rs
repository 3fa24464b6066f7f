//! `serin lint`: what is wrong with manifests, before a cluster sees them. The rules are the
//! controller's own; reads files, folders and standard input, and prints what `lint` found.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use super::rehearse;
use crate::lint::{self, Played, Report, Severity, Source, report};

/// Check manifests: every fault at once, with its file, line, field and what to do.
///
/// Takes Rollouts, analysis templates, runs, experiments and rehearsals; other kinds (Services,
/// Ingresses) are looked at where a Rollout refers to them. A valid manifest may still get a warning
/// (it works, though perhaps not as it was meant) or a note.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  serin lint rollout.yaml services.yaml     each Rollout with the Services it names
  serin lint deploy/                        every .yaml, .yml and .json below a folder
  helm template . | serin lint -            what a chart renders
  serin lint --output sarif deploy/ > lint.sarif

Exit code: 0 when there is no fault, 1 when there is one, 2 when nothing could be checked.")]
pub struct Args {
    /// Files, folders, or - for standard input
    #[arg(required = true, value_name = "FILE|DIR|-")]
    pub files: Vec<PathBuf>,
    /// How the findings are printed
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Warnings count as faults
    #[arg(long)]
    pub deny_warnings: bool,
}

/// Forms of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people, in 80 columns
    Text,
    /// For programs
    Json,
    /// For code scanning
    Sarif,
}

/// Checks everything that is named and prints what was found.
///
/// # Errors
/// A file cannot be read, nothing that can be checked is in it, or the report cannot be printed.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let sources = sources(&args.files)?;
    let report = lint::check(&sources, &play);
    if report.checked == 0 && report.findings.is_empty() {
        let names: Vec<String> = args.files.iter().map(|f| f.display().to_string()).collect();
        anyhow::bail!(
            "{}: nothing to check: there is no Rollout, analysis template or rehearsal in it",
            names.join(", ")
        );
    }
    print(args.output, &report).context("cannot print the report")?;
    let is_bad = report.count(Severity::Error) > 0
        || (args.deny_warnings && report.count(Severity::Warning) > 0);
    Ok(if is_bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn print(output: Output, report: &Report) -> io::Result<()> {
    let pretty = |value: &Value| format!("{value:#}\n");
    let text = match output {
        Output::Text => report::text(report),
        Output::Json => pretty(&report::json(report)),
        Output::Sarif => pretty(&report::sarif(report)),
    };
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has seen enough: `serin lint … | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn sources(paths: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            io::stdin()
                .read_to_string(&mut text)
                .context("cannot read standard input")?;
            let name = "stdin".to_owned();
            sources.push(Source { name, text });
        } else if path.is_dir() {
            let files = below(path)?;
            anyhow::ensure!(
                !files.is_empty(),
                "{}: no .yaml, .yml or .json file in this folder",
                path.display()
            );
            for file in files {
                sources.push(source(&file)?);
            }
        } else {
            sources.push(source(path)?);
        }
    }
    Ok(sources)
}

fn source(path: &Path) -> anyhow::Result<Source> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).with_context(|| format!("{name}: cannot be read"))?;
    Ok(Source { name, text })
}

/// Manifests below a folder, in order; hidden files and folders are left alone.
fn below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let at = || format!("{}: cannot be read", folder.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).with_context(at)? {
        entries.push(entry.with_context(at)?.path());
    }
    entries.sort();
    let mut files = Vec::new();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            files.extend(below(&path)?);
        } else if path
            .extension()
            .is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
        {
            files.push(path);
        }
    }
    Ok(files)
}

/// A rehearsal's own faults, and what its reader might miss.
fn play(file: &str, document: &Value) -> Played {
    match rehearse::read_rehearsal(Path::new(file), document) {
        Ok(rehearsal) => (Vec::new(), rehearsal.warnings()),
        Err(faults) => (faults, Vec::new()),
    }
}
