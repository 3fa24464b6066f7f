//! From a stored run to metrics that can be asked: arguments and secrets filled in, faults found.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Prepared, RunObserved, SecretNeed, diagnosis, provider_names};
use crate::api::analysis::Metric;
use crate::api::providers::MetricProvider;
use crate::planner::analysis::args::{self, Values};
use crate::planner::analysis::metric::{self, MetricSpec};

/// Secrets that the run names and the shell has not looked up yet.
pub(super) fn missing_secrets(seen: &RunObserved) -> Vec<SecretNeed> {
    let mut needs: Vec<SecretNeed> = Vec::new();
    let from_args = seen
        .run
        .spec
        .args
        .iter()
        .flatten()
        .filter(|arg| arg.value.is_none());
    for arg in from_args {
        if let Some(secret) = arg
            .value_from
            .as_ref()
            .and_then(|from| from.secret_key_ref.as_ref())
        {
            needs.push(SecretNeed {
                name: secret.name.clone(),
                key: secret.key.clone(),
            });
        }
    }
    for metric in seen.run.spec.metrics.iter().flatten() {
        needs.extend(provider_secrets(&metric.provider));
    }
    needs.sort();
    needs.dedup();
    needs.retain(|need| !seen.args.secrets.contains_key(need));
    needs
}

/// Secrets that a provider names itself (additions of serin: basic auth, bearer, headers).
fn provider_secrets(provider: &MetricProvider) -> Vec<SecretNeed> {
    let Some(prometheus) = &provider.prometheus else {
        return Vec::new();
    };
    let auth = prometheus.authentication.as_ref();
    let basic = auth.and_then(|a| a.basic_auth.as_ref());
    let bearer = auth.and_then(|a| a.bearer.as_ref());
    let headers = prometheus
        .headers
        .iter()
        .flatten()
        .map(|h| h.value_from.as_ref()?.secret_key_ref.as_ref());
    [
        basic.and_then(|b| b.username_secret_ref.as_ref()),
        basic.and_then(|b| b.password_secret_ref.as_ref()),
        bearer.and_then(|b| b.token_secret_ref.as_ref()),
    ]
    .into_iter()
    .chain(headers)
    .flatten()
    .map(|s| SecretNeed {
        name: s.name.clone(),
        key: s.key.clone(),
    })
    .collect()
}

/// The run's metrics, or the message with which it ends as Error.
pub(super) fn metrics(seen: &RunObserved) -> Result<Prepared, String> {
    let unresolved = |why: String| format!("Unable to resolve metric arguments: {why}");
    let mut secrets = Vec::new();
    let values = values(seen, &mut secrets).map_err(unresolved)?;
    let spec = &seen.run.spec;
    let mut filled = Vec::new();
    let mut resolved = BTreeMap::new();
    for metric in spec.metrics.iter().flatten() {
        let mut done = fill(metric, &values).map_err(unresolved)?;
        fill_provider(&mut done.provider, seen, &mut secrets).map_err(unresolved)?;
        let query = |m: &Metric| m.provider.prometheus.as_ref().and_then(|p| p.query.clone());
        if let Some(sent) = query(&done).filter(|sent| Some(sent) != query(metric).as_ref()) {
            resolved.insert(metric.name.clone(), sent);
        }
        filled.push(done);
    }
    let lowered = metric::lower_all(
        &filled,
        spec.dry_run.as_deref().unwrap_or_default(),
        spec.measurement_retention.as_deref().unwrap_or_default(),
    );
    let metrics = lowered.map_err(|faults| {
        args::redact(
            &format!("Analysis spec invalid: {}", faults.join("; ")),
            &secrets,
        )
    })?;
    unsupported(&metrics)?;
    let annotations = seen.run.metadata.annotations.as_ref();
    let diagnoses = annotations
        .and_then(|a| a.get(diagnosis::ANNOTATION))
        .map(|text| diagnosis::read(text));
    Ok(Prepared {
        metrics,
        secrets,
        resolved,
        diagnoses: diagnoses.unwrap_or_default(),
    })
}

/// Values of all arguments.
fn values(seen: &RunObserved, secrets: &mut Vec<String>) -> Result<Values, String> {
    let mut values = Values::new();
    for arg in seen.run.spec.args.iter().flatten() {
        let from = arg.value_from.as_ref();
        let value = match (&arg.value, from) {
            (Some(_), Some(_)) => {
                return Err(format!(
                    "arg '{}' has both Value and ValueFrom fields",
                    arg.name
                ));
            }
            (Some(value), None) => value.clone(),
            (None, Some(from)) => match &from.secret_key_ref {
                Some(s) => secret(seen, secrets, &s.name, &s.key)?,
                None if from.config_map_key_ref.is_some() => {
                    return Err(format!(
                        "args.{}: configMapKeyRef is not supported yet",
                        arg.name
                    ));
                }
                None => return Err(format!("args.{} was not resolved", arg.name)),
            },
            (None, None) => return Err(format!("args.{} was not resolved", arg.name)),
        };
        values.insert(arg.name.clone(), value);
    }
    Ok(values)
}

fn secret(
    seen: &RunObserved,
    secrets: &mut Vec<String>,
    name: &str,
    key: &str,
) -> Result<String, String> {
    let need = SecretNeed {
        name: name.to_owned(),
        key: key.to_owned(),
    };
    match seen.args.secrets.get(&need) {
        Some(Ok(value)) => {
            secrets.push(value.clone());
            Ok(value.clone())
        }
        Some(Err(why)) => Err(why.clone()),
        // `missing_secrets` asks first: this is unreachable, and total.
        None => Err(need.missing()),
    }
}

fn fill(metric: &Metric, values: &Values) -> Result<Metric, String> {
    let mut json: Value = serde_json::to_value(metric).map_err(|e| e.to_string())?;
    args::substitute(&mut json, values)?;
    serde_json::from_value(json).map_err(|e| e.to_string())
}

/// Puts secrets that the provider names itself where their values go.
fn fill_provider(
    provider: &mut MetricProvider,
    seen: &RunObserved,
    secrets: &mut Vec<String>,
) -> Result<(), String> {
    let Some(prometheus) = provider.prometheus.as_mut() else {
        return Ok(());
    };
    if let Some(auth) = prometheus.authentication.as_mut() {
        if let Some(basic) = auth.basic_auth.as_mut() {
            if let Some(s) = basic.username_secret_ref.take() {
                basic.username = Some(secret(seen, secrets, &s.name, &s.key)?);
            }
            if let Some(s) = basic.password_secret_ref.take() {
                basic.password = Some(secret(seen, secrets, &s.name, &s.key)?);
            }
            secrets.extend(basic.password.clone());
        }
        if let Some(bearer) = auth.bearer.as_mut() {
            if let Some(s) = bearer.token_secret_ref.take() {
                bearer.token = Some(secret(seen, secrets, &s.name, &s.key)?);
            }
            secrets.extend(bearer.token.clone());
        }
    }
    for header in prometheus.headers.iter_mut().flatten() {
        if let Some(s) = header
            .value_from
            .take()
            .and_then(|from| from.secret_key_ref)
        {
            header.value = Some(secret(seen, secrets, &s.name, &s.key)?);
        }
    }
    Ok(())
}

/// What this release cannot ask yet.
fn unsupported(metrics: &[MetricSpec]) -> Result<(), String> {
    for metric in metrics {
        for name in provider_names(&metric.provider) {
            if name != "Prometheus" {
                return Err(format!(
                    "metric \"{}\": provider {name} is not supported yet",
                    metric.name
                ));
            }
        }
        let auth = metric
            .provider
            .prometheus
            .as_ref()
            .and_then(|p| p.authentication.as_ref());
        let missing = auth.and_then(|a| match (&a.sigv4, &a.oauth2) {
            (Some(_), _) => Some("sigv4"),
            (None, Some(_)) => Some("oauth2"),
            (None, None) => None,
        });
        if let Some(what) = missing {
            return Err(format!(
                "metric \"{}\": authentication.{what} is not supported yet",
                metric.name
            ));
        }
    }
    Ok(())
}
