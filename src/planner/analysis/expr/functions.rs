//! The functions a condition may call, as one table, and what those do that look at values only.
//! Functions with a predicate (`all`, `filter` …) are evaluated in `eval`.

use super::MetricValue;
use super::eval::Machine;

/// How a function is called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    /// That many values.
    Values(usize),
    /// At least one value.
    Many,
    /// A list and a predicate.
    Predicate,
    /// A list, and a predicate if wanted.
    MaybePredicate,
}

impl Shape {
    pub(super) fn has_predicate(self) -> bool {
        match self {
            Self::Predicate | Self::MaybePredicate => true,
            Self::Values(_) | Self::Many => false,
        }
    }

    pub(super) fn fits(self, args: usize, predicate: bool) -> bool {
        match self {
            Self::Values(n) => args == n,
            Self::Many => args > 0,
            Self::Predicate => args == 1 && predicate,
            Self::MaybePredicate => args == 1,
        }
    }

    pub(super) fn describe(self) -> String {
        match self {
            Self::Values(1) => "one value".to_owned(),
            Self::Values(n) => format!("{n} values"),
            Self::Many => "at least one value".to_owned(),
            Self::Predicate => "a list and a predicate".to_owned(),
            Self::MaybePredicate => "a list and perhaps a predicate".to_owned(),
        }
    }
}

/// Every function.
const TABLE: [(&str, Shape); 45] = [
    ("asInt", Shape::Values(1)),
    ("asFloat", Shape::Values(1)),
    ("isNaN", Shape::Values(1)),
    ("isInf", Shape::Values(1)),
    ("isNil", Shape::Values(1)),
    ("default", Shape::Values(2)),
    ("len", Shape::Values(1)),
    ("abs", Shape::Values(1)),
    ("ceil", Shape::Values(1)),
    ("floor", Shape::Values(1)),
    ("round", Shape::Values(1)),
    ("int", Shape::Values(1)),
    ("float", Shape::Values(1)),
    ("string", Shape::Values(1)),
    ("type", Shape::Values(1)),
    ("max", Shape::Many),
    ("min", Shape::Many),
    ("mean", Shape::Many),
    ("median", Shape::Many),
    ("first", Shape::Values(1)),
    ("last", Shape::Values(1)),
    ("keys", Shape::Values(1)),
    ("values", Shape::Values(1)),
    ("sort", Shape::Values(1)),
    ("reverse", Shape::Values(1)),
    ("uniq", Shape::Values(1)),
    ("flatten", Shape::Values(1)),
    ("concat", Shape::Many),
    ("take", Shape::Values(2)),
    ("get", Shape::Values(2)),
    ("lower", Shape::Values(1)),
    ("upper", Shape::Values(1)),
    ("trim", Shape::Values(1)),
    ("split", Shape::Values(2)),
    ("hasPrefix", Shape::Values(2)),
    ("hasSuffix", Shape::Values(2)),
    ("all", Shape::Predicate),
    ("any", Shape::Predicate),
    ("none", Shape::Predicate),
    ("one", Shape::Predicate),
    ("filter", Shape::Predicate),
    ("map", Shape::Predicate),
    ("find", Shape::Predicate),
    ("count", Shape::MaybePredicate),
    ("sum", Shape::MaybePredicate),
];

/// The function of that name.
pub(super) fn shape(name: &str) -> Option<(&'static str, Shape)> {
    TABLE.iter().find(|(n, _)| *n == name).copied()
}

use MetricValue::{Bool, Float, Int, List, Map, Nil, Text};

/// Calls a function without predicate.
pub(super) fn call(
    machine: &mut Machine<'_>,
    name: &str,
    args: &[MetricValue],
) -> Result<MetricValue, String> {
    let none = Nil;
    let x = args.first().unwrap_or(&none);
    let y = args.get(1).unwrap_or(&none);
    let misuse = || Err(format!("{name}() has no meaning for {}", x.kind()));
    let number = |f: fn(f64) -> f64| match x.as_f64() {
        Some(n) => Ok(Float(f(n))),
        None => misuse(),
    };
    match (name, x) {
        ("asInt" | "int", _) => as_int(x).map(Int).ok_or_else(|| cannot(name, x)),
        ("asFloat" | "float", _) => as_float(x).map(Float).ok_or_else(|| cannot(name, x)),
        ("isNaN", Int(_) | Float(_)) => Ok(Bool(x.as_f64().is_some_and(f64::is_nan))),
        ("isInf", Int(_) | Float(_)) => Ok(Bool(x.as_f64().is_some_and(f64::is_infinite))),
        // These two look at the whole result, whatever they are given: clients rely on it (N5).
        ("isNil", _) => Ok(Bool(machine.result.is_empty())),
        ("default", _) => Ok(if machine.result.is_empty() {
            y.clone()
        } else {
            machine.result.clone()
        }),
        ("len", Text(text)) => Ok(count(text.chars().count())),
        ("len", List(items)) => Ok(count(items.len())),
        ("len", Map(map)) => Ok(count(map.len())),
        ("abs", Int(n)) => Ok(Int(n.saturating_abs())),
        ("abs", _) => number(f64::abs),
        ("ceil", _) => number(f64::ceil),
        ("floor", _) => number(f64::floor),
        ("round", _) => number(f64::round),
        ("string", _) => machine.made_text(x.to_string()),
        ("type", _) => Ok(MetricValue::text(x.kind())),
        ("max", _) => fold(name, args, |a, b| if b > a || a.is_nan() { b } else { a }),
        ("min", _) => fold(name, args, |a, b| if b < a || a.is_nan() { b } else { a }),
        ("mean", _) => {
            let all = numbers(name, args)?;
            if all.is_empty() {
                Err("mean() of nothing".to_owned())
            } else {
                Ok(Float(all.iter().sum::<f64>() / all.len() as f64))
            }
        }
        ("median", _) => median(numbers(name, args)?),
        ("first", List(items)) => Ok(items.first().cloned().unwrap_or(Nil)),
        ("last", List(items)) => Ok(items.last().cloned().unwrap_or(Nil)),
        ("keys", Map(map)) => {
            machine.made_list(map.keys().map(|k| MetricValue::text(k.as_str())).collect())
        }
        ("values", Map(map)) => machine.made_list(map.values().cloned().collect()),
        ("sort", List(_)) => {
            let mut all = numbers(name, args)?;
            all.sort_by(f64::total_cmp);
            machine.made_list(all.into_iter().map(Float).collect())
        }
        ("reverse", List(items)) => machine.made_list(items.iter().rev().cloned().collect()),
        ("uniq", List(items)) => uniq(machine, items),
        ("flatten" | "concat", _) => concat(machine, name, args),
        ("take", List(items)) => {
            let n = as_int(y).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
            machine.made_list(items.iter().take(n).cloned().collect())
        }
        ("get", _) => Ok(machine.member(x, y).unwrap_or(Nil)),
        ("lower", Text(text)) => machine.made_text(text.to_lowercase()),
        ("upper", Text(text)) => machine.made_text(text.to_uppercase()),
        ("trim", Text(text)) => machine.made_text(text.trim().to_owned()),
        ("split", Text(text)) => match y {
            Text(by) if !by.is_empty() => {
                machine.made_list(text.split(by.as_ref()).map(MetricValue::text).collect())
            }
            _ => Err("split() needs a separator".to_owned()),
        },
        ("hasPrefix", Text(text)) => Ok(Bool(matches!(y, Text(p) if text.starts_with(p.as_ref())))),
        ("hasSuffix", Text(text)) => Ok(Bool(matches!(y, Text(p) if text.ends_with(p.as_ref())))),
        _ => misuse(),
    }
}

fn cannot(name: &str, x: &MetricValue) -> String {
    match x {
        Text(_) => format!("{name}() cannot read the text as a number"),
        Nil | Bool(_) | Int(_) | Float(_) | List(_) | Map(_) => {
            format!("{name}() has no meaning for {}", x.kind())
        }
    }
}

fn count(n: usize) -> MetricValue {
    Int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// Whole part of a number, or of a text that is a whole number.
fn as_int(x: &MetricValue) -> Option<i64> {
    match x {
        Int(n) => Some(*n),
        Float(f) if f.is_finite() => Some(*f as i64),
        Text(text) => text.trim().parse().ok(),
        Float(_) | Nil | Bool(_) | List(_) | Map(_) => None,
    }
}

fn as_float(x: &MetricValue) -> Option<f64> {
    match x {
        Text(text) => text.trim().parse().ok(),
        Int(_) | Float(_) | Nil | Bool(_) | List(_) | Map(_) => x.as_f64(),
    }
}

/// Numbers among the arguments; one level of lists is opened.
fn numbers(name: &str, args: &[MetricValue]) -> Result<Vec<f64>, String> {
    let mut all = Vec::new();
    for arg in args {
        match arg {
            List(items) => {
                for item in items.iter() {
                    all.push(item.as_f64().ok_or_else(|| cannot(name, item))?);
                }
            }
            Nil | Bool(_) | Int(_) | Float(_) | Text(_) | Map(_) => {
                all.push(arg.as_f64().ok_or_else(|| cannot(name, arg))?);
            }
        }
    }
    Ok(all)
}

fn fold(
    name: &str,
    args: &[MetricValue],
    pick: fn(f64, f64) -> f64,
) -> Result<MetricValue, String> {
    let all = numbers(name, args)?;
    all.into_iter()
        .reduce(pick)
        .map(Float)
        .ok_or_else(|| format!("{name}() of nothing"))
}

fn median(mut all: Vec<f64>) -> Result<MetricValue, String> {
    all.sort_by(f64::total_cmp);
    let upper = all.get(all.len() / 2).copied();
    let lower = all.get(all.len().saturating_sub(1) / 2).copied();
    match (lower, upper) {
        (Some(a), Some(b)) => Ok(Float((a + b) / 2.0)),
        _ => Err("median() of nothing".to_owned()),
    }
}

fn uniq(machine: &mut Machine<'_>, items: &[MetricValue]) -> Result<MetricValue, String> {
    let mut kept: Vec<MetricValue> = Vec::new();
    for item in items {
        machine.spend(kept.len() as u64)?;
        if !kept.contains(item) {
            kept.push(item.clone());
        }
    }
    machine.made_list(kept)
}

/// One level of lists opened into one list.
fn concat(
    machine: &mut Machine<'_>,
    name: &str,
    args: &[MetricValue],
) -> Result<MetricValue, String> {
    let outer: Vec<MetricValue> = match (name, args) {
        ("flatten", [List(items)]) => items.to_vec(),
        _ => args.to_vec(),
    };
    let mut all = Vec::new();
    for item in outer {
        match item {
            List(items) => {
                machine.spend(items.len() as u64)?;
                all.extend(items.iter().cloned());
            }
            other => all.push(other),
        }
    }
    machine.made_list(all)
}
