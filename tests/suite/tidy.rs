//! The layering of ARCHITECTURE.md, held by reading the sources: who may use whom, and what the
//! pure parts must not know.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder of src/, what of the crate it may use, and words that must not appear in its code.
struct Layer {
    folder: &'static str,
    may_use: &'static [&'static str],
    never: &'static [&'static str],
}

const PURE: &[&str] = &[
    "tokio",
    "reqwest",
    "tracing::",
    "std::env",
    "rand::",
    "Client",
    "async fn",
    ".await",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "println!",
    "std::fs",
    "std::thread",
];

const LAYERS: &[Layer] = &[
    Layer {
        folder: "api",
        may_use: &["api"],
        never: PURE,
    },
    Layer {
        folder: "planner",
        may_use: &["api", "planner"],
        never: PURE,
    },
    Layer {
        folder: "providers",
        may_use: &["api", "planner", "providers"],
        never: &["kube::", "success_condition", "SystemTime"],
    },
    Layer {
        folder: "lint",
        may_use: &["api", "planner", "lint"],
        never: PURE,
    },
    Layer {
        folder: "view",
        may_use: &["api", "planner", "view"],
        never: PURE,
    },
    Layer {
        folder: "sim",
        may_use: &["api", "planner", "lint", "view", "sim"],
        never: &[
            "tokio",
            "reqwest",
            "kube::Client",
            "async fn",
            ".await",
            "Instant::now",
            "SystemTime",
            "Timestamp::now",
            "std::thread",
        ],
    },
    Layer {
        folder: "check",
        may_use: &["api", "planner", "sim", "view", "check"],
        never: PURE,
    },
    Layer {
        folder: "backtest",
        may_use: &["api", "planner", "view", "backtest"],
        never: PURE,
    },
    Layer {
        folder: "deploy",
        may_use: &["deploy"],
        never: PURE,
    },
    Layer {
        folder: "live",
        may_use: &["api", "planner", "providers", "live"],
        never: &["SystemTime::now"],
    },
    Layer {
        folder: "webhook",
        may_use: &["api", "planner", "lint", "live", "webhook"],
        never: &["SystemTime::now"],
    },
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = vec![];
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Lines that are code: no comments, and nothing from `#[cfg(test)]` on (tests stand last).
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn is_test_file(path: &Path) -> bool {
    path.file_name().is_some_and(|n| n == "tests.rs")
        || path.components().any(|c| c.as_os_str() == "tests")
}

#[test]
fn every_layer_uses_only_what_it_may() {
    let mut wrong = vec![];
    for layer in LAYERS {
        for file in sources(&src().join(layer.folder)) {
            if is_test_file(&file) {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            let shown = file.strip_prefix(src()).unwrap().display().to_string();
            for (number, line) in code(&text) {
                let at = format!("src/{shown}:{}", number + 1);
                for used in modules(line) {
                    if !layer.may_use.contains(&used) {
                        wrong.push(format!("{at}: {} must not use {used}", layer.folder));
                    }
                }
                for word in layer.never {
                    if line.contains(word) {
                        wrong.push(format!("{at}: {} must not know {word}", layer.folder));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Modules of the crate named in a line: `crate::planner::…` gives `planner`.
fn modules(line: &str) -> Vec<&str> {
    line.match_indices("crate::")
        .filter(|(at, _)| !line[..*at].ends_with('$'))
        .filter_map(|(at, found)| {
            let rest = &line[at + found.len()..];
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            let name = &rest[..end];
            (!name.is_empty()).then_some(name)
        })
        .collect()
}

#[test]
fn every_file_says_first_what_it_knows() {
    let silent: Vec<String> = sources(&src())
        .iter()
        .filter(|file| !fs::read_to_string(file).unwrap().starts_with("//!"))
        .map(|file| file.display().to_string())
        .collect();
    assert!(silent.is_empty(), "no //! on the first line of {silent:?}");
}

#[test]
fn unsafe_code_is_forbidden_and_one_tls_provider_is_compiled_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap();
    for banned in [
        "name = \"openssl\"",
        "name = \"native-tls\"",
        "name = \"aws-lc-rs\"",
        "name = \"aws-lc-sys\"",
    ] {
        assert!(!lock.contains(banned), "{banned} is in Cargo.lock");
    }
}
