//! Prometheus: a query out, numbers back (contract P1). `request` and `parse` are pure; `measure`
//! sends. No word of a reply ever gets into an error: replies may come from anywhere.

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use prometheus_http_query::response::{Data, PromqlResult};
use serde::Deserialize;

use super::auth::{self, Auth};
use super::http::{self, Method, Reply, encode, join, send};
use super::net::{Net, Trust};
use super::{Provider, Question};
use crate::api::providers::{MetricProvider, PrometheusMetric};
use crate::planner::analysis::MetricValue;
use crate::planner::duration;

/// The provider.
#[derive(Debug)]
pub struct Prometheus;

/// What is sent.
#[derive(Clone, PartialEq)]
pub struct Request {
    /// Address named by the metric; `None` for the operator's.
    pub address: Option<String>,
    /// The query.
    pub query: String,
    /// Start and end in Unix seconds, step in seconds; `None` for a query of one moment.
    pub range: Option<(i64, i64, f64)>,
    /// Headers, authorisation among them.
    pub headers: Vec<(String, String)>,
    /// How to log in beyond the headers.
    pub auth: Auth,
    /// Certificates are not verified.
    pub insecure: bool,
}

impl std::fmt::Debug for Request {
    /// Names of headers only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Request")
            .field("address", &self.address)
            .field("query", &self.query)
            .field("range", &self.range)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

/// What a metric asks, at that time.
///
/// # Errors
/// What is missing in the metric or has no meaning.
pub fn request(metric: &PrometheusMetric, at: Timestamp) -> Result<Request, String> {
    let query = metric.query.clone().filter(|q| !q.trim().is_empty());
    let query = query.ok_or_else(|| "prometheus.query is empty".to_owned())?;
    let mut headers = Vec::new();
    for header in metric.headers.iter().flatten() {
        headers.push((header.key.clone(), header.value.clone().unwrap_or_default()));
    }
    let (login, auth) = auth::of_metric(metric.authentication.as_ref(), "aps")?;
    headers.extend(login);
    if matches!(auth, Auth::Sigv4(_))
        && !metric
            .address
            .as_deref()
            .unwrap_or_default()
            .contains("aps-workspaces")
    {
        return Err("authentication.sigv4 is for Amazon Managed Prometheus: the address must be one of its workspaces (aps-workspaces)".to_owned());
    }
    let range = match &metric.range_query {
        None => None,
        Some(range) => {
            let start = moment(range.start.as_deref(), "start", at)?;
            let end = moment(range.end.as_deref(), "end", at)?;
            let step = range.step.as_deref().unwrap_or_default();
            let step = duration::parse(step).ok().filter(|ms| *ms > 0);
            let step = step.ok_or("rangeQuery.step must be a duration such as 1m")? as f64 / 1000.0;
            if start > end {
                return Err("rangeQuery.start lies after rangeQuery.end".to_owned());
            }
            Some((start, end, step))
        }
    };
    Ok(Request {
        address: metric.address.clone().filter(|a| !a.is_empty()),
        query,
        range,
        headers,
        auth,
        insecure: metric.insecure == Some(true),
    })
}

/// A time as range queries write it: `now()`, then any number of `+ duration("5m")` or
/// `- duration("5m")`. In Unix seconds.
fn moment(text: Option<&str>, field: &str, at: Timestamp) -> Result<i64, String> {
    let wrong = || format!("rangeQuery.{field} must be now() or now() - duration(\"5m\")");
    let compact: String = text.unwrap_or("now()").split_whitespace().collect();
    let mut rest = compact.strip_prefix("now()").ok_or_else(wrong)?;
    let mut millis = at.as_millisecond();
    while !rest.is_empty() {
        let (sign, tail) = match (rest.strip_prefix('-'), rest.strip_prefix('+')) {
            (Some(tail), _) => (-1, tail),
            (None, Some(tail)) => (1, tail),
            (None, None) => return Err(wrong()),
        };
        let inner = tail.strip_prefix("duration(").ok_or_else(wrong)?;
        let (length, tail) = inner.split_once(')').ok_or_else(wrong)?;
        let length = duration::parse(length.trim_matches(['"', '\''])).map_err(|_| wrong())?;
        millis = millis.saturating_add(length.saturating_mul(sign));
        rest = tail;
    }
    Ok(millis.div_euclid(1000))
}

/// The envelope of every reply.
#[derive(Deserialize)]
struct Envelope {
    status: String,
    #[serde(default)]
    data: Option<serde_json::Value>,
    #[serde(default, rename = "errorType")]
    error_type: Option<String>,
}

/// Reads a reply: a vector as a list of numbers, a matrix as one flat list, a scalar as a number.
/// Anything else is an error (P1).
///
/// # Errors
/// One sentence of ours, without a word of the reply.
pub fn parse(status: u16, body: &[u8]) -> Result<MetricValue, String> {
    value(data(status, body)?)
}

/// What is in the envelope of a good reply.
pub(super) fn data(status: u16, body: &[u8]) -> Result<serde_json::Value, String> {
    let envelope: Option<Envelope> = serde_json::from_slice(body).ok();
    match envelope {
        Some(Envelope {
            status: word,
            data: Some(data),
            ..
        }) if word == "success" && status == 200 => Ok(data),
        Some(envelope) if envelope.status == "error" => {
            Err(refusal(status, envelope.error_type.as_deref()))
        }
        _ => Err(strange(status)),
    }
}

fn refusal(status: u16, kind: Option<&str>) -> String {
    // Only words from this list: the reply's own may be anything.
    match kind {
        Some("bad_data") => format!(
            "Prometheus cannot read the query (bad_data, HTTP {status}): try it on its own page"
        ),
        Some("execution") => format!(
            "Prometheus cannot carry the query out (execution, HTTP {status}): try it on its own page"
        ),
        Some("timeout") => "Prometheus took too long for the query (timeout)".to_owned(),
        Some("canceled") => "Prometheus gave the query up (canceled)".to_owned(),
        Some("unavailable") => "Prometheus is not ready (unavailable)".to_owned(),
        Some(_) | None => format!("Prometheus refuses the query (HTTP {status})"),
    }
}

fn strange(status: u16) -> String {
    match status {
        200 => "the reply is not one of Prometheus".to_owned(),
        300..=399 => {
            format!("the address answers with a redirect (HTTP {status}), which is not followed")
        }
        401 | 403 => format!("Prometheus refuses the credentials (HTTP {status})"),
        404 => "there is no Prometheus API at the address (HTTP 404)".to_owned(),
        429 => http::refusal("Prometheus", status),
        _ => format!("the address answers with HTTP {status}"),
    }
}

fn value(data: serde_json::Value) -> Result<MetricValue, String> {
    let has_histograms = || {
        let result = data.get("result").and_then(serde_json::Value::as_array);
        result
            .into_iter()
            .flatten()
            .any(|r| r.get("histogram").is_some() || r.get("histograms").is_some())
    };
    if has_histograms() {
        return Err("the query gives a histogram, not numbers: put histogram_quantile, histogram_count or histogram_sum around it".to_owned());
    }
    if data.get("resultType").and_then(serde_json::Value::as_str) == Some("string") {
        return Err("the query gives a text, not numbers".to_owned());
    }
    let result: PromqlResult = serde_json::from_value(data)
        .map_err(|_| "the reply is not one of Prometheus".to_owned())?;
    Ok(match result.data() {
        Data::Scalar(sample) => MetricValue::Float(sample.value()),
        Data::Vector(series) => MetricValue::floats(series.iter().map(|s| s.sample().value())),
        Data::Matrix(series) => MetricValue::floats(
            series
                .iter()
                .flat_map(|s| s.samples().iter().map(|v| v.value())),
        ),
    })
}

impl Provider for Prometheus {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.prometheus.is_some()
    }

    fn identity(&self, net: &Net, asked: &Question) -> Result<String, String> {
        // An instant query names no time: all that are under way at once are the same question.
        Ok(exchange(net, asked)?.identity())
    }

    fn measure<'a>(
        &'a self,
        net: &'a Net,
        asked: &'a Question,
    ) -> BoxFuture<'a, Result<MetricValue, String>> {
        async move {
            let mut exchange = exchange(net, asked)?;
            let mut reply = send(net, &exchange).await?;
            // Some proxies in front of Prometheus let only GET through.
            if reply.status == 405 {
                let form = exchange.body.take().unwrap_or_default();
                exchange.method = Method::Get;
                exchange.url = format!("{}?{form}", exchange.url);
                exchange.headers.retain(|(name, _)| name != "content-type");
                reply = send(net, &exchange).await?;
            }
            let Reply { status, body } = reply;
            parse(status, &body)
        }
        .boxed()
    }
}

/// What is sent, to the address of the metric or to the operator's.
fn exchange(net: &Net, asked: &Question) -> Result<http::Request, String> {
    let Some(metric) = &asked.provider.prometheus else {
        return Err("no provider".to_owned());
    };
    let request = request(metric, asked.at)?;
    let own = net.config.prometheus.as_deref();
    let Some(address) = request.address.as_deref().or(own) else {
        return Err("no address of Prometheus: name one in the metric or in slos, or start the controller with --prometheus".to_owned());
    };
    let trust = if Some(address) == own {
        Trust::Operator
    } else {
        Trust::Object
    };
    Ok(request.to_http(address, trust))
}

impl Request {
    /// A query over a range: first and last moment in Unix seconds, step in seconds.
    pub(super) fn over(query: &str, range: (i64, i64, f64)) -> Self {
        Self {
            address: None,
            query: query.to_owned(),
            range: Some(range),
            headers: Vec::new(),
            auth: Auth::None,
            insecure: false,
        }
    }

    pub(super) fn to_http(&self, address: &str, trust: Trust) -> http::Request {
        let (path, form) = match self.range {
            None => ("/api/v1/query", encode(&[("query", &self.query)])),
            Some((start, end, step)) => (
                "/api/v1/query_range",
                encode(&[
                    ("query", &self.query),
                    ("start", &start.to_string()),
                    ("end", &end.to_string()),
                    ("step", &step.to_string()),
                ]),
            ),
        };
        let mut http = http::Request::new("Prometheus", Method::Post, join(address, path))
            .body("application/x-www-form-urlencoded", form)
            .auth(self.auth.clone())
            .trust(trust);
        http.headers.extend(self.headers.iter().cloned());
        http.insecure = self.insecure;
        http
    }
}

#[cfg(test)]
mod tests;
