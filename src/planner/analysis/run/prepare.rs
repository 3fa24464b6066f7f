//! From a stored run to metrics that can be asked: arguments and secrets filled in, faults found.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{KeyNeed, Prepared, RunObserved, Source};
use crate::api::analysis::{Metric, SecretKeyRef, ValueFrom};
use crate::api::providers::MetricProvider;
use crate::planner::analysis::args::{self, Values};
use crate::planner::analysis::metric;
use crate::planner::analysis::{credentials, field};

/// Keys that the run names and the shell has not looked up yet.
pub(super) fn missing_keys(seen: &RunObserved) -> Vec<KeyNeed> {
    let mut needs: Vec<KeyNeed> = Vec::new();
    let spec = &seen.run.spec;
    for arg in spec.args.iter().flatten().filter(|arg| arg.value.is_none()) {
        needs.extend(arg.value_from.as_ref().and_then(key_of_arg));
    }
    for metric in spec.metrics.iter().flatten() {
        let mut provider = metric.provider.clone();
        let refs = secret_refs(&mut provider).into_iter();
        needs.extend(
            refs.filter_map(|(from, _)| from.as_ref().map(|s| KeyNeed::secret(&s.name, &s.key))),
        );
    }
    needs.retain(|need| !seen.args.keys.contains_key(need));
    if needs.is_empty() {
        needs = missing_credentials(seen);
    }
    needs.sort();
    needs.dedup();
    needs
}

/// Keys of providers' own Secrets. They come second: arguments may stand in their names.
fn missing_credentials(seen: &RunObserved) -> Vec<KeyNeed> {
    let metrics = seen.run.spec.metrics.iter().flatten();
    let asking = metrics.filter(|m| !credentials::of(&m.provider).is_empty());
    let mut asking = asking.peekable();
    if asking.peek().is_none() {
        return vec![];
    }
    // What is wrong with the arguments is told by `metrics`.
    let Ok(values) = values(seen, &mut Vec::new()) else {
        return vec![];
    };
    asking
        .filter_map(|metric| fill(metric, &values).ok())
        .flat_map(|metric| credentials::of(&metric.provider))
        .map(|credential| credential.need)
        .filter(|need| !seen.args.keys.contains_key(need))
        .collect()
}

/// The key that an argument's value is looked up by.
fn key_of_arg(from: &ValueFrom) -> Option<KeyNeed> {
    if let Some(s) = &from.secret_key_ref {
        return Some(KeyNeed::secret(&s.name, &s.key));
    }
    from.config_map_key_ref.as_ref().map(|c| KeyNeed {
        source: Source::ConfigMap,
        name: c.name.clone(),
        key: c.key.clone(),
    })
}

/// The places of secrets in a provider that names them itself (additions of serin: basic auth,
/// bearer, headers): where the key is named, and where its value goes.
fn secret_refs(
    provider: &mut MetricProvider,
) -> Vec<(&mut Option<SecretKeyRef>, &mut Option<String>)> {
    let MetricProvider {
        prometheus, web, ..
    } = provider;
    let (auth, headers) = match (prometheus, web) {
        (Some(p), _) => (p.authentication.as_mut(), p.headers.as_mut()),
        (None, Some(w)) => (w.authentication.as_mut(), w.headers.as_mut()),
        (None, None) => (None, None),
    };
    let mut places = Vec::new();
    if let Some(auth) = auth {
        if let Some(b) = auth.basic_auth.as_mut() {
            places.push((&mut b.username_secret_ref, &mut b.username));
            places.push((&mut b.password_secret_ref, &mut b.password));
        }
        if let Some(b) = auth.bearer.as_mut() {
            places.push((&mut b.token_secret_ref, &mut b.token));
        }
    }
    for header in headers.into_iter().flatten() {
        if let Some(from) = header.value_from.as_mut() {
            places.push((&mut from.secret_key_ref, &mut header.value));
        }
    }
    places
}

/// The run's metrics, or the message with which it ends as Error.
pub(super) fn metrics(seen: &RunObserved) -> Result<Prepared, String> {
    let unresolved = |why: String| format!("Unable to resolve metric arguments: {why}");
    let mut secrets = Vec::new();
    let values = values(seen, &mut secrets).map_err(unresolved)?;
    let spec = &seen.run.spec;
    let mut filled = Vec::new();
    let mut resolved = BTreeMap::new();
    let mut all_keys = BTreeMap::new();
    for metric in spec.metrics.iter().flatten() {
        let mut done = fill(metric, &values).map_err(unresolved)?;
        fill_provider(&mut done.provider, seen, &mut secrets).map_err(unresolved)?;
        let query = |m: &Metric| m.provider.prometheus.as_ref().and_then(|p| p.query.clone());
        if let Some(sent) = query(&done).filter(|sent| Some(sent) != query(metric).as_ref()) {
            resolved.insert(metric.name.clone(), sent);
        }
        let keys = provider_keys(&done.provider, seen, &mut secrets).map_err(unresolved)?;
        if !keys.is_empty() {
            all_keys.insert(metric.name.clone(), keys);
        }
        filled.push(done);
    }
    let lowered = metric::lower_all(
        &filled,
        spec.dry_run.as_deref().unwrap_or_default(),
        spec.measurement_retention.as_deref().unwrap_or_default(),
        has_begun(seen),
    );
    let metrics = lowered.map_err(|faults| {
        args::redact(
            &format!("Analysis spec invalid: {}", faults.join("; ")),
            &secrets,
        )
    })?;
    Ok(Prepared {
        metrics,
        secrets,
        resolved,
        credentials: all_keys,
        run: Arc::clone(&seen.run),
        diagnoses: OnceCell::new(),
    })
}

/// Something was measured: the metrics were read without fault then.
fn has_begun(seen: &RunObserved) -> bool {
    let status = seen.run.status.as_ref();
    let results = status.and_then(|status| status.metric_results.as_ref());
    results.is_some_and(|results| !results.is_empty())
}

/// Values of all arguments.
fn values(seen: &RunObserved, secrets: &mut Vec<String>) -> Result<Values, String> {
    let mut values = Values::new();
    for arg in seen.run.spec.args.iter().flatten() {
        let value = match (&arg.value, &arg.value_from) {
            (Some(_), Some(_)) => {
                return Err(format!(
                    "arg '{}' has both Value and ValueFrom fields",
                    arg.name
                ));
            }
            (Some(value), None) => value.clone(),
            (None, Some(from)) => looked_up(seen, secrets, &arg.name, from)?,
            (None, None) => return Err(format!("args.{} was not resolved", arg.name)),
        };
        values.insert(arg.name.clone(), value);
    }
    Ok(values)
}

/// A value from a Secret, a ConfigMap, or a field of the run itself.
fn looked_up(
    seen: &RunObserved,
    secrets: &mut Vec<String>,
    arg: &str,
    from: &ValueFrom,
) -> Result<String, String> {
    match (key_of_arg(from), &from.field_ref) {
        (Some(need), _) => key(seen, secrets, &need),
        (None, Some(field)) => {
            let object = serde_json::to_value(&*seen.run).map_err(|e| e.to_string())?;
            field::field(&object, &field.field_path).ok_or_else(|| {
                format!(
                    "args.{arg} was not resolved: the run has no field {}",
                    field.field_path
                )
            })
        }
        (None, None) => Err(format!("args.{arg} was not resolved")),
    }
}

fn key(seen: &RunObserved, secrets: &mut Vec<String>, need: &KeyNeed) -> Result<String, String> {
    match seen.args.keys.get(need) {
        Some(Ok(value)) => {
            if need.source != Source::ConfigMap {
                secrets.push(value.clone());
            }
            Ok(value.clone())
        }
        Some(Err(why)) => Err(why.clone()),
        // `missing_keys` asks first: this is unreachable, and total.
        None => Err(need.missing()),
    }
}

fn fill(metric: &Metric, values: &Values) -> Result<Metric, String> {
    // Most metrics name no argument, and to write one is much cheaper than to build its tree.
    let text = serde_json::to_string(metric).map_err(|e| e.to_string())?;
    if !text.contains("{{") {
        return Ok(metric.clone());
    }
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
    for (from, to) in secret_refs(provider) {
        if let Some(s) = from.take() {
            *to = Some(key(seen, secrets, &KeyNeed::secret(&s.name, &s.key))?);
        }
    }
    let auth = [
        provider
            .prometheus
            .as_ref()
            .and_then(|p| p.authentication.as_ref()),
        provider
            .web
            .as_ref()
            .and_then(|w| w.authentication.as_ref()),
    ];
    for auth in auth.into_iter().flatten() {
        // Whatever is written where a secret belongs is hidden as one.
        secrets.extend(auth.basic_auth.as_ref().and_then(|b| b.password.clone()));
        secrets.extend(auth.bearer.as_ref().and_then(|b| b.token.clone()));
        secrets.extend(auth.oauth2.as_ref().and_then(|o| o.client_secret.clone()));
    }
    Ok(())
}

/// Values of the keys of a provider's own Secret.
fn provider_keys(
    provider: &MetricProvider,
    seen: &RunObserved,
    secrets: &mut Vec<String>,
) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    for credential in credentials::of(provider) {
        match key(seen, secrets, &credential.need) {
            Ok(value) => {
                values.insert(credential.name.to_owned(), value);
            }
            Err(why) if credential.is_required => return Err(why),
            Err(_) => {}
        }
    }
    Ok(values)
}
