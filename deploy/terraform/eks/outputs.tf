output "cluster_name" {
  description = "Name of the cluster."
  value       = module.eks.cluster_name
}

output "serin_namespace" {
  description = "Namespace of the controller."
  value       = module.serin.namespace
}
