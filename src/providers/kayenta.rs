//! Kayenta: a canary judgement is started, awaited and read; the score is the value (contract P7).

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::http::{Method, Request, encode, join, send, strange};
use super::{Net, Provider, Question};
use crate::api::providers::{KayentaMetric, MetricProvider, ScopeDetail};
use crate::planner::analysis::MetricValue;

/// The provider.
#[derive(Debug)]
pub struct Kayenta;

const NAME: &str = "Kayenta";
/// Time between two looks at a judgement.
const POLL: Duration = Duration::from_secs(15);

impl Provider for Kayenta {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.kayenta.is_some()
    }

    fn identity(&self, _: &Net, asked: &Question) -> Result<String, String> {
        let metric = of(asked)?;
        let text = serde_json::to_string(metric).map_err(|_| strange(NAME))?;
        Ok(format!("{NAME}\n{text}\n{}", asked.at))
    }

    fn measure<'a>(
        &'a self,
        net: &'a Net,
        asked: &'a Question,
    ) -> BoxFuture<'a, Result<MetricValue, String>> {
        async move {
            let metric = of(asked)?;
            let configs: Value = send(net, &configs(metric)?).await?.json(NAME)?;
            let start = start(metric, config_id(&configs, metric)?)?;
            let started: Value = send(net, &start).await?.json(NAME)?;
            let id = started.get("canaryExecutionId").and_then(Value::as_str);
            let look = look(metric, id.ok_or_else(|| strange(NAME))?)?;
            loop {
                let state: Value = send(net, &look).await?.json(NAME)?;
                if let Some(score) = score(&state)? {
                    return Ok(MetricValue::Float(score));
                }
                tokio::time::sleep(POLL).await;
            }
        }
        .boxed()
    }
}

fn of(asked: &Question) -> Result<&KayentaMetric, String> {
    asked
        .provider
        .kayenta
        .as_ref()
        .ok_or_else(|| "no provider".to_owned())
}

/// The request for all configurations: judgements name one by its id.
///
/// # Errors
/// No address.
pub fn configs(metric: &KayentaMetric) -> Result<Request, String> {
    if metric.address.trim().is_empty() {
        return Err("kayenta.address is empty".to_owned());
    }
    let query = encode(&[
        ("application", metric.application.as_str()),
        (
            "configurationAccountName",
            &metric.configuration_account_name,
        ),
    ]);
    let url = format!("{}?{query}", join(&metric.address, "/canaryConfig"));
    Ok(Request::new(NAME, Method::Get, url))
}

/// The id of the configuration that the metric names.
///
/// # Errors
/// There is none of that name.
pub fn config_id<'v>(configs: &'v Value, metric: &KayentaMetric) -> Result<&'v str, String> {
    let all = configs.as_array().ok_or_else(|| strange(NAME))?;
    all.iter()
        .find(|c| c.get("name").and_then(Value::as_str) == Some(&metric.canary_config_name))
        .and_then(|c| c.get("id")?.as_str())
        .ok_or_else(|| "Kayenta has no configuration of the name in canaryConfigName".to_owned())
}

/// The request that starts a judgement.
///
/// # Errors
/// A metric without scopes or threshold.
pub fn start(metric: &KayentaMetric, config: &str) -> Result<Request, String> {
    let threshold = metric.threshold.as_ref();
    let (Some(pass), Some(marginal)) = (
        threshold.and_then(|t| t.pass),
        threshold.and_then(|t| t.marginal),
    ) else {
        return Err("kayenta.threshold needs pass and marginal".to_owned());
    };
    let mut scopes = Map::new();
    for scope in metric.scopes.iter().flatten() {
        let (Some(control), Some(experiment)) = (&scope.control_scope, &scope.experiment_scope)
        else {
            return Err("kayenta.scopes need controlScope and experimentScope".to_owned());
        };
        scopes.insert(
            scope.name.clone(),
            json!({"controlScope": side(control), "experimentScope": side(experiment)}),
        );
    }
    if scopes.is_empty() {
        return Err("kayenta.scopes is empty".to_owned());
    }
    let query = encode(&[
        ("application", metric.application.as_str()),
        ("metricsAccountName", &metric.metrics_account_name),
        (
            "configurationAccountName",
            &metric.configuration_account_name,
        ),
        ("storageAccountName", &metric.storage_account_name),
    ]);
    let url = format!(
        "{}?{query}",
        join(&metric.address, &format!("/canary/{config}"))
    );
    Ok(Request::new(NAME, Method::Post, url).json(&json!({
        "scopes": scopes,
        "thresholds": {"pass": pass.to_string(), "marginal": marginal.to_string()},
    })))
}

fn side(scope: &ScopeDetail) -> Value {
    json!({
        "scope": scope.scope, "location": scope.region, "step": scope.step.unwrap_or(60),
        "start": scope.start, "end": scope.end,
    })
}

/// The request for the state of a judgement.
///
/// # Errors
/// An id that is none.
pub fn look(metric: &KayentaMetric, id: &str) -> Result<Request, String> {
    if !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err(strange(NAME));
    }
    let query = encode(&[("storageAccountName", metric.storage_account_name.as_str())]);
    let url = format!(
        "{}?{query}",
        join(&metric.address, &format!("/canary/{id}"))
    );
    Ok(Request::new(NAME, Method::Get, url))
}

/// The score, cut to a whole number; `None` while the judgement goes on.
///
/// # Errors
/// The judgement failed, or the reply is none of Kayenta.
pub fn score(state: &Value) -> Result<Option<f64>, String> {
    let is_complete = state.get("complete").and_then(Value::as_bool) == Some(true);
    match state.get("status").and_then(Value::as_str) {
        None => Err(strange(NAME)),
        Some(_) if !is_complete => Ok(None),
        Some("succeeded") => state
            .pointer("/result/judgeResult/score/score")
            .and_then(Value::as_f64)
            .map(|s| Some(s.trunc()))
            .ok_or_else(|| strange(NAME)),
        Some(_) => Err("Kayenta could not carry the judgement out: see its own page".to_owned()),
    }
}
