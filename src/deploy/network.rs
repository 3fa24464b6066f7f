//! What may reach the controller, and what it may reach.

use super::Install;

pub(super) fn policies(install: &Install) -> Vec<String> {
    vec![deny(install), allow(install)]
}

/// In a namespace of its own everything is denied first; in one that it shares, only for its pods.
fn deny(install: &Install) -> String {
    let namespace = &install.namespace;
    let pods = if install.is_namespaced {
        "{matchLabels: {app.kubernetes.io/name: serin}}"
    } else {
        "{}"
    };
    format!(
        "# Nothing in, nothing out, but for what the policy after this one allows. Needs a network plugin that
# enforces NetworkPolicies. Made by `serin deploy generate-network`; do not edit.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: serin-default-deny
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: serin}}
spec:
  podSelector: {pods}
  policyTypes: [Ingress, Egress]
"
    )
}

fn allow(install: &Install) -> String {
    let Install {
        namespace,
        monitoring_namespace,
        ..
    } = install;
    let port = install.prometheus_port();
    let servers: String = install
        .api_servers
        .iter()
        .map(|cidr| format!("        - ipBlock: {{cidr: \"{cidr}\"}}\n"))
        .collect();
    let (to, servers) = if servers.is_empty() {
        ("", servers)
    } else {
        ("      to:\n", servers)
    };
    format!(
        "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: serin
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: serin}}
spec:
  podSelector:
    matchLabels: {{app.kubernetes.io/name: serin}}
  policyTypes: [Ingress, Egress]
  ingress:
    # Prometheus scrapes. Probes come from the node, which no policy keeps out.
    - from:
        - namespaceSelector:
            matchLabels: {{kubernetes.io/metadata.name: {monitoring_namespace}}}
      ports:
        - {{protocol: TCP, port: metrics}}
  egress:
    # The API server: no label selects it, so only its ports are named, unless --api-server gave addresses.
    - ports:
        - {{protocol: TCP, port: 443}}
        - {{protocol: TCP, port: 6443}}
{to}{servers}    # Names.
    - ports:
        - {{protocol: UDP, port: 53}}
        - {{protocol: TCP, port: 53}}
      to:
        - namespaceSelector:
            matchLabels: {{kubernetes.io/metadata.name: kube-system}}
    # Prometheus. Metric services elsewhere need a rule of their own.
    - ports:
        - {{protocol: TCP, port: {port}}}
      to:
        - namespaceSelector:
            matchLabels: {{kubernetes.io/metadata.name: {monitoring_namespace}}}
"
    )
}
