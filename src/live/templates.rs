//! Analysis templates as metrics tell of them: what they measure, and with what. Nothing is decided on
//! this view: a turn reads a template when it makes a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::{Deserialize, Deserializer};
use serde_json::Value;

use super::slim::Meta;
use super::stores::ObjectKey;
use super::watch::{Change, Versioned};
use crate::api::analysis::Metric;
use crate::planner::analysis::metric::provider_names;

/// A template, reduced to its metrics; one of the cluster has no namespace.
#[derive(Clone, Debug)]
pub struct SlimTemplate {
    key: ObjectKey,
    version: String,
    metrics: Measured,
}

/// Metrics by name, and the type of each as metrics tell it (contract P16).
pub type Measured = Arc<Vec<(String, &'static str)>>;

impl Versioned for SlimTemplate {
    fn version(&self) -> &str {
        &self.version
    }

    fn namespace(&self) -> &str {
        &self.key.namespace
    }
}

impl<'de> Deserialize<'de> for SlimTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Wire {
            metadata: Meta,
            spec: Value,
        }
        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        let metrics = spec.get("metrics").and_then(Value::as_array);
        // One that cannot be read is told without what it measures.
        let metrics = metrics.into_iter().flatten().filter_map(|metric| {
            let metric = Metric::deserialize(metric).ok()?;
            let kind = provider_names(&metric.provider).first().copied();
            Some((metric.name, kind.unwrap_or_default()))
        });
        Ok(Self {
            key: ObjectKey::new(
                metadata.namespace.as_deref().unwrap_or_default(),
                &metadata.name,
            ),
            version: metadata.resource_version,
            metrics: Arc::new(metrics.collect()),
        })
    }
}

/// Templates of one kind, as its watch tells them.
#[derive(Debug, Default)]
pub struct Templates(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    all: BTreeMap<ObjectKey, Measured>,
    listed: Option<BTreeSet<ObjectKey>>,
}

impl Templates {
    /// A change as the watch tells it.
    pub fn change(&self, change: Change<SlimTemplate>) {
        let mut inner = self.lock();
        match change {
            Change::ListBegins => inner.listed = Some(BTreeSet::new()),
            Change::Listed(object) => {
                if let Some(listed) = &mut inner.listed {
                    listed.insert(object.key.clone());
                }
                inner.all.insert(object.key, object.metrics);
            }
            Change::ListEnds(_) => {
                if let Some(listed) = inner.listed.take() {
                    inner.all.retain(|key, _| listed.contains(key));
                }
            }
            Change::Upsert(object) => {
                inner.all.insert(object.key, object.metrics);
            }
            Change::Remove(object) => {
                inner.all.remove(&object.key);
            }
            Change::Progress(_) => {}
        }
    }

    /// All of them, in order.
    pub fn all(&self) -> Vec<(ObjectKey, Measured)> {
        let inner = self.lock();
        let all = inner.all.iter();
        all.map(|(key, metrics)| (key.clone(), Arc::clone(metrics)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(name: &str) -> SlimTemplate {
        serde_json::from_value(json!({
            "metadata": {"namespace": "n", "name": name, "resourceVersion": "3"},
            "spec": {"metrics": [
                {"name": "rate", "provider": {"prometheus": {"query": "up"}}},
                {"name": 7},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn what_a_list_does_not_show_is_gone() {
        let names = |templates: &Templates| {
            let all = templates.all().into_iter();
            all.map(|(key, _)| key.name.to_string()).collect::<Vec<_>>()
        };
        let templates = Templates::default();
        templates.change(Change::Upsert(template("a")));
        templates.change(Change::Upsert(template("b")));
        assert_eq!(*templates.all()[0].1, [("rate".to_owned(), "Prometheus")]);
        templates.change(Change::ListBegins);
        templates.change(Change::Listed(template("b")));
        templates.change(Change::ListEnds(9));
        assert_eq!(names(&templates), ["b"]);
        templates.change(Change::Remove(template("b")));
        assert_eq!(names(&templates), [""; 0]);
    }
}
