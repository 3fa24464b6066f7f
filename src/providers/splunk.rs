//! Splunk: a search out, its rows back.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::http::{Method, Reply, Request, join, strange};
use super::{Question, Service, given, trust_of};
use crate::api::providers::MetricProvider;
use crate::planner::analysis::MetricValue;

/// The provider.
#[derive(Debug)]
pub struct Splunk;

const NAME: &str = "Splunk";

impl Service for Splunk {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.splunk.is_some()
    }

    /// A search that answers in the same exchange (`exec_mode=oneshot`).
    fn request(&self, asked: &Question) -> Result<Request, String> {
        let Some(metric) = &asked.provider.splunk else {
            return Err("no provider".to_owned());
        };
        let query = given(&metric.query, "splunk.query")?.trim();
        // Splunk wants every search to begin with a command.
        let search = if query.starts_with('|') || query.starts_with("search ") {
            query.to_owned()
        } else {
            format!("search {query}")
        };
        let from = asked
            .since(metric.interval.as_deref())?
            .as_second()
            .to_string();
        let to = asked.at.as_second().to_string();
        let address = join(asked.needed("address")?, "/services/search/jobs");
        Ok(Request::new(NAME, Method::Post, address)
            .trust(trust_of(metric.secret_ref.as_ref()))
            .header(
                "authorization",
                format!("Bearer {}", asked.needed("token")?),
            )
            .form(&[
                ("search", &search),
                ("exec_mode", "oneshot"),
                ("output_mode", "json"),
                ("count", "100"),
                ("earliest_time", &from),
                ("latest_time", &to),
            ]))
    }

    /// Rows as maps. Splunk writes every cell as text: those that are numbers become numbers.
    fn parse(&self, _: &Question, reply: &Reply) -> Result<MetricValue, String> {
        let body: Value = reply.json(NAME)?;
        let fatal = body.get("messages").and_then(Value::as_array);
        let fatal = fatal.into_iter().flatten().any(|m| {
            matches!(
                m.get("type").and_then(Value::as_str),
                Some("FATAL" | "ERROR")
            )
        });
        if fatal {
            return Err("Splunk cannot carry the search out: try it on its own page".to_owned());
        }
        let rows = body.get("results").and_then(Value::as_array);
        let rows = rows.ok_or_else(|| strange(NAME))?;
        Ok(MetricValue::List(Arc::new(rows.iter().map(row).collect())))
    }
}

fn row(row: &Value) -> MetricValue {
    let cells: BTreeMap<String, MetricValue> = row
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, cell)| {
            let number = cell.as_str().and_then(|t| t.trim().parse::<f64>().ok());
            let value = number.map_or_else(|| MetricValue::from(cell), MetricValue::Float);
            (name.clone(), value)
        })
        .collect();
    MetricValue::Map(Arc::new(cells))
}
