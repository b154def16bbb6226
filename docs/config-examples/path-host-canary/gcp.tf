# shop.example: /static to the files, /api to the service, of which 5 % of the requests see the next version.
# Terraform, provider hashicorp/google. Nothing here checks this file.

variable "static" { description = "A backend service." }
variable "api_v1" { description = "A backend service." }
variable "api_v2" { description = "A backend service." }
variable "nothing" { description = "A backend service that answers 404: the map has no answers of its own." }

resource "google_compute_url_map" "shop" {
  name            = "shop"
  default_service = var.nothing

  host_rule {
    hosts        = ["shop.example"]
    path_matcher = "shop"
  }
  path_matcher {
    name            = "shop"
    default_service = var.nothing

    route_rules {
      priority = 10
      match_rules { path_template_match = "/static/**" }
      service = var.static
    }
    # Testers.
    route_rules {
      priority = 20
      match_rules {
        prefix_match = "/api"
        header_matches {
          header_name = "x-canary"
          exact_match = "yes"
        }
      }
      service = var.api_v2
    }
    # prefix_match takes /apix too. The weights are drawn for each request.
    route_rules {
      priority = 30
      match_rules { prefix_match = "/api" }
      route_action {
        weighted_backend_services {
          backend_service = var.api_v1
          weight          = 95
        }
        weighted_backend_services {
          backend_service = var.api_v2
          weight          = 5
        }
      }
    }
  }
}
