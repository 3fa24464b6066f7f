//! The chart and the kustomizations of deploy/, rendered by the real tools and applied to a real API server.

use std::process::Output;

use serde_json::{Value, json};
use serin::deploy::{Install, Part};

use crate::bench::control_plane::ControlPlane;
use crate::cluster;
use crate::delivery::{applied, helm, kustomize, plane, succeeded};
use crate::deploy::{documents, path};

fn template(more: &[&str]) -> Option<Vec<Value>> {
    if !cluster::is_wanted() {
        return None;
    }
    let mut helm = helm();
    helm.args([
        "template",
        "serin",
        "--namespace=serin-system",
        "--kube-version=1.36.0",
    ]);
    let output = helm
        .args(more)
        .arg(path("deploy/helm/serin"))
        .output()
        .unwrap();
    Some(documents(&succeeded(&output)))
}

fn named<'a>(all: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = all
        .iter()
        .find(|o| o["kind"] == kind && o["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

#[test]
fn the_chart_says_what_the_command_says() {
    let everything = [
        "--set=controller.metrics.serviceMonitor.enabled=true",
        "--set=controller.metrics.prometheusRule.enabled=true",
        "--set=controller.metrics.dashboard.enabled=true",
        "--set=trackConfigNamespaces={shop}",
        "--set-json=providerSecrets=[{\"namespace\": \"shop\", \"name\": \"key\"}]",
        "--set-json=analysisConfigMaps=[{\"namespace\": \"shop\", \"name\": \"bounds\"}]",
        "--set=webhook.enabled=true",
        "--set=controller.shards=16",
    ];
    let Some(chart) = template(&everything) else {
        return;
    };
    let install = Install {
        shards: 16,
        track_config: vec!["shop".to_owned()],
        secrets: vec!["shop/key".to_owned()],
        config_maps: vec!["shop/bounds".to_owned()],
        ..Install::default()
    };
    let parts = Part::USUAL
        .into_iter()
        .chain([Part::Webhook, Part::Monitoring]);
    let command: Vec<Value> = parts
        .flat_map(|part| documents(&part.render(&install)))
        .collect();
    // Selectors are the release's in the chart.
    let pod = |all, name| {
        let mut spec = named(all, "Deployment", name)["spec"]["template"]["spec"].clone();
        spec.as_object_mut()
            .unwrap()
            .remove("topologySpreadConstraints");
        // The chart's values name the probes' usual limit.
        let probes: &[&str] = match name {
            "serin" => &["livenessProbe", "readinessProbe"],
            _ => &[],
        };
        for probe in probes {
            spec["containers"][0][*probe]["failureThreshold"] = json!(3);
        }
        spec
    };
    for name in ["serin", "serin-webhook"] {
        assert_eq!(pod(&chart, name), pod(&command, name));
    }
    for (kind, name, field) in [
        ("ClusterRole", "serin", "rules"),
        ("ClusterRole", "serin-aggregate-to-view", "rules"),
        ("ClusterRole", "serin-aggregate-to-edit", "rules"),
        ("ClusterRole", "serin-aggregate-to-admin", "rules"),
        ("ClusterRoleBinding", "serin", "subjects"),
        ("ClusterRole", "serin-webhook", "rules"),
        ("ClusterRoleBinding", "serin-webhook", "subjects"),
        (
            "ValidatingWebhookConfiguration",
            "serin-webhook",
            "webhooks",
        ),
        ("Role", "serin-lease", "rules"),
        ("Role", "serin-secret-key", "rules"),
        ("RoleBinding", "serin-secret-key", "subjects"),
        ("Role", "serin-configmap-bounds", "rules"),
        ("RoleBinding", "serin-configmap-bounds", "subjects"),
        ("Role", "serin-track-config", "rules"),
        ("RoleBinding", "serin-track-config", "subjects"),
        ("PrometheusRule", "serin", "spec"),
        ("ConfigMap", "serin-dashboard", "data"),
    ] {
        let text = |all| {
            let value = &named(all, kind, name)[field];
            match value.get("serin.json").and_then(Value::as_str) {
                Some(json) => serde_json::from_str(json).unwrap(),
                None => value.clone(),
            }
        };
        assert_eq!(text(&chart), text(&command), "{kind} {name}");
    }
    for way in ["ingress", "egress"] {
        for name in ["serin", "serin-webhook"] {
            let rules = |all| named(all, "NetworkPolicy", name)["spec"][way].clone();
            assert_eq!(rules(&chart), rules(&command), "{name} {way}");
        }
    }
    let definitions: Vec<&Value> = chart
        .iter()
        .filter(|o| o["kind"] == "CustomResourceDefinition")
        .collect();
    assert_eq!(definitions.len(), serin::api::schema::crds().unwrap().len());
    for crd in definitions {
        assert_eq!(
            crd["metadata"]["annotations"]["helm.sh/resource-policy"],
            "keep"
        );
    }
}

#[test]
fn the_chart_is_clean_and_refuses_values_it_does_not_know() {
    if !cluster::is_wanted() {
        return;
    }
    succeeded(
        &helm()
            .args(["lint", "--strict"])
            .arg(path("deploy/helm/serin"))
            .output()
            .unwrap(),
    );
    let refused = |set: &str| {
        let mut helm = helm();
        helm.args(["template", "serin", "--kube-version=1.36.0", set])
            .arg(path("deploy/helm/serin"));
        let Output { status, stderr, .. } = helm.output().unwrap();
        let said = String::from_utf8_lossy(&stderr).into_owned();
        assert!(!status.success(), "{set} is let through");
        said
    };
    for (set, word) in [
        ("--set=controller.replica=3", "replica"),
        ("--set=controller.image.digest=sha256:1", "digest"),
        ("--set=dashboard.enabled=true", "dashboard"),
        ("--set=controller.prometheus=prometheus:9090", "prometheus"),
        ("--set=serviceAccount.create=false", "serviceAccount.name"),
        ("--set=webhook.failurePolicy=Maybe", "failurePolicy"),
        ("--set=controller.shards=100", "shards"),
        (
            "--set=controller.shards=16,clusterInstall=false",
            "controller.shards",
        ),
        (
            "--set=webhook.enabled=true,clusterInstall=false",
            "the whole cluster",
        ),
    ] {
        assert!(refused(set).contains(word), "{set}");
    }
}

#[test]
fn a_namespaced_release_asks_for_nothing_of_the_cluster() {
    let values = ["--set=clusterInstall=false,installCRDs=false"];
    let Some(chart) = template(&values) else {
        return;
    };
    for object in chart {
        let kind = object["kind"].as_str().unwrap();
        assert!(
            !kind.starts_with("Cluster") && kind != "CustomResourceDefinition",
            "{object:#}"
        );
    }
}

fn get(plane: &ControlPlane, what: &str, field: &str) -> String {
    let args = [
        "get",
        what,
        "--namespace=serin-chart",
        "--ignore-not-found",
        "-o",
    ];
    succeeded(
        &plane
            .kubectl()
            .args(args)
            .arg(format!("jsonpath={{{field}}}"))
            .output()
            .unwrap(),
    )
}

#[test]
fn the_chart_is_upgraded_rolled_back_and_leaves_the_definitions() {
    let Some(plane) = plane() else {
        return;
    };
    let release = |args: &[&str]| {
        let mut helm = helm();
        helm.args(args).arg("--namespace=serin-chart");
        helm.arg("--kubeconfig").arg(&plane.admin.kubeconfig);
        let output = helm.output().unwrap();
        succeeded(&output);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.to_lowercase().contains("warning"), "{said}");
    };
    let chart = path("deploy/helm/serin").display().to_string();
    let values = path("tests/delivery/values-of-the-peer.yaml")
        .display()
        .to_string();
    assert_eq!(get(plane, "deployment/chart-serin", ".spec.replicas"), "2");
    release(&["upgrade", "chart", &chart, "--values", &values]);
    assert_eq!(get(plane, "deployment/chart-serin", ".spec.replicas"), "3");
    assert_eq!(
        get(
            plane,
            "servicemonitor/chart-serin",
            ".spec.endpoints[0].port"
        ),
        "metrics"
    );
    assert_eq!(
        get(plane, "configmap/of-the-release", ".data.name"),
        "chart"
    );
    release(&["rollback", "chart", "1"]);
    assert_eq!(get(plane, "deployment/chart-serin", ".spec.replicas"), "2");
    assert_eq!(get(plane, "servicemonitor/chart-serin", ".kind"), "");
    release(&["uninstall", "chart"]);
    assert_eq!(get(plane, "deployment/chart-serin", ".kind"), "");
    let definitions = succeeded(
        &plane
            .kubectl()
            .args(["get", "crd", "-o", "name"])
            .output()
            .unwrap(),
    );
    assert!(
        definitions.contains("rollouts.argoproj.io"),
        "{definitions}"
    );
}

#[test]
fn every_kustomization_is_applied_without_a_warning() {
    let Some(plane) = plane() else {
        return;
    };
    for folder in [
        "base",
        "namespaced",
        "overlays/development",
        "overlays/production",
    ] {
        let text = kustomize(plane, &path("deploy/kustomize").join(folder));
        let name = format!("kustomize-{}", folder.replace('/', "-"));
        // One after the other, as somebody does who changes from one to the next.
        applied(plane, &[], &text, &name);
    }
    // The webhook as a component of it; not for real, since other tests make Rollouts here.
    let folder = path("target/kustomize-webhook");
    std::fs::create_dir_all(&folder).unwrap();
    let text = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../../deploy/kustomize/base]\ncomponents: [../../deploy/kustomize/components/webhook]\n";
    std::fs::write(folder.join("kustomization.yaml"), text).unwrap();
    let text = kustomize(plane, &folder);
    named(
        &documents(&text),
        "ValidatingWebhookConfiguration",
        "serin-webhook",
    );
    applied(plane, &["--dry-run=server"], &text, "kustomize-webhook");
    let text = kustomize(plane, &path("deploy/kustomize/overlays/production"));
    let all = documents(&text);
    let deployment = named(&all, "Deployment", "serin");
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(
        deployment["spec"]["template"]["spec"]["priorityClassName"],
        "serin"
    );
    let image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        .as_str()
        .unwrap();
    assert!(image.contains("@sha256:"), "{image}");
}
