//! The admission webhook in a cluster: its rights, its pods, and the configuration that leads API
//! servers to it.

use super::rights::{self, Right};
use super::workload::bounds;
use super::{Install, indented, quoted};

/// Everything the webhook may do, besides keeping its certificate in its own configuration.
pub const RIGHTS: &[Right] = &[
    rights::right("", &["services"], &["get"], ""),
    rights::right("networking.k8s.io", &["ingresses"], &["get"], ""),
    rights::right(
        "argoproj.io",
        &["analysistemplates", "clusteranalysistemplates"],
        &["get"],
        "",
    ),
    rights::right(
        "serin.dev",
        &["freezewindows", "clusterfreezewindows"],
        &["list"],
        "",
    ),
];

pub(super) fn documents(install: &Install) -> Vec<String> {
    let mut all = account(install);
    all.extend([
        network(install),
        service(install),
        disruption_budget(install),
        deployment(install),
        configuration(install),
    ]);
    all
}

fn account(install: &Install) -> Vec<String> {
    let namespace = &install.namespace;
    let rules = indented(2, &rights::rules(RIGHTS));
    vec![
        format!(
            "# The admission webhook: it says what `serin lint` says, before an object is stored. It reads what
# Rollouts refer to, and writes its certificate into its own configuration.
# Made by `serin deploy generate-webhook`; do not edit.
apiVersion: v1
kind: ServiceAccount
metadata:
  name: serin-webhook
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: serin}}
automountServiceAccountToken: false
"
        ),
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: serin-webhook
  labels: {{app.kubernetes.io/name: serin}}
rules:
{rules}  # The caBundle of its own configuration, and of no other.
  - apiGroups: [admissionregistration.k8s.io]
    resources: [validatingwebhookconfigurations]
    resourceNames: [serin-webhook]
    verbs: [get, patch]
"
        ),
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: serin-webhook
  labels: {{app.kubernetes.io/name: serin}}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: serin-webhook
subjects:
  - kind: ServiceAccount
    name: serin-webhook
    namespace: {namespace}
"
        ),
    ]
}

/// The API server calls from where no label selects it: from anywhere, to this port alone.
fn network(install: &Install) -> String {
    let Install {
        namespace,
        monitoring_namespace,
        ..
    } = install;
    let addresses = |word: &str| -> String {
        let blocks = install.api_servers.iter();
        let blocks: String = blocks
            .map(|cidr| format!("        - ipBlock: {{cidr: \"{cidr}\"}}\n"))
            .collect();
        match blocks.is_empty() {
            true => blocks,
            false => format!("      {word}:\n{blocks}"),
        }
    };
    let (from, to) = (addresses("from"), addresses("to"));
    format!(
        "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: serin-webhook
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: serin}}
spec:
  podSelector:
    matchLabels: {{app.kubernetes.io/name: serin-webhook}}
  policyTypes: [Ingress, Egress]
  ingress:
    # The API server calls: no label selects it, so only the port is named, unless --api-server gave addresses.
    - ports:
        - {{protocol: TCP, port: webhook}}
{from}    - from:
        - namespaceSelector:
            matchLabels: {{kubernetes.io/metadata.name: {monitoring_namespace}}}
      ports:
        - {{protocol: TCP, port: metrics}}
  egress:
    - ports:
        - {{protocol: TCP, port: 443}}
        - {{protocol: TCP, port: 6443}}
{to}    - ports:
        - {{protocol: UDP, port: 53}}
        - {{protocol: TCP, port: 53}}
      to:
        - namespaceSelector:
            matchLabels: {{kubernetes.io/metadata.name: kube-system}}
"
    )
}

fn service(install: &Install) -> String {
    let namespace = &install.namespace;
    format!(
        "apiVersion: v1
kind: Service
metadata:
  name: serin-webhook
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: serin}}
spec:
  selector: {{app.kubernetes.io/name: serin-webhook}}
  ports:
    - {{name: webhook, port: 443, targetPort: webhook, protocol: TCP}}
"
    )
}

fn disruption_budget(install: &Install) -> String {
    let namespace = &install.namespace;
    format!(
        "apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: serin-webhook
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: serin}}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{app.kubernetes.io/name: serin-webhook}}
"
    )
}

fn deployment(install: &Install) -> String {
    let Install {
        namespace,
        replicas,
        ..
    } = install;
    let image = quoted(&install.image);
    let priority = install.priority_class.as_ref();
    let priority = priority
        .map(|class| format!("      priorityClassName: {class}\n"))
        .unwrap_or_default();
    let bounds = bounds(2, "cpu: 10m, memory: 24Mi");
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: serin-webhook
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: serin}}
spec:
  # All of them answer.
  replicas: {replicas}
  selector:
    matchLabels: {{app.kubernetes.io/name: serin-webhook}}
  strategy:
    rollingUpdate: {{maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata:
      labels: {{app.kubernetes.io/name: serin-webhook}}
      annotations:
        kubectl.kubernetes.io/default-container: webhook
    spec:
      serviceAccountName: serin-webhook
      automountServiceAccountToken: true
      enableServiceLinks: false
      # It answers for 5 s more, then takes its certificate out of the configuration.
      terminationGracePeriodSeconds: 30
{priority}      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        seccompProfile: {{type: RuntimeDefault}}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{app.kubernetes.io/name: serin-webhook}}
      containers:
        - name: webhook
          image: {image}
          imagePullPolicy: IfNotPresent
          args:
            - webhook
            - --log-format=json
          env:
            - name: POD_NAMESPACE
              valueFrom: {{fieldRef: {{fieldPath: metadata.namespace}}}}
          ports:
            - {{name: webhook, containerPort: 8443}}
            - {{name: metrics, containerPort: 8090}}
            - {{name: health, containerPort: 8080}}
{bounds}"
    )
}

/// The resources that lead to the webhook: of runs and experiments, whose status is written through
/// the object itself, only new ones.
const QUESTIONS: [(&str, &str, &str, &str); 3] = [
    (
        "rollouts",
        "argoproj.io",
        "CREATE, UPDATE",
        "rollouts, analysistemplates, clusteranalysistemplates",
    ),
    ("runs", "argoproj.io", "CREATE", "analysisruns, experiments"),
    (
        "freezes",
        "serin.dev",
        "CREATE, UPDATE",
        "freezewindows, clusterfreezewindows",
    ),
];

fn configuration(install: &Install) -> String {
    let Install {
        namespace,
        webhook_fails_closed,
        ..
    } = install;
    let policy = match webhook_fails_closed {
        true => "Fail",
        false => "Ignore",
    };
    let webhooks: String = QUESTIONS
        .iter()
        .map(|(name, group, operations, resources)| {
            format!(
                "  - name: {name}.serin.dev
    admissionReviewVersions: [v1]
    sideEffects: None
    # What happens when nobody answers: docs/webhook.md.
    failurePolicy: {policy}
    # Longer than serin's own limit of 4 s.
    timeoutSeconds: 5
    matchPolicy: Equivalent
    clientConfig:
      service: {{name: serin-webhook, namespace: {namespace}, path: /validate, port: 443}}
    rules:
      - apiGroups: [{group}]
        apiVersions: [v1alpha1]
        operations: [{operations}]
        resources: [{resources}]
        scope: \"*\"
    namespaceSelector:
      matchExpressions:
        - {{key: kubernetes.io/metadata.name, operator: NotIn, values: [kube-system, {namespace}]}}
    matchConditions:
      # The controller is never held up by it.
      - name: not-the-controller
        expression: request.userInfo.username != 'system:serviceaccount:{namespace}:serin'
"
            )
        })
        .collect();
    format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata:
  name: serin-webhook
  labels: {{app.kubernetes.io/name: serin}}
webhooks:
{webhooks}"
    )
}
