//! A corpus of wrong Rollouts (tests/corpus/rollouts.yaml): each is found by lint, refused by the
//! optional policy where that has a rule for it, and harmless where it is stored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::{ApiResource, DynamicObject, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};
use serin::api::Rollout;
use serin::api::patch::apply_merge_patch;
use serin::lint::{Severity, Source, check};

use crate::cluster;
use crate::controller::{Serin, at, phase, space};
use crate::live_pods::pods;

#[derive(Deserialize)]
struct Corpus {
    good: BTreeMap<String, Value>,
    wrong: Vec<Wrong>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Wrong {
    over: Option<String>,
    patch: Value,
    /// What the controller and lint say.
    told: Value,
    /// What lint says instead.
    lint: Option<String>,
    /// What only the controller can tell: it knows the other objects (tests/corpus/objects.yaml).
    live: Option<String>,
    /// What the policy says.
    policy: Option<String>,
    /// What the published schema itself says.
    refused: Option<String>,
}

/// An entry, ready to be applied.
struct Case {
    name: String,
    manifest: Value,
    told: Vec<String>,
    wrong: Wrong,
}

fn path(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

fn manifest(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": name}, "spec": spec})
}

fn corpus() -> (BTreeMap<String, Value>, Vec<Case>) {
    let text = std::fs::read_to_string(path("tests/corpus/rollouts.yaml")).unwrap();
    let Corpus { good, wrong } = serde_saphyr::from_str(&text).unwrap();
    let cases = wrong.into_iter().enumerate().map(|(i, wrong)| {
        let name = format!("wrong-{i}");
        let mut spec = good[wrong.over.as_deref().unwrap_or("canary")].clone();
        apply_merge_patch(&mut spec, &wrong.patch);
        let told = match &wrong.told {
            Value::Array(all) => all.iter().map(|t| t.as_str().unwrap().to_owned()).collect(),
            Value::String(one) => vec![one.clone()],
            _ => vec![],
        };
        Case {
            manifest: manifest(&name, &spec),
            name,
            told,
            wrong,
        }
    });
    let cases: Vec<Case> = cases.collect();
    assert!(cases.len() >= 100, "{} wrong manifests", cases.len());
    (good, cases)
}

fn lint(manifest: &Value) -> Vec<String> {
    let source = Source {
        name: "web.yaml".to_owned(),
        text: serde_json::to_string_pretty(manifest).unwrap(),
    };
    let report = check(&[source], &|_, _| (Vec::new(), Vec::new()));
    let faults = report.findings.into_iter();
    faults
        .filter(|f| f.severity == Severity::Error)
        .map(|f| {
            assert!(f.place.line > 1, "{f:?} has no place");
            f.fault.to_string()
        })
        .collect()
}

#[test]
fn lint_finds_every_fault_of_the_corpus_and_none_in_the_good_ones() {
    let (good, cases) = corpus();
    for (name, spec) in &good {
        // Until everything is built, what is not yet is a fault too.
        let found = lint(&manifest(name, spec));
        let wrong: Vec<&String> = found
            .iter()
            .filter(|f| !f.contains("is not supported yet"))
            .collect();
        assert!(wrong.is_empty(), "{name}: {wrong:#?}");
    }
    let mut missed = vec![];
    for case in cases.iter().filter(|c| c.wrong.live.is_none()) {
        let found = lint(&case.manifest);
        // A misspelt field is told once: not the hole that it leaves as well.
        let wanted = match &case.wrong.lint {
            Some(lint) => std::slice::from_ref(lint),
            None => case.told.as_slice(),
        };
        for told in wanted {
            if !found.iter().any(|f| f.contains(told)) {
                missed.push(format!(
                    "{}: {told}\n    is not in {found:?}",
                    case.wrong.patch
                ));
            }
        }
        assert!(
            !case.told.is_empty() || case.wrong.lint.is_some(),
            "{} tells nothing",
            case.wrong.patch
        );
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[tokio::test]
async fn the_policy_refuses_what_it_has_rules_for_and_nothing_good() {
    let Some(space) = space("policy").await else {
        return;
    };
    let rollouts = space.api::<Rollout>();
    let text = std::fs::read_to_string(path("deploy/policies/rollout-validation.yaml")).unwrap();
    let mut documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let rules = documents[0]["spec"]["validations"]
        .as_array()
        .unwrap()
        .len();
    assert!(rules >= 20, "{rules} rules");
    // For this test's namespace alone: the cluster is shared.
    documents[1]["spec"]["matchResources"] = json!({"namespaceSelector": {"matchLabels": {
        "kubernetes.io/metadata.name": space.namespace,
    }}});
    // A rule that cannot be evaluated shall be seen here.
    documents[0]["spec"]["failurePolicy"] = "Fail".into();
    let file = cluster::dir().join("policy.yaml");
    let text = documents.iter().map(Value::to_string);
    std::fs::write(&file, text.collect::<Vec<_>>().join("\n---\n")).unwrap();
    space.kubectl(&["apply", "-f", &file.display().to_string()]);

    let (good, cases) = corpus();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let create = async |manifest: &Value| -> Result<(), String> {
        let rollout: Value = manifest.clone();
        let api: Api<DynamicObject> = Api::namespaced_with(
            space.client.clone(),
            &space.namespace,
            &ApiResource::erase::<Rollout>(&()),
        );
        let object: DynamicObject = serde_json::from_value(rollout).unwrap();
        api.create(&dry, &object)
            .await
            .map(drop)
            .map_err(|e| e.to_string())
    };
    let first = cases.iter().find(|c| c.wrong.policy.is_some()).unwrap();
    for _ in 0..300 {
        if create(&first.manifest).await.is_err() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let mut wrong = vec![];
    for (name, spec) in &good {
        if let Err(said) = create(&manifest(&name.to_lowercase(), spec)).await {
            wrong.push(format!("the good {name} is refused: {said}"));
        }
    }
    for file in std::fs::read_dir(path("examples/rollouts")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for mut document in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            if document["kind"] != "Rollout" {
                continue;
            }
            document["metadata"]["namespace"] = space.namespace.clone().into();
            if let Err(said) = create(&document).await {
                wrong.push(format!("{}: {said}", document["metadata"]["name"]));
            }
        }
    }
    for case in &cases {
        let said = create(&case.manifest).await;
        let expected = case.wrong.refused.as_ref().or(case.wrong.policy.as_ref());
        match (expected, said) {
            (Some(told), Err(said)) if said.contains(told) => {}
            (None, Ok(())) => {}
            (expected, said) => wrong.push(format!(
                "{}: {expected:?}, and is {said:?}",
                case.wrong.patch
            )),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let rollouts = rollouts.list(&ListParams::default()).await.unwrap();
    assert_eq!(rollouts.items.len(), 0);
}

#[tokio::test]
async fn wrong_rollouts_tell_all_their_faults_and_change_nothing() {
    let Some(space) = space("corpus").await else {
        return;
    };
    let (good, cases) = corpus();
    let _serin = Serin::start(&space, &["--prometheus=http://127.0.0.1:9"]);
    let rollouts: Api<DynamicObject> = Api::namespaced_with(
        space.client.clone(),
        &space.namespace,
        &ApiResource::erase::<Rollout>(&()),
    );
    let post = PostParams::default();
    let object = |manifest: &Value| serde_json::from_value(manifest.clone()).unwrap();
    let objects = path("tests/corpus/objects.yaml").display().to_string();
    space.kubectl(&["apply", "-f", &objects]);
    // One in the middle of an update, for every wrong spec to be applied to.
    rollouts
        .create(&post, &object(&manifest("well", &good["canary"])))
        .await
        .unwrap();
    space
        .reaches("well", "the good one is well", phase("Healthy"))
        .await;
    let mut second = good["canary"].clone();
    second["template"]["spec"]["containers"][0]["image"] = json!("example/web:2");
    second["strategy"]["canary"]["steps"][1]["pause"] = json!({});
    replace_spec(&rollouts, "well", &second).await.unwrap();
    let waits = space
        .reaches("well", "its update waits", at(1, "Paused"))
        .await;
    let pods_before = pods(&space).await;
    let sets = space.api::<ReplicaSet>();
    let before = sets.list(&ListParams::default()).await.unwrap().items;
    let state = |sets: &[ReplicaSet]| -> Vec<(Option<String>, Value)> {
        let of = |s: &ReplicaSet| (s.uid(), serde_json::to_value(&s.spec).unwrap());
        sets.iter().map(of).collect()
    };

    let mut wrong = vec![];
    let mut stored = vec![];
    for case in &cases {
        match rollouts.create(&post, &object(&case.manifest)).await {
            Ok(_) => stored.push(case),
            Err(error) => {
                let said = error.to_string();
                let expected = case.wrong.refused.as_deref();
                if !expected.is_some_and(|told| said.contains(told)) {
                    wrong.push(format!("{}: {expected:?}, and is {said}", case.wrong.patch));
                }
            }
        }
    }
    for case in &stored {
        if let Some(told) = &case.wrong.refused {
            wrong.push(format!("{}: stored, and not {told}", case.wrong.patch));
            continue;
        }
        let message = invalid(&space, &case.name).await;
        let told = case.told.iter().chain(&case.wrong.live);
        for told in told.filter(|told| !message.contains(*told)) {
            wrong.push(format!(
                "{}: {told}\n    is not in {message}",
                case.wrong.patch
            ));
        }
    }
    // Applied to the one that is well: it says so, and its update stays where it is.
    // A selector never changes, and one that is taken away cannot be given back.
    let selector = &good["canary"]["selector"];
    let others = stored
        .iter()
        .filter(|c| c.wrong.refused.is_none() && c.wrong.live.is_none())
        .filter(|c| c.manifest["spec"]["selector"] == *selector);
    for case in others {
        let applied = replace_spec(&rollouts, "well", &case.manifest["spec"]).await;
        match applied {
            Ok(()) => drop(invalid(&space, "well").await),
            Err(said) if said.contains(".spec.selector is immutable") => {}
            Err(said) => wrong.push(format!("{}: {said}", case.wrong.patch)),
        }
    }
    let after = sets_of_well(&space).await;
    assert_eq!(state(&before), state(&after), "no ReplicaSet is touched");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // And once the spec is right again, the update waits as before, and goes back to what was good.
    replace_spec(&rollouts, "well", &second).await.unwrap();
    let again = space
        .reaches("well", "it waits at its step again", at(1, "Paused"))
        .await;
    assert_eq!(again.current_pod_hash, waits.current_pod_hash);
    assert_eq!(again.pause_conditions, waits.pause_conditions);
    assert_eq!(pods(&space).await, pods_before, "no pod is touched");
    let after = sets_of_well(&space).await;
    assert_eq!(state(&before), state(&after), "no ReplicaSet is touched");
    replace_spec(&rollouts, "well", &good["canary"])
        .await
        .unwrap();
    space
        .reaches("well", "it is well again", phase("Healthy"))
        .await;
    assert_eq!(sets_of_well(&space).await.len(), before.len());
}

/// The ReplicaSets of the good Rollout. A wrong one has none, whoever could tell that it is wrong.
async fn sets_of_well(space: &cluster::Space) -> Vec<ReplicaSet> {
    let sets = space.api::<ReplicaSet>();
    let all = sets.list(&ListParams::default()).await.unwrap().items;
    for set in &all {
        let owners = set.metadata.owner_references.as_deref();
        let mut owners = owners.into_iter().flatten();
        assert!(owners.all(|o| o.name == "well"), "{:?}", set.metadata);
    }
    all
}

/// Puts this spec in the place of the one there is.
async fn replace_spec(
    rollouts: &Api<DynamicObject>,
    name: &str,
    spec: &Value,
) -> Result<(), String> {
    loop {
        let mut object = rollouts.get(name).await.map_err(|e| e.to_string())?;
        object.data["spec"] = spec.clone();
        match rollouts
            .replace(name, &PostParams::default(), &object)
            .await
        {
            Ok(_) => return Ok(()),
            // The controller was quicker: once more on what it wrote.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Waits until this generation is judged, and gives what InvalidSpec says of it.
async fn invalid(space: &cluster::Space, name: &str) -> String {
    let judged = |rollout: Option<&Rollout>| {
        let generation = rollout.and_then(|r| r.metadata.generation);
        let status = rollout.and_then(|r| r.status.as_ref());
        status.is_some_and(|s| {
            let observed = s.observed_generation.as_deref();
            observed.and_then(|g| g.parse().ok()) == generation
                && s.conditions.iter().any(|c| c.type_ == "InvalidSpec")
        })
    };
    let rollout = space
        .wait("its faults are told", name, judged)
        .await
        .unwrap();
    let conditions = rollout.status.unwrap().conditions;
    let invalid = conditions.into_iter().find(|c| c.type_ == "InvalidSpec");
    invalid.unwrap().message.unwrap()
}
