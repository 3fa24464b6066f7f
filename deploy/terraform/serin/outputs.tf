output "namespace" {
  description = "Namespace of the controller."
  value       = kubernetes_namespace_v1.this.metadata[0].name
}

output "version" {
  description = "Version of the chart that is installed."
  value       = helm_release.this.metadata.version
}
