//! Prometheus: a query out, numbers back (contract P1). `request` and `parse` are pure; `measure`
//! sends. No word of a reply ever gets into an error: replies may come from anywhere.

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use prometheus_http_query::response::{Data, PromqlResult};
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::pool::Net;
use super::{MAX_BODY, Provider};
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
    if let Some(auth) = &metric.authentication {
        match (&auth.basic_auth, &auth.bearer) {
            (Some(_), Some(_)) => {
                return Err("authentication has basicAuth and bearer: one of them".to_owned());
            }
            (Some(basic), None) => {
                let user = basic.username.as_deref().unwrap_or_default();
                let password = basic.password.as_deref().unwrap_or_default();
                let pair = base64(format!("{user}:{password}").as_bytes());
                headers.push(("authorization".to_owned(), format!("Basic {pair}")));
            }
            (None, Some(bearer)) => {
                let token = bearer.token.as_deref().unwrap_or_default().trim();
                headers.push(("authorization".to_owned(), format!("Bearer {token}")));
            }
            (None, None) => {}
        }
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

/// RFC 4648, with padding: what basic authorisation needs and no crate of ours has.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_u32, |n, b| (n << 8) | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let index = (group >> (18 - 6 * i)) & 63;
            out.push(if i <= chunk.len() {
                char::from(ALPHABET[index as usize])
            } else {
                '='
            });
        }
    }
    out
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
    let envelope: Option<Envelope> = serde_json::from_slice(body).ok();
    match envelope {
        Some(Envelope {
            status: word,
            data: Some(data),
            ..
        }) if word == "success" && status == 200 => value(data),
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

    fn identity(&self, provider: &MetricProvider, at: Timestamp) -> Result<String, String> {
        let Some(metric) = &provider.prometheus else {
            return Err("no provider".to_owned());
        };
        let Request {
            address,
            query,
            range,
            headers,
            insecure,
        } = request(metric, at)?;
        let mut text = format!("{address:?}\n{query:?}\n{range:?}\n{insecure}");
        for (name, value) in headers {
            // Equal credentials may share an answer; different ones must not.
            text.push_str(&format!("\n{name:?}={value:?}"));
        }
        Ok(text)
    }

    fn measure<'a>(
        &'a self,
        net: &'a Net,
        provider: &'a MetricProvider,
        at: Timestamp,
    ) -> BoxFuture<'a, Result<MetricValue, String>> {
        async move {
            let Some(metric) = &provider.prometheus else {
                return Err("no provider".to_owned());
            };
            let request = request(metric, at)?;
            let (status, body) = send(net, &request).await?;
            parse(status, &body)
        }
        .boxed()
    }
}

async fn send(net: &Net, request: &Request) -> Result<(u16, Vec<u8>), String> {
    let (address, client) = net.client(request.address.as_deref(), request.insecure)?;
    let client = prometheus_http_query::Client::from(client.clone(), &address)
        .map_err(|_| "the address of Prometheus cannot be read".to_owned())?;
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::try_from(name)
                .map_err(|_| format!("{name:?} is not the name of a header"))?;
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| format!("the value of header {name} cannot be sent"))?;
            value.set_sensitive(true);
            Ok((name, value))
        })
        .collect::<Result<Vec<_>, String>>()?;
    macro_rules! with_headers {
        ($builder:expr) => {
            headers.iter().fold($builder, |b, (name, value)| {
                b.header(name.clone(), value.clone())
            })
        };
    }
    let sent = |e: prometheus_http_query::Error| unreached(&address, &e);
    let response = match request.range {
        None => {
            let builder = with_headers!(client.query(&request.query));
            let response = builder.clone().post_raw().await.map_err(sent)?;
            // Some proxies in front of Prometheus let only GET through.
            if response.status().as_u16() == 405 {
                builder.get_raw().await.map_err(sent)?
            } else {
                response
            }
        }
        Some((start, end, step)) => {
            let builder = with_headers!(client.query_range(&request.query, start, end, step));
            let response = builder.clone().post_raw().await.map_err(sent)?;
            if response.status().as_u16() == 405 {
                builder.get_raw().await.map_err(sent)?
            } else {
                response
            }
        }
    };
    let status = response.status().as_u16();
    Ok((status, capped(response).await?))
}

/// Reads a body up to the cap.
async fn capped(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    let too_long = || format!("the reply has more than {} KiB", MAX_BODY / 1024);
    if response
        .content_length()
        .is_some_and(|n| n > MAX_BODY as u64)
    {
        return Err(too_long());
    }
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body),
            Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) > MAX_BODY => {
                return Err(too_long());
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Err(_) => return Err("the reply broke off".to_owned()),
        }
    }
}

/// Why nothing came back, with the host at most.
fn unreached(address: &str, error: &prometheus_http_query::Error) -> String {
    let host = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let host: String = host
        .rsplit('@')
        .next()
        .unwrap_or_default()
        .chars()
        .take(100)
        .collect();
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = source {
        if let Some(refused) = e.downcast_ref::<super::address::Refused>() {
            return refused.0.clone();
        }
        if let Some(io) = e.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return format!("cannot connect to {host}: connection refused");
        }
        if let Some(tls) = e.downcast_ref::<rustls::Error>() {
            return if matches!(tls, rustls::Error::InvalidCertificate(_)) {
                format!("the certificate of {host} is not valid for it or not trusted")
            } else {
                format!("no secure connection to {host}")
            };
        }
        source = e.source();
    }
    let inner = if let prometheus_http_query::Error::Client(client) = error {
        client.inner()
    } else {
        None
    };
    let is = |test: fn(&reqwest::Error) -> bool| inner.is_some_and(test);
    if is(reqwest::Error::is_timeout) {
        format!("no answer from {host} in time")
    } else if is(reqwest::Error::is_connect) {
        format!("cannot connect to {host}")
    } else {
        format!("no answer from {host}")
    }
}

#[cfg(test)]
mod tests;
