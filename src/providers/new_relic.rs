//! New Relic: an NRQL query out, its rows back (contract P5).

use serde_json::{Value, json};

use super::http::{Method, Reply, Request, strange};
use super::{Question, Service, Trust};
use crate::api::providers::MetricProvider;
use crate::planner::analysis::MetricValue;

/// The provider.
#[derive(Debug)]
pub struct NewRelic;

const NAME: &str = "New Relic";
const QUERY: &str = "query($account: Int!, $nrql: Nrql!, $timeout: Seconds) { actor { account(id: $account) { nrql(query: $nrql, timeout: $timeout) { results } } } }";

impl Service for NewRelic {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.new_relic.is_some()
    }

    fn request(&self, asked: &Question) -> Result<Request, String> {
        let Some(metric) = &asked.provider.new_relic else {
            return Err("no provider".to_owned());
        };
        if metric.query.trim().is_empty() {
            return Err("newRelic.query is empty".to_owned());
        }
        let account: u64 = asked
            .needed("account-id")?
            .parse()
            .map_err(|_| "account-id in the provider's Secret must be a number")?;
        let address = match (
            asked.credential("base-url-nerdgraph"),
            asked.credential("region"),
        ) {
            (Some(own), _) => own,
            (None, None) => "https://api.newrelic.com/graphql",
            (None, Some(region)) => match region.to_ascii_lowercase().as_str() {
                "us" => "https://api.newrelic.com/graphql",
                "eu" => "https://api.eu.newrelic.com/graphql",
                _ => return Err("region in the provider's Secret must be us or eu".to_owned()),
            },
        };
        let timeout = metric.timeout.filter(|t| *t > 0).unwrap_or(5);
        Ok(Request::new(NAME, Method::Post, address)
            .trust(Trust::Operator)
            .header("api-key", asked.needed("personal-api-key")?)
            .json(&json!({
                "query": QUERY,
                "variables": {"account": account, "nrql": metric.query, "timeout": timeout},
            })))
    }

    /// One row is a map, several are a list, none is an error.
    fn parse(&self, _: &Question, reply: &Reply) -> Result<MetricValue, String> {
        let body: Value = reply.json(NAME)?;
        let errors = body.get("errors").and_then(Value::as_array);
        if errors.is_some_and(|e| !e.is_empty()) {
            return Err("New Relic cannot carry the query out: try it on its own page".to_owned());
        }
        let rows = body.pointer("/data/actor/account/nrql/results");
        match rows.and_then(Value::as_array).map(Vec::as_slice) {
            None => Err(strange(NAME)),
            Some([]) => Err("New Relic has no rows for that query".to_owned()),
            Some([row]) => Ok(MetricValue::from(row)),
            Some(_) => rows.map(MetricValue::from).ok_or_else(|| strange(NAME)),
        }
    }
}
