# The less loaded of two random servers. There is no slow start.
# Terraform, provider hashicorp/google. Nothing here checks this file.

variable "group" { description = "A zonal network endpoint group with the servers." }

resource "google_compute_region_health_check" "users" {
  name                = "users"
  region              = "europe-west1"
  check_interval_sec  = 2
  timeout_sec         = 1
  healthy_threshold   = 2
  unhealthy_threshold = 3
  http_health_check {
    port         = 8080
    request_path = "/health"
  }
}

resource "google_compute_region_backend_service" "users" {
  name                  = "users"
  region                = "europe-west1"
  protocol              = "HTTP"
  load_balancing_scheme = "INTERNAL_MANAGED"
  locality_lb_policy    = "LEAST_REQUEST"
  health_checks         = [google_compute_region_health_check.users.id]
  backend {
    group                 = var.group
    balancing_mode        = "RATE"
    max_rate_per_endpoint = 1000
    capacity_scaler       = 1.0
  }
}
