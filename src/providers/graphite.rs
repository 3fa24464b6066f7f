//! Graphite: a target out, the numbers of its first series back (contract P9).

use serde::Deserialize;

use super::http::{Method, Reply, Request, encode, join};
use super::{Question, Service, given};
use crate::api::providers::MetricProvider;
use crate::planner::analysis::MetricValue;

/// The provider.
#[derive(Debug)]
pub struct Graphite;

const NAME: &str = "Graphite";

/// One series as the render API answers it.
#[derive(Deserialize)]
struct Series {
    datapoints: Vec<(Option<f64>, serde_json::Value)>,
}

impl Service for Graphite {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.graphite.is_some()
    }

    /// The query is the query of an address, `target=…&from=…`; its blanks mean nothing.
    fn request(&self, asked: &Question) -> Result<Request, String> {
        let Some(metric) = &asked.provider.graphite else {
            return Err("no provider".to_owned());
        };
        let address = given(&metric.address, "graphite.address")?;
        let query: String = given(&metric.query, "graphite.query")?
            .split_whitespace()
            .collect();
        let is_whole = ["target=", "from=", "until="]
            .iter()
            .any(|p| query.starts_with(p));
        let mut pairs: Vec<(String, String)> = if is_whole {
            let parsed = reqwest::Url::parse(&format!("http://x/?{}", query.replace('#', "%23")))
                .map_err(|_| "graphite.query cannot be read")?;
            parsed.query_pairs().into_owned().collect()
        } else {
            vec![("target".to_owned(), query)]
        };
        pairs.retain(|(name, _)| name != "format");
        pairs.push(("format".to_owned(), "json".to_owned()));
        let pairs: Vec<(&str, &str)> = pairs
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        let url = format!("{}?{}", join(address, "/render"), encode(&pairs));
        Ok(Request::new(NAME, Method::Get, url))
    }

    fn parse(&self, _: &Question, reply: &Reply) -> Result<MetricValue, String> {
        let all: Vec<Series> = reply.json(NAME)?;
        let first = all
            .first()
            .ok_or("Graphite knows no series of that target")?;
        let values: Vec<f64> = first.datapoints.iter().filter_map(|p| p.0).collect();
        if values.is_empty() {
            return Err("Graphite has no values of that target in this time".to_owned());
        }
        Ok(MetricValue::floats(values))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::question;
    use super::*;

    #[test]
    fn blanks_in_a_query_mean_nothing_and_pairs_stay_pairs() {
        let sent = |query: &str| {
            let asked = question(
                json!({"graphite": {"address": "http://g/", "query": query}}),
                &[],
            );
            Graphite.request(&asked).unwrap().url
        };
        assert_eq!(
            sent("target=summarize(\n  a.b.{X,Y}, \"5min\" )&from=-5min"),
            "http://g/render?target=summarize%28a.b.%7BX%2CY%7D%2C%225min%22%29&from=-5min&format=json"
        );
        assert_eq!(sent("a.b"), "http://g/render?target=a.b&format=json");
    }
}
