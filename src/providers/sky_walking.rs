//! SkyWalking: a GraphQL query out, its data back (contract P11).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::http::{Method, Reply, Request, join, strange};
use super::{Question, Service, given};
use crate::api::providers::MetricProvider;
use crate::planner::analysis::MetricValue;

/// The provider.
#[derive(Debug)]
pub struct SkyWalking;

const NAME: &str = "SkyWalking";

impl Service for SkyWalking {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.skywalking.is_some()
    }

    fn request(&self, asked: &Question) -> Result<Request, String> {
        let Some(metric) = &asked.provider.skywalking else {
            return Err("no provider".to_owned());
        };
        let address = given(&metric.address, "skywalking.address")?;
        let start = asked.since(metric.interval.as_deref())?;
        let body = json!({
            "query": given(&metric.query, "skywalking.query")?,
            "variables": {"duration": {
                "start": minute(start), "end": minute(asked.at), "step": "MINUTE",
            }},
        });
        Ok(Request::new(NAME, Method::Post, join(address, "/graphql")).json(&body))
    }

    fn parse(&self, _: &Question, reply: &Reply) -> Result<MetricValue, String> {
        let body: Value = reply.json(NAME)?;
        let errors = body.get("errors").and_then(Value::as_array);
        if errors.is_some_and(|e| !e.is_empty()) {
            return Err("SkyWalking cannot carry the query out: try it on its own page".to_owned());
        }
        match body.get("data") {
            Some(data) if !data.is_null() => Ok(MetricValue::from(data)),
            _ => Err(strange(NAME)),
        }
    }
}

/// `2026-11-21 1504`, in UTC.
fn minute(at: Timestamp) -> String {
    let text = at.to_string();
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    format!("{} {}{}", part(0, 10), part(11, 13), part(14, 16))
}
