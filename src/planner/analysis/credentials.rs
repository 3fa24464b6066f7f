//! Which keys of which Secret a provider asks with. Names and defaults are those that existing
//! Secrets have (contract P4-P10). Knows no value.

use super::run::{KeyNeed, Source};
use crate::api::providers::{MetricProvider, SecretRef};

/// A key that a provider asks with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// What the provider calls it.
    pub name: &'static str,
    /// Where it is.
    pub need: KeyNeed,
    /// Nothing can be asked without it.
    pub is_required: bool,
}

/// Every key that a provider asks with.
pub fn of(provider: &MetricProvider) -> Vec<Credential> {
    let mut all = Vec::new();
    let mut add =
        |source: Source, secret: &str, required: &[&'static str], optional: &[&'static str]| {
            let one = |name: &'static str, is_required: bool| Credential {
                name,
                need: KeyNeed {
                    source,
                    name: secret.to_owned(),
                    key: name.to_owned(),
                },
                is_required,
            };
            all.extend(required.iter().map(|name| one(name, true)));
            all.extend(optional.iter().map(|name| one(name, false)));
        };
    let own = Source::ControllerSecret;
    if let Some(datadog) = &provider.datadog {
        let (source, name) = place(datadog.secret_ref.as_ref(), "datadog");
        add(source, name, &["api-key", "app-key"], &["address"]);
    }
    if let Some(new_relic) = &provider.new_relic {
        let name = named(new_relic.profile.as_deref(), "newrelic");
        let optional = ["region", "base-url-rest", "base-url-nerdgraph"];
        add(own, name, &["personal-api-key", "account-id"], &optional);
    }
    if let Some(influxdb) = &provider.influxdb {
        let name = named(influxdb.profile.as_deref(), "influxdb");
        add(own, name, &["address", "authToken", "org"], &[]);
    }
    if let Some(google) = &provider.google_cloud_monitoring {
        let (source, name) = place(google.secret_ref.as_ref(), "google-cloud-monitoring");
        add(source, name, &[], &["service-account.json", "address"]);
    }
    if let Some(dynatrace) = &provider.dynatrace {
        let (source, name) = place(dynatrace.secret_ref.as_ref(), "dynatrace");
        add(source, name, &["address", "api-token"], &[]);
    }
    if let Some(azure) = &provider.azure_monitor {
        let (source, name) = place(azure.secret_ref.as_ref(), "azure-monitor");
        let required = ["tenant-id", "client-id", "client-secret"];
        add(source, name, &required, &["address", "login-address"]);
    }
    if let Some(splunk) = &provider.splunk {
        let (source, name) = place(splunk.secret_ref.as_ref(), "splunk");
        add(source, name, &["address", "token"], &[]);
    }
    if let Some(wavefront) = &provider.wavefront {
        // The token belongs to the address: its host is the key. A port follows after `_`, since a
        // key may not hold a colon.
        let address = wavefront.address.as_deref().unwrap_or_default();
        let host = address.rsplit("://").next().unwrap_or_default();
        all.push(Credential {
            name: "token",
            need: KeyNeed {
                source: own,
                name: "wavefront-api-tokens".to_owned(),
                key: host.trim_end_matches('/').replace(':', "_"),
            },
            is_required: true,
        });
    }
    all
}

fn named<'a>(given: Option<&'a str>, default: &'a str) -> &'a str {
    given.filter(|n| !n.is_empty()).unwrap_or(default)
}

/// The Secret of a provider: in the controller's namespace, unless it says `namespaced`.
fn place<'a>(secret: Option<&'a SecretRef>, default: &'a str) -> (Source, &'a str) {
    let name = named(secret.and_then(|s| s.name.as_deref()), default);
    match secret.and_then(|s| s.namespaced) {
        Some(true) => (Source::Secret, name),
        Some(false) | None => (Source::ControllerSecret, name),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn keys(provider: Value) -> Vec<String> {
        let provider: MetricProvider = serde_json::from_value(provider).unwrap();
        of(&provider)
            .into_iter()
            .map(|c| {
                let place = match c.need.source {
                    Source::Secret => "run",
                    Source::ControllerSecret => "controller",
                    Source::ConfigMap => "configmap",
                };
                let mark = if c.is_required { "" } else { "?" };
                format!("{place}/{}/{}{mark}", c.need.name, c.need.key)
            })
            .collect()
    }

    #[test]
    fn secrets_have_the_names_that_existing_ones_have() {
        for (provider, expected) in [
            (
                json!({"datadog": {}}),
                "controller/datadog/api-key controller/datadog/app-key controller/datadog/address?",
            ),
            (
                json!({"datadog": {"secretRef": {"name": "dd", "namespaced": true}}}),
                "run/dd/api-key run/dd/app-key run/dd/address?",
            ),
            (
                json!({"influxdb": {"profile": "mine"}}),
                "controller/mine/address controller/mine/authToken controller/mine/org",
            ),
            (
                json!({"wavefront": {"address": "https://x.wavefront.com/"}}),
                "controller/wavefront-api-tokens/x.wavefront.com",
            ),
            (json!({"prometheus": {}}), ""),
        ] {
            assert_eq!(keys(provider).join(" "), expected);
        }
        assert!(keys(json!({"newRelic": {}}))[0].starts_with("controller/newrelic/"));
    }
}
