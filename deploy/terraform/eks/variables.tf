variable "region" {
  description = "AWS region."
  type        = string
}

variable "cluster_name" {
  description = "Name of the cluster."
  type        = string
}

variable "kubernetes_version" {
  description = "Version of Kubernetes; serin needs 1.27 or later."
  type        = string
  default     = "1.33"
}

variable "vpc_id" {
  description = "The VPC of the cluster."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of the nodes."
  type        = list(string)
}

variable "serin_image" {
  description = "Repository of serin's image, with its registry."
  type        = string
}

variable "serin_image_digest" {
  description = "Digest of serin's image."
  type        = string
}

variable "prometheus" {
  description = "Address of the Prometheus that objectives ask."
  type        = string
  default     = ""
}
