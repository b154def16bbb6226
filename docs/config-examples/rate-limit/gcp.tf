# Cloud Armor before the balancer: 6,000 requests a minute from each address. It is to be named in the backend service.
# Terraform, provider hashicorp/google. Nothing here checks this file.

resource "google_compute_security_policy" "limit" {
  name = "limit"

  rule {
    priority = 1000
    action   = "throttle"
    match {
      versioned_expr = "SRC_IPS_V1"
      config { src_ip_ranges = ["*"] }
    }
    rate_limit_options {
      enforce_on_key = "IP"
      conform_action = "allow"
      exceed_action  = "deny(429)"
      # Counted approximately, in each region on its own.
      rate_limit_threshold {
        count        = 6000
        interval_sec = 60
      }
    }
  }
  rule {
    priority = 2147483647
    action   = "allow"
    match {
      versioned_expr = "SRC_IPS_V1"
      config { src_ip_ranges = ["*"] }
    }
  }
}
