//! deploy/policies: the same cases on the real API server (ValidatingAdmissionPolicy) and in gator (Gatekeeper).

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::bench::control_plane::ControlPlane;
use crate::bench::programs;
use crate::cluster;
use crate::delivery::{plane, succeeded};
use crate::deploy::path;

#[derive(Deserialize)]
struct Cases {
    known: String,
    objects: BTreeMap<String, Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    policy: String,
    of: String,
    set: BTreeMap<String, Value>,
    refused: Option<String>,
}

fn cases() -> Cases {
    let text = fs::read_to_string(path("tests/policies/cases.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

impl Case {
    fn object(&self, objects: &BTreeMap<String, Value>) -> Value {
        let mut object = objects[&self.of].clone();
        for (pointer, value) in &self.set {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let parent = object
                .pointer_mut(parent)
                .unwrap_or_else(|| panic!("no {parent} in {}", self.of));
            let parent = parent.as_object_mut().unwrap();
            match value {
                Value::Null => drop(parent.remove(key)),
                value => drop(parent.insert(key.to_owned(), value.clone())),
            }
        }
        object
    }
}

const SPACE: &str = "policies";

fn create(plane: &ControlPlane, object: &Value) -> Output {
    let file = cluster::dir().join("case.json");
    fs::write(&file, object.to_string()).unwrap();
    let mut kubectl = plane.kubectl();
    kubectl
        .args(["create", "--dry-run=server", "--namespace", SPACE, "-f"])
        .arg(file);
    kubectl.output().unwrap()
}

fn apply(plane: &ControlPlane, manifest: &Value) {
    plane.apply(&manifest.to_string()).unwrap();
}

#[tokio::test]
async fn the_api_server_refuses_what_the_policies_forbid() {
    let Some(plane) = plane() else {
        return;
    };
    let cases = cases();
    let labels = json!({"serin.dev/policies": "enforced", "pod-security.kubernetes.io/enforce": "restricted"});
    apply(
        plane,
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE, "labels": labels}}),
    );
    apply(
        plane,
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {cases.known.as_str(): "agent"},
            "metadata": {"name": "serin-known-images", "namespace": "serin-system"}}),
    );
    let folder = path("deploy/policies/validating");
    succeeded(
        &plane
            .kubectl()
            .arg("apply")
            .arg("-f")
            .arg(folder)
            .output()
            .unwrap(),
    );
    for case in &cases.cases {
        let object = case.object(&cases.objects);
        let Some(word) = &case.refused else {
            continue;
        };
        // Policies take effect some time after they were written.
        let what = format!("{} refuses {:?} and says {word}", case.policy, case.set);
        cluster::until(&what, || {
            let output = create(plane, &object);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            (!output.status.success() && said.contains(&case.policy) && said.contains(word))
                .then_some(())
        })
        .await;
    }
    let allowed = cases
        .cases
        .iter()
        .filter(|case| case.refused.is_none())
        .map(|case| case.object(&cases.objects));
    for object in allowed.chain(cases.objects.values().cloned()) {
        succeeded(&create(plane, &object));
    }
    let bare = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "bare", "labels": {"serin.dev/policies": "enforced"}}});
    cluster::until(
        "a namespace without the restricted standard is refused",
        || {
            let said = create(plane, &bare).stderr;
            String::from_utf8_lossy(&said)
                .contains("serin-restricted-namespaces")
                .then_some(())
        },
    )
    .await;
    who_may_promote(plane, &cases.objects["rollout"]).await;
}

/// Edith may edit Rollouts; Paul may also promote.
async fn who_may_promote(plane: &ControlPlane, rollout: &Value) {
    let role = |name: &str, resources: Value, verbs: Value, users: &[&str]| {
        let users: Vec<Value> = users
            .iter()
            .map(|user| json!({"kind": "User", "name": user}))
            .collect();
        apply(
            plane,
            &json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name, "namespace": SPACE},
                "rules": [{"apiGroups": ["argoproj.io"], "resources": resources, "verbs": verbs}]}),
        );
        apply(
            plane,
            &json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name, "namespace": SPACE},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}, "subjects": users}),
        );
    };
    let resources = json!(["rollouts", "rollouts/status"]);
    role(
        "editors",
        resources,
        json!(["get", "create", "patch", "update"]),
        &["edith", "paul"],
    );
    role(
        "promoters",
        json!(["rollouts/promote"]),
        json!(["update"]),
        &["paul"],
    );
    let mut rollout = rollout.clone();
    rollout["metadata"]["namespace"] = json!(SPACE);
    apply(plane, &rollout);
    let annotate = |user: &str, annotation: &str| {
        let mut kubectl = plane.kubectl();
        kubectl.args([
            "--as",
            user,
            "--namespace",
            SPACE,
            "annotate",
            "--overwrite",
            "rollout",
            "agent",
            annotation,
        ]);
        let output = kubectl.output().unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    cluster::until("Edith may not promote", || {
        let (is_done, said) = annotate("edith", "serin.dev/promote=true");
        (!is_done && said.contains("rollouts/promote is missing")).then_some(())
    })
    .await;
    assert!(annotate("edith", "note=mine").0);
    let (is_done, said) = annotate("edith", "serin.dev/abort=why");
    assert!(
        !is_done && said.contains("rollouts/abort is missing"),
        "{said}"
    );
    let status = |user: &str| {
        let mut kubectl = plane.kubectl();
        kubectl.args([
            "--as",
            user,
            "--namespace",
            SPACE,
            "patch",
            "rollout",
            "agent",
            "--subresource=status",
        ]);
        let output = kubectl
            .args(["--type=merge", "-p", r#"{"status":{"abort":true}}"#])
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (is_done, said) = status("edith");
    assert!(
        !is_done && said.contains("may not write the status"),
        "{said}"
    );
    for (is_done, said) in [
        annotate("paul", "serin.dev/promote=true"),
        status("paul"),
        annotate("edith", "note=again"),
    ] {
        assert!(is_done, "{said}");
    }
}

#[test]
fn gatekeeper_refuses_the_same() {
    if !cluster::is_wanted() {
        return;
    }
    let cases = cases();
    let mut objects = vec![json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": SPACE, "labels": {"serin.dev/policies": "enforced"}}})];
    let mut named = |name: String, mut object: Value| {
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(SPACE);
        objects.push(object);
    };
    for (name, object) in &cases.objects {
        named(name.clone(), object.clone());
    }
    for (at, case) in cases.cases.iter().enumerate() {
        named(format!("case-{at}"), case.object(&cases.objects));
    }
    let file = cluster::dir().join("gatekeeper.yaml");
    let text: Vec<String> = objects.iter().map(Value::to_string).collect();
    fs::write(&file, text.join("\n---\n")).unwrap();
    let mut gator = Command::new(programs::delivery_tool("gator").unwrap());
    gator
        .args(["test", "--output=json", "--filename"])
        .arg(file);
    gator
        .arg("--filename")
        .arg(path("deploy/policies/gatekeeper"));
    let output = gator.output().unwrap();
    let found: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    let of = |name: &str| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        found
            .iter()
            .filter(|v| v["violatingObject"]["metadata"]["name"] == name)
            .map(|v| (text(&v["constraint"]["metadata"]["name"]), text(&v["msg"])))
            .collect()
    };
    for name in cases.objects.keys() {
        assert!(of(name).is_empty(), "{name}: {:?}", of(name));
    }
    for (at, case) in cases.cases.iter().enumerate() {
        let found = of(&format!("case-{at}"));
        match &case.refused {
            None => assert!(found.is_empty(), "{:?}: {found:?}", case.set),
            Some(word) => {
                assert!(
                    found.iter().any(|(_, said)| said.contains(word)),
                    "{:?}: {found:?}",
                    case.set
                );
                assert!(
                    found.iter().all(|(policy, _)| *policy == case.policy),
                    "{:?}: {found:?}",
                    case.set
                );
            }
        }
    }
}
