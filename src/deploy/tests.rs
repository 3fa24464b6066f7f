//! What is printed is YAML, says what was chosen, and refuses what makes no sense.

use serde_json::Value;

use super::{Install, Part, dashboard};

const ALL: [Part; 7] = [
    Part::Namespace,
    Part::Rbac,
    Part::Roles,
    Part::Network,
    Part::Deployments,
    Part::Webhook,
    Part::Monitoring,
];

fn objects(part: Part, install: &Install) -> Vec<Value> {
    let text = part.render(install);
    text.split("---\n")
        .map(|document| {
            serde_saphyr::from_str(document).unwrap_or_else(|e| panic!("{e}\n{document}"))
        })
        .collect()
}

fn strange() -> Install {
    Install {
        namespace: "agents".to_owned(),
        is_namespaced: true,
        replicas: 3,
        shards: 1,
        image: "registry.example/serin@sha256:00".to_owned(),
        prometheus: Some("http://prometheus.watch:9091/select?a=\"b\"".to_owned()),
        instance_id: Some("blue".to_owned()),
        priority_class: Some("system-cluster-critical".to_owned()),
        monitoring_namespace: "watch".to_owned(),
        api_servers: vec!["10.0.0.1/32".to_owned(), "fd00::1/128".to_owned()],
        secrets: vec!["agents/prometheus-token".to_owned()],
        config_maps: vec!["agents/bounds".to_owned()],
        track_config: vec!["agents".to_owned()],
        webhook_fails_closed: true,
    }
}

#[test]
fn every_part_is_yaml_and_lies_in_the_namespace_that_was_chosen() {
    for install in [Install::default(), strange()] {
        assert!(install.faults().is_empty(), "{:?}", install.faults());
        for part in ALL {
            for object in objects(part, &install) {
                let kind = object["kind"].as_str().unwrap_or_default();
                let is_of_cluster = kind.starts_with("Cluster")
                    || ["Namespace", "ValidatingWebhookConfiguration"].contains(&kind);
                let namespace = object
                    .pointer("/metadata/namespace")
                    .and_then(Value::as_str);
                assert_eq!(namespace.is_none(), is_of_cluster, "{object:#}");
                assert!(
                    is_of_cluster || namespace == Some(&*install.namespace),
                    "{object:#}"
                );
                let label = object.pointer("/metadata/labels/app.kubernetes.io~1name");
                assert_eq!(label.and_then(Value::as_str), Some("serin"), "{object:#}");
            }
        }
    }
}

#[test]
fn a_namespaced_installation_asks_for_nothing_of_the_cluster() {
    let install = strange();
    let parts = Part::USUAL
        .into_iter()
        .filter(|part| part.is_part_of(&install));
    for object in parts.flat_map(|part| objects(part, &install)) {
        let text = object.to_string();
        assert!(
            !text.contains("ClusterRole") && !text.contains("clusteranalysistemplates"),
            "{text}"
        );
    }
}

#[test]
fn no_right_is_wider_than_it_must_be() {
    for right in super::rights::RIGHTS {
        let words = right
            .resources
            .iter()
            .chain(right.verbs)
            .chain([&right.group]);
        // Resources of these groups are the names of metrics, which nobody knows beforehand.
        let is_metrics = right.group.ends_with(".metrics.k8s.io");
        for word in words {
            let is_wide = word.contains('*') && !is_metrics;
            assert!(
                !is_wide && !["escalate", "bind", "impersonate"].contains(word),
                "{right:?}"
            );
        }
        let is_written = right
            .verbs
            .iter()
            .any(|v| !["get", "list", "watch"].contains(v));
        assert!(
            !(right.resources.contains(&"pods") && right.verbs.contains(&"update")),
            "{right:?}"
        );
        assert!(
            !(is_written && right.group == "apiextensions.k8s.io"),
            "{right:?}"
        );
        assert!(
            !right.resources.contains(&"secrets"),
            "{right:?}: ask for it with --secret"
        );
    }
}

#[test]
fn configuration_is_tracked_where_a_role_says_so_and_nowhere_else() {
    let install = Install {
        track_config: vec!["shop".to_owned(), "agents".to_owned()],
        ..Install::default()
    };
    let usual = objects(Part::Rbac, &Install::default());
    let all = objects(Part::Rbac, &install);
    let more: Vec<&Value> = all
        .iter()
        .filter(|object| !usual.contains(object))
        .collect();
    let names = |field: &str| -> Vec<&str> {
        let texts = more.iter().filter_map(|o| o.pointer(field)?.as_str());
        texts.collect()
    };
    assert_eq!(
        names("/metadata/namespace"),
        ["shop", "shop", "agents", "agents"]
    );
    assert_eq!(
        names("/kind"),
        ["Role", "RoleBinding", "Role", "RoleBinding"]
    );
    assert_eq!(
        more[0]["rules"],
        serde_json::json!([{"apiGroups": [""], "resources": ["configmaps", "secrets"],
            "verbs": ["get", "create", "delete"]}])
    );
    let subject = &more[1]["subjects"][0];
    assert_eq!(
        subject["namespace"], "serin-system",
        "the controller's account"
    );
}

#[test]
fn the_choices_are_in_the_deployment() {
    let all = objects(Part::Deployments, &strange());
    let spec = &all[0]["spec"];
    assert_eq!(spec["replicas"], 3);
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["priorityClassName"], "system-cluster-critical");
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "registry.example/serin@sha256:00");
    let arguments: Vec<&str> = container["args"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(
        arguments[2..],
        [
            "--namespaced",
            "--instance-id=blue",
            "--prometheus=http://prometheus.watch:9091/select?a=\"b\""
        ]
    );
}

#[test]
fn all_controllers_work_where_there_are_shards() {
    let install = Install {
        shards: 16,
        ..Install::default()
    };
    assert!(install.faults().is_empty());
    let text = Part::Deployments.render(&install);
    assert!(text.contains("- \"--shards=16\"\n"), "{text}");
    assert!(
        !Part::Deployments
            .render(&Install::default())
            .contains("--shards")
    );
    // The Leases of the shards, and the one that replicas meet in, have names of their own: the right is
    // to all Leases of the namespace.
    let lease = objects(Part::Rbac, &install).into_iter();
    let mut lease = lease.filter(|o| o["kind"] == "Role" && o["metadata"]["name"] == "serin-lease");
    let rule = lease.next().unwrap()["rules"][0].clone();
    assert!(rule.get("resourceNames").is_none(), "{rule}");
    // One namespace cannot be divided.
    let one = Install {
        is_namespaced: true,
        ..install
    };
    assert!(one.faults()[0].starts_with("--shards \"16\": namespaces are divided"));
}

#[test]
fn the_network_lets_through_what_was_named() {
    let text = Part::Network.render(&strange());
    for word in [
        "10.0.0.1/32",
        "fd00::1/128",
        "port: 9091",
        "kubernetes.io/metadata.name: watch",
    ] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
}

#[test]
fn wrong_choices_are_refused_all_at_once() {
    let install = Install {
        namespace: "Not a name".to_owned(),
        replicas: 0,
        shards: 65,
        image: "a b\n".to_owned(),
        prometheus: Some("prometheus:9090".to_owned()),
        instance_id: Some("-".to_owned()),
        priority_class: Some("a: b".to_owned()),
        monitoring_namespace: String::new(),
        api_servers: vec!["10.0.0.1".to_owned()],
        secrets: vec!["token".to_owned()],
        config_maps: vec!["bounds".to_owned()],
        track_config: vec!["a/b".to_owned()],
        is_namespaced: false,
        webhook_fails_closed: false,
    };
    let faults = install.faults();
    for flag in [
        "--namespace",
        "--replicas",
        "--shards",
        "--image",
        "--prometheus",
        "--instance-id",
        "--priority-class",
        "--monitoring-namespace",
        "--api-server",
        "--secret",
        "--config-map",
        "--track-config",
    ] {
        assert!(
            faults.iter().any(|f| f.starts_with(&format!("{flag} "))),
            "{flag} in {faults:?}"
        );
    }
}

#[test]
fn panels_do_not_overlap() {
    let dashboard = dashboard();
    let mut taken = std::collections::BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            assert!(x < 24, "{panel}");
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{} overlaps", panel["title"]);
            }
        }
    }
}
