//! `serin crds`: prints the CustomResourceDefinitions, or writes them to files. It knows how they
//! look as YAML; what they say is in `api::schema`.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use serde_saphyr::FlowMap;

use crate::api::schema;

/// Print the CustomResourceDefinitions for `kubectl apply -f -`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Write one file per kind into this directory instead of printing.
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
}

/// Prints the definitions as one stream of YAML documents, or writes one file for each.
///
/// # Errors
/// When the directory or standard output cannot be written to.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let files = files()?;
    match &args.output_dir {
        Some(dir) => files
            .iter()
            .try_for_each(|(name, text)| write(dir, name, text)),
        None => {
            let texts: Vec<_> = files.into_iter().map(|(_, text)| text).collect();
            let stream = texts.join("---\n");
            print(&stream).context("cannot print the definitions")
        }
    }
}

/// A reader that has seen enough (`| head`) is no fault.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// The files of crds/ by name.
///
/// # Errors
/// When a definition cannot be written as YAML, which no test would let pass.
pub fn files() -> anyhow::Result<Vec<(&'static str, String)>> {
    let crds = schema::crds().context("cannot derive the definitions")?;
    crds.into_iter()
        .map(|crd| Ok((crd.file, document(&crd.definition)?)))
        .collect()
}

fn document(definition: &Value) -> anyhow::Result<String> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let yaml = serde_saphyr::to_string_with_options(&Node(definition), options)
        .context("cannot write a definition as YAML")?;
    Ok(format!(
        "# Made by `serin crds` from src/api; do not edit.\n{yaml}"
    ))
}

/// A definition as YAML for people, but for the insides of a pod spec: core/v1 is known, and in
/// block style its depth makes more than half of the file spaces. One line for each field of it.
struct Node<'a>(&'a Value);

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) if is_pod_spec(self.0) => {
                to.collect_map(fields.iter().map(|(key, value)| (key, PodFields(value))))
            }
            Value::Object(fields) if is_short(fields) => FlowMap(self.0).serialize(to),
            Value::Object(fields) => to.collect_map(fields.iter().map(|(k, v)| (k, Node(v)))),
            Value::Array(items) => to.collect_seq(items.iter().map(Node)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                self.0.serialize(to)
            }
        }
    }
}

/// Fields of a pod spec, each on a line.
struct PodFields<'a>(&'a Value);

impl Serialize for PodFields<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => to.collect_map(fields.iter().map(|(k, v)| (k, FlowMap(v)))),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => self.0.serialize(to),
        }
    }
}

/// A field with nothing below it, and little said of it: it is read best on one line.
fn is_short(fields: &Map<String, Value>) -> bool {
    let length = |(key, value): (&String, &Value)| match value {
        Value::String(text) => Some(key.len() + text.len() + 4),
        Value::Bool(_) | Value::Number(_) | Value::Null => Some(key.len() + 8),
        Value::Array(_) | Value::Object(_) => None,
    };
    let lengths: Option<Vec<usize>> = fields.iter().map(length).collect();
    lengths.is_some_and(|all| !all.is_empty() && all.iter().sum::<usize>() <= 140)
}

fn is_pod_spec(schema: &Value) -> bool {
    schema.pointer("/properties/containers").is_some()
}

fn write(dir: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path = dir.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
