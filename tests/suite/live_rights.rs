//! deploy/ on a real API server: the controller works with the rights of rbac.yaml and no
//! others, and its pods are let into its namespace.

use std::collections::BTreeSet;
use std::path::Path;

use k8s_openapi::api::core::v1::Service;
use serde_json::Value;
use serin::api::AnalysisRun;
use serin::deploy::rights::{LEASE, RIGHTS, TRACK_CONFIG};

use crate::bench::control_plane::User;
use crate::cluster::{self, Cluster};
use crate::controller::{Serin, at, phase, space, web};

fn kubectl(cluster: &Cluster, args: &[&str]) -> String {
    let output = cluster.plane.kubectl().args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "kubectl {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap() + &said
}

fn deploy(cluster: &Cluster, file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/kustomize/base")
        .join(file);
    kubectl(cluster, &["apply", "-f", &path.display().to_string()])
}

/// A controller with the rights of rbac.yaml, for objects labelled with this instance: other
/// controllers of this suite are at work in all namespaces.
pub(crate) fn with_rights(instance: &str) -> Serin {
    let cluster = cluster::shared().unwrap();
    deploy(cluster, "namespace.yaml");
    deploy(cluster, "rbac.yaml");
    let token = kubectl(
        cluster,
        &["create", "token", "serin", "--namespace=serin-system"],
    );
    let kubeconfig = cluster::dir().join(format!("{instance}.kubeconfig"));
    let user = User {
        name: "serin",
        token: token.trim().to_owned(),
        kubeconfig,
    };
    cluster
        .plane
        .write_kubeconfig(&user, &user.kubeconfig, "default")
        .unwrap();
    let flag = format!("--instance-id={instance}");
    Serin::start_on(&cluster.plane, &user, instance, &[&flag])
}

#[tokio::test]
async fn the_rights_of_rbac_yaml_are_enough_for_pods_and_workloads() {
    let Some(space) = space("rights-pods").await else {
        return;
    };
    let _serin = with_rights("rights-pods");
    let labels = "metadata: {name: web, annotations: {serin.dev/restore-on-delete: 'true'}, labels: {argo-rollouts.argoproj.io/controller-instance-id: rights-pods}}";
    space.apply(&crate::live_workload::deployment("1", 2));
    let canary = "{maxUnavailable: 1, stableMetadata: {labels: {role: stable}}}";
    let rollout = crate::live_workload::referring(2, "onsuccess", canary);
    space.apply(&rollout.replace("metadata: {name: web}", labels));
    space.reaches("web", "it is there", phase("Healthy")).await;
    let empty = || {
        let size = space.kubectl(&["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"]);
        (size == "0").then_some(())
    };
    cluster::until("the Deployment gives its pods up", empty).await;
    let before = crate::live_pods::pods(&space).await;
    space.command("web", "restart", "true");
    space.noted("web", "RolloutRestarted", 1).await;
    let after = crate::live_pods::pods(&space).await;
    assert!(after.iter().all(|pod| !before.contains(pod)), "{after:?}");
    // Living pods get other labels.
    let patch = r#"{"spec":{"strategy":{"canary":{"stableMetadata":{"labels":{"role":"best"}}}}}}"#;
    space.kubectl(&["patch", "rollout", "web", "--type=merge", "-p", patch]);
    let told = || {
        let names = space.kubectl(&["get", "pods", "-l", "role=best", "-o", "name"]);
        (names.lines().count() >= 2).then_some(())
    };
    cluster::until("living pods are told their role", told).await;
    space.kubectl(&["delete", "rollout", "web", "--timeout=60s"]);
    let size = space.kubectl(&["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"]);
    assert_eq!(size, "2", "its pods are back");
}

#[tokio::test]
async fn the_rights_of_rbac_yaml_are_enough() {
    let Some(space) = space("rights").await else {
        return;
    };
    let _serin = with_rights("rights");
    let template = r#"{apiVersion: argoproj.io/v1alpha1, kind: AnalysisTemplate, metadata: {name: one}, spec: {metrics: [
        {name: one, provider: {prometheus: {address: "http://nowhere.invalid:9090", query: "vector(1)"}}}]}}"#;
    space.apply(template);
    space.apply("{apiVersion: v1, kind: Service, metadata: {name: shown}, spec: {selector: {app: web}, ports: [{port: 80}]}}");
    let canary = "{canaryService: shown, steps: [{setWeight: 50}, {pause: {}}, {analysis: {templates: [{templateName: one}]}}]}";
    let labels =
        "metadata: {name: web, labels: {argo-rollouts.argoproj.io/controller-instance-id: rights}}";
    let mine = |tag: &str| {
        web(tag, 2, canary).replace("metadata: {name: web}", labels) + "  revisionHistoryLimit: 0\n"
    };
    space.apply(&mine("1"));
    space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    space.apply(&mine("2"));
    let paused = space.reaches("web", "it waits", at(1, "Paused")).await;
    space.noted("web", "RolloutPaused", 1).await;
    space.noted("web", "SwitchService", 2).await;
    space.command("web", "promote", "true");
    let run = format!("web-{}-2-2", paused.current_pod_hash.unwrap());
    let measured = |run: Option<&AnalysisRun>| {
        run.and_then(|r| r.status.as_ref())
            .is_some_and(|s| s.metric_results.is_some())
    };
    space.wait("the run is measured", &run, measured).await;
    // Old ReplicaSets and runs beyond the limit are deleted.
    space.command("web", "promote", "full");
    space
        .reaches("web", "it is promoted", phase("Healthy"))
        .await;
    let only = || {
        let sets = space.kubectl(&["get", "rs", "-o", "name"]);
        (sets.lines().count() == 1).then_some(())
    };
    cluster::until("the old ReplicaSet is deleted", only).await;
    // An Experiment makes a ReplicaSet and a Service, and takes both away.
    let pods = "{metadata: {labels: {app: tried}}, spec: {containers: [{name: app, image: 'example/web:1', ports: [{containerPort: 80}]}]}}";
    let spec = format!(
        "{{duration: 1s, scaleDownDelaySeconds: 0, templates: [{{name: a, service: {{}}, selector: {{matchLabels: {{app: tried}}}}, template: {pods}}}]}}"
    );
    let labels = labels.replace("name: web", "name: try");
    space.apply(&format!(
        "{{apiVersion: argoproj.io/v1alpha1, kind: Experiment, {labels}, spec: {spec}}}"
    ));
    let there = |service: Option<&Service>| service.is_some();
    space.wait("it has a Service", "try-a", there).await;
    let gone = |service: Option<&Service>| service.is_none();
    space.wait("the Service is deleted", "try-a", gone).await;
    // A Job belongs to its run, and its log is read.
    let pods = "{metadata: {annotations: {test.serin.dev/log: all is well}}, spec: {restartPolicy: Never, containers: [{name: c, image: 'example/smoke:1'}]}}";
    let spec = format!(
        "{{metrics: [{{name: smoke, provider: {{job: {{spec: {{template: {pods}}}}}}}}}]}}"
    );
    let labels = labels.replace("name: try", "name: smoke");
    space.apply(&format!(
        "{{apiVersion: argoproj.io/v1alpha1, kind: AnalysisRun, {labels}, spec: {spec}}}"
    ));
    let is_told = |run: Option<&AnalysisRun>| {
        let status = run.and_then(|r| serde_json::to_string(&r.status).ok());
        status.is_some_and(|s| s.contains("Successful") && s.contains("all is well"))
    };
    space.wait("the Job is measured", "smoke", is_told).await;
}

#[tokio::test]
async fn the_deployment_meets_the_restricted_standard() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    deploy(cluster, "namespace.yaml");
    deploy(cluster, "rbac.yaml");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kustomize/base/deployment.yaml");
    let args = [
        "apply",
        "--dry-run=server",
        "-f",
        &path.display().to_string(),
    ];
    let said = kubectl(cluster, &args);
    assert!(!said.contains("Warning"), "{said}");
}

/// Group, resource and verb of a request.
type Use = (String, String, String);

/// What the controllers of the last run of this suite have asked for, by its audit logs.
fn used() -> BTreeSet<Use> {
    let mut used = BTreeSet::new();
    let runs = std::fs::read_dir(env!("CARGO_TARGET_TMPDIR"))
        .into_iter()
        .flatten()
        .flatten();
    for run in runs {
        let log = run.path().join("plane/audit.log");
        let log = std::fs::read_to_string(log).unwrap_or_default();
        for event in log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        {
            let text = |pointer: &str| {
                event
                    .pointer(pointer)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            let (resource, sub) = (text("/objectRef/resource"), text("/objectRef/subresource"));
            // Without a resource it is the published schema, which every account may read.
            if !resource.is_empty() {
                let slash = if sub.is_empty() { "" } else { "/" };
                let resource = format!("{resource}{slash}{sub}");
                used.insert((
                    text("/objectRef/apiGroup").to_owned(),
                    resource,
                    text("/verb").to_owned(),
                ));
            }
        }
    }
    used
}

#[test]
#[ignore = "make test runs it after the suite: it reads the audit logs that the suite has left"]
fn what_the_suite_has_used_is_granted() {
    let used = used();
    assert!(
        used.len() > 5,
        "no audit log of a run with SERIN_APISERVER=start is there: {used:?}"
    );
    // Of Secrets and ConfigMaps no more than what `generate-rbac --track-config` gives, which includes what
    // `--secret` does.
    let rights = RIGHTS.iter().chain([&LEASE, &TRACK_CONFIG]);
    let granted: BTreeSet<Use> = rights
        .flat_map(|right| {
            right
                .resources
                .iter()
                .flat_map(move |r| right.verbs.iter().map(move |v| (right.group, *r, *v)))
        })
        .map(|(group, resource, verb)| (group.to_owned(), resource.to_owned(), verb.to_owned()))
        .collect();
    let is_named =
        |(group, _, verb): &&Use| !granted.contains(&(group.clone(), "*".to_owned(), verb.clone()));
    let missing: Vec<&Use> = used.difference(&granted).filter(is_named).collect();
    assert!(
        missing.is_empty(),
        "the controller uses what src/deploy/rights.rs does not grant: {missing:?}"
    );
    // The other way round.
    let is_known = |(group, resource, verb): &&Use| {
        let known = SELDOM.iter();
        let mut known = known.map(|(g, r, v, _)| (*g, *r, *v));
        known.any(|right| right == (group.as_str(), resource.as_str(), verb.as_str()))
    };
    let idle: Vec<&Use> = granted.difference(&used).collect();
    let idle: Vec<&Use> = idle.into_iter().filter(|u| !is_known(u)).collect();
    assert!(
        idle.is_empty(),
        "src/deploy/rights.rs grants what the whole suite does not use: take it away, or say in SELDOM when it is used: {idle:?}"
    );
}

/// Rights that the suite need not use, and when they are.
const SELDOM: &[(&str, &str, &str, &str)] = &[
    (
        ARGO,
        "rollouts/finalizers",
        "update",
        "admission asks for it",
    ),
    (ARGO, "analysisruns/finalizers", "update", "the same"),
    (ARGO, "experiments/finalizers", "update", "the same"),
    (ARGO, "analysisruns", "get", "a name is in the way"),
    (ARGO, "experiments", "get", "the same"),
    (
        ARGO,
        "experiments",
        "delete",
        "more are kept than the limit",
    ),
    ("custom.metrics.k8s.io", "*", "get", "there is an adapter"),
    ("custom.metrics.k8s.io", "*", "list", "the same"),
    ("external.metrics.k8s.io", "*", "get", "the same"),
    ("external.metrics.k8s.io", "*", "list", "the same"),
];

const ARGO: &str = "argoproj.io";
