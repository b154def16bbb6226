//! Nothing is silently dropped by the readers of nginx and HAProxy: a word that nobody knows is put into every line, and a line that nobody
//! knows behind every line. Each must come back: as an error, as a finding that says there is no equivalent, or in the configuration.
#![allow(clippy::panic, clippy::unwrap_used)]

use evenkeel_convert::{Dialect, Options, Verdict, read};

const WORD: &str = "unheard_of";

/// A text in which one line was changed.
struct Changed {
    line: String,
    text: String,
    /// The heads of the blocks around that line.
    around: Vec<String>,
}

/// Whether the word comes back, or a block around it is told as a whole.
fn is_told(from: Dialect, changed: &Changed) -> bool {
    let options = Options { cookie_secret: Some("sixteen bytes or more".to_owned()), ..Options::default() };
    let Ok(found) = read(from, &changed.text, "f", &options) else { return true };
    let none = || found.report.findings.iter().filter(|finding| finding.verdict == Verdict::NoEquivalent);
    none().any(|finding| finding.subject.contains(WORD))
        || none().any(|finding| changed.around.contains(&finding.subject))
        || format!("{:?}", found.setup).contains(WORD)
}

/// The text, once for each line, with that line changed.
fn changed(text: &str, change: impl Fn(&str) -> Option<String>) -> Vec<Changed> {
    let lines: Vec<&str> = text.lines().collect();
    let mut around: Vec<String> = Vec::new();
    let mut all = Vec::new();
    for (at, before) in lines.iter().enumerate() {
        if before.ends_with('}') {
            around.pop();
        }
        if let Some(head) = before.strip_suffix('{') {
            around.push(head.trim().to_owned());
        }
        if let Some(line) = change(before) {
            let mut texts = lines.clone();
            texts[at] = &line;
            all.push(Changed { text: texts.join("\n") + "\n", around: around.clone(), line });
        }
    }
    all
}

fn all_are_told(from: Dialect, texts: &[Changed], least: usize) {
    assert!(texts.len() >= least, "{} texts", texts.len());
    let silent: Vec<&str> =
        texts.iter().filter(|changed| !is_told(from, changed)).map(|changed| changed.line.as_str()).collect();
    assert!(silent.is_empty(), "{} of {} dropped:\n{}", silent.len(), texts.len(), silent.join("\n"));
}

#[test]
fn words_of_haproxy_that_nobody_knows_are_told() {
    read(Dialect::Haproxy, HAPROXY, "f", &Options::default()).unwrap();
    let with_word = |line: &str| (!line.is_empty()).then(|| format!("{line} {WORD}"));
    all_are_told(Dialect::Haproxy, &changed(HAPROXY, with_word), 100);
}

#[test]
fn lines_of_haproxy_that_nobody_knows_are_told() {
    let with_line = |line: &str| (!line.is_empty()).then(|| format!("{line}\n    {WORD} x"));
    all_are_told(Dialect::Haproxy, &changed(HAPROXY, with_line), 100);
}

#[test]
fn words_of_nginx_that_nobody_knows_are_told() {
    read(Dialect::Nginx, NGINX, "f", &Options::default()).unwrap();
    let with_word = |line: &str| {
        // Every word is a host there, and nobody asks for those of the server that takes the rest.
        if line.trim_start().starts_with("server_name") {
            return None;
        }
        let (before, end) = line.split_at_checked(line.len().checked_sub(1)?)?;
        [";", "{"].contains(&end).then(|| format!("{} {WORD} {end}", before.trim_end()))
    };
    all_are_told(Dialect::Nginx, &changed(NGINX, with_word), 100);
}

#[test]
fn lines_of_nginx_that_nobody_knows_are_told() {
    let with_line = |line: &str| {
        let is_whole = line.ends_with([';', '{']);
        is_whole.then(|| format!("{line}\n    {WORD} x;"))
    };
    all_are_told(Dialect::Nginx, &changed(NGINX, with_line), 100);
}

/// Each keyword that is read, where it can stand.
const HAPROXY: &str = r#"global
    maxconn 4000
defaults base
    mode http
    retries 2
    retry-on conn-failure empty-response response-timeout 503
    timeout server 30s
    timeout check 2s
    timeout connect 5s
    timeout queue 5s
    timeout client 30s
    option redispatch
    option redispatch 1
    option httplog
    default-server inter 2s fall 3 rise 2
    balance roundrobin
defaults from base
    mode http
frontend web from base
    bind :80
    bind :443 ssl crt a.pem ca-file ca.pem verify required alpn h2,http/1.1
    acl is_api path_beg /api
    acl is_host hdr(host) -i a.example
    acl is_header hdr(x-a) -m beg v
    acl is_cookie cook(c) 1
    acl is_query url_param(q) 1
    acl is_method method GET POST
    acl is_anything always_true
    http-request set-header X-A b
    http-request add-header X-B b
    http-request del-header X-C
    http-response set-header X-D b
    http-response add-header X-E b
    http-response del-header X-F
    http-request redirect location /x code 301 if is_api
    http-request redirect prefix /x drop-query if is_header
    redirect scheme https if is_method
    http-request deny deny_status 429 if is_cookie
    http-request tarpit if is_query
    http-request return status 200 content-type text/plain string hello hdr X-G h if is_api is_header
    use_backend api if is_api is_host || is_header
    use_backend spread if { path_beg /spread }
    default_backend rest
frontend streams
    mode tcp
    bind :5000
    acl from_inside src 10.0.0.0/8
    acl by_name req.ssl_sni -i a.example
    use_backend raw if from_inside
    use_backend raw if by_name
    default_backend raw
backend api
    balance leastconn
    cookie SRV insert indirect nocache maxlife 1h secure httponly
    option httpchk
    http-check expect status 200-399
    http-check expect string ok
    http-check expect rstring o.
    http-check connect port 8080
    http-check disable-on-404
    http-check send-state
    server a 10.0.0.1:80 cookie a weight 10 check inter 2s fastinter 1s downinter 5s rise 2 fall 3
    server b 10.0.0.2:80 cookie b slowstart 30s maxconn 10 check observe layer7 error-limit 5 on-error mark-down
    server c 10.0.0.3:80 backup disabled check-ssl check-sni a.example port 8081
    server d 10.0.0.4:443 ssl verify required ca-file ca.pem sni str(a.example) alpn h2 crt a.pem verifyhost a.example
    server e 10.0.0.5:80 id 9 track a/b maxqueue 5 no-check no-backup enabled no-ssl
backend spread
    balance uri len 10 depth 3 whole
    hash-type consistent sdbm avalanche
    hash-balance-factor 150
    server a 10.0.0.1:80
backend plain_types
    balance source
    hash-type map-based
    hash-type consistent
    hash-type map-based crc32
    server a 10.0.0.1:80
backend rest
    balance url_param id check_post
    option allbackups
    no option allbackups
    option httpchk GET / HTTP/1.1 a.example
    http-check send meth GET uri /health ver HTTP/1.1 hdr Host a.example
    stick-table type ip size 100k expire 30m
    stick on src
    server-template web 5 web.example:80
    server a 10.0.0.1:80
backend by_header
    balance hdr(x-user) use_domain_only
    option external-check
    server a 10.0.0.1:80
backend by_sample
    balance hash req.cook(sid)
    option tcp-check
    tcp-check connect
    tcp-check connect port 9000
    tcp-check send PING
    tcp-check expect string PONG
    server a 10.0.0.1:80 check
backend by_part
    balance hash path,field(3,/),lower,bytes(1,20)
    server a 10.0.0.1:80
backend by_draw
    balance random(3)
    option redis-check
    option ssl-hello-chk
    no option httpchk
    server a 10.0.0.1:80 check
backend in_turn
    balance first
    stick match src table rest
    stick store-request src
    server a 10.0.0.1:80
backend by_map
    balance static-rr
    server a 10.0.0.1:80
backend raw
    mode tcp
    balance source
    server a 10.0.0.1:80
listen both
    bind :9000
    mode http
    server a 10.0.0.1:80
"#;

/// Each directive that is read, where it can stand.
const NGINX: &str = r#"worker_processes 1;
events {
    worker_connections 512;
}
http {
    access_log off;
    proxy_next_upstream error timeout invalid_header http_503 non_idempotent;
    proxy_next_upstream_tries 3;
    proxy_next_upstream_timeout 0;
    proxy_read_timeout 5s;
    proxy_connect_timeout 5s;
    proxy_ssl_verify on;
    proxy_ssl_trusted_certificate ca.pem;
    proxy_ssl_name a.example;
    proxy_ssl_server_name on;
    ssl_certificate a.pem;
    ssl_certificate_key a.key;
    map $http_x_group $pool {
        hostnames;
        volatile;
        default app;
        beta spread;
        ~^gamma spread;
    }
    map $http_x_other $other {
        default 1;
        x 2;
    }
    map $host $unused {
        default app;
    }
    split_clients $remote_addr $share {
        10% spread;
        * app;
    }
    upstream app {
        zone app 64k;
        least_conn;
        keepalive 16;
        keepalive_timeout 60s;
        server 10.0.0.1:80 weight=2 max_fails=2 fail_timeout=10s max_conns=10 slow_start=5s;
        server 10.0.0.2:80 weight=2 max_fails=2 fail_timeout=10s max_conns=10 slow_start=5s backup;
        server 10.0.0.3:80 down;
    }
    upstream spread {
        hash $http_x_user consistent;
        server 10.0.0.1:80;
    }
    upstream by_hash {
        hash $request_uri;
        server 10.0.0.1:80;
    }
    upstream by_address {
        ip_hash;
        server 10.0.0.1:80;
    }
    upstream by_draw {
        random;
        server 10.0.0.1:80;
    }
    upstream by_draw_of_two {
        random two least_conn;
        server 10.0.0.1:80;
    }
    upstream by_time {
        least_time header;
        sticky cookie srv;
        server 10.0.0.1:80;
    }
    server {
        listen 80 default_server;
        listen 443 ssl http2;
        server_name a.example *.b.example;
        ssl_client_certificate ca.pem;
        ssl_verify_client on;
        proxy_set_header Host $host;
        proxy_set_header X-A b;
        add_header X-B b always;
        proxy_hide_header X-C;
        location / {
            proxy_pass http://app;
        }
        location = /exact {
            return 200 hello;
        }
        location ^~ /firm {
            return 301 https://$host$request_uri;
        }
        location ~ ^/regex/ {
            proxy_pass http://$pool;
        }
        location ~* ^/share/ {
            proxy_pass http://$share;
        }
        location /outer/ {
            proxy_pass http://spread;
            location /outer/inner/ {
                proxy_pass https://by_hash;
                proxy_read_timeout 1s;
            }
        }
        location /if {
            if ($http_x) {
                return 403;
            }
            grpc_pass grpc://by_address;
        }
        location @name {
            proxy_pass http://app;
        }
        location /twice {
            return 403;
            return 404;
        }
    }
    server {
        return 301 https://$host$request_uri;
    }
}
stream {
    proxy_ssl on;
    map $ssl_preread_server_name $target {
        hostnames;
        default raw;
        a.example raw;
    }
    map $remote_addr $nowhere {
        default raw;
    }
    upstream raw {
        server 10.0.0.1:5000;
    }
    server {
        listen 5000 ssl;
        proxy_pass raw;
        proxy_timeout 5s;
    }
    server {
        listen 5001 udp reuseport;
        proxy_pass raw;
    }
    server {
        listen 5002;
        ssl_preread on;
        proxy_pass $target;
    }
    server {
        listen 5003;
        proxy_pass raw;
        proxy_pass raw;
    }
}
"#;
