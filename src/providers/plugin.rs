//! Providers that others write: an HTTP endpoint or a program, with one JSON object in and one out
//! (docs/providers.md). The operator's file says where each is; it is read at every question.

use std::collections::BTreeMap;
use std::process::Stdio;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::http::{Method, Reply, Request, send, strange};
use super::{MAX_BODY, Net, Provider, Question, Trust};
use crate::api::providers::MetricProvider;
use crate::planner::analysis::MetricValue;

/// The provider.
#[derive(Debug)]
pub struct Plugin;

const NAME: &str = "the plugin";

/// The operator's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registry {
    plugins: BTreeMap<String, Entry>,
}

/// Where a plugin is: exactly one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Address that questions are posted to.
    url: Option<String>,
    /// Program and arguments; the question comes on standard input.
    command: Option<Vec<String>>,
}

impl Provider for Plugin {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.plugin.is_some()
    }

    fn identity(&self, _: &Net, asked: &Question) -> Result<String, String> {
        let (name, question) = question(asked)?;
        Ok(format!("plugin {name:?}\n{question}"))
    }

    fn measure<'a>(
        &'a self,
        net: &'a Net,
        asked: &'a Question,
    ) -> BoxFuture<'a, Result<MetricValue, String>> {
        async move {
            let (name, question) = question(asked)?;
            let file = net.config.plugins.as_ref().ok_or(
                "no plugins: the operator names their file by --plugins (docs/providers.md)",
            )?;
            let text = tokio::fs::read_to_string(file).await;
            let text = text.map_err(|_| "the file of --plugins cannot be read")?;
            let entry = entry(&text, name)?;
            let reply = match entry {
                Entry { url: Some(url), .. } => {
                    let request = Request::new(NAME, Method::Post, url)
                        .trust(Trust::Operator)
                        .json(&question);
                    send(net, &request).await?
                }
                Entry { command, .. } => run(&command.unwrap_or_default(), &question).await?,
            };
            parse(&reply)
        }
        .boxed()
    }
}

/// Name of the plugin, and the question as it is sent.
///
/// # Errors
/// No plugin or more than one.
pub fn question(asked: &Question) -> Result<(&str, Value), String> {
    let plugins = asked.provider.plugin.as_ref();
    let mut all = plugins.into_iter().flatten();
    let (Some((name, config)), None) = (all.next(), all.next()) else {
        return Err("plugin must name exactly one plugin".to_owned());
    };
    let question = json!({
        "version": 1, "plugin": name, "namespace": asked.namespace,
        "at": asked.at.as_second(), "config": config,
    });
    Ok((name, question))
}

fn entry(text: &str, name: &str) -> Result<Entry, String> {
    let registry: Registry = serde_saphyr::from_str(text)
        .map_err(|_| "the file of --plugins cannot be read: see docs/providers.md")?;
    let entry = registry.plugins.into_iter().find(|(n, _)| n == name);
    let entry = entry.map(|(_, e)| e).ok_or_else(|| {
        super::short(&format!(
            "the controller has no plugin {name:?}: the operator adds it to the file of --plugins"
        ))
    })?;
    let has_command = entry.command.as_ref().is_some_and(|c| !c.is_empty());
    if entry.url.is_some() == has_command {
        return Err("each plugin needs url or command: one of them".to_owned());
    }
    Ok(entry)
}

/// Runs a program: the question on its standard input, the answer on its standard output. It sees
/// nothing of the controller's environment but PATH, and ends with the question.
async fn run(command: &[String], question: &Value) -> Result<Reply, String> {
    let (program, args) = command.split_first().ok_or("the plugin has no command")?;
    let mut process = tokio::process::Command::new(program);
    process
        .args(args)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = process
        .spawn()
        .map_err(|_| "the program of the plugin cannot be started")?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let text = question.to_string();
    let write = async move {
        if let Some(mut stdin) = stdin {
            // A plugin that does not read its question may still answer.
            drop(stdin.write_all(text.as_bytes()).await);
        }
    };
    let read = async move {
        let mut body = Vec::new();
        if let Some(stdout) = stdout {
            let mut capped = stdout.take(MAX_BODY as u64 + 1);
            drop(capped.read_to_end(&mut body).await);
        }
        body
    };
    let ((), body) = futures::join!(write, read);
    if body.len() > MAX_BODY {
        return Err(format!("the reply has more than {} KiB", MAX_BODY / 1024));
    }
    let status = child.wait().await.map_err(|_| "the plugin broke off")?;
    if !status.success() {
        return Err(match status.code() {
            Some(code) => format!("the program of the plugin ended with code {code}"),
            None => "the program of the plugin was ended by a signal".to_owned(),
        });
    }
    Ok(Reply { status: 200, body })
}

/// Reads an answer: `{"value": …}`, or `{"error": "word"}` with a short word of the plugin's.
///
/// # Errors
/// The word, or one sentence of ours.
pub fn parse(reply: &Reply) -> Result<MetricValue, String> {
    let body: Value = reply.json(NAME)?;
    if let Some(word) = body.get("error") {
        let word = word.as_str().unwrap_or_default();
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        return Err(
            if !word.is_empty() && word.len() <= 40 && word.chars().all(is_word) {
                format!("the plugin has no answer: {word}")
            } else {
                "the plugin has no answer".to_owned()
            },
        );
    }
    body.get("value")
        .map(MetricValue::from)
        .ok_or_else(|| strange(NAME))
}
