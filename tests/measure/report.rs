//! What was measured: rows as they come for people, all of them in JSON for programs.

use std::fs;

use serde_json::{Map, Value, json};

/// Rows by part.
pub(crate) struct Report {
    parts: Map<String, Value>,
    part: String,
    /// Values over their limits, as sentences.
    over: Vec<String>,
}

impl Report {
    /// An empty report that says which machine this is.
    pub(crate) fn new() -> Self {
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let model = field("/proc/cpuinfo", "model name");
        let memory = field("/proc/meminfo", "MemTotal");
        println!("{cpus} CPUs ({model}), memory {memory}");
        let mut parts = Map::new();
        let machine = json!({"cpus": cpus, "model": model, "memory": memory});
        parts.insert("machine".to_owned(), machine);
        Self {
            parts,
            part: String::new(),
            over: vec![],
        }
    }

    /// Rows from here on belong to this part.
    pub(crate) fn begin(&mut self, part: &str) {
        println!("\n{part}");
        part.clone_into(&mut self.part);
        self.parts.insert(part.to_owned(), json!({}));
    }

    /// One measured value.
    pub(crate) fn row(&mut self, name: &str, value: f64, unit: &str) {
        let digits = if value.abs() >= 100.0 { 0 } else { 2 };
        println!("  {name:<58} {value:>10.digits$} {unit}");
        let rounded = (value * 1000.0).round() / 1000.0;
        self.keep(name, json!({"value": rounded, "unit": unit}));
    }

    /// One measured value that must not be larger than its limit.
    pub(crate) fn at_most(&mut self, limit: f64, name: &str, value: f64, unit: &str) {
        self.row(name, value, unit);
        if value > limit {
            let part = &self.part;
            let over = format!("{part}: {name} is {value:.2} {unit}, the limit is {limit} {unit}");
            self.over.push(over);
        }
    }

    /// What was over its limit.
    pub(crate) fn over(&self) -> &[String] {
        &self.over
    }

    /// Median, least and most of several runs.
    pub(crate) fn runs(&mut self, name: &str, values: &[f64], unit: &str) {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (sorted.first().copied(), sorted.last().copied()) else {
            return;
        };
        let middle = median(&sorted);
        let digits = if middle.abs() >= 100.0 { 0 } else { 2 };
        let spread = format!(
            "({least:.digits$} to {most:.digits$}, {} runs)",
            values.len()
        );
        println!("  {name:<58} {middle:>10.digits$} {unit} {spread}");
        self.keep(name, json!({"value": middle, "unit": unit, "runs": values}));
    }

    /// Everything so far.
    pub(crate) fn json(&self) -> Value {
        Value::Object(self.parts.clone())
    }

    fn keep(&mut self, name: &str, value: Value) {
        if let Some(part) = self
            .parts
            .get_mut(&self.part)
            .and_then(Value::as_object_mut)
        {
            part.insert(name.to_owned(), value);
        }
    }
}

fn median(sorted: &[f64]) -> f64 {
    let at = |i: usize| sorted.get(i).copied().unwrap_or_default();
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        at(half)
    } else {
        f64::midpoint(at(half.saturating_sub(1)), at(half))
    }
}

fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned())
        .unwrap_or_default()
}
