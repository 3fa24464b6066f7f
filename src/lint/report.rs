//! A report in words, as JSON and as SARIF. Knows no rule.

use serde_json::{Value, json};

use super::{Finding, Report, Severity};

/// Where lines of text end.
const WIDTH: usize = 80;

/// For people: two lines or more a finding, the first of which editors and terminals can follow.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        out.push_str(&heading(finding));
        out.push('\n');
        for line in wrapped(&finding.fault.message, WIDTH - 4) {
            out.push_str("    ");
            out.push_str(&line);
            out.push('\n');
        }
    }
    if !report.findings.is_empty() {
        out.push('\n');
    }
    for line in wrapped(&summary(report), WIDTH) {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

fn heading(finding: &Finding) -> String {
    let Finding {
        file,
        place,
        severity,
        object,
        fault,
    } = finding;
    let mut line = format!(
        "{file}:{}:{}: {}",
        place.line,
        place.column,
        severity.word()
    );
    for part in [object, &fault.path].into_iter().filter(|p| !p.is_empty()) {
        // A path that does not fit stands on a line of its own.
        let last = line.lines().next_back().map_or(0, |l| l.chars().count());
        let sep = if last + 2 + part.chars().count() > WIDTH {
            "\n  "
        } else {
            ": "
        };
        line.push_str(sep);
        line.push_str(part);
    }
    line
}

fn summary(report: &Report) -> String {
    let counted = |n: usize, one: &str, many: &str| match n {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    };
    let mut of = format!(
        "{} in {}",
        counted(report.checked, "manifest", "manifests"),
        counted(report.files, "file", "files")
    );
    if report.others > 0 {
        of.push_str(&format!(" (and {} of other kinds)", report.others));
    }
    let faults = report.count(Severity::Error);
    let warnings = report.count(Severity::Warning);
    let mut told = Vec::new();
    if faults > 0 {
        told.push(counted(faults, "fault", "faults"));
    }
    if warnings > 0 {
        told.push(counted(warnings, "warning", "warnings"));
    }
    match (faults, told.is_empty()) {
        (0, true) => format!("{of}: fine"),
        (0, false) => format!("{of}: fine, with {}", told.join(" and ")),
        _ => format!("{of}: {}", told.join(" and ")),
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else {
            continue;
        };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// For programs.
pub fn json(report: &Report) -> Value {
    let findings = report.findings.iter().map(|f| {
        json!({
            "file": f.file,
            "line": f.place.line,
            "column": f.place.column,
            "severity": f.severity.word(),
            "rule": rule(f).0,
            "object": f.object,
            "path": f.fault.path,
            "message": f.fault.message,
        })
    });
    json!({
        "files": report.files,
        "manifests": report.checked,
        "others": report.others,
        "errors": report.count(Severity::Error),
        "warnings": report.count(Severity::Warning),
        "findings": findings.collect::<Vec<_>>(),
    })
}

/// What a finding is about, as code scanning groups them: a name, and what the name means.
const RULES: [(&str, &str); 7] = [
    ("yaml", "The file is not YAML."),
    (
        "unknown-field",
        "A field that nobody knows: the API server drops it without a word.",
    ),
    ("wrong-type", "A value of another type than the field has."),
    ("unsupported", "A field that this release refuses."),
    (
        "missing",
        "A field without which the object cannot be used.",
    ),
    (
        "invalid",
        "A value that cannot be used, or two that contradict each other.",
    ),
    ("advice", "It works, though perhaps not as it was meant."),
];

fn rule(finding: &Finding) -> (&'static str, &'static str) {
    let message = finding.fault.message.as_str();
    let at = if finding.severity != Severity::Error {
        6
    } else if message.starts_with("is not YAML") {
        0
    } else if message.starts_with("unknown field") || message.starts_with("no such kind") {
        1
    } else if message.starts_with("must be ") && message.contains(", and is ") {
        2
    } else if message.contains("is not supported yet") {
        3
    } else if message.starts_with("Required value") || message.starts_with("is needed") {
        4
    } else {
        5
    };
    RULES[at]
}

/// For code scanning: SARIF 2.1.0.
pub fn sarif(report: &Report) -> Value {
    let rules = RULES.map(|(id, text)| json!({"id": id, "shortDescription": {"text": text}}));
    let results = report.findings.iter().map(|f| {
        let parts = [f.object.as_str(), &f.fault.path, &f.fault.message];
        let told: Vec<&str> = parts.into_iter().filter(|p| !p.is_empty()).collect();
        json!({
            "ruleId": rule(f).0,
            "level": f.severity.word(),
            "message": {"text": told.join(": ")},
            "locations": [{"physicalLocation": {
                "artifactLocation": {"uri": f.file},
                "region": {"startLine": f.place.line, "startColumn": f.place.column},
            }}],
        })
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "serin lint",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "results": results.collect::<Vec<_>>(),
        }],
    })
}
