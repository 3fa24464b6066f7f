//! A question about the past, for the backtest: a query over a range of time, series with their labels
//! back. `parse` is pure. No word of a reply gets into an error.

use std::collections::BTreeMap;

use prometheus_http_query::response::{Data, PromqlResult};

use super::Pool;
use super::http::send;
use super::net::Trust;
use super::prometheus::{self, Request};
use super::short;

/// One series of the past: its labels, and its points as Unix seconds and value.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its points, oldest first.
    pub points: Vec<(f64, f64)>,
}

/// Reads the reply to a range query.
///
/// # Errors
/// One sentence of ours.
pub fn parse(status: u16, body: &[u8]) -> Result<Vec<Series>, String> {
    let data = prometheus::data(status, body)?;
    let strange = || "the reply is not one of Prometheus".to_owned();
    let result: PromqlResult = serde_json::from_value(data).map_err(|_| strange())?;
    match result.data() {
        Data::Matrix(all) => Ok(all
            .iter()
            .map(|series| Series {
                labels: series.metric().clone().into_iter().collect(),
                points: series
                    .samples()
                    .iter()
                    .map(|sample| (sample.timestamp(), sample.value()))
                    .collect(),
            })
            .collect()),
        Data::Vector(_) | Data::Scalar(_) => Err(strange()),
    }
}

impl Pool {
    /// Asks a Prometheus about its past; `range` is first and last moment in Unix seconds and the step
    /// in seconds. `bearer` is a token to log in with. The address is the operator's: not checked.
    ///
    /// # Errors
    /// One sentence: no answer, a refusal, or a reply that cannot be read.
    pub async fn history(
        &self,
        address: &str,
        query: &str,
        range: (i64, i64, i64),
        bearer: Option<&str>,
    ) -> Result<Vec<Series>, String> {
        let mut request = Request::over(query, (range.0, range.1, range.2 as f64));
        if let Some(token) = bearer {
            let value = format!("Bearer {token}");
            request.headers.push(("authorization".to_owned(), value));
        }
        let reply = send(self.net(), &request.to_http(address, Trust::Operator)).await;
        let reply = reply.map_err(|message| short(&message))?;
        parse(reply.status, &reply.body)
    }
}
