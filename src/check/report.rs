//! The checklist as it is shown: for people, for programs, for code scanning.

use serde_json::{Value, json};

use super::{Line, Outcome};

/// For people: one line each, and under it what is wrong and how to mend it.
pub fn text(lines: &[Line]) -> String {
    let mut page = String::new();
    for line in lines {
        let sign = match line.outcome {
            Outcome::Met => "[x]",
            Outcome::NotMet => "[ ]",
            Outcome::NotShown => "[?]",
        };
        page += &format!("{sign} {} ({})\n", line.title, line.id);
        match line.outcome {
            Outcome::Met => page += &format!("      looked at {}\n", looked_at(line)),
            Outcome::NotMet => {
                if !line.looked_at.is_empty() {
                    page += &format!("      looked at {}\n", looked_at(line));
                }
                for fault in &line.faults {
                    page += &format!("      {fault}\n");
                }
                page += &format!("      to mend it: {}\n", line.mend);
            }
            Outcome::NotShown => page += &format!("      nothing here shows it; {}\n", line.mend),
        }
    }
    let met = lines
        .iter()
        .filter(|line| line.outcome == Outcome::Met)
        .count();
    page + &format!("{met} of {} lines are met\n", lines.len())
}

/// A few by name, many by number.
fn looked_at(line: &Line) -> String {
    match line.looked_at.as_slice() {
        few if few.len() <= 3 => few.join(", "),
        many => format!("{} objects", many.len()),
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Met => "met",
        Outcome::NotMet => "notMet",
        Outcome::NotShown => "notShown",
    }
}

/// For programs.
pub fn json(lines: &[Line]) -> Value {
    let all: Vec<Value> = lines
        .iter()
        .map(|line| {
            json!({"id": line.id, "title": line.title, "outcome": word(line.outcome), "lookedAt": line.looked_at,
                "faults": line.faults, "mend": line.mend})
        })
        .collect();
    json!({"isMet": lines.iter().all(|line| line.outcome == Outcome::Met), "lines": all})
}

/// For code scanning: SARIF 2.1.0. `at` is the file or folder that was checked.
pub fn sarif(lines: &[Line], at: &str) -> Value {
    let rules: Vec<Value> = lines
        .iter()
        .map(|line| json!({"id": line.id, "shortDescription": {"text": line.title}, "help": {"text": line.mend}}))
        .collect();
    let result = |line: &Line, level: &str, text: &str| {
        json!({"ruleId": line.id, "level": level, "message": {"text": format!("{text}. To mend it: {}", line.mend)},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": at}, "region": {"startLine": 1}}}]})
    };
    let mut results = vec![];
    for line in lines {
        results.extend(line.faults.iter().map(|fault| result(line, "error", fault)));
        if line.outcome == Outcome::NotShown {
            results.push(result(line, "warning", "Nothing here shows it"));
        }
    }
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": {"name": "serin check", "version": env!("CARGO_PKG_VERSION"), "rules": rules}}, "results": results}],
    })
}
