# A session stays where it began, by a cookie that the balancer makes.
# Terraform, provider hashicorp/google. Nothing here checks this file.

variable "group" { description = "A network endpoint group or instance group with the servers." }
variable "check" { description = "A health check." }

resource "google_compute_backend_service" "shop" {
  name                    = "shop"
  protocol                = "HTTP"
  load_balancing_scheme   = "EXTERNAL_MANAGED"
  session_affinity        = "GENERATED_COOKIE"
  affinity_cookie_ttl_sec = 3600
  # Requests under way at a server that leaves; its sessions go elsewhere at once.
  connection_draining_timeout_sec = 300
  health_checks                   = [var.check]
  backend {
    group                 = var.group
    balancing_mode        = "RATE"
    max_rate_per_endpoint = 1000
  }
}
