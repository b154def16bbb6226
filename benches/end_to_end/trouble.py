"""Five servers at 70 % of what they can do together: one ten times as slow, one that answers three of ten with 503 at once.

Servers have a known limit (so many cores, a mean time for a request), so the outcome hangs on what the front decides and
not on the machine. Each front has the settings that its own documents advise for this: the fewest requests in flight, a second
and third attempt at another server, and whatever it has against servers that fail.
"""

SERVERS, CORES, MEAN_MS = 5, 8, 20.0
# What is right of the slow one and of the failing one.
SLOW, FAILING = 0, 1
LOAD = 0.7
RATE = round(LOAD * CORES / (MEAN_MS / 1000) * (SERVERS - 1 + 0.1))
CONNECTIONS = 512


def specs(ports):
    for number, at in enumerate(ports):
        mean = MEAN_MS * (10 if number == SLOW else 1)
        yield f"127.0.0.1:{at},{CORES},{mean},{0.3 if number == FAILING else 0.0}"


def nginx(bench, at, addresses):
    servers = " ".join(f"server {address} max_fails=5 fail_timeout=10s;" for address in addresses)
    return bench.nginx("nginx", bench.front_core, f"""http {{ upstream backs {{ zone backs 64k; least_conn; {servers} keepalive 512; keepalive_requests 1000000000; }}
keepalive_requests 1000000000; server {{ listen 127.0.0.1:{at} backlog=4096;
location / {{ proxy_pass http://backs; proxy_http_version 1.1; proxy_set_header Connection "";
proxy_next_upstream error timeout http_503; proxy_next_upstream_tries 3; }} }} }}""")


def haproxy(bench, at, addresses):
    servers = "\n".join(f"  server b{number} {address}" for number, address in enumerate(addresses))
    path = bench.file("haproxy.cfg", f"""global
  nbthread 1
  maxconn 9900
defaults
  mode http
  timeout connect 1s
  timeout client 1m
  timeout server 1m
  option redispatch 1
  retries 2
  retry-on conn-failure empty-response 503
  http-reuse always
frontend front
  bind 127.0.0.1:{at} backlog 4096
  default_backend backs
backend backs
  balance leastconn
  option httpchk GET /health
  default-server check inter 2s rise 2 fall 3 observe layer7 error-limit 5 on-error mark-down
{servers}
""")
    return bench.start("haproxy", ["haproxy", "-db", "-f", path], bench.front_core)


def envoy(bench, at, addresses):
    endpoints = "".join(
        f"\n          - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {address.split(':')[1]} }} }} }}"
        for address in addresses
    )
    path = bench.file("envoy.yaml", f"""static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {at} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          generate_request_id: false
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route:
                  cluster: backs
                  retry_policy:
                    retry_on: "5xx,connect-failure,reset"
                    num_retries: 2
                    retry_host_predicate: [{{ name: envoy.retry_host_predicates.previous_hosts, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate }} }}]
                    host_selection_retry_max_attempts: 5
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, dynamic_stats: false }}
  clusters:
  - name: backs
    lb_policy: LEAST_REQUEST
    load_balancing_policy:
      policies:
      - typed_extension_config:
          name: envoy.load_balancing_policies.least_request
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest
            selection_method: FULL_SCAN
    load_assignment:
      cluster_name: backs
      endpoints:
      - lb_endpoints:{endpoints}
    circuit_breakers: {{ thresholds: [{{ max_connections: 100000, max_requests: 100000, max_pending_requests: 100000, retry_budget: {{ budget_percent: {{ value: 25.0 }}, min_retry_concurrency: 10 }} }}] }}
    outlier_detection:
      interval: 1s
      consecutive_5xx: 5
      base_ejection_time: 10s
      max_ejection_percent: 40
      success_rate_minimum_hosts: 3
      success_rate_request_volume: 50
      success_rate_stdev_factor: 1100
      enforcing_success_rate: 100
""")
    command = [bench.envoy, "-c", path, "--concurrency", "1", "-l", "warn", "--disable-hot-restart"]
    return bench.start("envoy", command, bench.front_core)


def pingora(bench, at, addresses):
    command = [bench.built("pingora_front"), "--retry", f"127.0.0.1:{at}", *addresses]
    return bench.start("pingora", command, bench.front_core)


def ours(policy, log=None):
    """l7_proxy under a policy; writes its access log to a file if there is one to write."""
    def begin(bench, at, addresses):
        endpoints = ", ".join(f'{{ id = "b{number}", address = "{address}" }}' for number, address in enumerate(addresses))
        written = f'access_log = "{log}"' if log else ""
        path = bench.file("l7.toml", f"""[[listeners]]
name = "front"
address = "127.0.0.1:{at}"
limits = {{ max_connections = 20000 }}
[[http.routes]]
name = "all"
action = {{ cluster = "backs" }}
retry = {{ attempts = 3, on = {{ connect_failed = true, reset = true, refused = true, statuses = [{{ first = 503, last = 503 }}] }} }}
[[clusters]]
name = "backs"
policy = {policy}
endpoints = [{endpoints}]
budget = {{ total = {{ ratio = 0.25, min_per_second = 10, ttl = "10s" }} }}
[clusters.outlier]
interval = "1s"
consecutive_failures = 5
success_rate = {{ min_requests = 50, min_gap = 0.05 }}
ejection = {{ base = "10s", max = "5m", jitter = 0.1 }}
caps = {{ max_ejected_ratio = 0.4, min_remaining = 1 }}
[program]
workers = 1
{written}
""")
        return bench.start("l7_proxy", [bench.built("l7_proxy"), path], bench.front_core)
    return begin


def fronts(bench):
    found = {"nginx": nginx, "haproxy": haproxy, "pingora": pingora}
    if bench.envoy:
        found["envoy"] = envoy
    if bench.has_l7:
        if not bench.options.quick:
            found["l7_proxy, least_request"] = ours('"least_request"')
        found["l7_proxy, peak_ewma"] = ours('{ type = "peak_ewma", choices = "all" }', bench.options.log)
    return found


def measure(bench):
    quick = bench.options.quick
    rounds, learning, seconds = (1, 2, 3) if quick else (bench.options.rounds, 3, 15)
    ports = bench.free_ports(SERVERS)
    addresses = [f"127.0.0.1:{at}" for at in ports]
    cases = {}
    for name, begin in fronts(bench).items():
        def started(at, begin=begin):
            # Servers start anew for each, so that none inherits the queues that another has left.
            bench.troubled = bench.start("troubled", [bench.built("troubled"), "1", *specs(ports)], bench.other_core)
            for address in ports:
                bench.wait_for("troubled", address, bench.troubled)
            return begin(bench, at, addresses)
        cases[name] = started

    def run(name, at, process):
        try:
            # What a front has to learn it learns in these seconds.
            bench.open_loop(at, RATE, CONNECTIONS, learning)
            return bench.open_loop(at, RATE, CONNECTIONS, seconds)
        finally:
            bench.end(bench.troubled)

    for name, many in bench.rounds("trouble", cases, run, rounds).items():
        sent = sum(one["requests"] + one["failed"] for one in many)
        figures = {f"{key}_ms": round(bench.middle(many, key) / 1000, 1) for key in ["p50", "p99", "p999"]}
        bench.row(f"one of five slow, one failing, {RATE} requests a second", name, **figures,
                  failed_percent=round(100 * sum(one["failed"] for one in many) / sent, 3))
