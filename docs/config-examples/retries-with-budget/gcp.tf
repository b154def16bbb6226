# One further attempt. There is no budget: when everything fails, everything is sent twice.
# Terraform, provider hashicorp/google. Nothing here checks this file.

variable "users" { description = "A backend service." }

resource "google_compute_url_map" "users" {
  name = "users"
  default_route_action {
    weighted_backend_services {
      backend_service = var.users
      weight          = 100
    }
    timeout { seconds = 2 }
    retry_policy {
      num_retries      = 1
      retry_conditions = ["connect-failure", "refused-stream", "gateway-error"]
      per_try_timeout { nanos = 500000000 }
    }
  }
}
