//! Wavefront: a query out, the value nearest to now of each series back (contract P6).

use serde::Deserialize;

use super::http::{Method, Reply, Request, encode};
use super::{Question, Service, given};
use crate::api::providers::MetricProvider;
use crate::planner::analysis::MetricValue;

/// The provider.
#[derive(Debug)]
pub struct Wavefront;

const NAME: &str = "Wavefront";

impl Service for Wavefront {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.wavefront.is_some()
    }

    /// The token belongs to the address: that is its key in the Secret.
    fn request(&self, asked: &Question) -> Result<Request, String> {
        let Some(metric) = &asked.provider.wavefront else {
            return Err("no provider".to_owned());
        };
        let address = given(&metric.address, "wavefront.address")?;
        if address.starts_with("http://") {
            return Err("wavefront.address: the token is sent by https only".to_owned());
        }
        let host = address.trim_start_matches("https://").trim_end_matches('/');
        let token = asked.needed("token")?;
        let query = encode(&[
            ("q", given(&metric.query, "wavefront.query")?),
            ("s", &asked.since(Some("1h"))?.as_millisecond().to_string()),
            ("e", &asked.at.as_millisecond().to_string()),
            ("g", "s"),
            ("p", "2000"),
            ("strict", "true"),
        ]);
        let url = format!("https://{host}/api/v2/chart/api?{query}");
        Ok(Request::new(NAME, Method::Get, url).header("authorization", format!("Bearer {token}")))
    }

    fn parse(&self, asked: &Question, reply: &Reply) -> Result<MetricValue, String> {
        #[derive(Deserialize)]
        struct Chart {
            #[serde(default)]
            timeseries: Vec<Series>,
        }
        #[derive(Deserialize)]
        struct Series {
            #[serde(default)]
            data: Vec<(f64, f64)>,
        }
        let chart: Chart = reply.json(NAME)?;
        let now = asked.at.as_second() as f64;
        // Times are milliseconds or seconds, by age of the server.
        let distance = |t: f64| (now - if t > 1e11 { t / 1000.0 } else { t }).abs();
        let values: Vec<f64> = chart
            .timeseries
            .iter()
            .filter_map(|s| {
                let nearest = s.data.iter();
                nearest.min_by(|a, b| distance(a.0).total_cmp(&distance(b.0)))
            })
            .map(|point| point.1)
            .collect();
        match values.as_slice() {
            [] => Err("Wavefront has no series for that query".to_owned()),
            [one] if chart.timeseries.len() == 1 => Ok(MetricValue::Float(*one)),
            _ => Ok(MetricValue::floats(values)),
        }
    }
}
