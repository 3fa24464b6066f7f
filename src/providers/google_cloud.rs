//! Google Cloud Monitoring: a PromQL query out, numbers back. Its Prometheus API is asked because
//! its own query language is being retired.

use super::auth::Auth;
use super::google::Account;
use super::http::{Method, Reply, Request, join};
use super::{Question, Service, Trust, given, prometheus, trust_of};
use crate::api::providers::MetricProvider;
use crate::planner::analysis::MetricValue;

/// The provider.
#[derive(Debug)]
pub struct GoogleCloud;

const NAME: &str = "Google Cloud Monitoring";

impl Service for GoogleCloud {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.google_cloud_monitoring.is_some()
    }

    fn request(&self, asked: &Question) -> Result<Request, String> {
        let Some(metric) = &asked.provider.google_cloud_monitoring else {
            return Err("no provider".to_owned());
        };
        let project = given(&metric.project, "googleCloudMonitoring.project")?;
        if !project
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':'))
        {
            return Err("googleCloudMonitoring.project is not the id of a project".to_owned());
        }
        let trust = trust_of(metric.secret_ref.as_ref());
        let account = match asked.credential("service-account.json") {
            Some(json) => Account::Key {
                json: json.to_owned(),
                trust,
            },
            // The pod's own identity is the operator's to lend.
            None if trust == Trust::Operator => Account::Own,
            None => {
                return Err("the provider's Secret has no key service-account.json".to_owned());
            }
        };
        // Never to an address of a tenant with a token of the operator: both come from one Secret.
        let own = asked
            .credential("address")
            .filter(|_| account != Account::Own);
        let address = own.unwrap_or("https://monitoring.googleapis.com");
        let path = format!("/v1/projects/{project}/location/global/prometheus/api/v1/query");
        let query = given(&metric.query, "googleCloudMonitoring.query")?;
        Ok(Request::new(NAME, Method::Post, join(address, &path))
            .form(&[("query", query)])
            .trust(trust)
            .auth(Auth::Google(account)))
    }

    fn parse(&self, _: &Question, reply: &Reply) -> Result<MetricValue, String> {
        match reply.status {
            200 | 400 | 422 => prometheus::parse(reply.status, &reply.body),
            _ => {
                reply.ok(NAME)?;
                Err(super::http::strange(NAME))
            }
        }
    }
}
