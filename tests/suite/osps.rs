//! docs/security/osps.md and SECURITY.md: every line names evidence that exists, and what they claim of the repository holds.

use std::fs;
use std::process::Command;

use crate::deploy::path;

#[test]
fn every_line_of_the_self_assessment_has_its_evidence() {
    let text = fs::read_to_string(path("docs/security/osps.md")).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| OSPS-"))
        .collect();
    assert!(lines.len() >= 25, "level 1 has 25 lines");
    for line in lines {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let evidence: Vec<&str> = cells[3].split('`').skip(1).step_by(2).collect();
        match cells[2] {
            "host" => assert!(evidence.is_empty(), "{line}"),
            "yes" => assert!(!evidence.is_empty(), "{line}: no evidence"),
            other => panic!("{line}: {other} is neither yes nor host"),
        }
        for file in evidence {
            assert!(path(file).exists(), "{line}: there is no {file}");
        }
    }
}

#[test]
fn the_threat_model_names_tests_that_exist() {
    let text = fs::read_to_string(path("SECURITY.md")).unwrap();
    let mut sources = String::new();
    let mut folders = vec![path("src"), path("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().path();
            if file.is_dir() {
                folders.push(file);
            } else if file.extension().is_some_and(|e| e == "rs") {
                sources += &fs::read_to_string(file).unwrap();
            }
        }
    }
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| ") && line.ends_with("` |"));
    let mut count = 0;
    for row in rows {
        let evidence = row.trim_end_matches("` |").rsplit('`').next().unwrap();
        let is_there = sources.contains(&format!("fn {evidence}("))
            || path(evidence).exists()
            || path("tests/suite").join(evidence).exists();
        assert!(is_there, "{row}: there is no {evidence}");
        count += 1;
    }
    assert!(count >= 10, "the threat model lost its rows");
}

/// Of what git has: no executables, no keys.
#[test]
fn the_repository_holds_no_executables_and_no_keys() {
    let Ok(output) = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(path(""))
        .output()
    else {
        return;
    };
    for name in String::from_utf8_lossy(&output.stdout)
        .split('\0')
        .filter(|name| !name.is_empty())
    {
        let Ok(bytes) = fs::read(path(name)) else {
            continue;
        };
        assert!(
            !bytes.starts_with(b"\x7fELF") && !bytes.starts_with(b"MZ"),
            "{name} is a program"
        );
        let text = String::from_utf8_lossy(&bytes);
        let key = ["-----BEGIN ", "PRIVATE KEY-----"].concat();
        assert!(!text.contains(&key), "{name} holds a private key");
    }
}
