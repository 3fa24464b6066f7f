//! `serin lint` as a program: what it reads, what it prints, how it ends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

const GOOD: &str = "\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  replicas: 5
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: 'web:1'}]}
  strategy: {canary: {steps: [{setWeight: 20}, {pause: {duration: 1m}}]}}
";

fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("lint")
        .join(name);
    for (file, text) in files {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn serin(args: &[&str], stdin: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
    command.arg("lint").args(args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that ends before it reads is no fault of the test.
    drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
    let out = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        out.status.code().unwrap(),
        text(&out.stdout),
        text(&out.stderr),
    )
}

#[test]
fn files_folders_and_standard_input_are_checked_together() {
    let wrong = GOOD.replace("setWeight: 20", "setWieght: 20");
    let folder = folder(
        "tree",
        &[
            ("a/good.yaml", GOOD),
            ("b/wrong.yml", &wrong),
            ("b/notes.txt", "no YAML: ["),
        ],
    );
    let at = folder.display().to_string();
    let (code, out, _) = serin(&[&at], "");
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("b/wrong.yml:10:"), "{out}");
    assert!(
        out.contains("unknown field: did you mean \"setWeight\"?"),
        "{out}"
    );
    assert!(out.ends_with("2 manifests in 2 files: 1 fault\n"), "{out}");
    let (code, out, _) = serin(&["-"], &wrong);
    assert_eq!(code, 1);
    assert!(out.starts_with("stdin:10:"), "{out}");
    let (code, out, _) = serin(&["-"], GOOD);
    assert_eq!(
        (code, out.lines().last()),
        (0, Some("1 manifest in 1 file: fine")),
        "{out}"
    );
}

#[test]
fn what_cannot_be_checked_ends_with_2_and_says_why() {
    let empty = folder("empty", &[("x.txt", "")]).display().to_string();
    for (args, stdin, told) in [
        (
            vec!["no-such-file.yaml"],
            "",
            "no-such-file.yaml: cannot be read",
        ),
        (
            vec![empty.as_str()],
            "",
            "no .yaml, .yml or .json file in this folder",
        ),
        (vec!["-"], "", "stdin: nothing to check"),
        (
            vec!["-"],
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n",
            "nothing to check",
        ),
    ] {
        let (code, out, err) = serin(&args, stdin);
        let told = told.replace("stdin", "-");
        assert_eq!(code, 2, "{args:?}: {out}{err}");
        assert!(err.contains(&told), "{args:?}: {err}");
    }
}

#[test]
fn warnings_are_faults_where_that_is_asked_for() {
    let coarse = GOOD.replace("replicas: 5", "replicas: 2");
    let (code, out, _) = serin(&["-"], &coarse);
    assert_eq!(code, 0);
    assert!(
        out.contains("with 2 replicas, setWeight: 20 means"),
        "{out}"
    );
    assert!(
        out.ends_with("1 manifest in 1 file: fine, with 1 warning\n"),
        "{out}"
    );
    let (code, ..) = serin(&["--deny-warnings", "-"], &coarse);
    assert_eq!(code, 1);
}

#[test]
fn programs_read_json_and_code_scanning_sarif() {
    let wrong = GOOD.replace("duration: 1m", "duration: soon");
    let (code, out, _) = serin(&["--output", "json", "-"], &wrong);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["errors"]), (1, &1.into()), "{out}");
    let found = &json["findings"][0];
    assert_eq!(
        found["path"],
        "spec.strategy.canary.steps[1].pause.duration"
    );
    assert_eq!(
        (&found["line"], &found["severity"]),
        (&10.into(), &"error".into())
    );
    let (_, out, _) = serin(&["--output=sarif", "-"], &wrong);
    let sarif: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    assert_eq!(sarif["runs"][0]["results"][0]["level"], "error");
    let (_, help, _) = serin(&["--help"], "");
    assert!(
        help.contains("Exit code: 0") && help.contains("helm template"),
        "{help}"
    );
}
