//! `serin create analysisrun`: a template measured by itself, without a Rollout (contract K14).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::Subcommand;
use serde_json::Value;

use super::{cluster, rehearse};
use crate::api::INSTANCE_ID;
use crate::api::analysis::{AnalysisTemplateSpec, Argument};
use crate::live::create::{Wanted, create_run};
use crate::planner::analysis::template::{Name, RunRequest};

/// Create an AnalysisRun of a template, by itself.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// An AnalysisRun of an AnalysisTemplate: the controller measures it, and no Rollout is needed
    #[command(
        visible_alias = "ar",
        after_help = "Look at what it says:\n  serin create analysisrun --from smoke -a host=shop.example.com\n  kubectl get analysisrun smoke-x7k2p -o yaml"
    )]
    Analysisrun(Box<RunArgs>),
}

#[derive(Clone, Debug, clap::Args)]
struct RunArgs {
    /// Name of an AnalysisTemplate of the namespace
    #[arg(long, value_name = "NAME", required_unless_present = "from_file")]
    from: Option<String>,
    /// --from names a ClusterAnalysisTemplate
    #[arg(long, requires = "from")]
    global: bool,
    /// A file with the template, and with those that it names
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    from_file: Option<PathBuf>,
    /// Name of the run
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Beginning of the run's name; default: the template's name and a dash
    #[arg(long, value_name = "PREFIX", conflicts_with = "name")]
    generate_name: Option<String>,
    /// A value for an argument of the template; may be given several times
    #[arg(short = 'a', long = "argument", value_name = "NAME=VALUE", value_parser = argument)]
    arguments: Vec<(String, String)>,
    /// Instance id of the controller that is to measure it
    #[arg(long, value_name = "ID")]
    instance_id: Option<String>,
    /// Namespace of the run; default: that of the kubeconfig
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Kubeconfig file; without it KUBECONFIG or ~/.kube/config
    #[arg(long, env = "SERIN_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Only ask the API server whether it would take the run
    #[arg(long)]
    dry_run: bool,
}

fn argument(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

/// Runs the verb.
///
/// # Errors
/// Every reason why the run is not created.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let What::Analysisrun(args) = args.what;
    let config = cluster::config(args.kubeconfig.as_deref(), None).await?;
    let namespace = args.namespace.clone();
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    let wanted = wanted(&args, namespace)?;
    let name = create_run(&config, &wanted)
        .await
        .map_err(|faults| anyhow!("{}", faults.join("\n  ")))?;
    let would = if args.dry_run { " (dry run)" } else { "" };
    println!("analysisrun.argoproj.io/{name} created{would}");
    Ok(ExitCode::SUCCESS)
}

fn wanted(args: &RunArgs, namespace: String) -> anyhow::Result<Wanted> {
    let (template, given) = match (&args.from, &args.from_file) {
        (Some(name), _) => ((name.clone(), args.global), BTreeMap::new()),
        (None, Some(file)) => templates(file)?,
        (None, None) => return Err(anyhow!("--from or --from-file: name a template")),
    };
    let prefix = args.generate_name.clone();
    let prefix = prefix.unwrap_or_else(|| format!("{}-", template.0));
    let arguments = args.arguments.iter();
    let labels = args.instance_id.iter();
    Ok(Wanted {
        namespace,
        template,
        given,
        request: RunRequest {
            name: args.name.clone().unwrap_or(prefix),
            labels: labels
                .map(|id| (INSTANCE_ID.to_owned(), id.clone()))
                .collect(),
            args: arguments
                .map(|(name, value)| Argument {
                    name: name.clone(),
                    value: Some(value.clone()),
                    value_from: None,
                })
                .collect(),
            ..RunRequest::default()
        },
        is_prefix: args.name.is_none(),
        is_dry_run: args.dry_run,
    })
}

/// The templates of a file; the first is the one that is meant.
fn templates(file: &Path) -> anyhow::Result<(Name, BTreeMap<Name, Arc<AnalysisTemplateSpec>>)> {
    let shown = file.display();
    let documents = rehearse::documents(file).map_err(|message| anyhow!(message))?;
    let mut first = None;
    let mut all = BTreeMap::new();
    for document in &documents {
        let text = |path: &str| document.pointer(path).and_then(Value::as_str);
        let is_cluster = match text("/kind") {
            Some("AnalysisTemplate") => false,
            Some("ClusterAnalysisTemplate") => true,
            other => {
                let kind = other.unwrap_or("nothing with a kind");
                return Err(anyhow!(
                    "{shown}: holds {kind}: give a file of analysis templates"
                ));
            }
        };
        let name = text("/metadata/name").unwrap_or_default().to_owned();
        let spec = document.get("spec").cloned().unwrap_or_default();
        let spec: AnalysisTemplateSpec = serde_json::from_value(spec)
            .with_context(|| format!("{shown}: {name}: run serin lint on it"))?;
        let name = (name, is_cluster);
        first.get_or_insert_with(|| name.clone());
        all.insert(name, Arc::new(spec));
    }
    let first = first.ok_or_else(|| anyhow!("{shown}: holds no template"))?;
    Ok((first, all))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(flags: &[&str]) -> Result<Wanted, String> {
        let all = [&["create", "analysisrun"], flags].concat();
        let What::Analysisrun(args) = Cli::try_parse_from(all)
            .map_err(|e| e.to_string())?
            .args
            .what;
        wanted(&args, "ns".to_owned()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_run_is_named_for_its_template_or_as_it_is_told() {
        let run = parsed(&["--from", "smoke", "-a", "host=a=b", "--instance-id=blue"]).unwrap();
        assert_eq!(run.template, ("smoke".to_owned(), false));
        assert_eq!((run.request.name.as_str(), run.is_prefix), ("smoke-", true));
        assert_eq!(run.request.args[0].value.as_deref(), Some("a=b"));
        assert_eq!(run.request.labels[INSTANCE_ID], "blue");
        let run = parsed(&["--from", "smoke", "--global", "--name", "mine"]).unwrap();
        assert_eq!(run.template, ("smoke".to_owned(), true));
        assert_eq!((run.request.name.as_str(), run.is_prefix), ("mine", false));
        for wrong in [
            vec![],
            vec!["--from", "a", "-a", "novalue"],
            vec!["--from", "a", "--from-file", "b"],
            vec!["--from-file", "/nowhere/at/all"],
        ] {
            assert!(parsed(&wrong).is_err(), "{wrong:?}");
        }
    }
}
