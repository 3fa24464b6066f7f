# Installs serin on a cluster that the helm and kubernetes providers are pointed at.

resource "kubernetes_namespace_v1" "this" {
  metadata {
    name = var.namespace

    labels = {
      "app.kubernetes.io/name"             = "serin"
      "pod-security.kubernetes.io/enforce" = "restricted"
      "pod-security.kubernetes.io/warn"    = "restricted"
    }
  }
}

resource "helm_release" "this" {
  name      = "serin"
  namespace = kubernetes_namespace_v1.this.metadata[0].name
  chart     = var.chart
  version   = var.chart_version

  atomic          = true
  cleanup_on_fail = true
  timeout         = 300

  values = concat([
    yamlencode({
      controller = {
        replicas   = var.replicas
        prometheus = var.prometheus
        image = {
          repository = var.image
          digest     = var.image_digest
        }
        metrics = {
          serviceMonitor = { enabled = var.monitoring }
          prometheusRule = { enabled = var.monitoring }
          dashboard      = { enabled = var.monitoring }
        }
      }
    })
  ], var.values)
}
