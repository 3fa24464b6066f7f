//! `serin check`: the release checklist, held against manifests or a namespace. Reads; what is judged is in `check`.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use super::cluster;
use crate::check::{self, Given, Outcome};
use crate::live::inventory;

/// The release checklist, each line verified from manifests or from a namespace as it is: pods, network, rights, images,
/// policies, monitoring, plan, rollback.
///
/// Exits 0 when every line is met, 1 when one is not or nothing shows it, 2 when the input is wrong.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  serin check out/prod.yaml monitoring/ --sbom sbom.json   manifests, before they are applied
  serin check --namespace agents --sbom sbom.json          a namespace as it is, with its history")]
pub struct Args {
    /// Manifests: files, folders, or - for standard input
    #[arg(required_unless_present = "namespace", value_name = "FILE|FOLDER|-")]
    pub paths: Vec<PathBuf>,
    /// A namespace of the cluster, beside the manifests or alone
    #[arg(long, short = 'n', value_name = "NAME")]
    pub namespace: Option<String>,
    /// Kubeconfig file; without it KUBECONFIG, ~/.kube/config, or the pod's service account
    #[arg(long, env = "SERIN_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; default: the current one
    #[arg(long, requires = "namespace", value_name = "NAME")]
    pub context: Option<String>,
    /// The bill of materials (CycloneDX or SPDX, JSON)
    #[arg(long, value_name = "FILE")]
    pub sbom: Option<PathBuf>,
    /// A line that is not asked for, by its name; may be given several times
    #[arg(long, value_name = "LINE", value_parser = clap::builder::PossibleValuesParser::new(check::ids()))]
    pub skip: Vec<String>,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Forms of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// For programs
    Json,
    /// For code scanning
    Sarif,
}

/// Goes through the checklist and prints it.
///
/// # Errors
/// When a file cannot be read or is not YAML, with its name; when the namespace cannot be read.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut objects = vec![];
    for path in &args.paths {
        read(path, &mut objects)?;
    }
    if let Some(namespace) = &args.namespace {
        let config = cluster::config(args.kubeconfig.as_deref(), args.context.as_deref()).await?;
        let there = inventory::of_namespace(&config, namespace).await;
        objects.extend(there.map_err(anyhow::Error::msg)?);
    }
    let sbom = match &args.sbom {
        Some(path) => Some(
            documents(path, &text(path)?)?
                .into_iter()
                .next()
                .unwrap_or_default(),
        ),
        None => None,
    };
    let lines = check::check(
        Given {
            objects: &objects,
            sbom: sbom.as_ref(),
        },
        &args.skip,
    );
    let printed = match args.output {
        Output::Text => check::text(&lines),
        Output::Json => format!("{:#}\n", check::json(&lines)),
        Output::Sarif => {
            let first = args.paths.first().map(|path| path.display().to_string());
            let at = first.or(args.namespace).unwrap_or_default();
            format!("{:#}\n", check::sarif(&lines, &at))
        }
    };
    match io::stdout().write_all(printed.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        done => done.context("cannot print the checklist")?,
    }
    let is_met = lines.iter().all(|line| line.outcome == Outcome::Met);
    Ok(if is_met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The objects of a file, of all manifests in a folder, or of standard input.
fn read(path: &Path, objects: &mut Vec<Value>) -> anyhow::Result<()> {
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin()
            .read_to_string(&mut text)
            .context("standard input cannot be read")?;
        return add(path, &text, objects);
    }
    if !path.is_dir() {
        return add(path, &text(path)?, objects);
    }
    let at = || format!("{} cannot be read", path.display());
    let mut entries: Vec<PathBuf> = fs::read_dir(path)
        .with_context(at)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()
        .with_context(at)?;
    entries.sort();
    for entry in entries {
        let is_manifest = entry
            .extension()
            .is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if entry.is_dir() || is_manifest {
            read(&entry, objects)?;
        }
    }
    Ok(())
}

fn add(path: &Path, text: &str, objects: &mut Vec<Value>) -> anyhow::Result<()> {
    for document in documents(path, text)? {
        match document.get("items").and_then(Value::as_array) {
            Some(items) => objects.extend(items.iter().cloned()),
            None => objects.push(document),
        }
    }
    Ok(())
}

fn text(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read: check the path", path.display()))
}

fn documents(path: &Path, text: &str) -> anyhow::Result<Vec<Value>> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text)
        .with_context(|| format!("{} is not YAML", path.display()))?;
    Ok(all
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}
