//! crds/ on a real API server: what it accepts, keeps, merges and refuses. Needs `SERIN_APISERVER`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use serin::api::{AnalysisRun, Experiment, Rollout};

use crate::cluster::{self, Cluster, PATIENCE, Space};

fn path(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

/// Puts crds/ onto the shared cluster, once, and waits until they are served.
pub(crate) async fn install(cluster: &'static Cluster) {
    static APPLIED: OnceLock<()> = OnceLock::new();
    APPLIED.get_or_init(|| apply_crds(cluster, &[]));
    let all: Api<CustomResourceDefinition> = Api::all(cluster::client(&cluster.plane.admin).await);
    for name in [
        "rollouts.argoproj.io",
        "analysisruns.argoproj.io",
        "analysistemplates.argoproj.io",
        "clusteranalysistemplates.argoproj.io",
        "experiments.argoproj.io",
        "freezewindows.serin.dev",
        "clusterfreezewindows.serin.dev",
    ] {
        let served = await_condition(all.clone(), name, is_crd_established());
        tokio::time::timeout(PATIENCE, served)
            .await
            .unwrap()
            .unwrap();
    }
}

fn apply_crds(cluster: &Cluster, more: &[&str]) {
    let mut kubectl = cluster.plane.kubectl();
    let output = kubectl
        .arg("apply")
        .args(more)
        .arg("-f")
        .arg(path("crds"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub(crate) async fn space(name: &str) -> Option<(&'static Cluster, Space)> {
    let cluster = cluster::shared()?;
    install(cluster).await;
    Some((cluster, cluster.space(name).await))
}

#[tokio::test]
async fn both_ways_of_apply_take_the_definitions() {
    let Some((cluster, _space)) = space("crds").await else {
        return;
    };
    apply_crds(cluster, &[]);
    apply_crds(cluster, &["--server-side", "--force-conflicts"]);
}

#[tokio::test]
async fn what_a_manifest_says_of_its_pods_is_kept() {
    let Some((_, space)) = space("kept").await else {
        return;
    };
    let manifest = path("tests/suite/manifests/canary.yaml");
    space.kubectl(&["apply", "-f", &manifest.display().to_string()]);
    let stored = space.api::<Rollout>().get("everything").await.unwrap();
    let pod = stored.spec.template.unwrap().value()["spec"].clone();
    assert_eq!(
        pod["inventedInAFutureRelease"],
        json!({ "really": [1, "two", 3.5] })
    );
    let container = &pod["containers"][0];
    assert_eq!(container["inventedToo"], true);
    // No quantity, and a number with a fraction: both are for the controller to judge.
    assert_eq!(container["resources"]["limits"]["memory"], "much");
    assert_eq!(container["resources"]["requests"]["cpu"], 0.5);
    assert_eq!(
        container["ports"][0]["protocol"], "TCP",
        "a list key must have a value"
    );
}

#[tokio::test]
async fn every_kind_is_stored_with_all_its_fields() {
    let Some((_, space)) = space("fields").await else {
        return;
    };
    for name in [
        "support-agent",
        "canary",
        "blue-green",
        "analysis-template",
        "analysis-run",
        "experiment",
    ] {
        let file = path("tests/suite/manifests").join(format!("{name}.yaml"));
        let text = std::fs::read_to_string(file).unwrap();
        let mut object: Value = serde_saphyr::from_str(&text).unwrap();
        object["metadata"]["namespace"] = space.namespace.clone().into();
        // The API server leaves out a null that it has no field for.
        if let Some(metadata) = object.pointer_mut("/spec/template/metadata") {
            metadata
                .as_object_mut()
                .unwrap()
                .remove("creationTimestamp");
        }
        space.apply(&object.to_string());
        let kind = object["kind"].as_str().unwrap();
        let stored = space.kubectl(&[
            "get",
            kind,
            object["metadata"]["name"].as_str().unwrap(),
            "-o",
            "json",
        ]);
        let stored: Value = serde_json::from_str(&stored).unwrap();
        contains(&stored["spec"], &object["spec"], &format!("{kind}.spec"));
        if kind == "AnalysisRun" || kind == "Experiment" {
            contains(
                &stored["status"],
                &object["status"],
                &format!("{kind}.status"),
            );
        }
    }
}

#[tokio::test]
async fn server_side_apply_merges_containers_by_name() {
    let Some((_, space)) = space("merge").await else {
        return;
    };
    let api = space.api::<Rollout>();
    for name in ["one", "two"] {
        let manifest = json!({
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": { "name": "web" },
            "spec": { "template": { "spec": { "containers": [{ "name": name, "image": name }] } } },
        });
        api.patch("web", &PatchParams::apply(name), &Patch::Apply(manifest))
            .await
            .unwrap();
    }
    let template = api.get("web").await.unwrap().spec.template.unwrap();
    let names: Vec<_> = template.containers().iter().map(|c| c.name()).collect();
    assert_eq!(names, ["one", "two"]);
}

#[tokio::test]
async fn status_is_patched_where_clients_patch_it() {
    let Some((_, space)) = space("status").await else {
        return;
    };
    space.apply("{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: web}, spec: {replicas: 2}}");
    let status = json!({ "status": {
        "observedGeneration": "1",
        "HPAReplicas": 2,
        "selector": "app=web",
        "serin": { "command": "7", "stepText": "1/5" },
    }});
    let rollouts = space.api::<Rollout>();
    let params = PatchParams::default();
    let answer = rollouts
        .patch_status("web", &params, &Patch::Merge(status))
        .await
        .unwrap();
    let stored = answer.status.unwrap();
    assert_eq!(stored.observed_generation.as_deref(), Some("1"));
    assert_eq!(stored.serin.unwrap().command.as_deref(), Some("7"));
    let scale = rollouts.get_scale("web").await.unwrap();
    let status = scale.status.unwrap();
    assert_eq!(
        (scale.spec.unwrap().replicas, status.replicas),
        (Some(2), 2)
    );
    assert_eq!(status.selector.as_deref(), Some("app=web"));

    for kind in ["AnalysisRun", "Experiment"] {
        let manifest = format!(
            "{{apiVersion: argoproj.io/v1alpha1, kind: {kind}, metadata: {{name: web}}, spec: {{}}}}"
        );
        space.apply(&manifest);
    }
    let phase = json!({ "status": { "phase": "Running" } });
    let run = space
        .api::<AnalysisRun>()
        .patch("web", &params, &Patch::Merge(&phase))
        .await
        .unwrap();
    assert_eq!(run.status.unwrap().phase.as_deref(), Some("Running"));
    let experiment = space
        .api::<Experiment>()
        .patch("web", &params, &Patch::Merge(&phase))
        .await
        .unwrap();
    assert_eq!(experiment.status.unwrap().phase.as_deref(), Some("Running"));
    let refused = space
        .api::<AnalysisRun>()
        .patch_status("web", &params, &Patch::Merge(&phase))
        .await;
    assert!(matches!(refused, Err(kube::Error::Api(error)) if error.code == 404));
}

#[tokio::test]
async fn a_selector_never_changes() {
    let Some((_, space)) = space("selector").await else {
        return;
    };
    let manifest = |app: &str| {
        format!(
            "{{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {{name: web}}, spec: {{selector: {{matchLabels: {{app: {app}}}}}}}}}"
        )
    };
    space.apply(&manifest("web"));
    space.apply(&manifest("web"));
    let patch = json!({ "spec": { "selector": { "matchLabels": { "app": "other" } } } });
    let rollouts = space.api::<Rollout>();
    let refused = rollouts
        .patch("web", &PatchParams::default(), &Patch::Merge(patch))
        .await;
    let said = refused.unwrap_err().to_string();
    assert!(said.contains(".spec.selector is immutable"), "{said}");
}

#[tokio::test]
async fn columns_tell_a_person_what_goes_on() {
    let Some((_, space)) = space("columns").await else {
        return;
    };
    space.apply("{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: web}, spec: {replicas: 4}}");
    let status = json!({ "status": {
        "phase": "Paused",
        "message": "CanaryPauseStep",
        "availableReplicas": 4,
        "serin": { "stepText": "2/5", "weight": 20, "readyText": "4/4" },
    }});
    let rollouts = space.api::<Rollout>();
    let web = rollouts
        .patch_status("web", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    let table = space.kubectl(&["get", "ro", &web.name_any(), "-o", "wide"]);
    let columns: Vec<_> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .collect();
    assert_eq!(
        columns[0][..7],
        ["NAME", "PHASE", "STEP", "WEIGHT", "READY", "MESSAGE", "AGE"]
    );
    assert_eq!(
        columns[0][7..],
        ["DESIRED", "CURRENT", "UP-TO-DATE", "AVAILABLE"]
    );
    assert_eq!(
        columns[1][..6],
        ["web", "Paused", "2/5", "20", "4/4", "CanaryPauseStep"]
    );
    let explained = space.kubectl(&["explain", "rollout.spec.strategy.canary"]);
    assert!(
        explained.contains("Move pods, and traffic where a router is set"),
        "{explained}"
    );
    assert!(!explained.contains("<no description>"), "{explained}");
}

/// Fails unless everything in `part` is in `whole`.
fn contains(whole: &Value, part: &Value, path: &str) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (key, value) in part {
                contains(
                    whole.get(key).unwrap_or(&Value::Null),
                    value,
                    &format!("{path}.{key}"),
                );
            }
        }
        (Value::Array(whole), Value::Array(part)) if whole.len() == part.len() => {
            for (index, (whole, part)) in whole.iter().zip(part).enumerate() {
                contains(whole, part, &format!("{path}[{index}]"));
            }
        }
        _ => assert_eq!(whole, part, "{path} was not kept"),
    }
}
