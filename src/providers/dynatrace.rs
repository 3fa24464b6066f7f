//! Dynatrace: a metric selector out, the values of its series back (Metrics API v2).

use serde::Deserialize;

use super::http::{Method, Reply, Request, encode, join};
use super::{Question, Service, given, trust_of};
use crate::api::providers::MetricProvider;
use crate::planner::analysis::MetricValue;

/// The provider.
#[derive(Debug)]
pub struct Dynatrace;

const NAME: &str = "Dynatrace";

impl Service for Dynatrace {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.dynatrace.is_some()
    }

    fn request(&self, asked: &Question) -> Result<Request, String> {
        let Some(metric) = &asked.provider.dynatrace else {
            return Err("no provider".to_owned());
        };
        let (from, to) = (
            asked
                .since(metric.interval.as_deref())?
                .as_millisecond()
                .to_string(),
            asked.at.as_millisecond().to_string(),
        );
        let mut pairs = vec![
            (
                "metricSelector",
                given(&metric.metric_selector, "dynatrace.metricSelector")?,
            ),
            ("from", &from),
            ("to", &to),
            // One value for the whole time.
            ("resolution", "Inf"),
        ];
        if let Some(entities) = metric.entity_selector.as_deref().filter(|e| !e.is_empty()) {
            pairs.push(("entitySelector", entities));
        }
        let address = join(asked.needed("address")?, "/api/v2/metrics/query");
        let url = format!("{address}?{}", encode(&pairs));
        Ok(Request::new(NAME, Method::Get, url)
            .trust(trust_of(metric.secret_ref.as_ref()))
            .header(
                "authorization",
                format!("Api-Token {}", asked.needed("api-token")?),
            ))
    }

    fn parse(&self, _: &Question, reply: &Reply) -> Result<MetricValue, String> {
        #[derive(Deserialize)]
        struct Answer {
            result: Vec<Series>,
        }
        #[derive(Deserialize)]
        struct Series {
            data: Vec<Values>,
        }
        #[derive(Deserialize)]
        struct Values {
            values: Vec<Option<f64>>,
        }
        let answer: Answer = reply.json(NAME)?;
        let data = answer.result.iter().flat_map(|series| &series.data);
        Ok(MetricValue::floats(
            data.flat_map(|d| d.values.iter().flatten().copied()),
        ))
    }
}
