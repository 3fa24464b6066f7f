//! What the operator's flags and a person's `kubectl get` show, on a real API server.

use std::path::Path;

use serde_json::Value;
use serin::api::Rollout;

use crate::bench::control_plane::ControlPlane;
use crate::cluster::{self, until};
use crate::controller::{Serin, at, phase, space, web};

const WAITING: &str = "{steps: [{setWeight: 40}, {pause: {}}, {setWeight: 80}, {pause: {}}]}";

/// One Rollout is labelled for this instance, one for another, one for none: the first alone is acted
/// on. Its row says what stands in its events; its log is one JSON object a line; its end is told.
#[tokio::test]
async fn an_instance_acts_on_its_own_and_tells_of_it_in_json_and_columns() {
    let Some(space) = space("instance").await else {
        return;
    };
    let flags = ["--instance-id=mine", "--log-format=json"];
    let serin = Serin::start(&space, &flags);
    let of = |name: &str, tag: &str, instance: Option<&str>| {
        let key = "argo-rollouts.argoproj.io/controller-instance-id";
        let labels = instance.map_or_else(String::new, |id| format!(", labels: {{{key}: {id}}}"));
        let metadata = format!("metadata: {{name: {name}{labels}}}");
        web(tag, 5, WAITING)
            .replace("metadata: {name: web}", &metadata)
            .replace("{app: web}", &format!("{{app: {name}}}"))
    };
    space.apply(&of("other", "1", Some("theirs")));
    space.apply(&of("plain", "1", None));
    space.apply(&of("mine", "1", Some("mine")));
    space
        .reaches("mine", "its own is rolled out", phase("Healthy"))
        .await;
    space.apply(&of("mine", "2", Some("mine")));
    let paused = space.reaches("mine", "it waits", at(1, "Paused")).await;
    for name in ["other", "plain"] {
        assert_eq!(space.rollout(name).await.status, None, "{name}");
        assert_eq!(space.notes(name, "RolloutAddedToInformer").await, [""; 0]);
    }

    let told = space.noted("mine", "RolloutStepCompleted", 1).await;
    assert_eq!(told, ["Rollout step 1/4 completed (setWeight: 40)"]);
    let table = space.kubectl(&["get", "ro", "mine", "--no-headers"]);
    let row: Vec<&str> = table.split_whitespace().collect();
    let ready = format!("{}/5", paused.ready_replicas.unwrap());
    assert_eq!(
        row[..6],
        ["mine", "Paused", "2/4", "40", &ready, "CanaryPauseStep"],
        "the step after the one that the event counts"
    );

    let added = space.noted("mine", "RolloutAddedToInformer", 1).await;
    assert_eq!(added.len(), 1, "once, not with every start: {added:?}");
    space.kubectl(&["delete", "rollout", "mine", "--wait=false"]);
    let gone = space.noted("mine", "RolloutDeleted", 1).await;
    assert_eq!(
        gone,
        [format!(
            "Rollout resource deleted: {}/mine",
            space.namespace
        )]
    );
    let log = serin.log();
    let turns = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .filter(|line| line["message"] == "turn" && line["level"] == "INFO");
    let of_mine = format!("{}/mine", space.namespace);
    assert!(turns.clone().count() > 2, "{log}");
    assert!(
        turns
            .into_iter()
            .all(|line| line["rollout"] == of_mine.as_str())
    );
}

/// A server that has never seen the definitions takes them by server-side apply, without force.
#[tokio::test]
async fn a_fresh_server_takes_the_definitions_by_server_side_apply() {
    if !cluster::is_wanted() {
        return;
    }
    let plane = ControlPlane::start(&cluster::dir().join("fresh-plane")).unwrap();
    let kubectl = |args: &[&str]| {
        let output = plane.kubectl().args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "kubectl {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let crds = crds.display().to_string();
    kubectl(&["apply", "--server-side", "-f", &crds]);
    kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
    plane.apply(&web("1", 2, WAITING)).unwrap();
    let stored = || {
        let text = kubectl(&["get", "rollout", "web", "-o", "json"]);
        serde_json::from_str::<Rollout>(&text).ok()
    };
    let rollout = until("it is served", stored).await;
    assert_eq!(rollout.spec.replicas, Some(2));
}
