//! Where metrics come from: one optional field per provider, of which a metric sets exactly one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::analysis::SecretKeyRef;
use super::value::IntOrString;

wire! {
    /// Where to ask; exactly one provider.
    pub struct MetricProvider {
        /// A PromQL query to Prometheus.
        pub prometheus: Option<PrometheusMetric>,
        /// A judgement by Kayenta.
        pub kayenta: Option<KayentaMetric>,
        /// A request to any HTTP server.
        pub web: Option<WebMetric>,
        /// A query to Datadog.
        pub datadog: Option<DatadogMetric>,
        /// A query to Wavefront.
        pub wavefront: Option<WavefrontMetric>,
        /// A query to New Relic.
        pub new_relic: Option<NewRelicMetric>,
        /// A Job whose success is the measurement.
        pub job: Option<JobMetric>,
        /// Queries to AWS CloudWatch.
        pub cloud_watch: Option<CloudWatchMetric>,
        /// A query to Graphite.
        pub graphite: Option<GraphiteMetric>,
        /// A Flux query to InfluxDB.
        pub influxdb: Option<InfluxdbMetric>,
        /// A GraphQL query to SkyWalking.
        pub skywalking: Option<SkyWalkingMetric>,
        /// A PromQL query to Google Cloud Monitoring. An addition of serin.
        pub google_cloud_monitoring: Option<GoogleCloudMonitoringMetric>,
        /// A metric selector for Dynatrace. An addition of serin.
        pub dynatrace: Option<DynatraceMetric>,
        /// A metric of an Azure resource. An addition of serin.
        pub azure_monitor: Option<AzureMonitorMetric>,
        /// A search in Splunk. An addition of serin.
        pub splunk: Option<SplunkMetric>,
        /// The custom or external metrics API of the cluster. An addition of serin.
        pub kubernetes: Option<KubernetesMetric>,
        /// Canary against stable, by Prometheus, without a fixed bound. An addition of serin.
        pub compare: Option<CompareMetric>,
        /// A provider plugin by name, with the fields that it wants.
        #[schemars(schema_with = "super::schema::any_object")]
        pub plugin: Option<BTreeMap<String, Value>>,
    }

    /// A PromQL query to Prometheus.
    pub struct PrometheusMetric {
        /// Address of the server, such as http://prometheus.monitoring:9090.
        pub address: Option<String>,
        /// The query; the answer is a list of numbers, or one number for a scalar.
        pub query: Option<String>,
        /// How to log in.
        pub authentication: Option<Authentication>,
        /// Seconds to wait for the answer; default 30.
        pub timeout: Option<i64>,
        /// True accepts any certificate.
        pub insecure: Option<bool>,
        /// Headers to send.
        pub headers: Option<Vec<WebMetricHeader>>,
        /// Ask for a range of time instead of a moment.
        pub range_query: Option<PrometheusRangeQuery>,
    }

    /// A range of time for a query; the answer is the list of its values.
    pub struct PrometheusRangeQuery {
        /// Expression for the start, such as 'now() - duration("5m")'.
        pub start: Option<String>,
        /// Expression for the end, such as 'now()'.
        pub end: Option<String>,
        /// Time between two values, such as 1m.
        pub step: Option<String>,
    }

    /// How to log in; at most one.
    pub struct Authentication {
        /// AWS signature version 4.
        pub sigv4: Option<Sigv4Config>,
        /// OAuth 2 with client credentials.
        pub oauth2: Option<OAuth2Config>,
        /// User name and password.
        pub basic_auth: Option<BasicAuth>,
        /// A token that is sent as it is. An addition of serin.
        pub bearer: Option<BearerAuth>,
    }

    /// AWS signature version 4.
    pub struct Sigv4Config {
        /// AWS region.
        pub region: Option<String>,
        /// AWS profile.
        pub profile: Option<String>,
        /// ARN of the role to take.
        pub role_arn: Option<String>,
    }

    /// OAuth 2 with client credentials.
    pub struct OAuth2Config {
        /// Address that gives tokens.
        pub token_url: Option<String>,
        /// Id of the client.
        pub client_id: Option<String>,
        /// Secret of the client; best an argument that comes from a Secret.
        pub client_secret: Option<String>,
        /// Scopes to ask for.
        pub scopes: Option<Vec<String>>,
    }

    /// User name and password.
    pub struct BasicAuth {
        /// The user name, or an argument such as {{args.user}}.
        pub username: Option<String>,
        /// The password; best an argument that comes from a Secret.
        pub password: Option<String>,
        /// The user name in a Secret. An addition of serin.
        pub username_secret_ref: Option<SecretKeyRef>,
        /// The password in a Secret. An addition of serin.
        pub password_secret_ref: Option<SecretKeyRef>,
    }

    /// A token that is sent as it is.
    pub struct BearerAuth {
        /// The token; best an argument that comes from a Secret.
        pub token: Option<String>,
        /// The token in a Secret.
        pub token_secret_ref: Option<SecretKeyRef>,
    }

    /// A header of a request.
    pub struct WebMetricHeader {
        /// Name of the header.
        pub key: String,
        /// Value of the header.
        pub value: Option<String>,
        /// Where to find the value. An addition of serin.
        pub value_from: Option<HeaderValueFrom>,
    }

    /// Where to find the value of a header.
    pub struct HeaderValueFrom {
        /// A key of a Secret in the namespace of the run.
        pub secret_key_ref: Option<SecretKeyRef>,
    }

    /// A judgement by Kayenta.
    pub struct KayentaMetric {
        /// Address of the server.
        pub address: String,
        /// Name of the application.
        pub application: String,
        /// Name of the canary configuration.
        pub canary_config_name: String,
        /// Account that holds the metrics.
        pub metrics_account_name: String,
        /// Account that holds the configuration.
        pub configuration_account_name: String,
        /// Account that holds the results.
        pub storage_account_name: String,
        /// Scores that are good and that are bearable.
        pub threshold: Option<KayentaThreshold>,
        /// What is compared with what.
        pub scopes: Option<Vec<KayentaScope>>,
        /// True judges the time from the start until now at every measurement.
        pub lookback: Option<bool>,
    }

    /// Scores that are good and that are bearable.
    pub struct KayentaThreshold {
        /// A score from here on is Successful.
        pub pass: Option<i64>,
        /// A score from here on is Inconclusive, below it is Failed.
        pub marginal: Option<i64>,
    }

    /// What is compared with what.
    pub struct KayentaScope {
        /// Name of the scope.
        pub name: String,
        /// The version to compare with.
        pub control_scope: Option<ScopeDetail>,
        /// The version to judge.
        pub experiment_scope: Option<ScopeDetail>,
    }

    /// One side of a comparison.
    pub struct ScopeDetail {
        /// What is looked at.
        pub scope: String,
        /// Region of it.
        pub region: String,
        /// Seconds between two values.
        pub step: Option<i64>,
        /// Start of the time, RFC 3339.
        pub start: String,
        /// End of the time, RFC 3339.
        pub end: String,
    }

    /// A request to any HTTP server.
    pub struct WebMetric {
        /// GET (default), POST or PUT.
        pub method: Option<String>,
        /// Address to ask.
        pub url: String,
        /// Headers to send.
        pub headers: Option<Vec<WebMetricHeader>>,
        /// Body to send as text; not together with jsonBody.
        pub body: Option<String>,
        /// Seconds to wait for the answer; default 10.
        pub timeout_seconds: Option<i64>,
        /// JSONPath of the result in the answer; default the whole answer.
        pub json_path: Option<String>,
        /// True accepts any certificate.
        pub insecure: Option<bool>,
        /// Body to send as JSON; not together with body.
        #[schemars(schema_with = "super::schema::any_object")]
        pub json_body: Option<Value>,
        /// How to log in.
        pub authentication: Option<Authentication>,
    }

    /// A query to Datadog.
    pub struct DatadogMetric {
        /// How far back to look, such as 5m, which is the default.
        pub interval: Option<String>,
        /// The query; not together with queries.
        pub query: Option<String>,
        /// Several queries by name, for a formula.
        pub queries: Option<BTreeMap<String, String>>,
        /// What to make of several queries.
        pub formula: Option<String>,
        /// v1 (default) or v2.
        pub api_version: Option<String>,
        /// How to make one value of many: last (default), avg, min, max, sum and others.
        pub aggregator: Option<String>,
        /// The Secret that holds address and keys.
        pub secret_ref: Option<SecretRef>,
        /// How long to wait for the answer, such as 10s, which is the default.
        pub request_timeout: Option<String>,
    }

    /// A Secret by name.
    pub struct SecretRef {
        /// Name of the Secret.
        pub name: Option<String>,
        /// True for the namespace of the run, false for the controller's.
        pub namespaced: Option<bool>,
    }

    /// A query to Wavefront.
    pub struct WavefrontMetric {
        /// Address of the server.
        pub address: Option<String>,
        /// The query.
        pub query: Option<String>,
    }

    /// A query to New Relic.
    pub struct NewRelicMetric {
        /// Secret that holds account and key; default newrelic.
        pub profile: Option<String>,
        /// The query.
        pub query: String,
        /// Seconds to wait for the answer; default 5.
        pub timeout: Option<i64>,
    }

    /// A Job whose success is the measurement.
    pub struct JobMetric {
        /// Labels and annotations for the Job.
        #[schemars(schema_with = "super::schema::any_object")]
        pub metadata: Option<Value>,
        /// Spec of the Job, as in batch/v1.
        #[schemars(schema_with = "super::schema::any_object")]
        pub spec: Option<Value>,
    }

    /// Queries to AWS CloudWatch.
    pub struct CloudWatchMetric {
        /// How far back to look, such as 5m, which is the default.
        pub interval: Option<String>,
        /// The queries.
        pub metric_data_queries: Option<Vec<CloudWatchMetricDataQuery>>,
    }

    /// One query to CloudWatch.
    pub struct CloudWatchMetricDataQuery {
        /// Name of the query for others to use.
        pub id: Option<String>,
        /// An expression over other queries; not together with metricStat.
        pub expression: Option<String>,
        /// Name of the query for people.
        pub label: Option<String>,
        /// A metric and how it is added up; not together with expression.
        pub metric_stat: Option<CloudWatchMetricStat>,
        /// Seconds per value.
        pub period: Option<IntOrString>,
        /// False when other queries use this one and it is no answer itself.
        pub return_data: Option<bool>,
    }

    /// A metric and how it is added up.
    pub struct CloudWatchMetricStat {
        /// The metric.
        pub metric: Option<CloudWatchMetricStatMetric>,
        /// Seconds per value.
        pub period: Option<IntOrString>,
        /// How values are added up: Sum, Average and others.
        pub stat: Option<String>,
        /// Unit of the metric.
        pub unit: Option<String>,
    }

    /// A metric of CloudWatch.
    pub struct CloudWatchMetricStatMetric {
        /// Dimensions of the metric.
        pub dimensions: Option<Vec<CloudWatchDimension>>,
        /// Name of the metric.
        pub metric_name: Option<String>,
        /// Namespace of the metric.
        pub namespace: Option<String>,
    }

    /// A dimension of a metric of CloudWatch.
    pub struct CloudWatchDimension {
        /// Name of the dimension.
        pub name: Option<String>,
        /// Value of the dimension.
        pub value: Option<String>,
    }

    /// A query to Graphite.
    pub struct GraphiteMetric {
        /// Address of the server.
        pub address: Option<String>,
        /// The query.
        pub query: Option<String>,
    }

    /// A Flux query to InfluxDB.
    pub struct InfluxdbMetric {
        /// Secret that holds address, token and organisation; default influxdb.
        pub profile: Option<String>,
        /// The query.
        pub query: Option<String>,
    }

    /// A GraphQL query to SkyWalking.
    pub struct SkyWalkingMetric {
        /// Address of the server.
        pub address: Option<String>,
        /// The query.
        pub query: Option<String>,
        /// How far back to look, such as 5m, which is the default.
        pub interval: Option<String>,
    }

    /// A PromQL query to Google Cloud Monitoring; the answer is a list of numbers.
    pub struct GoogleCloudMonitoringMetric {
        /// The project that holds the metrics.
        pub project: Option<String>,
        /// The query, in PromQL.
        pub query: Option<String>,
        /// Secret that holds the key of a service account; default google-cloud-monitoring. Where
        /// there is none, the controller's own identity on Google Cloud asks.
        pub secret_ref: Option<SecretRef>,
    }

    /// A metric selector for Dynatrace; the answer is a list of numbers.
    pub struct DynatraceMetric {
        /// The selector, such as builtin:service.errors.total.rate:filter(…).
        pub metric_selector: Option<String>,
        /// Which entities are looked at.
        pub entity_selector: Option<String>,
        /// How far back to look, such as 5m, which is the default.
        pub interval: Option<String>,
        /// Secret that holds address and api-token; default dynatrace.
        pub secret_ref: Option<SecretRef>,
    }

    /// A metric of an Azure resource; the answer is a list of numbers.
    pub struct AzureMonitorMetric {
        /// The resource: /subscriptions/…/providers/….
        pub resource_id: Option<String>,
        /// Name of the metric.
        pub metric_name: Option<String>,
        /// Namespace of the metric, where the resource has several.
        pub metric_namespace: Option<String>,
        /// How values are added up: Average (default), Total, Count, Minimum or Maximum.
        pub aggregation: Option<String>,
        /// Filter for dimensions, in OData.
        pub filter: Option<String>,
        /// How far back to look, such as 5m, which is the default.
        pub interval: Option<String>,
        /// Secret that holds tenant-id, client-id and client-secret; default azure-monitor.
        pub secret_ref: Option<SecretRef>,
    }

    /// A search in Splunk; the answer is a list of rows.
    pub struct SplunkMetric {
        /// The search, in SPL.
        pub query: Option<String>,
        /// How far back to look, such as 5m, which is the default.
        pub interval: Option<String>,
        /// Secret that holds address and token; default splunk.
        pub secret_ref: Option<SecretRef>,
    }

    /// The custom or external metrics API of the cluster; the answer is a list of numbers. Always in
    /// the namespace of the run.
    pub struct KubernetesMetric {
        /// Name of the metric.
        pub metric: Option<String>,
        /// Label selector for the metric.
        pub selector: Option<String>,
        /// The objects that the metric is about; absent for an external metric.
        pub object: Option<KubernetesMetricObject>,
    }

    /// The objects that a custom metric is about.
    pub struct KubernetesMetricObject {
        /// Resource in the plural, with its group if it has one: pods, services, ingresses.networking.k8s.io.
        pub resource: Option<String>,
        /// Name of one object; not together with selector.
        pub name: Option<String>,
        /// Label selector for objects; not together with name.
        pub selector: Option<String>,
    }

    /// Canary against stable, by Prometheus: a sequential test that may be looked at as often as one
    /// likes. Sets exactly one of success and latency.
    pub struct CompareMetric {
        /// Address of Prometheus; default: the controller's --prometheus.
        pub address: Option<String>,
        /// Matchers of the canary's series: rollouts_pod_template_hash="{{args.canary}}".
        pub canary: Option<String>,
        /// Matchers of stable's series.
        pub stable: Option<String>,
        /// Shares of good events are compared.
        pub success: Option<CompareSuccess>,
        /// Ranks of a histogram's values are compared.
        pub latency: Option<CompareLatency>,
        /// The difference that matters: more bad events (default 1%), or being slower in more than
        /// half of all pairs (default 5%).
        pub effect: Option<String>,
        /// How often a run of a good version may fail, over all its comparisons; default 1%.
        pub false_alarms: Option<String>,
    }

    /// Shares of good events.
    pub struct CompareSuccess {
        /// Counter of the good events, with matchers: tool_calls_total{outcome="success"}.
        pub good: Option<String>,
        /// Counter of all events.
        pub total: Option<String>,
    }

    /// Ranks of a histogram's values.
    pub struct CompareLatency {
        /// Name of the histogram without _bucket, with matchers if need be.
        pub histogram: Option<String>,
    }
}
