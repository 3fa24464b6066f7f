//! What a template refers to, its digest with contents, and the copies that are made.

use super::*;

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {
        "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "early"}}]}],
        "containers": [{"name": "app", "image": "web:1",
            "env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "a"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "db", "key": "b", "optional": true}}},
                {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
            "envFrom": [{"configMapRef": {"name": "more", "optional": true}}]}],
        "volumes": [
            {"name": "v", "configMap": {"name": "files"}},
            {"name": "s", "secret": {"secretName": "tls"}},
            {"name": "p", "projected": {"sources": [
                {"configMap": {"name": "app"}}, {"secret": {"name": "db"}}, {"serviceAccountToken": {}}]}},
        ],
    }})
}

#[test]
fn every_place_that_refers_to_configuration_is_found() {
    let found: Vec<String> = references(&template())
        .iter()
        .map(|(key, is_optional)| format!("{key}{}", if *is_optional { "?" } else { "" }))
        .collect();
    assert_eq!(
        found,
        [
            "ConfigMap app",
            "ConfigMap files",
            "ConfigMap more?",
            // Optional in one place, needed in another.
            "Secret db",
            "Secret early",
            "Secret tls",
        ]
    );
    for odd in [
        json!(null),
        json!({"spec": {"volumes": {}, "containers": [5]}}),
    ] {
        assert!(references(&odd).is_empty());
    }
}

#[test]
fn contents_count_and_nothing_else_of_the_object_does() {
    let contents = |object: Value| Contents::of(&object);
    let key = ConfigKey {
        kind: ConfigKind::ConfigMap,
        name: "app".into(),
    };
    let of = |object: Value| {
        let contents = contents(object);
        digest(
            &PodTemplate::new(template()),
            &BTreeMap::from([(&key, &contents)]),
        )
    };
    let first = of(json!({"metadata": {"resourceVersion": "1"}, "data": {"a": "1"}}));
    let same =
        of(json!({"metadata": {"resourceVersion": "2", "labels": {"x": "y"}}, "data": {"a": "1"}}));
    let other = of(json!({"data": {"a": "2"}}));
    assert_eq!(first, same);
    assert_ne!(first, other);
    assert!(first.starts_with("v1:") && first.len() == 67, "{first}");
    let plain = digest(&PodTemplate::new(template()), &BTreeMap::new());
    assert_eq!(
        plain,
        revision::template_digest(&PodTemplate::new(template()))
    );
}

#[test]
fn contents_are_never_printed() {
    let secret = Contents::of(&json!({"data": {"password": "aHVudGVyMg=="}}));
    assert_eq!(
        format!("{:?}", Found::There(Arc::new(secret))),
        "There(Contents)"
    );
}

#[test]
fn tokens_of_service_accounts_are_left_where_they_are() {
    let key = |name: &str| ConfigKey {
        kind: ConfigKind::Secret,
        name: name.into(),
    };
    let secret = |kind: &str| {
        let object = json!({"type": kind, "data": {"token": "eA=="}});
        Found::There(Arc::new(Contents::of(&object)))
    };
    let answers = Answers {
        configs: BTreeMap::from([
            (key("db"), secret("Opaque")),
            (key("tls"), secret("kubernetes.io/service-account-token")),
        ]),
        ..Answers::default()
    };
    let copied = own(&references(&template()), &answers);
    assert_eq!(copied.into_keys().collect::<Vec<_>>(), [&key("db")]);
}
