//! AWS CloudWatch: metric data queries out, their results back as CloudWatch tells them (P8).

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::auth::Auth;
use super::aws::{self, Sigv4};
use super::http::{Method, Reply, Request, send, strange};
use super::{Net, Provider, Question, Trust};
use crate::api::IntOrString;
use crate::api::providers::{CloudWatchMetricDataQuery, CloudWatchMetricStat, MetricProvider};
use crate::planner::analysis::MetricValue;

/// The provider.
#[derive(Debug)]
pub struct CloudWatch;

const NAME: &str = "CloudWatch";

impl Provider for CloudWatch {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.cloud_watch.is_some()
    }

    fn identity(&self, net: &Net, asked: &Question) -> Result<String, String> {
        Ok(request(asked, &net.config.aws)?.identity())
    }

    fn measure<'a>(
        &'a self,
        net: &'a Net,
        asked: &'a Question,
    ) -> BoxFuture<'a, Result<MetricValue, String>> {
        async move { parse(&send(net, &request(asked, &net.config.aws)?).await?) }.boxed()
    }
}

/// What is sent: GetMetricData in AWS JSON 1.0, in the controller's own region.
///
/// # Errors
/// What is missing in the metric, or in the controller's environment.
pub fn request(asked: &Question, own: &aws::Environment) -> Result<Request, String> {
    let Some(metric) = &asked.provider.cloud_watch else {
        return Err("no provider".to_owned());
    };
    let queries = metric.metric_data_queries.as_deref().unwrap_or_default();
    if queries.is_empty() {
        return Err("cloudWatch.metricDataQueries is empty".to_owned());
    }
    let queries = queries.iter().map(query).collect::<Result<Vec<_>, _>>()?;
    let body = json!({
        "StartTime": asked.since(metric.interval.as_deref())?.as_second(),
        "EndTime": asked.at.as_second(),
        "MetricDataQueries": queries,
    });
    let region = aws::region(None, own)?.to_owned();
    let host = || format!("https://{}", aws::host("monitoring", &region));
    let address = own.cloud_watch_endpoint.clone().unwrap_or_else(host);
    Ok(
        Request::new(NAME, Method::Post, super::http::join(&address, "/"))
            .trust(Trust::Operator)
            .auth(Auth::Sigv4(Sigv4 {
                service: "monitoring",
                region: Some(region),
                role_arn: None,
            }))
            .header(
                "x-amz-target",
                "GraniteServiceVersion20100801.GetMetricData",
            )
            .body("application/x-amz-json-1.0", body.to_string()),
    )
}

fn query(query: &CloudWatchMetricDataQuery) -> Result<Value, String> {
    let id = query.id.as_deref().unwrap_or_default();
    if id.is_empty() {
        return Err("every query of cloudWatch.metricDataQueries needs an id".to_owned());
    }
    let mut out = Map::new();
    out.insert("Id".to_owned(), json!(id));
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    };
    match (&query.expression, &query.metric_stat) {
        (Some(expression), None) => put("Expression", Some(json!(expression))),
        (None, Some(stat)) => put("MetricStat", Some(metric_stat(stat)?)),
        _ => {
            return Err(format!(
                "query {id:?} needs expression or metricStat: one of them"
            ));
        }
    }
    put("Label", query.label.as_ref().map(|l| json!(l)));
    put("Period", period(query.period.as_ref())?);
    put("ReturnData", query.return_data.map(|r| json!(r)));
    Ok(Value::Object(out))
}

fn metric_stat(stat: &CloudWatchMetricStat) -> Result<Value, String> {
    let metric = stat.metric.clone().unwrap_or_default();
    let dimensions: Vec<Value> = metric
        .dimensions
        .iter()
        .flatten()
        .map(|d| json!({"Name": d.name, "Value": d.value}))
        .collect();
    let mut out = json!({
        "Metric": {
            "Namespace": metric.namespace, "MetricName": metric.metric_name,
            "Dimensions": dimensions,
        },
        "Period": period(stat.period.as_ref())?.unwrap_or_else(|| json!(300)),
        "Stat": stat.stat,
    });
    if let (Some(unit), Some(map)) = (&stat.unit, out.as_object_mut()) {
        map.insert("Unit".to_owned(), json!(unit));
    }
    Ok(out)
}

fn period(value: Option<&IntOrString>) -> Result<Option<Value>, String> {
    match value {
        None => Ok(None),
        Some(IntOrString::Int(n)) => Ok(Some(json!(n))),
        Some(IntOrString::String(text)) => match text.trim().parse::<i64>() {
            Ok(n) => Ok(Some(json!(n))),
            Err(_) => Err("period must be a number of seconds".to_owned()),
        },
    }
}

/// Reads the reply: `result[0].Values[0]` is the newest value of the first query.
///
/// # Errors
/// One sentence of ours, without a word of the reply.
pub fn parse(reply: &Reply) -> Result<MetricValue, String> {
    // Wrong credentials are a 400 in this protocol; the reason is a code from a known list.
    if reply.status == 400 {
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let code = body
            .get("__type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default();
        return Err(match code {
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "AccessDeniedException"
            | "ExpiredTokenException"
            | "MissingAuthenticationTokenException" => {
                "CloudWatch refuses the credentials (HTTP 400)".to_owned()
            }
            "Throttling" | "ThrottlingException" => {
                "CloudWatch is asked too often (HTTP 400)".to_owned()
            }
            _ => super::http::refusal(NAME, 400),
        });
    }
    let body: Value = reply.json(NAME)?;
    let results = body.get("MetricDataResults").filter(|r| r.is_array());
    results.map(MetricValue::from).ok_or_else(|| strange(NAME))
}
