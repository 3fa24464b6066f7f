//! Every rehearsal under examples/ holds what it expects, and its timeline is the one on record.
//! `UPDATE_GOLDEN=1` writes the record anew; review reads it.

use std::path::{Path, PathBuf};

use serde_json::json;
use serin::cli::rehearse::load;
use serin::sim;
use serin::view::text::{Colour, render};
use serin::view::{html, timeline::Timeline};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml_in(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    assert!(!files.is_empty(), "no YAML in {folder}");
    files
}

fn play(file: &Path) -> Timeline {
    let rehearsals = load(&[file.to_owned()]).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(rehearsals.len(), 1, "{}", file.display());
    sim::run(&rehearsals[0])
}

fn check_golden(name: &str, text: &str) -> Result<(), String> {
    let path = root().join("tests/suite/golden/rehearsals").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return Ok(());
    }
    let record = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = record.lines().zip(text.lines()).position(|(a, b)| a != b);
    match (record == text, differs) {
        (true, _) => Ok(()),
        (false, at) => {
            let at = at.unwrap_or(record.lines().count().min(text.lines().count()));
            Err(format!(
                "{name}, line {}:\n  was: {}\n  is:  {}\n  UPDATE_GOLDEN=1 writes it anew",
                at + 1,
                record.lines().nth(at).unwrap_or("(nothing)"),
                text.lines().nth(at).unwrap_or("(nothing)"),
            ))
        }
    }
}

#[test]
fn rehearsals_hold_what_they_expect() {
    let mut wrong = Vec::new();
    for file in yaml_in("examples/rehearsals") {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let timeline = play(&file);
        for expectation in timeline
            .expectations
            .iter()
            .filter(|expected| expected.miss.is_some())
        {
            wrong.push(format!("{name}: {expectation:?}"));
        }
        wrong.extend(check_golden(&format!("{name}.txt"), &render(&timeline, Colour::Off)).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What `status.duration` says at the end: how each update ended, and how long people were waited for.
#[test]
fn a_rehearsal_tells_how_long_its_update_took_and_how_it_ended() {
    let record = |name: &str| {
        let file = root().join(format!("examples/rehearsals/{name}.yaml"));
        let told = serde_json::to_value(play(&file)).unwrap();
        told["record"].clone()
    };
    let wanted = json!({"completion": "Promoted", "seconds": 257, "waitedSeconds": 180});
    assert_eq!(record("pause-promote"), wanted);
    let wanted = json!({"completion": "Aborted", "seconds": 180, "waitedSeconds": 174});
    assert_eq!(record("abort-while-paused"), wanted);
    let wanted = json!({"completion": "FastRolledBack", "seconds": 11, "waitedSeconds": 0});
    assert_eq!(record("undo-fast"), wanted);
}

/// The manifests alone end Healthy, each in 80 columns.
#[test]
fn manifests_alone_end_healthy() {
    for file in yaml_in("examples/rollouts") {
        let timeline = play(&file);
        assert!(
            timeline.is_as_expected(),
            "{}: {:?}",
            file.display(),
            timeline.expectations
        );
        let text = render(&timeline, Colour::Off);
        let widest = text
            .lines()
            .map(|line| line.chars().count())
            .max()
            .unwrap_or(0);
        assert!(widest <= 80, "{}: {widest} columns", file.display());
        assert!(html::render(&timeline).contains("</html>"));
    }
}

/// The same rehearsal is the same story, to the byte.
#[test]
fn a_rehearsal_is_the_same_every_time() {
    let file = root().join("examples/rehearsals/support-agent-failing.yaml");
    let json = || serde_json::to_string(&play(&file)).unwrap();
    assert_eq!(json(), json());
}
