//! The controller's pods and where they run.

use super::{Install, indented, quoted};

pub(super) fn namespace(install: &Install) -> String {
    let namespace = &install.namespace;
    format!(
        "# Where the controller runs. Its pods meet the strictest of the Pod Security Standards.
# Made by `serin deploy generate-namespace`; do not edit.
apiVersion: v1
kind: Namespace
metadata:
  name: {namespace}
  labels:
    app.kubernetes.io/name: serin
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
"
    )
}

pub(super) fn documents(install: &Install) -> Vec<String> {
    vec![
        deployment(install),
        disruption_budget(install),
        service(install),
    ]
}

/// The controller's arguments, as YAML list items.
fn arguments(install: &Install) -> String {
    let mut all = vec!["controller".to_owned(), "--log-format=json".to_owned()];
    if install.is_namespaced {
        all.push("--namespaced".to_owned());
    }
    if let Some(id) = &install.instance_id {
        all.push(format!("--instance-id={id}"));
    }
    if install.shards > 1 {
        all.push(format!("--shards={}", install.shards));
    }
    if let Some(url) = &install.prometheus {
        all.push(format!("--prometheus={url}"));
    }
    let items: Vec<String> = all
        .iter()
        .map(|argument| format!("- {}\n", quoted(argument)))
        .collect();
    indented(12, &items.concat())
}

fn deployment(install: &Install) -> String {
    let Install {
        namespace,
        replicas,
        ..
    } = install;
    let image = quoted(&install.image);
    let arguments = arguments(install);
    let priority = install
        .priority_class
        .as_ref()
        .map(|class| format!("      priorityClassName: {class}\n"))
        .unwrap_or_default();
    let bounds = bounds(5, "cpu: 20m, memory: 32Mi");
    let who = match install.shards {
        1 => {
            "one of which leads; another takes over within a second when it is stopped, and
# within 17 s when it dies."
        }
        _ => {
            "all of which work: each holds some of the shards that namespaces are divided into. The number of
# shards stays as it is: to change it, scale to 0 first."
        }
    };
    format!(
        "# The controllers, {who} Made by `serin deploy generate-deployments`; do not edit.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: serin
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: serin}}
spec:
  replicas: {replicas}
  selector:
    matchLabels: {{app.kubernetes.io/name: serin}}
  strategy:
    # A new controller is ready before an old one goes.
    rollingUpdate: {{maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata:
      labels: {{app.kubernetes.io/name: serin}}
      annotations:
        kubectl.kubernetes.io/default-container: serin
    spec:
      serviceAccountName: serin
      automountServiceAccountToken: true
      enableServiceLinks: false
      # Turns under way end, events are written, the Lease is given back.
      terminationGracePeriodSeconds: 40
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
            matchLabels: {{app.kubernetes.io/name: serin}}
        - maxSkew: 1
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{app.kubernetes.io/name: serin}}
      containers:
        - name: serin
          image: {image}
          imagePullPolicy: IfNotPresent
          args:
{arguments}          env:
            - name: POD_NAMESPACE
              valueFrom: {{fieldRef: {{fieldPath: metadata.namespace}}}}
            - name: POD_NAME
              valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}
          ports:
            - {{name: metrics, containerPort: 8090}}
            - {{name: health, containerPort: 8080}}
{bounds}"
    )
}

/// How a container of ours is asked whether it is well (ready: every so many seconds), what it may
/// use, given what it asks for, and what it may not do.
pub(super) fn bounds(ready_every: u32, requests: &str) -> String {
    format!(
        "          livenessProbe:
            httpGet: {{path: /healthz, port: health}}
            periodSeconds: 10
            timeoutSeconds: 5
          readinessProbe:
            httpGet: {{path: /readyz, port: health}}
            periodSeconds: {ready_every}
            timeoutSeconds: 5
          resources:
            requests: {{{requests}}}
            limits: {{cpu: \"1\", memory: 256Mi}}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{drop: [ALL]}}
"
    )
}

/// Not `minAvailable: 1`: with one replica that would keep a node from ever being drained.
fn disruption_budget(install: &Install) -> String {
    let namespace = &install.namespace;
    format!(
        "apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: serin
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: serin}}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{app.kubernetes.io/name: serin}}
"
    )
}

fn service(install: &Install) -> String {
    let namespace = &install.namespace;
    format!(
        "# The metrics of every controller: standbys have theirs too.
apiVersion: v1
kind: Service
metadata:
  name: serin-metrics
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: serin}}
spec:
  selector: {{app.kubernetes.io/name: serin}}
  ports:
    - {{name: metrics, port: 8090, targetPort: metrics, protocol: TCP}}
"
    )
}
