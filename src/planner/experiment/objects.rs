//! The ReplicaSets and Services of an Experiment as they are sent: names, hashes, labels, owner (E4).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::spec::Template;
use crate::api::{API_VERSION, Experiment, POD_HASH_LABEL, PodTemplate};
use crate::planner::plan::{NewReplicaSet, NewService};
use crate::planner::revision;

/// Annotation on ReplicaSets: the Experiment they are of.
pub const EXPERIMENT_NAME: &str = "experiment.argoproj.io/name";
/// Annotation on ReplicaSets: the template they are made from.
pub const TEMPLATE_NAME: &str = "experiment.argoproj.io/template-name";

/// `<experiment>-<template>`, with `-N` where somebody else has had the name N times.
pub(super) fn set_name(experiment: &str, template: &str, collisions: i64) -> String {
    if collisions > 0 {
        format!("{experiment}-{template}-{collisions}")
    } else {
        format!("{experiment}-{template}")
    }
}

/// The hash of a template. It covers the names too: pods of an Experiment are never those of the
/// Rollout whose template they have, nor those of another template that reads the same, so no
/// selector with a hash finds both.
fn hash(experiment: &Experiment, template: &Template, bare: &Value, collisions: i64) -> String {
    let digest = revision::template_digest(&PodTemplate::new(bare.clone()));
    let name = experiment.metadata.name.as_deref().unwrap_or_default();
    let salted = format!("{digest}/{name}/{}", template.name);
    revision::pod_hash(&salted, collisions)
}

/// The ReplicaSet of a template, with 0 replicas: it is scaled in a later turn.
pub(super) fn replica_set(
    experiment: &Experiment,
    template: &Template,
    collisions: i64,
) -> NewReplicaSet {
    let meta = &experiment.metadata;
    let owner_name = meta.name.as_deref().unwrap_or_default();
    let mut pods = revision::written(template.template.value());
    let hash = hash(experiment, template, &pods, collisions);
    let mut labels = label(&mut pods, &["metadata", "labels"], &hash);
    let mut selector = template.selector.clone();
    label(&mut selector, &["matchLabels"], &hash);
    labels.retain(|_, value| value.is_string());
    let name = set_name(owner_name, &template.name, collisions);
    let object = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "labels": labels,
            "annotations": {EXPERIMENT_NAME: owner_name, TEMPLATE_NAME: template.name},
            "ownerReferences": [owner(experiment)],
        },
        "spec": {
            "replicas": 0,
            "minReadySeconds": template.min_ready_seconds,
            "selector": selector,
            "template": pods,
        },
    });
    NewReplicaSet {
        name,
        hash,
        revision: 0,
        template_digest: String::new(),
        object: Arc::new(object),
    }
}

/// The Service in front of a template's pods; `None` where no container has a port.
pub(super) fn service(
    experiment: &Experiment,
    template: &Template,
    name: &str,
    hash: &str,
) -> Option<NewService> {
    let ports = ports(&template.template);
    if ports.is_empty() {
        return None;
    }
    let mut pods = revision::written(template.template.value());
    let mut selector = label(&mut pods, &["metadata", "labels"], hash);
    selector.retain(|_, value| value.is_string());
    let object = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": experiment.metadata.namespace,
            "annotations": {EXPERIMENT_NAME: experiment.metadata.name, TEMPLATE_NAME: template.name},
            "ownerReferences": [owner(experiment)],
        },
        "spec": {"selector": selector, "ports": ports},
    });
    Some(NewService {
        name: name.to_owned(),
        object: Arc::new(object),
    })
}

/// One port for each port of a container; the same number twice is one.
fn ports(template: &PodTemplate) -> Vec<Value> {
    let mut ports: Vec<Value> = vec![];
    for container in template.containers() {
        let all = container.value().get("ports").and_then(Value::as_array);
        for port in all.into_iter().flatten() {
            let Some(number) = port.get("containerPort").and_then(Value::as_i64) else {
                continue;
            };
            let protocol = port.get("protocol").and_then(Value::as_str);
            let protocol = protocol.unwrap_or("TCP");
            let named = port.get("name").and_then(Value::as_str);
            let name = named.map_or_else(
                || format!("{}-{number}", protocol.to_lowercase()),
                str::to_owned,
            );
            let is_known = ports.iter().any(|p| {
                p.get("name").and_then(Value::as_str) == Some(&name)
                    || (p.get("port").and_then(Value::as_i64) == Some(number)
                        && p.get("protocol").and_then(Value::as_str) == Some(protocol))
            });
            if !is_known {
                ports.push(json!({
                    "name": name, "port": number, "targetPort": number, "protocol": protocol,
                }));
            }
        }
    }
    ports
}

fn owner(experiment: &Experiment) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": "Experiment", "name": experiment.metadata.name,
        "uid": experiment.metadata.uid, "controller": true, "blockOwnerDeletion": true,
    })
}

/// Sets the pod hash label below `path`, and gives all labels there.
fn label(value: &mut Value, path: &[&str], hash: &str) -> Map<String, Value> {
    let mut at = value;
    for key in path {
        if !at.is_object() {
            *at = json!({});
        }
        let Some(map) = at.as_object_mut() else {
            return Map::new();
        };
        at = map.entry((*key).to_owned()).or_insert_with(|| json!({}));
    }
    if !at.is_object() {
        *at = json!({});
    }
    let Some(map) = at.as_object_mut() else {
        return Map::new();
    };
    map.insert(POD_HASH_LABEL.to_owned(), Value::from(hash));
    map.clone()
}
