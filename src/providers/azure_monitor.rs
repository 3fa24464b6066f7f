//! Azure Monitor: a metric of a resource out, its values back.

use serde_json::Value;

use super::auth::{Auth, ClientCredentials};
use super::http::{Method, Reply, Request, encode, join, strange};
use super::{Question, Service, given, trust_of};
use crate::api::providers::MetricProvider;
use crate::planner::analysis::MetricValue;

/// The provider.
#[derive(Debug)]
pub struct AzureMonitor;

const NAME: &str = "Azure Monitor";
const AGGREGATIONS: [&str; 5] = ["Average", "Total", "Count", "Minimum", "Maximum"];

impl Service for AzureMonitor {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.azure_monitor.is_some()
    }

    fn request(&self, asked: &Question) -> Result<Request, String> {
        let Some(metric) = &asked.provider.azure_monitor else {
            return Err("no provider".to_owned());
        };
        let resource = given(&metric.resource_id, "azureMonitor.resourceId")?.trim_matches('/');
        let is_path = |c: char| c.is_ascii_alphanumeric() || "/-_.()".contains(c);
        if !resource.starts_with("subscriptions/")
            || !resource.chars().all(is_path)
            || resource.contains("..")
        {
            return Err(
                "azureMonitor.resourceId must be a path such as /subscriptions/…/providers/…"
                    .to_owned(),
            );
        }
        let aggregation = aggregation(metric.aggregation.as_deref())?;
        let timespan = format!("{}/{}", asked.since(metric.interval.as_deref())?, asked.at);
        let mut pairs = vec![
            ("api-version", "2023-10-01"),
            (
                "metricnames",
                given(&metric.metric_name, "azureMonitor.metricName")?,
            ),
            ("aggregation", aggregation),
            ("timespan", &timespan),
        ];
        for (name, value) in [
            ("metricnamespace", &metric.metric_namespace),
            ("$filter", &metric.filter),
        ] {
            if let Some(value) = value.as_deref().filter(|v| !v.is_empty()) {
                pairs.push((name, value));
            }
        }
        let address = asked
            .credential("address")
            .unwrap_or("https://management.azure.com");
        let path = format!("/{resource}/providers/Microsoft.Insights/metrics");
        let trust = trust_of(metric.secret_ref.as_ref());
        let login = asked
            .credential("login-address")
            .unwrap_or("https://login.microsoftonline.com");
        let tenant = asked.needed("tenant-id")?;
        let auth = Auth::OAuth2(ClientCredentials {
            url: join(login, &format!("/{tenant}/oauth2/v2.0/token")),
            trust,
            id: asked.needed("client-id")?.to_owned(),
            secret: asked.needed("client-secret")?.to_owned(),
            scope: join(address, "/.default"),
            in_body: true,
        });
        let url = format!("{}?{}", join(address, &path), encode(&pairs));
        Ok(Request::new(NAME, Method::Get, url).trust(trust).auth(auth))
    }

    /// The values of all series, oldest first; moments without a value are left out.
    fn parse(&self, asked: &Question, reply: &Reply) -> Result<MetricValue, String> {
        let metric = asked.provider.azure_monitor.as_ref();
        let field =
            aggregation(metric.and_then(|m| m.aggregation.as_deref()))?.to_ascii_lowercase();
        let body: Value = reply.json(NAME)?;
        let metrics = body.get("value").and_then(Value::as_array);
        let series = |v: &Value, name: &str| v.get(name).and_then(Value::as_array).cloned();
        let values = metrics
            .ok_or_else(|| strange(NAME))?
            .iter()
            .flat_map(|m| series(m, "timeseries").unwrap_or_default())
            .flat_map(|t| series(&t, "data").unwrap_or_default())
            .filter_map(|point| point.get(&field)?.as_f64());
        Ok(MetricValue::floats(values))
    }
}

fn aggregation(text: Option<&str>) -> Result<&'static str, String> {
    let text = text.filter(|t| !t.is_empty()).unwrap_or("Average");
    AGGREGATIONS
        .into_iter()
        .find(|a| a.eq_ignore_ascii_case(text))
        .ok_or_else(|| {
            format!(
                "azureMonitor.aggregation must be one of {}",
                AGGREGATIONS.join(", ")
            )
        })
}
