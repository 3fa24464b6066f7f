//! Canary and stable from one Prometheus, since the last look: counts for `compare`. What they mean
//! is the planner's.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, try_join_all};
use serde_json::Value;

use super::http::{Method, Request, encode, join, send};
use super::{Net, Provider, Question, Trust, prometheus};
use crate::api::providers::MetricProvider;
use crate::planner::analysis::MetricValue;
use crate::planner::analysis::compare::{Comparison, Side, lower};

/// The provider.
#[derive(Debug)]
pub struct Compare;

/// Seconds that the first look goes back.
const FIRST: i64 = 60;
/// Seconds that a look goes back at most and at least.
const MOST: i64 = 3600;
const LEAST: i64 = 5;

impl Provider for Compare {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.compare.is_some()
    }

    fn identity(&self, net: &Net, asked: &Question) -> Result<String, String> {
        let requests = requests(net, asked)?.1;
        Ok(requests.iter().flatten().map(Request::identity).collect())
    }

    fn measure<'a>(
        &'a self,
        net: &'a Net,
        asked: &'a Question,
    ) -> BoxFuture<'a, Result<MetricValue, String>> {
        async move {
            let (comparison, [canary, stable]) = requests(net, asked)?;
            let (canary, stable) = futures::try_join!(ask(net, &canary), ask(net, &stable))?;
            let (canary, stable) = if comparison.is_latency() {
                ranges(&canary, &stable)?
            } else {
                (counts(&canary), counts(&stable))
            };
            let both = [
                ("canary".to_owned(), MetricValue::floats(canary)),
                ("stable".to_owned(), MetricValue::floats(stable)),
            ];
            Ok(MetricValue::Map(Arc::new(BTreeMap::from(both))))
        }
        .boxed()
    }
}

/// What is asked about canary and about stable.
fn requests(net: &Net, asked: &Question) -> Result<(Comparison, [Vec<Request>; 2]), String> {
    let Some(metric) = &asked.provider.compare else {
        return Err("no provider".to_owned());
    };
    let comparison = lower(metric).map_err(|faults| faults.join("; "))?;
    let own = net.config.prometheus.as_deref();
    let given = metric.address.as_deref().filter(|a| !a.is_empty());
    let address = given.or(own).ok_or("no address of Prometheus: name one in compare.address, or start the controller with --prometheus")?;
    let trust = if Some(address) == own {
        Trust::Operator
    } else {
        Trust::Object
    };
    // A start is stored in whole seconds, cut: the second that it began in was looked at already.
    let since = asked.since_last.map(|t| t.as_second().saturating_add(1));
    let seconds = since.map_or(FIRST, |t| asked.at.as_second().saturating_sub(t));
    let seconds = seconds.clamp(LEAST, MOST);
    let at = asked.at.as_second().to_string();
    let of = |side: Side| {
        let queries = comparison.queries(side, seconds).into_iter();
        let request = |query: String| {
            Request::new("Prometheus", Method::Post, join(address, "/api/v1/query"))
                .body(
                    "application/x-www-form-urlencoded",
                    encode(&[("query", &query), ("time", &at)]),
                )
                .trust(trust)
        };
        queries.map(request).collect::<Vec<_>>()
    };
    let both = [of(Side::Canary), of(Side::Stable)];
    Ok((comparison, both))
}

async fn ask(net: &Net, requests: &[Request]) -> Result<Vec<Vec<(String, f64)>>, String> {
    try_join_all(requests.iter().map(|r| series(net, r))).await
}

/// The numbers of an instant vector by their label `le`, empty where there is none.
async fn series(net: &Net, request: &Request) -> Result<Vec<(String, f64)>, String> {
    let reply = send(net, request).await?;
    // For everything that may be wrong with a reply there is a sentence already.
    prometheus::parse(reply.status, &reply.body)?;
    let body: Value = reply.json(request.service)?;
    let result = body.pointer("/data/result").and_then(Value::as_array);
    let one = |sample: &Value| {
        let le = sample.pointer("/metric/le").and_then(Value::as_str);
        let value: f64 = sample.pointer("/value/1")?.as_str()?.parse().ok()?;
        Some((le.unwrap_or_default().to_owned(), value))
    };
    Ok(result.into_iter().flatten().filter_map(one).collect())
}

/// Bad events and all events, from good and all.
fn counts(answers: &[Vec<(String, f64)>]) -> Vec<f64> {
    let number = |i: usize| {
        let first = answers.get(i).and_then(|a| a.first());
        first.map_or(0.0, |(_, v)| if v.is_finite() { *v } else { 0.0 })
    };
    let (good, all) = (number(0), number(1));
    vec![(all - good).max(0.0), all.max(0.0)]
}

/// Two histograms by the ranges that both know.
fn ranges(
    canary: &[Vec<(String, f64)>],
    stable: &[Vec<(String, f64)>],
) -> Result<(Vec<f64>, Vec<f64>), String> {
    let bounds = |answers: &[Vec<(String, f64)>]| {
        let mut all: Vec<(f64, f64)> = answers
            .iter()
            .flatten()
            .filter_map(|(le, n)| {
                let le = if le == "+Inf" {
                    f64::INFINITY
                } else {
                    le.parse().ok()?
                };
                Some((le, if n.is_finite() { *n } else { 0.0 }))
            })
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all
    };
    let (canary, stable) = (bounds(canary), bounds(stable));
    let common = |own: &[(f64, f64)], other: &[(f64, f64)]| {
        let mut below = 0.0;
        let mut counts = Vec::new();
        for (le, n) in own {
            if other.iter().any(|(o, _)| o == le) {
                counts.push((n - below).max(0.0));
                below = *n;
            }
        }
        counts
    };
    let both = (common(&canary, &stable), common(&stable, &canary));
    if both.0.len() < 2 && !canary.is_empty() && !stable.is_empty() {
        return Err(
            "canary and stable have no buckets in common: ranks cannot be compared".to_owned(),
        );
    }
    Ok(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_meet_in_the_buckets_that_both_have() {
        let of = |text: &[(&str, f64)]| {
            vec![
                text.iter()
                    .map(|(le, n)| ((*le).to_owned(), *n))
                    .collect::<Vec<_>>(),
            ]
        };
        let canary = of(&[("+Inf", 10.0), ("0.5", 4.0), ("1", 8.0)]);
        let stable = of(&[("0.1", 1.0), ("0.5", 5.0), ("+Inf", 20.0)]);
        assert_eq!(
            ranges(&canary, &stable),
            Ok((vec![4.0, 6.0], vec![5.0, 15.0]))
        );
        assert!(ranges(&canary, &of(&[("7", 1.0)])).is_err());
        assert_eq!(ranges(&canary, &of(&[])), Ok((vec![], vec![])));
        assert_eq!(
            counts(&[vec![(String::new(), 9.0)], vec![(String::new(), 10.0)]]),
            [1.0, 10.0]
        );
        assert_eq!(counts(&[vec![], vec![]]), [0.0, 0.0]);
    }
}
