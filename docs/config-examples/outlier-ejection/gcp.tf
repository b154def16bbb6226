# Limits and outlier detection, under Envoy's names.
# Terraform, provider hashicorp/google. Nothing here checks this file.

variable "group" { description = "A network endpoint group or instance group with the servers." }
variable "check" { description = "A health check." }

resource "google_compute_region_backend_service" "users" {
  name                  = "users"
  region                = "europe-west1"
  protocol              = "HTTP"
  load_balancing_scheme = "INTERNAL_MANAGED"
  locality_lb_policy    = "LEAST_REQUEST"
  health_checks         = [var.check]

  circuit_breakers {
    max_requests         = 1000
    max_connections      = 1000
    max_pending_requests = 100
  }
  outlier_detection {
    consecutive_errors                    = 5
    enforcing_consecutive_errors          = 100
    success_rate_minimum_hosts            = 3
    success_rate_request_volume           = 20
    success_rate_stdev_factor             = 1100
    enforcing_success_rate                = 100
    max_ejection_percent                  = 34
    interval { seconds = 10 }
    base_ejection_time { seconds = 10 }
  }
  backend {
    group                 = var.group
    balancing_mode        = "RATE"
    max_rate_per_endpoint = 1000
    capacity_scaler       = 1.0
  }
}
