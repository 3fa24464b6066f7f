//! What the tests of deploy/ and examples/ share: a control plane of their own, without controllers, whose definitions
//! the chart has installed, and the programs of tests/delivery-tools.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::bench::control_plane::{ControlPlane, Options};
use crate::bench::programs;
use crate::cluster;
use crate::deploy::path;

/// The control plane; None where tests on a real API server are not wanted.
pub(crate) fn plane() -> Option<&'static ControlPlane> {
    static PLANE: OnceLock<ControlPlane> = OnceLock::new();
    if !cluster::is_wanted() {
        return None;
    }
    Some(PLANE.get_or_init(|| {
        let options = Options {
            without_controllers: true,
            ..Options::default()
        };
        let plane = ControlPlane::start_with(&cluster::dir().join("delivery"), options).unwrap();
        let applied = [
            "deploy/kustomize/base/namespace.yaml",
            "tests/delivery/foreign-crds.yaml",
        ];
        for file in applied {
            let output = plane
                .kubectl()
                .arg("apply")
                .arg("-f")
                .arg(path(file))
                .output()
                .unwrap();
            succeeded(&output);
        }
        // The first installation of the chart brings the definitions, as a user's does.
        let mut helm = helm();
        helm.args([
            "install",
            "chart",
            "--namespace=serin-chart",
            "--create-namespace",
        ])
        .arg(path("deploy/helm/serin"));
        succeeded(
            &helm
                .arg("--kubeconfig")
                .arg(&plane.admin.kubeconfig)
                .output()
                .unwrap(),
        );
        let served = [
            "wait",
            "--for=condition=established",
            "--timeout=60s",
            "crd",
            "--all",
        ];
        succeeded(&plane.kubectl().args(served).output().unwrap());
        plane
    }))
}

/// The built helm, with no home but the tests'.
pub(crate) fn helm() -> Command {
    let mut helm = Command::new(programs::delivery_tool("helm").unwrap());
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        helm.env(name, cluster::dir().join("helm"));
    }
    helm
}

/// What it printed; panics with what it said when it failed.
pub(crate) fn succeeded(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{said}",
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `kubectl kustomize FOLDER`: kubectl has kustomize in it.
pub(crate) fn kustomize(plane: &ControlPlane, folder: &Path) -> String {
    succeeded(
        &plane
            .kubectl()
            .arg("kustomize")
            .arg(folder)
            .output()
            .unwrap(),
    )
}

/// `kubectl apply` of a file; the API server must have nothing to object to. Returns what it printed.
pub(crate) fn applied(plane: &ControlPlane, more: &[&str], text: &str, name: &str) -> String {
    let file = cluster::dir().join(format!("{name}.yaml"));
    std::fs::write(&file, text).unwrap();
    let output = plane
        .kubectl()
        .arg("apply")
        .args(more)
        .arg("-f")
        .arg(&file)
        .output()
        .unwrap();
    let printed = succeeded(&output);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("Warning"), "{name}: {said}");
    printed
}
