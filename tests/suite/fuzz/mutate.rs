//! How a seed is broken: as text, or as JSON. The same number breaks it the same way.

use serde_json::{Map, Value, json};

/// Numbers that look random, from one number (splitmix64).
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Below `limit`, which is at least 1.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    pub(super) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// A text from the seeds, broken in one to six places; `words` may be put in.
pub(super) fn text_of(chance: &mut Chance, seeds: &[String], words: &[&str]) -> String {
    let mut text: Vec<char> = chance.pick(seeds).chars().collect();
    for _ in 0..=chance.below(6) {
        let at = chance.below(text.len() + 1);
        let to = (at + chance.below(12)).min(text.len());
        match chance.below(7) {
            0 => drop(text.drain(at..to)),
            1 => drop(text.splice(at..at, chance.pick(words).chars())),
            2 => drop(text.splice(at..to, chance.pick(words).chars())),
            3 => {
                // Deep, or long.
                let part: Vec<char> = text[at..to].to_vec();
                let times = 1 << chance.below(11);
                let many = part.iter().cycle().take(part.len() * times).copied();
                drop(text.splice(at..at, many.collect::<Vec<_>>()));
            }
            4 => {
                let other: Vec<char> = chance.pick(seeds).chars().collect();
                let from = chance.below(other.len() + 1);
                drop(text.splice(at..to, other[from..].iter().copied()));
            }
            5 => text.insert(
                at,
                *chance.pick(&['\0', '\u{7f}', 'ß', '\u{202e}', '🦀', '\u{feff}', '\n']),
            ),
            _ => text.truncate(at),
        }
        text.truncate(60_000);
    }
    text.into_iter().collect()
}

/// A value from the seeds, broken in one to four places.
pub(super) fn value_of(chance: &mut Chance, seeds: &[Value]) -> Value {
    let mut value = chance.pick(seeds).clone();
    for _ in 0..=chance.below(4) {
        let other = chance.pick(seeds).clone();
        let target = node(chance, &mut value);
        broken(chance, target, &other);
    }
    value
}

/// Some node below, sooner a deep one.
fn node<'a>(chance: &mut Chance, value: &'a mut Value) -> &'a mut Value {
    if chance.below(8) == 0 {
        return value;
    }
    let is_leaf = match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    };
    if is_leaf {
        return value;
    }
    match value {
        Value::Object(map) => {
            let at = chance.below(map.len());
            node(chance, map.values_mut().nth(at).unwrap())
        }
        Value::Array(list) => {
            let at = chance.below(list.len());
            node(chance, &mut list[at])
        }
        leaf => leaf,
    }
}

fn broken(chance: &mut Chance, value: &mut Value, other: &Value) {
    match (chance.below(6), &mut *value) {
        (0, Value::Object(map)) if !map.is_empty() => {
            let key = map.keys().nth(chance.below(map.len())).unwrap().clone();
            map.remove(&key);
        }
        (1, Value::Object(map)) => merge(map, other),
        (2, Value::Array(list)) if !list.is_empty() => {
            let one = chance.pick(list).clone();
            let times = 1 << chance.below(7);
            list.extend(std::iter::repeat_n(one, times));
        }
        (3, Value::Array(list)) => list.reverse(),
        (4, Value::String(text)) => {
            let broken = text_of(
                chance,
                std::slice::from_ref(text),
                &["{{", "}}", "$", "%", "-", ".", "/"],
            );
            *text = broken;
        }
        _ => *value = odd(chance),
    }
}

/// Fields of another object of the kind.
fn merge(map: &mut Map<String, Value>, other: &Value) {
    for pointer in ["/spec", "/spec/strategy", "/spec/strategy/canary", ""] {
        if let Some(Value::Object(fields)) = other.pointer(pointer) {
            for (key, value) in fields {
                map.entry(key.clone()).or_insert_with(|| value.clone());
            }
            return;
        }
    }
}

/// Values at the edges.
fn odd(chance: &mut Chance) -> Value {
    let all = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e300),
        json!(100),
        json!(101),
        json!(""),
        json!("-1"),
        json!("0%"),
        json!("99999999999999999999%"),
        json!("1h"),
        json!("\u{202e}x"),
        json!("x".repeat(5_000)),
        json!([]),
        json!([null]),
        json!({}),
        json!({"": ""}),
        json!([[[[[[[[]]]]]]]]),
    ];
    chance.pick(&all).clone()
}
