variable "namespace" {
  description = "Namespace of the controller; it is made here."
  type        = string
  default     = "serin-system"
}

variable "chart" {
  description = "The chart: a folder, an archive, or oci://… of your registry."
  type        = string
  default     = "../../helm/serin"
}

variable "chart_version" {
  description = "Version of the chart; only for one from a registry."
  type        = string
  default     = null
}

variable "image" {
  description = "Repository of the controller's image, with its registry."
  type        = string
}

variable "image_digest" {
  description = "Digest of the controller's image."
  type        = string

  validation {
    condition     = can(regex("^sha256:[0-9a-f]{64}$", var.image_digest))
    error_message = "Name the image by its digest: sha256: and 64 hexadecimal digits."
  }
}

variable "replicas" {
  description = "Number of controllers; one leads."
  type        = number
  default     = 2

  validation {
    condition     = var.replicas >= 1
    error_message = "At least one controller is needed."
  }
}

variable "prometheus" {
  description = "Address of the Prometheus that objectives ask."
  type        = string
  default     = ""
}

variable "monitoring" {
  description = "Install ServiceMonitor, alerts and dashboard; needs the Prometheus operator."
  type        = bool
  default     = false
}

variable "values" {
  description = "More values of the chart, as YAML documents; later ones win."
  type        = list(string)
  default     = []
}
