//! A pod template as the user wrote it. It is never decoded into a typed PodTemplateSpec and
//! encoded again: fields that this build does not know would be lost on the way.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Raw JSON of a pod template; cloning it is cheap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodTemplate(Arc<Value>);

impl PodTemplate {
    /// Wraps the JSON of a template.
    pub fn new(template: Value) -> Self {
        Self(Arc::new(template))
    }

    /// The template as it was written.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Labels of the pods; entries that are not strings are left out.
    pub fn labels(&self) -> BTreeMap<String, String> {
        strings(&self.0, "labels")
    }

    /// Annotations of the pods; entries that are not strings are left out.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        strings(&self.0, "annotations")
    }

    /// The containers in their order; empty when there are none or the field is malformed.
    pub fn containers(&self) -> Vec<Container<'_>> {
        let list = self.0.pointer("/spec/containers").and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .map(Container)
            .collect()
    }
}

impl From<Value> for PodTemplate {
    fn from(template: Value) -> Self {
        Self::new(template)
    }
}

/// One container of a pod template.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Container<'a>(&'a Map<String, Value>);

impl<'a> Container<'a> {
    /// Its name; empty when it is missing.
    pub fn name(&self) -> &'a str {
        self.text("name")
    }

    /// Its image; empty when it is missing.
    pub fn image(&self) -> &'a str {
        self.text("image")
    }

    /// The container as it was written.
    pub fn value(&self) -> &'a Map<String, Value> {
        self.0
    }

    fn text(&self, key: &str) -> &'a str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }
}

fn strings(template: &Value, field: &str) -> BTreeMap<String, String> {
    let map = template
        .get("metadata")
        .and_then(|m| m.get(field))
        .and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

impl JsonSchema for PodTemplate {
    fn schema_name() -> Cow<'static, str> {
        "PodTemplate".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        super::schema::pod_template()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::PodTemplate;

    #[test]
    fn reads_what_is_there() {
        let template = PodTemplate::new(json!({
            "metadata": {"labels": {"app": "web", "odd": 1}},
            "spec": {"containers": [{"name": "app", "image": "web:1"}, {"name": "side"}, 5]},
        }));
        assert_eq!(
            template.labels(),
            BTreeMap::from([("app".into(), "web".into())])
        );
        assert_eq!(template.annotations(), BTreeMap::new());
        let containers: Vec<_> = template
            .containers()
            .iter()
            .map(|c| (c.name(), c.image()))
            .collect();
        assert_eq!(containers, [("app", "web:1"), ("side", "")]);
    }

    #[test]
    fn malformed_is_empty() {
        for json in [
            json!(null),
            json!([]),
            json!({"metadata": 1, "spec": {"containers": {}}}),
        ] {
            let template = PodTemplate::new(json);
            assert!(template.labels().is_empty() && template.containers().is_empty());
        }
    }
}
