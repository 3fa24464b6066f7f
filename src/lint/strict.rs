//! Reads documents strictly: what is unknown or of the wrong type is a fault with its path and, where
//! there is one, the nearest known name. Knows JSON and JSON schemas, nothing of rollouts.

use serde_json::{Map, Value};

use crate::planner::fault::Fault;

/// The known name nearest to `name`, when it is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let distance = |candidate: &str| strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
    let scored = known
        .into_iter()
        .map(|candidate| (distance(candidate), candidate));
    let (distance, candidate) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + name.chars().count() / 4).then_some(candidate)
}

/// The fault of a field nobody knows.
pub fn unknown<'a>(
    path: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Fault {
    let hint = match nearest(name, known.clone()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => {
            let names: Vec<&str> = known.into_iter().collect();
            format!("known here: {}", names.join(", "))
        }
    };
    Fault {
        path: join(path, name),
        message: format!("unknown field: {hint}"),
    }
}

/// `path.name`, or `name` at the root.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// An object that is read field by field; all faults are kept.
pub struct Fields<'a> {
    /// Where the object stands.
    pub path: String,
    map: Option<&'a Map<String, Value>>,
}

impl<'a> Fields<'a> {
    /// Begins to read `value`, in which the fields `known` may stand.
    pub fn new(path: &str, value: &'a Value, known: &[&str], faults: &mut Vec<Fault>) -> Self {
        let map = value.as_object();
        if map.is_none() && !value.is_null() {
            faults.push(wrong_type(path, value, "an object"));
        }
        for name in map.into_iter().flat_map(Map::keys) {
            if !known.contains(&name.as_str()) {
                faults.push(unknown(path, name, known.iter().copied()));
            }
        }
        Self {
            path: path.to_owned(),
            map,
        }
    }

    /// The field, unless it is absent or null.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.map?.get(name).filter(|value| !value.is_null())
    }

    /// The path of a field.
    pub fn at(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// A text, or a number as it is written.
    pub fn text(&self, name: &str, faults: &mut Vec<Fault>) -> Option<String> {
        let value = self.get(name)?;
        let text = text_of(value);
        if text.is_none() {
            faults.push(wrong_type(&self.at(name), value, "a text"));
        }
        text
    }

    /// A text that `parse` understands.
    pub fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
        faults: &mut Vec<Fault>,
    ) -> Option<T> {
        let text = self.text(name, faults)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                faults.push(Fault {
                    path: self.at(name),
                    message,
                });
                None
            }
        }
    }

    /// A count.
    pub fn count(&self, name: &str, faults: &mut Vec<Fault>) -> Option<u32> {
        let value = self.get(name)?;
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
        if count.is_none() {
            faults.push(wrong_type(
                &self.at(name),
                value,
                "a whole number from 0 on",
            ));
        }
        count
    }
}

/// A scalar as text.
pub fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The fault of a value of the wrong type.
pub fn wrong_type(path: &str, value: &Value, wanted: &str) -> Fault {
    let is = match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Fault {
        path: path.to_owned(),
        message: format!("must be {wanted}, and is {is}: {value:.60}"),
    }
}

/// Compares a document with the schema of its type: unknown fields and wrong types, each with its
/// path. What the schema leaves open is open.
pub fn check(path: &str, value: &Value, schema: &Value, root: &Value, faults: &mut Vec<Fault>) {
    let schema = resolve(schema, root);
    let is_open = schema.get("x-kubernetes-int-or-string").is_some() || value.is_null();
    if is_open {
        return;
    }
    if let Some(wanted) = mismatch(value, schema) {
        faults.push(wrong_type(path, value, wanted));
        return;
    }
    match value {
        Value::Object(map) => check_object(path, map, schema, root, faults),
        Value::Array(items) => {
            let Some(of) = schema.get("items") else {
                return;
            };
            for (i, item) in items.iter().enumerate() {
                check(&format!("{path}[{i}]"), item, of, root, faults);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn check_object(
    path: &str,
    map: &Map<String, Value>,
    schema: &Value,
    root: &Value,
    faults: &mut Vec<Fault>,
) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let others = schema
        .get("additionalProperties")
        .filter(|others| others.is_object());
    let keeps_all = schema.get("x-kubernetes-preserve-unknown-fields").is_some();
    for (name, value) in map {
        let at = join(path, name);
        match (properties.and_then(|known| known.get(name)), others) {
            (Some(of), _) | (None, Some(of)) => check(&at, value, of, root, faults),
            (None, None) if keeps_all || properties.is_none() => {}
            (None, None) => {
                let known: Vec<&str> = properties
                    .into_iter()
                    .flat_map(Map::keys)
                    .map(String::as_str)
                    .collect();
                faults.push(unknown(path, name, known));
            }
        }
    }
}

/// Follows references, and takes the one object schema out of "this or null".
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let found = reference
            .strip_prefix('#')
            .and_then(|pointer| root.pointer(pointer));
        return found.map_or(schema, |found| resolve(found, root));
    }
    let options = ["anyOf", "oneOf", "allOf"]
        .iter()
        .find_map(|key| schema.get(key)?.as_array());
    let mut real = options
        .into_iter()
        .flatten()
        .filter(|option| option.get("type") != Some(&"null".into()));
    match (real.next(), real.next()) {
        (Some(one), None) if schema.get("properties").is_none() => resolve(one, root),
        _ => schema,
    }
}

/// What the schema wants, when the value is of another type.
fn mismatch(value: &Value, schema: &Value) -> Option<&'static str> {
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let fits = types.iter().any(|one| match *one {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => true,
    });
    let wanted = types.iter().find(|one| **one != "null").copied();
    match (fits, wanted) {
        (true, _) | (_, None) => None,
        (false, Some("object")) => Some("an object"),
        (false, Some("array")) => Some("a list"),
        (false, Some("string")) => Some("a text"),
        (false, Some("integer")) => Some("a whole number"),
        (false, Some("number")) => Some("a number"),
        (false, Some(_)) => Some("true or false"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn faults_come_all_at_once_with_the_nearest_name() {
        let schema = json!({
            "type": "object",
            "properties": {
                "steps": {"type": ["array", "null"], "items": {"$ref": "#/$defs/Step"}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}}
            },
            "$defs": {"Step": {"type": "object", "properties": {"setWeight": {"type": "integer"}}}}
        });
        let value =
            json!({"steps": [{"setWieght": 3}, {"setWeight": "3"}], "labels": {"a": 1}, "x": 1});
        let mut faults = Vec::new();
        check("spec", &value, &schema, &schema, &mut faults);
        let mut lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "spec.labels.a: must be a text, and is a number: 1",
                "spec.steps[0].setWieght: unknown field: did you mean \"setWeight\"?",
                "spec.steps[1].setWeight: must be a whole number, and is a text: \"3\"",
                "spec.x: unknown field: known here: labels, steps",
            ]
        );
    }
}
