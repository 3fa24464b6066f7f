//! The AnalysisRun of a canary's objectives. Knows names, limits and labels; queries come from
//! `query`.

use std::collections::BTreeMap;

use super::promql::join;
use super::query::{self, Versions};
use super::{Kind, Objective, SloSpec, diagnosis};
use crate::api;
use crate::api::AnalysisRun;
use crate::api::IntOrString;
use crate::api::analysis::{AnalysisRunSpec, Metric};
use crate::api::providers::{CompareMetric, MetricProvider, PrometheusMetric};
use crate::planner::analysis::template::{self, RunRequest};
use crate::planner::duration;

/// A limit that is never reached: lack of data holds a step and ends nothing.
const NEVER: i64 = i32::MAX as i64;
/// Seconds that a gate's query may take (decisions §9).
const QUERY_TIMEOUT_SECONDS: i64 = 10;

/// The canary that a run is for.
#[derive(Clone, Debug, Default)]
pub struct SloContext {
    /// Namespace.
    pub namespace: String,
    /// Name of the Rollout.
    pub rollout: String,
    /// Uid of the Rollout.
    pub uid: String,
    /// Pod hash of the canary.
    pub hash: String,
    /// Pod hash of stable.
    pub stable_hash: String,
    /// Revision of the canary.
    pub revision: u64,
    /// Retries of this revision so far.
    pub attempt: u64,
    /// Further labels (the selector's matchLabels, instance id).
    pub labels: BTreeMap<String, String>,
}

/// `<rollout>-<hash>-<revision>-slo`, with `.N` after the N-th retry.
pub fn run_name(context: &SloContext) -> String {
    template::run_name(
        &context.rollout,
        &context.hash,
        context.revision,
        "slo",
        context.attempt,
    )
}

/// Builds the run. Where `slos` name no Prometheus, neither does the run: the provider then asks
/// the operator's, which may stand on any address.
pub fn build_run(spec: &SloSpec, context: &SloContext) -> AnalysisRun {
    let versions = versions(spec, context);
    let diagnoses: BTreeMap<_, _> = spec
        .objectives
        .iter()
        // A comparison says itself what it has seen.
        .filter(|o| !matches!(o.kind, Kind::Compare { .. }))
        .map(|o| (o.name.clone(), diagnosis::of(o, &versions)))
        .collect();
    let mut labels = context.labels.clone();
    labels.insert(api::POD_HASH_LABEL.to_owned(), context.hash.clone());
    labels.insert(api::ROLLOUT_TYPE.to_owned(), "Background".to_owned());
    let annotations = BTreeMap::from([
        (api::REVISION.to_owned(), context.revision.to_string()),
        (
            diagnosis::ANNOTATION.to_owned(),
            diagnosis::write(&diagnoses),
        ),
    ]);
    let request = RunRequest {
        name: run_name(context),
        namespace: context.namespace.clone(),
        owner_name: context.rollout.clone(),
        owner_uid: context.uid.clone(),
        labels,
        annotations,
        ..RunRequest::default()
    };
    let run = AnalysisRunSpec {
        metrics: Some(metrics(spec, context)),
        ..AnalysisRunSpec::default()
    };
    template::object(&request, run)
}

/// The objectives as the run's metrics.
pub fn metrics(spec: &SloSpec, context: &SloContext) -> Vec<Metric> {
    let versions = versions(spec, context);
    let objectives = spec.objectives.iter();
    objectives.map(|o| metric(o, &versions)).collect()
}

fn versions<'a>(spec: &'a SloSpec, context: &'a SloContext) -> Versions<'a> {
    Versions {
        spec,
        namespace: &context.namespace,
        rollout: &context.rollout,
        canary: &context.hash,
        stable: &context.stable_hash,
        own: &[],
    }
}

/// One objective as a metric.
fn metric(objective: &Objective, versions: &Versions<'_>) -> Metric {
    let spec = versions.spec;
    let usual = Metric {
        name: objective.name.clone(),
        interval: Some(interval_text(spec.interval_ms)),
        inconclusive_limit: Some(IntOrString::Int(NEVER)),
        consecutive_error_limit: Some(IntOrString::Int(NEVER)),
        ..Metric::default()
    };
    if let Kind::Compare { what, .. } = &objective.kind {
        let of = |hash: &str| Some(join(&versions.matchers(hash)));
        return Metric {
            // One look with enough evidence is the verdict; a good one is looked at again, as long
            // as the update goes on.
            failure_limit: Some(IntOrString::Int(0)),
            consecutive_success_limit: Some(IntOrString::Int(NEVER)),
            provider: MetricProvider {
                compare: Some(CompareMetric {
                    address: spec.prometheus.clone(),
                    canary: of(versions.canary),
                    stable: of(versions.stable),
                    ..CompareMetric::clone(what)
                }),
                ..MetricProvider::default()
            },
            ..usual
        };
    }
    let (success, failure) = query::conditions(objective).unzip();
    Metric {
        success_condition: success,
        failure_condition: failure,
        failure_limit: Some(IntOrString::Int(spec.failure_limit)),
        provider: MetricProvider {
            prometheus: Some(PrometheusMetric {
                address: spec.prometheus.clone(),
                query: Some(query::render(objective, versions)),
                timeout: Some(QUERY_TIMEOUT_SECONDS),
                ..PrometheusMetric::default()
            }),
            ..MetricProvider::default()
        },
        ..usual
    }
}

/// An interval in Go's spelling.
fn interval_text(millis: i64) -> String {
    if millis.checked_rem(1000) == Some(0) {
        duration::human(millis.checked_div(1000).unwrap_or(0))
    } else {
        format!("{millis}ms")
    }
}

#[cfg(test)]
mod tests;
