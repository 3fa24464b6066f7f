//! Templates dressed for a role and undressed again, and what pods are told.

use super::*;

fn meta(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Meta {
    let map = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    Meta {
        labels: map(labels),
        annotations: map(annotations),
    }
}

fn template() -> Value {
    json!({
        "metadata": {"labels": {"app": "web", "tier": "own"}},
        "spec": {"containers": [{"name": "app", "image": "web:1"}]},
    })
}

fn wants(meta: Meta, avoids: Option<(&str, u32)>) -> Wanted {
    Wanted {
        meta,
        avoids: avoids.map(|(hash, weight)| Avoids {
            hash: hash.to_owned(),
            weight,
        }),
    }
}

#[test]
fn a_role_comes_and_goes_and_the_template_is_as_it_was() {
    let canary = meta(&[("role", "canary"), ("tier", "new")], &[("note", "x")]);
    let first = dress(
        &template(),
        &Meta::default(),
        &Record::default(),
        &wants(canary.clone(), Some(("abc", 0))),
    );
    let labels = &first.template["metadata"]["labels"];
    assert_eq!(
        labels,
        &json!({"app": "web", "role": "canary", "tier": "new"})
    );
    assert_eq!(first.template["metadata"]["annotations"]["note"], "x");
    let rule = &first.template["spec"]["affinity"]["podAntiAffinity"][REQUIRED][0];
    assert_eq!(
        rule["labelSelector"]["matchExpressions"][0]["values"],
        json!(["abc"])
    );
    assert_eq!(first.record.hides, meta(&[("tier", "own")], &[]));

    // Promoted: another role. What the canary's hid is there again.
    let stable = meta(&[("role", "stable")], &[]);
    let second = dress(
        &first.template,
        &canary,
        &first.record,
        &wants(stable.clone(), None),
    );
    let labels = &second.template["metadata"]["labels"];
    assert_eq!(
        labels,
        &json!({"app": "web", "role": "stable", "tier": "own"})
    );
    assert_eq!(second.template.pointer("/spec/affinity"), None);
    assert_eq!(second.record.former.labels["tier"].as_deref(), Some("own"));
    assert_eq!(second.record.former.annotations["note"], None);

    let third = dress(
        &second.template,
        &stable,
        &second.record,
        &wants(Meta::default(), None),
    );
    assert_eq!(third.template, template());
    assert!(
        third.record.former.labels.contains_key("role"),
        "pods are told of all that went"
    );
    assert!(third.record.former.labels.contains_key("tier"));
}

#[test]
fn what_somebody_else_wrote_is_left_alone() {
    let canary = meta(&[("role", "canary")], &[]);
    let mut changed = dress(
        &template(),
        &Meta::default(),
        &Record::default(),
        &wants(canary.clone(), None),
    );
    changed.template["metadata"]["labels"]["role"] = json!("theirs");
    let after = dress(
        &changed.template,
        &canary,
        &changed.record,
        &Wanted::default(),
    );
    assert_eq!(after.template["metadata"]["labels"]["role"], "theirs");
}

#[test]
fn a_wish_stands_beside_the_users_own_rules() {
    let mut own = template();
    let users = json!({"weight": 5, "podAffinityTerm": {"topologyKey": "zone"}});
    own["spec"]["affinity"] = json!({"podAntiAffinity": {PREFERRED: [users]}, "nodeAffinity": {}});
    let dressed = dress(
        &own,
        &Meta::default(),
        &Record::default(),
        &wants(Meta::default(), Some(("abc", 30))),
    );
    let rules = &dressed.template["spec"]["affinity"]["podAntiAffinity"][PREFERRED];
    assert_eq!(rules.as_array().unwrap().len(), 2);
    assert_eq!(rules[1]["weight"], 30);
    let after = dress(
        &dressed.template,
        &Meta::default(),
        &dressed.record,
        &Wanted::default(),
    );
    assert_eq!(after.template, own);
}

#[test]
fn a_pod_is_told_only_what_it_lacks() {
    let pod = |labels: &[(&str, &str)]| PodSeen {
        name: "p".into(),
        uid: "u".into(),
        owner: "rs".into(),
        created: jiff::Timestamp::UNIX_EPOCH,
        is_active: true,
        ready_since: None,
        labels: meta(labels, &[]).labels,
        annotations: BTreeMap::new(),
    };
    let role = meta(&[("role", "stable")], &[]);
    let former = Former {
        labels: [
            ("gone".to_owned(), None),
            ("tier".to_owned(), Some("own".to_owned())),
        ]
        .into(),
        annotations: BTreeMap::new(),
    };
    let patch = pod_patch(
        &pod(&[("role", "canary"), ("gone", "x"), ("app", "web")]),
        &role,
        &former,
    );
    assert_eq!(
        patch.unwrap().patch["metadata"]["labels"],
        json!({"role": "stable", "gone": null, "tier": "own"})
    );
    let has_it = pod(&[("role", "stable"), ("tier", "own"), ("app", "web")]);
    assert_eq!(pod_patch(&has_it, &role, &former), None);
}

#[test]
fn templates_compare_without_what_a_controller_put_in() {
    let role = meta(&[("role", "canary")], &[("note", "x")]);
    let dressed = dress(
        &template(),
        &Meta::default(),
        &Record::default(),
        &wants(role.clone(), Some(("abc", 0))),
    );
    let text = serde_json::to_string(&role).unwrap();
    let (mut theirs, mut ours) = (dressed.template, template());
    bare(&mut theirs, Some(&text));
    bare(&mut ours, Some(&text));
    assert_eq!(theirs, ours);
}
