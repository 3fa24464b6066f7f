//! examples/agents: every environment passes the policies of deploy/policies on a real API server, its pods the restricted
//! standard, and every agent rehearses as it should.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::control_plane::ControlPlane;
use crate::cluster;
use crate::delivery::{applied, kustomize, plane, succeeded};
use crate::deploy::{documents, path};

const ENVIRONMENTS: [&str; 3] = ["dev", "staging", "prod"];

pub(crate) fn overlay(environment: &str) -> PathBuf {
    path("examples/agents/overlays").join(environment)
}

pub(crate) fn images(all: &[Value]) -> BTreeSet<String> {
    let rollouts = all.iter().filter(|o| o["kind"] == "Rollout");
    let image = |o: &Value| {
        o["spec"]["template"]["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    rollouts.map(image).collect()
}

/// What a pipeline does once it has scanned an image.
pub(crate) fn know(plane: &ControlPlane, image: &str) {
    let key = format!("sha256.{}", image.split("@sha256:").nth(1).unwrap());
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {key: "agent"},
        "metadata": {"name": "serin-known-images", "namespace": "serin-system"}});
    let file = cluster::dir().join("known.json");
    fs::write(&file, map.to_string()).unwrap();
    // Field by field, beside what other tests have put there.
    let mut kubectl = plane.kubectl();
    kubectl
        .args(["apply", "--server-side", "--field-manager"])
        .arg(format!("test-{}", &image[image.len() - 8..]));
    succeeded(&kubectl.arg("-f").arg(file).output().unwrap());
}

#[tokio::test]
async fn every_environment_is_accepted_under_the_policies() {
    let Some(plane) = plane() else {
        return;
    };
    succeeded(
        &plane
            .kubectl()
            .arg("apply")
            .arg("-f")
            .arg(path("deploy/policies/validating"))
            .output()
            .unwrap(),
    );
    for environment in ENVIRONMENTS {
        let text = kustomize(plane, &overlay(environment));
        let all = documents(&text);
        for image in images(&all) {
            know(plane, &image);
        }
        let file = cluster::dir().join(format!("agents-{environment}.yaml"));
        fs::write(&file, &text).unwrap();
        // The API server learns of a policy and of its list a moment later.
        let what = format!("{environment} is let in");
        cluster::until(&what, || {
            let output = plane
                .kubectl()
                .arg("apply")
                .arg("-f")
                .arg(&file)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                output.status.success() || said.contains("serin-known-images"),
                "{said}"
            );
            assert!(!said.contains("Warning"), "{said}");
            output.status.success().then_some(())
        })
        .await;
        for rollout in all.iter().filter(|o| o["kind"] == "Rollout") {
            pods_meet_the_standard(plane, rollout);
            four_labels(rollout);
        }
    }
    let unknown = kustomize(plane, &overlay("dev")).replace(&"1".repeat(64), &"e".repeat(64));
    cluster::until("an image that nobody has scanned is refused", || {
        let file = cluster::dir().join("agents-unknown.yaml");
        fs::write(&file, &unknown).unwrap();
        let output = plane
            .kubectl()
            .args(["apply", "--dry-run=server", "-f"])
            .arg(file)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stderr)
            .contains("serin-known-images")
            .then_some(())
    })
    .await;
}

/// The pod that the Rollout's template makes, as its namespace's Pod Security Standard judges it.
fn pods_meet_the_standard(plane: &ControlPlane, rollout: &Value) {
    let template = &rollout["spec"]["template"];
    let name = rollout["metadata"]["name"].as_str().unwrap();
    let namespace = rollout["metadata"]["namespace"].as_str().unwrap();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
        "metadata": {"name": name, "namespace": namespace, "labels": template["metadata"]["labels"]}});
    applied(
        plane,
        &["--dry-run=server"],
        &pod.to_string(),
        &format!("{namespace}-{name}"),
    );
}

fn four_labels(rollout: &Value) {
    for label in ["app", "tier", "cost-center", "team"] {
        let value = &rollout["spec"]["template"]["metadata"]["labels"][label];
        assert!(
            value.as_str().is_some_and(|v| !v.is_empty()),
            "{label} of {}",
            rollout["metadata"]["name"]
        );
    }
    assert_eq!(
        rollout["spec"]["selector"]["matchLabels"]["app"],
        rollout["metadata"]["name"]
    );
}

#[test]
fn every_agent_rehearses_as_it_should() {
    if !cluster::is_wanted() {
        return;
    }
    let programs = crate::bench::programs::ControlPlanePrograms::find().unwrap();
    for environment in ENVIRONMENTS {
        let output = Command::new(path("examples/agents/rehearse.sh"))
            .arg(environment)
            .arg(cluster::dir().join("agents"))
            .env("SERIN", env!("CARGO_BIN_EXE_serin"))
            .env("KUBECTL", &programs.kubectl)
            .output()
            .unwrap();
        let printed = succeeded(&output);
        assert_eq!(printed.matches("as expected: ").count(), 20, "{printed}");
    }
}

#[test]
fn production_waits_for_a_person_and_the_others_do_not() {
    let Some(plane) = plane() else {
        return;
    };
    for environment in ENVIRONMENTS {
        for rollout in documents(&kustomize(plane, &overlay(environment))) {
            if rollout["kind"] != "Rollout" {
                continue;
            }
            let steps = rollout["spec"]["strategy"]["canary"]["steps"]
                .as_array()
                .unwrap();
            let waits = steps.iter().any(|step| step["pause"] == json!({}));
            assert_eq!(waits, environment == "prod", "{environment}");
        }
    }
}

#[test]
fn the_components_go_with_every_environment() {
    let Some(plane) = plane() else {
        return;
    };
    let folder = cluster::dir().join("meshed");
    fs::create_dir_all(&folder).unwrap();
    // kustomize takes folders by relative paths only.
    let up = "../".repeat(folder.canonicalize().unwrap().components().count() - 1);
    let from = |what: &str| {
        format!(
            "{up}{}",
            path("examples/agents")
                .join(what)
                .canonicalize()
                .unwrap()
                .strip_prefix("/")
                .unwrap()
                .display()
        )
    };
    for (component, sign) in [
        ("istio", "istio-injection: enabled"),
        ("linkerd", "linkerd.io/inject: enabled"),
        ("monitoring", "kind: PodMonitor"),
    ] {
        let text = format!(
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: ai-agents-prod\nresources: [{}]\ncomponents: [{}]\n",
            from("overlays/prod"),
            from(&format!("components/{component}")),
        );
        fs::write(folder.join("kustomization.yaml"), text).unwrap();
        let rendered = kustomize(plane, &folder);
        assert!(rendered.contains(sign), "{component}: {rendered}");
    }
}

#[test]
fn what_kustomize_is_told_about_rollouts_is_the_same_everywhere() {
    let read = |agent: &str| {
        fs::read_to_string(
            path("examples/agents/base")
                .join(agent)
                .join("kustomize-config.yaml"),
        )
        .unwrap()
    };
    for agent in ["it-ops", "ai", "architect"] {
        assert_eq!(
            read("security"),
            read(agent),
            "kustomize reads only files of its own folder, so these are copies"
        );
    }
    assert!(Path::new(&path("examples/agents/README.md")).exists());
}

#[test]
fn production_meets_the_release_checklist() {
    let Some(plane) = plane() else {
        return;
    };
    let folder = cluster::dir().join("checklist");
    fs::create_dir_all(&folder).unwrap();
    let prod = kustomize(plane, &overlay("prod"));
    fs::write(folder.join("prod.yaml"), &prod).unwrap();
    let monitoring = fs::read_to_string(path(
        "examples/agents/components/monitoring/monitoring.yaml",
    ))
    .unwrap();
    fs::write(folder.join("monitoring.yaml"), monitoring).unwrap();
    let board = fs::read_to_string(path(
        "deploy/kustomize/components/monitoring/monitoring.yaml",
    ))
    .unwrap();
    fs::write(folder.join("dashboard.yaml"), board).unwrap();
    let sbom = Command::new("python3")
        .arg(path("deploy/image/sbom.py"))
        .arg("cyclonedx")
        .output()
        .unwrap();
    fs::write(folder.join("sbom.cdx"), succeeded(&sbom)).unwrap();
    let serin = |args: &[&str]| {
        let mut serin = Command::new(env!("CARGO_BIN_EXE_serin"));
        serin
            .arg("check")
            .args(args)
            .current_dir(&folder)
            .output()
            .unwrap()
    };
    succeeded(&serin(&[".", "--sbom=sbom.cdx"]));
    // One image by tag, and the line that is about it is not met any more.
    let tagged = prod.replace(&format!("@sha256:{}", "3".repeat(64)), ":latest");
    fs::write(folder.join("prod.yaml"), tagged).unwrap();
    let output = serin(&[".", "--sbom=sbom.cdx", "--output=sarif"]);
    assert_eq!(output.status.code(), Some(1));
    let scan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let results = scan["runs"][0]["results"].as_array().unwrap();
    assert!(
        !results.is_empty()
            && results
                .iter()
                .all(|result| result["ruleId"] == "images-pinned"),
        "{results:#?}"
    );
    assert_eq!(serin(&["nowhere.yaml"]).status.code(), Some(2));
}
