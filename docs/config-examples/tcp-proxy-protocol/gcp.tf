# TCP through a proxy, the client's address told by the PROXY protocol (version 1, the only one). No server names.
# Terraform, provider hashicorp/google. Nothing here checks this file.

variable "group" { description = "A network endpoint group or instance group with the servers." }
variable "check" { description = "A health check." }

resource "google_compute_backend_service" "users" {
  name                  = "users"
  protocol              = "TCP"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  timeout_sec           = 3600
  health_checks         = [var.check]
  backend {
    group                        = var.group
    balancing_mode               = "CONNECTION"
    max_connections_per_endpoint = 10000
  }
}

resource "google_compute_target_tcp_proxy" "users" {
  name            = "users"
  backend_service = google_compute_backend_service.users.id
  proxy_header    = "PROXY_V1"
}

resource "google_compute_global_forwarding_rule" "users" {
  name                  = "users"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  target                = google_compute_target_tcp_proxy.users.id
  port_range            = "8000"
}
