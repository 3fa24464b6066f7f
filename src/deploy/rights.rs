//! Who may do what: the controller's rights, which are exactly what it uses, and the roles of people.

use super::{Install, indented};

/// One rule of the controller's role. **A new right of the controller is a new row of [`RIGHTS`]**;
/// then `UPDATE_GOLDEN=1 cargo test --test suite deploy` writes deploy/.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// Its resources.
    pub resources: &'static [&'static str],
    /// What is done with them.
    pub verbs: &'static [&'static str],
    /// What for, where that is not plain.
    pub why: &'static str,
    /// The resource belongs to no namespace: a namespaced installation goes without.
    pub is_of_cluster: bool,
}

pub(super) const fn right(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    why: &'static str,
) -> Right {
    Right {
        group,
        resources,
        verbs,
        why,
        is_of_cluster: false,
    }
}

/// Everything the controller may do in the namespaces it looks at. It cannot read Secrets.
pub const RIGHTS: &[Right] = &[
    right(
        "argoproj.io",
        &["rollouts"],
        &["get", "list", "watch", "patch"],
        "",
    ),
    right("argoproj.io", &["rollouts/status"], &["patch"], ""),
    right(
        "argoproj.io",
        &["rollouts/finalizers"],
        &["update"],
        "Only clusters that enforce permissions on owner references ask for this.",
    ),
    right(
        "argoproj.io",
        &["analysisruns"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "",
    ),
    right(
        "argoproj.io",
        &["analysisruns/finalizers"],
        &["update"],
        "As for rollouts: owner references of Jobs to AnalysisRuns.",
    ),
    right(
        "argoproj.io",
        &["experiments"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "",
    ),
    right(
        "argoproj.io",
        &["experiments/finalizers"],
        &["update"],
        "As for rollouts: owner references to Experiments.",
    ),
    right(
        "argoproj.io",
        &["analysistemplates"],
        &["get", "list", "watch"],
        "",
    ),
    Right {
        is_of_cluster: true,
        ..right(
            "argoproj.io",
            &["clusteranalysistemplates"],
            &["get", "list", "watch"],
            "",
        )
    },
    right("serin.dev", &["freezewindows"], &["list", "watch"], ""),
    Right {
        is_of_cluster: true,
        ..right(
            "serin.dev",
            &["clusterfreezewindows"],
            &["list", "watch"],
            "",
        )
    },
    right(
        "apps",
        &["replicasets"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "",
    ),
    right(
        "",
        &["services"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "Created and deleted are those of Experiments alone.",
    ),
    right(
        "",
        &["pods"],
        &["list", "patch"],
        "Restarts, and labels and annotations that pods carry for their role.",
    ),
    right("", &["pods/eviction"], &["create"], ""),
    right(
        "apps",
        &["deployments"],
        &["get", "list", "watch", "patch"],
        "Workloads that a workloadRef names: the size of a Deployment is changed, and by an undo the template.",
    ),
    right(
        "apps",
        &["controllerrevisions"],
        &["get", "create", "delete"],
        "The stable version's template, kept while an update is under way.",
    ),
    right(
        "",
        &["podtemplates"],
        &["get", "list", "watch", "patch"],
        "",
    ),
    right("events.k8s.io", &["events"], &["create", "patch"], ""),
    right(
        "batch",
        &["jobs"],
        &["get", "create", "delete"],
        "Measurements that are Jobs; their pods say why one does not start.",
    ),
    right(
        "",
        &["pods/log"],
        &["get"],
        "The last lines of a Job's log, in its measurement; not asked for with --job-log-lines=0.",
    ),
    right(
        "custom.metrics.k8s.io",
        &["*"],
        &["get", "list"],
        "For the metric provider kubernetes: resources are the names of metrics. Harmless where no adapter serves them.",
    ),
    right("external.metrics.k8s.io", &["*"], &["get", "list"], ""),
];

/// In its own namespace: the Lease that elects the leader.
pub const LEASE: Right = right(
    "coordination.k8s.io",
    &["leases"],
    &["get", "create", "patch"],
    "",
);

/// In the namespaces where Rollouts may track configuration, and only there: what their pods refer to is
/// read, and copied for each revision.
pub const TRACK_CONFIG: Right = right(
    "",
    &["configmaps", "secrets"],
    &["get", "create", "delete"],
    "",
);

/// Rules as YAML, each with its reason; as in the `rules` of a role.
pub fn rules<'a>(rights: impl IntoIterator<Item = &'a Right>) -> String {
    let mut text = String::new();
    for right in rights {
        if !right.why.is_empty() {
            text += &format!("# {}\n", right.why);
        }
        let group = if right.group.is_empty() {
            "\"\""
        } else {
            right.group
        };
        // A star alone would be an alias in YAML.
        let resources = right.resources.join(", ").replace('*', "\"*\"");
        let verbs = right.verbs.join(", ");
        text +=
            &format!("- apiGroups: [{group}]\n  resources: [{resources}]\n  verbs: [{verbs}]\n");
    }
    text
}

pub(super) fn of_the_controller(install: &Install) -> Vec<String> {
    let namespace = &install.namespace;
    let account = format!(
        "# What the controller may do: exactly what it does. It cannot read Secrets.
# Made by `serin deploy generate-rbac` from the table in src/deploy/rights.rs; do not edit.
apiVersion: v1
kind: ServiceAccount
metadata:
  name: serin
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: serin}}
# Only the controller's pods get the token, and they ask for it.
automountServiceAccountToken: false
"
    );
    let mut documents = vec![account];
    if install.is_namespaced {
        let rights = RIGHTS.iter().filter(|right| !right.is_of_cluster);
        documents.extend(bound_in(namespace, "serin", namespace, &rules(rights)));
    } else {
        let rules = indented(2, &rules(RIGHTS));
        documents.push(format!(
            "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: serin
  labels: {{app.kubernetes.io/name: serin}}
rules:
{rules}"
        ));
        documents.push(format!(
            "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: serin
  labels: {{app.kubernetes.io/name: serin}}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: serin
subjects:
  - kind: ServiceAccount
    name: serin
    namespace: {namespace}
"
        ));
    }
    documents.extend(bound_in(
        namespace,
        "serin-lease",
        namespace,
        &rules([&LEASE]),
    ));
    for secret in &install.secrets {
        documents.extend(one_of("secret", secret, namespace));
    }
    for config_map in &install.config_maps {
        documents.extend(one_of("configmap", config_map, namespace));
    }
    for tracked in &install.track_config {
        let rules = rules([&TRACK_CONFIG]);
        documents.extend(bound_in(tracked, "serin-track-config", namespace, &rules));
    }
    documents
}

/// A Role in a namespace, and its binding to the controller's account, which may live in another.
fn bound_in(namespace: &str, name: &str, account: &str, rules: &str) -> [String; 2] {
    let rules = indented(2, rules);
    let role = format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {name}
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: serin}}
rules:
{rules}"
    );
    let binding = format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {name}
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: serin}}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {name}
subjects:
  - kind: ServiceAccount
    name: serin
    namespace: {account}
"
    );
    [role, binding]
}

/// The right to read one object of this kind, in its own namespace and by its name.
fn one_of(kind: &str, object: &str, account: &str) -> Vec<String> {
    let Some((namespace, name)) = object.split_once('/') else {
        return vec![];
    };
    let rules = format!(
        "- apiGroups: [\"\"]\n  resources: [{kind}s]\n  resourceNames: [{name}]\n  verbs: [get]\n"
    );
    bound_in(namespace, &format!("serin-{kind}-{name}"), account, &rules).into()
}

/// Kinds that people work with.
const KINDS: &str =
    "[rollouts, rollouts/scale, rollouts/status, analysisruns, analysistemplates, experiments]";

pub(super) fn of_people(_: &Install) -> Vec<String> {
    // Whoever may edit may promote: existing clients do it by a patch of the status.
    let roles = [
        ("view", "get, list, watch"),
        ("edit", "create, update, patch, delete"),
        ("admin", "deletecollection"),
    ];
    let mut documents: Vec<String> = roles
        .iter()
        .map(|(role, verbs)| for_people(role, verbs))
        .collect();
    if let Some(view) = documents.first_mut() {
        let head = "# Rollouts for people who have the roles view, edit and admin of Kubernetes; there, edit contains
# view, and admin edit. Made by `serin deploy generate-roles`; do not edit.\n";
        view.insert_str(0, head);
        view.push_str("  - apiGroups: [argoproj.io]\n    resources: [clusteranalysistemplates]\n    verbs: [get, list, watch]\n");
        view.push_str("  - apiGroups: [serin.dev]\n    resources: [freezewindows, clusterfreezewindows]\n    verbs: [get, list, watch]\n");
    }
    // Who may update a Rollout is not who may end a freeze.
    if let Some(admin) = documents.last_mut() {
        admin.push_str("  - apiGroups: [serin.dev]\n    resources: [freezewindows]\n    verbs: [create, update, patch, delete, deletecollection]\n");
    }
    documents
}

fn for_people(role: &str, verbs: &str) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: serin-aggregate-to-{role}
  labels:
    app.kubernetes.io/name: serin
    rbac.authorization.k8s.io/aggregate-to-{role}: \"true\"
rules:
  - apiGroups: [argoproj.io]
    resources: {KINDS}
    verbs: [{verbs}]
"
    )
}
