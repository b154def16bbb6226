# An internal passthrough load balancer: weights that servers report in their health checks, and a failover group.
# Terraform, provider hashicorp/google. Nothing here checks this file.

variable "primary" { description = "An instance group with the three servers." }
variable "backup" { description = "An instance group with the one that serves when none of them can." }
variable "check" { description = "An HTTP health check, whose answers carry X-Load-Balancing-Endpoint-Weight: 5, 3 or 2." }

resource "google_compute_region_backend_service" "users" {
  name                  = "users"
  region                = "europe-west1"
  protocol              = "TCP"
  load_balancing_scheme = "INTERNAL"
  # Of connections, by a hash of their addresses and ports: shares hold on average, and nothing is in turn.
  locality_lb_policy = "WEIGHTED_MAGLEV"
  health_checks      = [var.check]

  backend {
    group          = var.primary
    balancing_mode = "CONNECTION"
  }
  backend {
    group          = var.backup
    balancing_mode = "CONNECTION"
    failover       = true
  }
  failover_policy {
    # The share of healthy primaries below which the backup takes all: 0 is when none is left.
    failover_ratio                       = 0.0
    drop_traffic_if_unhealthy            = false
    disable_connection_drain_on_failover = false
  }
}
