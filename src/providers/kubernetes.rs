//! The custom and external metrics APIs of the cluster itself: what autoscalers look at. Always in
//! the namespace of the run.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;

use super::http::{Reply, encode};
use super::{Net, Provider, Question, given};
use crate::api::providers::MetricProvider;
use crate::planner::analysis::MetricValue;

/// The provider.
#[derive(Debug)]
pub struct Kubernetes;

const NAME: &str = "the metrics API";

impl Provider for Kubernetes {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.kubernetes.is_some()
    }

    fn identity(&self, _: &Net, asked: &Question) -> Result<String, String> {
        path(asked).map(|path| format!("kubernetes\n{path}"))
    }

    fn measure<'a>(
        &'a self,
        net: &'a Net,
        asked: &'a Question,
    ) -> BoxFuture<'a, Result<MetricValue, String>> {
        async move {
            let cluster = net.cluster.get();
            let cluster = cluster.ok_or("there is no API server to ask here")?;
            let (status, body) = cluster.get(path(asked)?).await?;
            parse(&Reply { status, body })
        }
        .boxed()
    }
}

/// The path to read.
///
/// # Errors
/// A metric without a name, or names that would lead elsewhere.
pub fn path(asked: &Question) -> Result<String, String> {
    let Some(metric) = &asked.provider.kubernetes else {
        return Err("no provider".to_owned());
    };
    let name = segment(
        given(&metric.metric, "kubernetes.metric")?,
        "kubernetes.metric",
    )?;
    let namespace = segment(&asked.namespace, "namespace")?;
    let selector = metric.selector.as_deref().filter(|s| !s.is_empty());
    let Some(object) = &metric.object else {
        let query = selector.map(|s| format!("?{}", encode(&[("labelSelector", s)])));
        return Ok(format!(
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{name}{}",
            query.unwrap_or_default()
        ));
    };
    let resource = given(&object.resource, "kubernetes.object.resource")?;
    let resource = segment(resource, "kubernetes.object.resource")?;
    let of = object.name.as_deref().filter(|n| !n.is_empty());
    let among = object.selector.as_deref().filter(|s| !s.is_empty());
    let mut pairs = Vec::new();
    let which = match (of, among) {
        (Some(_), Some(_)) => {
            return Err("kubernetes.object has name and selector: one of them".to_owned());
        }
        (Some(name), None) => segment(name, "kubernetes.object.name")?,
        (None, Some(selector)) => {
            pairs.push(("labelSelector", selector));
            "*"
        }
        (None, None) => "*",
    };
    pairs.extend(selector.map(|s| ("metricLabelSelector", s)));
    let query = if pairs.is_empty() {
        String::new()
    } else {
        format!("?{}", encode(&pairs))
    };
    Ok(format!(
        "/apis/custom.metrics.k8s.io/v1beta2/namespaces/{namespace}/{resource}/{which}/{name}{query}"
    ))
}

/// One part of a path: the controller's rights must not be lent for another path.
fn segment<'a>(text: &'a str, field: &str) -> Result<&'a str, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '|');
    if text.is_empty() || !text.chars().all(is_plain) || text.starts_with('.') {
        return Err(format!("{field} may hold letters, digits and -_.:| only"));
    }
    Ok(text)
}

/// The values of all items.
///
/// # Errors
/// One sentence of ours.
pub fn parse(reply: &Reply) -> Result<MetricValue, String> {
    #[derive(Deserialize)]
    struct List {
        items: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        value: String,
    }
    match reply.status {
        403 => return Err("the controller may not read that metric: give it a role for custom.metrics.k8s.io and external.metrics.k8s.io (serin deploy generate-rbac)".to_owned()),
        404 => return Err("the cluster has no such metric: an adapter must serve it (HTTP 404)".to_owned()),
        _ => {}
    }
    let list: List = reply.json(NAME)?;
    let values: Option<Vec<f64>> = list.items.iter().map(|i| quantity(&i.value)).collect();
    values
        .map(MetricValue::floats)
        .ok_or_else(|| super::http::strange(NAME))
}

/// A number as Kubernetes writes quantities: `1500m`, `2Ki`, `1e3`.
fn quantity(text: &str) -> Option<f64> {
    let end = text
        .char_indices()
        .find(|(i, c)| {
            let is_exponent = matches!(c, 'e' | 'E')
                && text.get(i.saturating_add(1)..).is_some_and(|t| {
                    t.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-'))
                });
            !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-') || is_exponent)
        })
        .map_or(text.len(), |(i, _)| i);
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|n| n * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::question;
    use super::*;

    #[test]
    fn quantities_are_numbers() {
        for (text, number) in [
            ("500m", 0.5),
            ("2", 2.0),
            ("1.5k", 1500.0),
            ("2Ki", 2048.0),
            ("1e3", 1000.0),
            ("1E", 1e18),
            ("-1", -1.0),
        ] {
            assert_eq!(quantity(text), Some(number), "{text}");
        }
        for text in ["", "m", "1x", "1.2.3"] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }

    #[test]
    fn paths_stay_in_the_namespace_of_the_run() {
        let at = |metric: serde_json::Value| path(&question(json!({ "kubernetes": metric }), &[]));
        assert_eq!(
            at(json!({"metric": "queue_length", "selector": "queue=a"})).unwrap(),
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/queue_length?labelSelector=queue%3Da"
        );
        assert_eq!(
            at(json!({"metric": "rps", "object": {"resource": "pods", "selector": "app=web"}}))
                .unwrap(),
            "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns/pods/*/rps?labelSelector=app%3Dweb"
        );
        for wrong in [
            json!({"metric": ""}),
            json!({"metric": "../../../../api/v1/secrets"}),
            json!({"metric": "a", "object": {"resource": "pods/x"}}),
            json!({"metric": "a", "object": {"resource": "pods", "name": ".."}}),
            json!({"metric": "a", "object": {"resource": "pods", "name": "a", "selector": "b"}}),
        ] {
            assert!(at(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
