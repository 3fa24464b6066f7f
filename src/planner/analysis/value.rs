//! What a provider answered, as conditions see it and as `measurement.value` shows it. JSON cannot
//! hold NaN and infinity, which Prometheus answers with; this can. Knows no provider.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

/// A metric's answer. Lists and maps are shared, so that a copy costs nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricValue {
    /// No value.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number; only literals and functions make one, answers hold floats.
    Int(i64),
    /// A number, NaN and infinities included.
    Float(f64),
    /// Text.
    Text(Arc<str>),
    /// A list: a Prometheus vector is a list of floats.
    List(Arc<Vec<MetricValue>>),
    /// An object.
    Map(Arc<BTreeMap<String, MetricValue>>),
}

impl MetricValue {
    /// A list of numbers: what Prometheus answers to an instant or a range query.
    pub fn floats(values: impl IntoIterator<Item = f64>) -> Self {
        Self::List(Arc::new(values.into_iter().map(Self::Float).collect()))
    }

    /// A text.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// The number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(n) => Some(*n as f64),
            Self::Float(f) => Some(*f),
            Self::Nil | Self::Bool(_) | Self::Text(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// The one number that a gauge can show: a number, or the first of a list.
    pub fn first_number(&self) -> Option<f64> {
        match self {
            Self::List(items) => items.first().and_then(Self::as_f64),
            Self::Nil
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Text(_)
            | Self::Map(_) => self.as_f64(),
        }
    }

    /// True where the provider had nothing to say: no value, an empty list, an empty text.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Nil => true,
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Map(_) => false,
        }
    }

    /// True where some number in it is NaN or infinite (one level deep: providers answer no deeper).
    pub fn has_non_finite(&self) -> bool {
        let bad = |v: &Self| v.as_f64().is_some_and(|f| !f.is_finite());
        match self {
            Self::List(items) => items.iter().any(bad),
            Self::Map(map) => map.values().any(bad),
            Self::Nil | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) => bad(self),
        }
    }

    /// The kind in a word, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "string",
            Self::List(_) => "array",
            Self::Map(_) => "map",
        }
    }
}

impl From<f64> for MetricValue {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&Value> for MetricValue {
    /// Numbers become floats, as they are for clients that know this language.
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Nil,
            Value::Bool(b) => Self::Bool(*b),
            Value::Number(n) => Self::Float(n.as_f64().unwrap_or(f64::NAN)),
            Value::String(s) => Self::text(s.as_str()),
            Value::Array(items) => Self::List(Arc::new(items.iter().map(Self::from).collect())),
            Value::Object(map) => Self::Map(Arc::new(
                map.iter()
                    .map(|(k, v)| (k.clone(), Self::from(v)))
                    .collect(),
            )),
        }
    }
}

/// A number as Prometheus writes it: shortest decimal form, `NaN`, `+Inf`, `-Inf`.
pub fn number_text(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        format!("{value}")
    }
}

/// The form of `measurement.value`: `[0.5,0.7]`, `0.5`, `NaN`, JSON for objects.
impl fmt::Display for MetricValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("null"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Float(n) => f.write_str(&number_text(*n)),
            Self::Text(text) => f.write_str(text),
            Self::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        f.write_str(",")?;
                    }
                    write_inner(item, f)?;
                }
                f.write_str("]")
            }
            Self::Map(map) => {
                f.write_str("{")?;
                for (i, (key, item)) in map.iter().enumerate() {
                    if i > 0 {
                        f.write_str(",")?;
                    }
                    write!(f, "{}:", Value::from(key.as_str()))?;
                    write_inner(item, f)?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Inside a list or an object a text is quoted.
fn write_inner(item: &MetricValue, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match item {
        MetricValue::Text(text) => write!(f, "{}", Value::from(text.as_ref())),
        MetricValue::Nil
        | MetricValue::Bool(_)
        | MetricValue::Int(_)
        | MetricValue::Float(_)
        | MetricValue::List(_)
        | MetricValue::Map(_) => write!(f, "{item}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_what_existing_clients_show() {
        for (value, text) in [
            (MetricValue::floats([0.5]), "[0.5]"),
            (
                MetricValue::floats([0.5, f64::NAN, f64::INFINITY]),
                "[0.5,NaN,+Inf]",
            ),
            (MetricValue::floats([]), "[]"),
            (MetricValue::Float(3.0), "3"),
            (MetricValue::Float(f64::NEG_INFINITY), "-Inf"),
            (
                MetricValue::from(&serde_json::json!({"ok": true, "s": "x"})),
                r#"{"ok":true,"s":"x"}"#,
            ),
            (MetricValue::text("plain"), "plain"),
        ] {
            assert_eq!(value.to_string(), text);
        }
    }

    #[test]
    fn emptiness_and_non_finite_numbers_are_seen() {
        assert!(MetricValue::floats([]).is_empty());
        assert!(MetricValue::Nil.is_empty());
        assert!(!MetricValue::Float(0.0).is_empty());
        assert!(MetricValue::floats([1.0, f64::NAN]).has_non_finite());
        assert!(!MetricValue::floats([1.0]).has_non_finite());
        assert_eq!(MetricValue::floats([2.5, 9.0]).first_number(), Some(2.5));
    }
}
