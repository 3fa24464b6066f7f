//! What the documents show is true: manifests in them are valid, rehearsals in them come out as they
//! say, flags and files they name exist.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

const DOCS: &[&str] = &[
    "README.md",
    "docs/rehearsal.md",
    "docs/gates.md",
    "docs/strategies.md",
    "docs/freezes.md",
    "docs/validation.md",
    "docs/controller.md",
    "docs/workload-ref.md",
    "docs/pods.md",
    "docs/config.md",
    "docs/install.md",
    "docs/webhook.md",
    "docs/shipping.md",
    "docs/blue-green.md",
    "docs/providers.md",
    "docs/analysis.md",
    "docs/experiments.md",
    "docs/differences.md",
    "docs/backtest.md",
    "docs/performance.md",
    "docs/security/osps.md",
    "deploy/policies/README.md",
    "examples/agents/README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(doc: &str) -> String {
    fs::read_to_string(root().join(doc)).unwrap()
}

/// Fenced blocks of a language, in order.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = vec![];
    let mut open: Option<String> = None;
    for line in text.lines() {
        match (&mut open, line.trim()) {
            (None, fence) if fence == format!("```{language}") => open = Some(String::new()),
            (Some(block), "```") => {
                found.push(std::mem::take(block));
                open = None;
            }
            (Some(block), _) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

#[test]
fn every_document_is_looked_at() {
    let mut missing = vec![];
    let mut folders = vec![
        root().join("docs"),
        root().join("deploy"),
        root().join("examples"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".md") && !DOCS.contains(&name.as_str()) {
                missing.push(name);
            }
        }
    }
    assert!(missing.is_empty(), "not in DOCS: {missing:?}");
}

fn scratch(name: &str) -> PathBuf {
    // Next to docs/, so that paths relative to a document hold.
    let folder = root().join("target/docs");
    fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

fn serin(args: &[&str]) -> (i32, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(args)
        .current_dir(root())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.code().unwrap_or(-1), text)
}

#[test]
fn every_yaml_block_is_valid_or_plays_as_it_says() {
    let mut checked = 0;
    for doc in DOCS {
        for (i, block) in blocks(&read(doc), "yaml").iter().enumerate() {
            let value: Value = serde_saphyr::from_str(block).unwrap();
            let file = scratch(&format!("{}-{i}.yaml", doc.replace('/', "-")));
            let (verb, text) = if value.get("manifests").is_some() {
                let here = block.replace("../examples/", "../../examples/");
                ("rehearse", here)
            } else if value.get("strategy").is_some() {
                let mut spec = json!({
                    "selector": {"matchLabels": {"app": "a"}},
                    "template": {"metadata": {"labels": {"app": "a"}},
                        "spec": {"containers": [{"name": "a", "image": "a:1"}]}},
                });
                spec["strategy"] = value["strategy"].clone();
                let rollout = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
                    "metadata": {"name": "a"}, "spec": spec});
                ("lint", rollout.to_string())
            } else {
                ("lint", block.clone())
            };
            fs::write(&file, text).unwrap();
            let (code, said) = serin(&[verb, file.to_str().unwrap()]);
            assert_eq!(code, 0, "{doc}, block {i}: {said}");
            checked += 1;
        }
    }
    assert!(checked >= 3, "the documents lost their examples");
}

#[test]
fn flags_and_files_that_documents_name_exist() {
    let (_, help) = serin(&["controller", "--help"]);
    let mut wrong = vec![];
    for line in read("docs/controller.md")
        .lines()
        .filter(|l| l.starts_with("| `--"))
    {
        let flags = line.split('|').nth(1).unwrap();
        for flag in flags.split('`').filter(|w| w.starts_with("--")) {
            if !help.contains(flag) {
                wrong.push(format!("docs/controller.md: no flag {flag}"));
            }
        }
    }
    for doc in DOCS {
        let text = read(doc);
        for word in text.split(|c: char| c.is_whitespace() || "()`,;".contains(c)) {
            let is_path =
                (word.starts_with("examples/") || word.starts_with("docs/")) && word.contains('.');
            if is_path && !root().join(word.trim_end_matches(['.', ':'])).exists() {
                wrong.push(format!("{doc}: there is no {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_difference_names_a_test_that_exists() {
    let mut sources = String::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                sources.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }
    for row in read("docs/differences.md")
        .lines()
        .filter(|l| l.starts_with("| "))
    {
        let cell = row
            .trim_end_matches(['|', ' '])
            .rsplit('|')
            .next()
            .unwrap_or_default();
        let names: Vec<&str> = cell
            .split('`')
            .filter(|n| !n.contains(' ') && !n.contains(',') && n.len() > 3)
            .collect();
        let is_head = cell.trim() == "test" || cell.contains("---");
        assert!(is_head || !names.is_empty(), "no test is named: {row}");
        for name in names {
            // A test, not merely some function, and not a file.
            let is_there = sources.contains(&format!("fn {name}() {{"))
                || sources.contains(&format!("fn {name}(")) && sources.contains("proptest!");
            assert!(is_there, "docs/differences.md: there is no test {name}");
        }
    }
}

#[test]
fn the_demo_plays_a_good_version_and_one_that_is_taken_back() {
    let out = Command::new(root().join("examples/demo.sh"))
        .arg(env!("CARGO_BIN_EXE_serin"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}");
    for line in [
        "as expected: Healthy on v2",
        "as expected: rolled back before",
        "What to look at next:",
    ] {
        assert!(said.contains(line), "no {line:?} in:\n{said}");
    }
    let page = root().join("target/support-agent.html");
    assert!(fs::read_to_string(page).unwrap().contains("<svg"));
}

#[test]
fn the_rehearsal_that_readme_prints_is_the_one_that_is_played() {
    let text = read("README.md");
    let block = blocks(&text, "console")
        .into_iter()
        .find(|block| block.starts_with("$ serin rehearse "))
        .expect("README lost its rehearsal");
    let mut lines = block.lines();
    let file = lines.next().unwrap().rsplit(' ').next().unwrap();
    let (_, said) = serin(&["rehearse", "--no-color", file]);
    let mut left = said.lines();
    for line in lines.filter(|line| *line != "…") {
        let is_said = left.any(|l| l.trim_end() == line);
        assert!(
            is_said,
            "not printed, or not in this order: {line:?}\n{said}"
        );
    }
}
