//! Datadog: a query by v1 or queries with a formula by v2 out, a number back (contract P4, L38).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{Method, Reply, Request, encode, join, strange};
use super::{Question, Service, trust_of};
use crate::api::providers::{DatadogMetric, MetricProvider};
use crate::planner::analysis::MetricValue;

/// The provider.
#[derive(Debug)]
pub struct Datadog;

const NAME: &str = "Datadog";
/// Where Datadog is, unless the Secret says otherwise.
const ADDRESS: &str = "https://api.datadoghq.com";

impl Service for Datadog {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.datadog.is_some()
    }

    fn request(&self, asked: &Question) -> Result<Request, String> {
        let Some(metric) = &asked.provider.datadog else {
            return Err("no provider".to_owned());
        };
        let (from, to) = (asked.since(metric.interval.as_deref())?, asked.at);
        let address = asked.credential("address").unwrap_or(ADDRESS);
        let request = if is_v2(metric) {
            let body = json!({"data": {"type": "scalar_request", "attributes": {
                "from": from.as_millisecond(), "to": to.as_millisecond(),
                "queries": queries(metric), "formulas": formulas(metric),
            }}});
            Request::new(NAME, Method::Post, join(address, "/api/v2/query/scalar")).json(&body)
        } else {
            let query = encode(&[
                ("query", metric.query.as_deref().unwrap_or_default()),
                ("from", &from.as_second().to_string()),
                ("to", &to.as_second().to_string()),
            ]);
            let url = format!("{}?{query}", join(address, "/api/v1/query"));
            Request::new(NAME, Method::Get, url)
        };
        Ok(request
            .trust(trust_of(metric.secret_ref.as_ref()))
            .header("dd-api-key", asked.needed("api-key")?)
            .header("dd-application-key", asked.needed("app-key")?))
    }

    fn parse(&self, asked: &Question, reply: &Reply) -> Result<MetricValue, String> {
        match &asked.provider.datadog {
            Some(metric) if is_v2(metric) => scalar(&reply.json(NAME)?),
            _ => last_point(&reply.json(NAME)?),
        }
    }
}

fn is_v2(metric: &DatadogMetric) -> bool {
    metric.api_version.as_deref() == Some("v2")
}

fn queries(metric: &DatadogMetric) -> Vec<Value> {
    let single = metric.query.clone().filter(|q| !q.is_empty());
    let single = single.map(|q| BTreeMap::from([("query".to_owned(), q)]));
    let aggregator = metric.aggregator.as_deref().filter(|a| !a.is_empty());
    metric
        .queries
        .clone()
        .or(single)
        .unwrap_or_default()
        .into_iter()
        .map(|(name, query)| {
            json!({"data_source": "metrics", "name": name, "query": query,
                "aggregator": aggregator.unwrap_or("last")})
        })
        .collect()
}

fn formulas(metric: &DatadogMetric) -> Vec<Value> {
    let formula = metric.formula.as_deref().filter(|f| !f.is_empty());
    let only = metric.queries.as_ref().and_then(|q| q.keys().next());
    let formula = formula.or(only.map(String::as_str)).unwrap_or("query");
    vec![json!({ "formula": formula })]
}

/// What v1 answers with.
#[derive(Deserialize)]
struct Points {
    #[serde(default)]
    status: Option<String>,
    series: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    pointlist: Vec<(f64, Option<f64>)>,
}

/// The last point of the first series; nothing where there is none.
fn last_point(reply: &Points) -> Result<MetricValue, String> {
    if reply.status.as_deref() == Some("error") {
        return Err("Datadog cannot carry the query out: try it on its own page".to_owned());
    }
    let last = reply.series.first().and_then(|s| s.pointlist.last());
    Ok(last
        .and_then(|point| point.1)
        .map_or(MetricValue::Nil, MetricValue::Float))
}

/// The one number of v2, or a list of them where the query groups.
fn scalar(reply: &Value) -> Result<MetricValue, String> {
    if reply.get("errors").is_some_and(|e| !e.is_null()) {
        return Err("Datadog cannot carry the query out: try it on its own page".to_owned());
    }
    let columns = reply.pointer("/data/attributes/columns");
    let columns = columns
        .and_then(Value::as_array)
        .ok_or_else(|| strange(NAME))?;
    let is_number = |c: &&Value| c.get("type").and_then(Value::as_str) != Some("group");
    let values: Vec<f64> = columns
        .iter()
        .filter(is_number)
        .filter_map(|c| c.get("values")?.as_array())
        .flatten()
        .filter_map(Value::as_f64)
        .collect();
    let is_grouped = columns.iter().any(|c| !is_number(&c));
    Ok(match values.as_slice() {
        [] => MetricValue::Nil,
        [one] if !is_grouped => MetricValue::Float(*one),
        _ => MetricValue::floats(values),
    })
}
