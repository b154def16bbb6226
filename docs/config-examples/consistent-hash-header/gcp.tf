# Every user has a server of their own, chosen by the header x-user. Load is not bounded.
# Terraform, provider hashicorp/google. Nothing here checks this file.

variable "group" { description = "A network endpoint group or instance group with the servers." }
variable "check" { description = "A health check." }

resource "google_compute_region_backend_service" "carts" {
  name                  = "carts"
  region                = "europe-west1"
  protocol              = "HTTP"
  load_balancing_scheme = "INTERNAL_MANAGED"
  # HEADER_FIELD wants RING_HASH or MAGLEV.
  session_affinity   = "HEADER_FIELD"
  locality_lb_policy = "RING_HASH"
  consistent_hash {
    http_header_name  = "x-user"
    minimum_ring_size = 1024
  }
  health_checks = [var.check]
  backend {
    group                 = var.group
    balancing_mode        = "RATE"
    max_rate_per_endpoint = 1000
    capacity_scaler       = 1.0
  }
}
