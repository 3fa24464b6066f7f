//! Evaluates a parsed condition within a budget. Knows what operators mean; total for every tree
//! and every value.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::functions;
use super::parse::Node;
use super::{MAX_STEPS, MetricValue};

use MetricValue::{Bool, Float, Int, List, Map, Nil, Text};

/// Why evaluation stopped: a fault, or `?.` met nil and the chain is nil.
enum Stop {
    Fault(String),
    ChainIsNil,
}

impl From<String> for Stop {
    fn from(message: String) -> Self {
        Self::Fault(message)
    }
}

fn fault<T>(message: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fault(message.into()))
}

/// Evaluates a tree over `result`.
pub(super) fn run(tree: &Node, result: &MetricValue) -> Result<MetricValue, String> {
    let mut machine = Machine {
        result: result.clone(),
        names: Vec::new(),
        elements: Vec::new(),
        steps: 0,
    };
    machine.eval(tree).map_err(|stop| match stop {
        Stop::Fault(message) => message,
        Stop::ChainIsNil => "nil".to_owned(),
    })
}

/// Reads a pattern of `matches`.
pub(super) fn pattern(text: &str) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(text)
        .size_limit(1 << 20)
        .build()
        .map_err(|_| format!("pattern {text:?} cannot be read"))
}

/// An element that a predicate looks at.
struct Element {
    item: MetricValue,
    index: i64,
}

/// The state of one evaluation.
pub(super) struct Machine<'a> {
    pub(super) result: MetricValue,
    names: Vec<(&'a str, MetricValue)>,
    elements: Vec<Element>,
    steps: u64,
}

impl<'a> Machine<'a> {
    /// Takes steps from the budget.
    pub(super) fn spend(&mut self, steps: u64) -> Result<(), String> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MAX_STEPS {
            return Err(format!("takes more than {MAX_STEPS} steps"));
        }
        Ok(())
    }

    /// A new list, paid for.
    pub(super) fn made_list(&mut self, items: Vec<MetricValue>) -> Result<MetricValue, String> {
        self.spend(items.len() as u64)?;
        Ok(List(Arc::new(items)))
    }

    /// A new text, paid for.
    pub(super) fn made_text(&mut self, text: String) -> Result<MetricValue, String> {
        self.spend((text.len() / 8) as u64)?;
        Ok(MetricValue::text(text))
    }

    fn eval(&mut self, node: &'a Node) -> Result<MetricValue, Stop> {
        self.spend(1)?;
        match node {
            Node::Literal(value) => Ok(value.clone()),
            Node::Name(name) => Ok(self.name(name)),
            Node::Hash(hash) => self.hash(hash),
            Node::Unary(name, of) => {
                let value = self.eval(of)?;
                unary(name, &value)
            }
            Node::Binary(name, left, right) => self.binary(name, left, right),
            Node::Ternary(condition, yes, no) => match self.eval(condition)? {
                Bool(true) => self.eval(yes),
                Bool(false) => self.eval(no),
                other => fault(format!("? needs true or false, found {}", other.kind())),
            },
            Node::List(items) => {
                let items = items
                    .iter()
                    .map(|n| self.eval(n))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(self.made_list(items)?)
            }
            Node::Map(items) => {
                let mut map = BTreeMap::new();
                for (key, node) in items {
                    map.insert(key.clone(), self.eval(node)?);
                }
                Ok(Map(Arc::new(map)))
            }
            Node::Member(of, key, optional) => {
                let of = self.eval(of)?;
                if *optional && of == Nil {
                    return Err(Stop::ChainIsNil);
                }
                let key = self.eval(key)?;
                Ok(self.member(&of, &key)?)
            }
            Node::Slice(of, from, to) => self.slice(of, from.as_deref(), to.as_deref()),
            Node::Chain(inner) => match self.eval(inner) {
                Err(Stop::ChainIsNil) => Ok(Nil),
                other => other,
            },
            Node::Call(name, args, None) => {
                let args = args
                    .iter()
                    .map(|n| self.eval(n))
                    .collect::<Result<Vec<_>, _>>()?;
                match (*name, args.as_slice()) {
                    ("count", [List(items)]) => Ok(Int(items
                        .iter()
                        .filter(|v| **v == Bool(true))
                        .count() as i64)),
                    ("sum", [List(items)]) => sum(items.iter()),
                    _ => Ok(functions::call(self, name, &args)?),
                }
            }
            Node::Call(name, args, Some(predicate)) => self.with_predicate(name, args, predicate),
            Node::Let(name, value, body) => {
                let value = self.eval(value)?;
                self.names.push((name, value));
                let body = self.eval(body);
                self.names.pop();
                body
            }
        }
    }

    fn name(&self, name: &str) -> MetricValue {
        let bound = self.names.iter().rev().find(|(n, _)| *n == name);
        bound.map_or_else(|| self.result.clone(), |(_, value)| value.clone())
    }

    fn hash(&self, hash: &str) -> Result<MetricValue, Stop> {
        let Some(element) = self.elements.last() else {
            return fault("# has no element");
        };
        Ok(match hash {
            "#index" => Int(element.index),
            _ => element.item.clone(),
        })
    }

    fn binary(&mut self, name: &str, left: &'a Node, right: &'a Node) -> Result<MetricValue, Stop> {
        let a = self.eval(left)?;
        match (name, &a) {
            ("&&", Bool(false)) | ("||", Bool(true)) => return Ok(a),
            ("&&" | "||", Bool(_)) => {
                return match self.eval(right)? {
                    Bool(b) => Ok(Bool(b)),
                    other => fault(format!(
                        "{name} needs true or false, found {}",
                        other.kind()
                    )),
                };
            }
            ("&&" | "||", _) => {
                return fault(format!("{name} needs true or false, found {}", a.kind()));
            }
            ("??", Nil) => return self.eval(right),
            ("??", _) => return Ok(a),
            _ => {}
        }
        let b = self.eval(right)?;
        if name == "matches" {
            let (Text(text), Some(p)) = (&a, right.literal_text()) else {
                return fault(format!("matches has no meaning for {}", a.kind()));
            };
            self.spend((text.len() / 8) as u64)?;
            return Ok(Bool(pattern(p)?.is_match(text)));
        }
        self.operate(name, &a, &b)
    }

    fn operate(
        &mut self,
        name: &str,
        a: &MetricValue,
        b: &MetricValue,
    ) -> Result<MetricValue, Stop> {
        let misuse = || {
            fault(format!(
                "{name} has no meaning between {} and {}",
                a.kind(),
                b.kind()
            ))
        };
        match name {
            "==" => return self.equal(a, b).map(Bool),
            "!=" => return self.equal(a, b).map(|e| Bool(!e)),
            "in" => {
                return self
                    .contained(b, a)
                    .map_or_else(misuse, |found| found.map(Bool));
            }
            "contains" => {
                return self
                    .contained(a, b)
                    .map_or_else(misuse, |found| found.map(Bool));
            }
            _ => {}
        }
        match (name, a, b) {
            ("+", Text(a), Text(b)) => Ok(self.made_text(format!("{a}{b}"))?),
            ("startsWith", Text(a), Text(b)) => Ok(Bool(a.starts_with(b.as_ref()))),
            ("endsWith", Text(a), Text(b)) => Ok(Bool(a.ends_with(b.as_ref()))),
            ("<" | ">" | "<=" | ">=", Text(a), Text(b)) => Ok(Bool(order(name, Some(a.cmp(b))))),
            ("..", Int(a), Int(b)) => {
                let items = (*a..=*b).take(MAX_STEPS as usize).map(Int).collect();
                Ok(self.made_list(items)?)
            }
            (_, Int(a), Int(b)) => integers(name, *a, *b).map_or_else(misuse, Ok),
            _ => match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => floats(name, a, b).map_or_else(misuse, Ok),
                _ => misuse(),
            },
        }
    }

    /// Equality; numbers compare as numbers whatever their kind, other kinds differ.
    fn equal(&mut self, a: &MetricValue, b: &MetricValue) -> Result<bool, Stop> {
        if let (List(a), List(_)) = (a, b) {
            self.spend(a.len() as u64)?;
        }
        Ok(same(a, b))
    }

    /// Whether `all` has `one`; `None` where the question has no meaning.
    fn contained(&mut self, all: &MetricValue, one: &MetricValue) -> Option<Result<bool, Stop>> {
        match (all, one) {
            (List(items), _) => {
                if let Err(message) = self.spend(items.len() as u64) {
                    return Some(fault(message));
                }
                Some(Ok(items.iter().any(|item| same(item, one))))
            }
            (Map(map), Text(key)) => Some(Ok(map.contains_key(key.as_ref()))),
            (Text(text), Text(part)) => Some(Ok(text.contains(part.as_ref()))),
            (Nil, _) => Some(Ok(false)),
            _ => None,
        }
    }

    /// `of.key`, `of[key]`: a missing key of an object is nil, a missing index is a fault.
    pub(super) fn member(
        &mut self,
        of: &MetricValue,
        key: &MetricValue,
    ) -> Result<MetricValue, String> {
        match (of, key) {
            (Map(map), Text(key)) => Ok(map.get(key.as_ref()).cloned().unwrap_or(Nil)),
            (List(items), Int(_) | Float(_)) => {
                let index = key.as_f64().map_or(i64::MAX, |f| f as i64);
                let at = if index < 0 {
                    index.saturating_add_unsigned(items.len() as u64)
                } else {
                    index
                };
                usize::try_from(at)
                    .ok()
                    .and_then(|at| items.get(at))
                    .cloned()
                    .ok_or_else(|| {
                        format!(
                            "index out of range: {index} (array length is {})",
                            items.len()
                        )
                    })
            }
            (Text(text), Int(at)) => {
                let c = usize::try_from(*at)
                    .ok()
                    .and_then(|at| text.chars().nth(at));
                c.map(|c| MetricValue::text(c.to_string()))
                    .ok_or_else(|| format!("index out of range: {at}"))
            }
            _ => Err(format!("cannot fetch {key} from {}", of.kind())),
        }
    }

    fn slice(
        &mut self,
        of: &'a Node,
        from: Option<&'a Node>,
        to: Option<&'a Node>,
    ) -> Result<MetricValue, Stop> {
        let of = self.eval(of)?;
        let bound = |machine: &mut Self, node: Option<&'a Node>, missing: i64| match node {
            None => Ok(missing),
            Some(node) => match machine.eval(node)? {
                Int(n) => Ok(n),
                other => fault(format!(
                    "a slice needs whole numbers, found {}",
                    other.kind()
                )),
            },
        };
        let from = bound(self, from, 0)?;
        let to = bound(self, to, i64::MAX)?;
        let range = |length: usize| {
            let at = |n: i64| {
                let n = if n < 0 {
                    n.saturating_add_unsigned(length as u64)
                } else {
                    n
                };
                usize::try_from(n.max(0)).unwrap_or(usize::MAX).min(length)
            };
            at(from)..at(to).max(at(from))
        };
        match &of {
            List(items) => {
                let part = items.get(range(items.len())).unwrap_or_default().to_vec();
                Ok(self.made_list(part)?)
            }
            Text(text) => {
                let chars: Vec<char> = text.chars().collect();
                let part = chars
                    .get(range(chars.len()))
                    .unwrap_or_default()
                    .iter()
                    .collect();
                Ok(self.made_text(part)?)
            }
            other => fault(format!("cannot slice {}", other.kind())),
        }
    }

    fn with_predicate(
        &mut self,
        name: &str,
        args: &'a [Node],
        predicate: &'a Node,
    ) -> Result<MetricValue, Stop> {
        let Some(list) = args.first() else {
            return fault("no list");
        };
        let items = match self.eval(list)? {
            List(items) => items,
            Map(map) => Arc::new(map.values().cloned().collect()),
            other => return fault(format!("{name}() needs a list, found {}", other.kind())),
        };
        match name {
            "map" | "sum" => {
                let mut mapped = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    mapped.push(self.on(predicate, item, index)?);
                }
                if name == "sum" {
                    sum(mapped.iter())
                } else {
                    Ok(self.made_list(mapped)?)
                }
            }
            _ => self.search(name, &items, predicate),
        }
    }

    fn search(
        &mut self,
        name: &str,
        items: &[MetricValue],
        predicate: &'a Node,
    ) -> Result<MetricValue, Stop> {
        let mut hits = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let hit = match self.on(predicate, item, index)? {
                Bool(hit) => hit,
                other => {
                    return fault(format!(
                        "{name}() needs a predicate that is true or false, found {}",
                        other.kind()
                    ));
                }
            };
            match (name, hit) {
                ("all", false) | ("none", true) => return Ok(Bool(false)),
                ("any", true) => return Ok(Bool(true)),
                ("find", true) => return Ok(item.clone()),
                (_, true) => hits.push(item.clone()),
                (_, false) => {}
            }
        }
        Ok(match name {
            "all" | "none" => Bool(true),
            "any" => Bool(false),
            "one" => Bool(hits.len() == 1),
            "count" => Int(hits.len() as i64),
            "filter" => self.made_list(hits)?,
            _ => Nil,
        })
    }

    fn on(
        &mut self,
        predicate: &'a Node,
        item: &MetricValue,
        index: usize,
    ) -> Result<MetricValue, Stop> {
        self.elements.push(Element {
            item: item.clone(),
            index: index as i64,
        });
        let value = self.eval(predicate);
        self.elements.pop();
        value
    }
}

fn same(a: &MetricValue, b: &MetricValue) -> bool {
    match (a, b) {
        (Int(a), Int(b)) => a == b,
        (List(a), List(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b)),
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a == b,
            _ => a == b,
        },
    }
}

fn unary(name: &str, value: &MetricValue) -> Result<MetricValue, Stop> {
    match (name, value) {
        ("!", Bool(b)) => Ok(Bool(!b)),
        ("-", Int(n)) => Ok(Int(n.saturating_neg())),
        ("-", Float(f)) => Ok(Float(-f)),
        ("+", Int(_) | Float(_)) => Ok(value.clone()),
        _ => fault(format!("{name} has no meaning for {}", value.kind())),
    }
}

fn order(name: &str, order: Option<std::cmp::Ordering>) -> bool {
    match name {
        "<" => order.is_some_and(std::cmp::Ordering::is_lt),
        ">" => order.is_some_and(std::cmp::Ordering::is_gt),
        "<=" => order.is_some_and(std::cmp::Ordering::is_le),
        _ => order.is_some_and(std::cmp::Ordering::is_ge),
    }
}

/// Whole numbers stay whole except under `/` and `**`; overflow goes over to floats.
fn integers(name: &str, a: i64, b: i64) -> Option<MetricValue> {
    let exact = match name {
        "+" => a.checked_add(b),
        "-" => a.checked_sub(b),
        "*" => a.checked_mul(b),
        "%" => return a.checked_rem(b).map(Int),
        _ => None,
    };
    exact.map(Int).or_else(|| floats(name, a as f64, b as f64))
}

fn floats(name: &str, a: f64, b: f64) -> Option<MetricValue> {
    match name {
        "+" => Some(Float(a + b)),
        "-" => Some(Float(a - b)),
        "*" => Some(Float(a * b)),
        "/" => Some(Float(a / b)),
        "**" => Some(Float(a.powf(b))),
        "<" | ">" | "<=" | ">=" => Some(Bool(order(name, a.partial_cmp(&b)))),
        _ => None,
    }
}

fn sum<'v>(items: impl Iterator<Item = &'v MetricValue>) -> Result<MetricValue, Stop> {
    let mut total = 0.0;
    for item in items {
        match item.as_f64() {
            Some(n) => total += n,
            None => return fault(format!("sum() has no meaning for {}", item.kind())),
        }
    }
    Ok(Float(total))
}
