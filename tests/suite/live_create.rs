//! `serin create analysisrun` against a real API server and a running controller.

use std::process::{Command, Output};

use serin::api::AnalysisRun;

use crate::cluster::{self, Space};
use crate::controller::{Serin, space};
use crate::stub;

fn create(space: &Space, flags: &[&str]) -> Output {
    let plane = &cluster::shared().unwrap().plane;
    let kubeconfig = plane.admin.kubeconfig.display().to_string();
    let mut serin = Command::new(env!("CARGO_BIN_EXE_serin"));
    serin.args(["create", "analysisrun", "--kubeconfig", &kubeconfig]);
    serin.args(["--namespace", &space.namespace]).args(flags);
    serin.output().unwrap()
}

#[tokio::test]
async fn a_template_is_measured_by_itself() {
    let Some(space) = space("create").await else {
        return;
    };
    let address = stub::prometheus("0.99").await;
    let _serin = Serin::start(&space, &[&format!("--prometheus={address}")]);
    // A template with a nested one and an argument that only the run can tell.
    space.apply(stub::TEMPLATE);
    space.apply(
        r#"{apiVersion: argoproj.io/v1alpha1, kind: AnalysisTemplate, metadata: {name: all}, spec: {
        templates: [{templateName: judge}],
        args: [{name: least}, {name: who, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}],
        metrics: [{name: again, successCondition: "result[0] >= {{args.least}}", provider: {prometheus: {query: 'up{ns="{{args.who}}"}'}}}]}}"#,
    );
    let made = create(&space, &["--from=all", "-a", "least=0.5"]);
    let said = String::from_utf8(made.stdout).unwrap();
    let error = String::from_utf8(made.stderr).unwrap();
    assert!(made.status.success(), "{said}{error}");
    let name = said.strip_prefix("analysisrun.argoproj.io/").unwrap();
    let name = name.strip_suffix(" created\n").unwrap();
    assert!(name.starts_with("all-") && name.len() > 4, "{name}");
    let is_over = |run: Option<&AnalysisRun>| {
        let status = run.and_then(|r| r.status.as_ref());
        status.is_some_and(|s| s.completed_at.is_some())
    };
    let run = space.wait("the run ends", name, is_over).await.unwrap();
    assert_eq!(run.metadata.owner_references, None);
    let status = run.status.unwrap();
    assert_eq!(status.phase.as_deref(), Some("Successful"), "{status:?}");
    assert_eq!(status.run_summary.unwrap().count, Some(2));

    // What is missing is told, all of it, and nothing is made.
    let wrong = create(&space, &["--from=all", "-a", "most=1", "--name=wrong"]);
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{said}");
    for part in [
        "args.least was not resolved",
        "there is no argument most: the template has least, who",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let absent = create(&space, &["--from=nope"]);
    let said = String::from_utf8(absent.stderr).unwrap();
    assert!(said.contains("AnalysisTemplate 'nope' not found"), "{said}");
    let dry = create(&space, &["--from=judge", "--name=dry", "--dry-run"]);
    assert!(dry.status.success());
    let all = space.kubectl(&["get", "analysisrun", "-o", "name"]);
    assert_eq!(all.lines().count(), 1, "{all}");
}
