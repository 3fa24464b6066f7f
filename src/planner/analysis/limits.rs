//! How long each provider is waited for. Knows the defaults of contract P1-P11.

use jiff::SignedDuration;

use crate::api::providers::MetricProvider;
use crate::planner::duration;

/// A judgement of Kayenta reads hours of metrics.
const KAYENTA: i64 = 3600;
/// No other answer is waited for longer than this, whatever the metric says.
const LONGEST: i64 = 300;

/// Time after which there is no answer.
pub fn of(provider: &MetricProvider) -> SignedDuration {
    if provider.kayenta.is_some() {
        return SignedDuration::from_secs(KAYENTA);
    }
    let seconds = [
        provider
            .prometheus
            .as_ref()
            .map(|p| p.timeout.unwrap_or(30)),
        provider
            .web
            .as_ref()
            .map(|w| w.timeout_seconds.unwrap_or(10)),
        // The service gets the time that the metric gives it, and a little for the way.
        provider
            .new_relic
            .as_ref()
            .map(|n| n.timeout.filter(|t| *t > 0).unwrap_or(5).saturating_add(5)),
        provider.graphite.as_ref().map(|_| 10),
        provider.wavefront.as_ref().map(|_| 10),
    ];
    let given = seconds.into_iter().flatten().find(|s| *s > 0);
    let datadog = provider.datadog.as_ref().map(|d| {
        let text = d.request_timeout.as_deref().filter(|t| !t.is_empty());
        let millis = duration::parse(text.unwrap_or("10s")).ok();
        millis.filter(|ms| *ms > 0).unwrap_or(10_000)
    });
    let most = SignedDuration::from_secs(LONGEST);
    match datadog {
        Some(millis) => SignedDuration::from_millis(millis).min(most),
        None => SignedDuration::from_secs(given.unwrap_or(30)).min(most),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn each_provider_is_waited_for_as_long_as_clients_expect() {
        for (provider, seconds) in [
            (json!({"prometheus": {}}), 30),
            (json!({"prometheus": {"timeout": 5}}), 5),
            (json!({"prometheus": {"timeout": 9000}}), 300),
            (json!({"web": {"url": ""}}), 10),
            (json!({"web": {"url": "", "timeoutSeconds": 3}}), 3),
            (json!({"graphite": {}}), 10),
            (json!({"newRelic": {"query": ""}}), 10),
            (json!({"datadog": {}}), 10),
            (json!({"datadog": {"requestTimeout": "1m"}}), 60),
            (json!({"kayenta": {}}), 3600),
            (json!({"influxdb": {}}), 30),
        ] as [(Value, i64); 11]
        {
            let provider: MetricProvider = serde_json::from_value(provider).unwrap();
            assert_eq!(of(&provider), SignedDuration::from_secs(seconds));
        }
    }
}
