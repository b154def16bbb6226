# The nearest region that has room, zone by zone within it. What "room" is are the rates below.
# Terraform, provider hashicorp/google. Nothing here checks this file.

variable "zone_a" { description = "A network endpoint group in europe-west1-b." }
variable "zone_b" { description = "A network endpoint group in europe-west1-c." }
variable "far" { description = "A network endpoint group in us-east1-b." }
variable "check" { description = "A health check." }

resource "google_network_services_service_lb_policies" "users" {
  name     = "users"
  location = "global"
  # The closest region first, spread over its zones. WATERFALL_BY_ZONE fills the closest zone first.
  load_balancing_algorithm = "WATERFALL_BY_ZONE"
  # A backend with fewer than a quarter of its servers healthy counts as having no capacity.
  auto_capacity_drain { enable = true }
  # Below this percentage of healthy servers traffic spills to other backends.
  failover_config { failover_health_threshold = 70 }
}

resource "google_compute_backend_service" "users" {
  name                  = "users"
  protocol              = "HTTP"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  service_lb_policy     = "//networkservices.googleapis.com/${google_network_services_service_lb_policies.users.id}"
  health_checks         = [var.check]

  dynamic "backend" {
    for_each = [var.zone_a, var.zone_b, var.far]
    content {
      group                 = backend.value
      balancing_mode        = "RATE"
      max_rate_per_endpoint = 1000
    }
  }
}
