//! What the router decides, as a client sees it.

use std::time::Duration;

use evenkeel_examples::l7::counts::{Count, Counts};

use super::backend::{Backend, answer, until};
use super::client::{Client, get};
use super::{cluster, route, start};

#[test]
fn a_bad_answer_is_asked_for_again_elsewhere() {
    let bad = Backend::new(|stream, _| answer(stream, 503, &[], b"bad"));
    let good = Backend::named("good");
    let config =
        route("retry = { attempts = 2 }") + &cluster("all", &[&bad, &good], "policy = \"round_robin\"");
    let (proxy, address) = start(&config);
    let mut client = Client::new(address);
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "good");
    }
    assert!(proxy.counts().map(|counts| counts.again.get()).sum::<u64>() > 0 && !bad.seen().is_empty());
    // POST may not be done twice, and its answer is what it is.
    let statuses: Vec<u16> = (0..8)
        .map(|_| client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab").answer().status)
        .collect();
    assert!(statuses.contains(&503), "{statuses:?}");
}

#[test]
fn a_slow_answer_is_asked_for_beside() {
    let slow = Backend::new(|stream, _| {
        std::thread::sleep(Duration::from_secs(30));
        answer(stream, 200, &[], b"slow")
    });
    let quick = Backend::named("quick");
    let hedge = "hedge = { after = { fixed = \"50ms\" } }";
    let config = route(hedge) + &cluster("all", &[&slow, &quick], "policy = \"round_robin\"");
    let (_proxy, address) = start(&config);
    for _ in 0..4 {
        assert_eq!(get(address, "/").text(), "quick");
    }
    assert!(!slow.seen().is_empty());
}

#[test]
fn a_user_stays_where_the_cookie_says() {
    let (one, two, three) = (Backend::named("one"), Backend::named("two"), Backend::named("three"));
    let sticky = "[http.routes.affinity.cookie]\nname = \"at\"\nkeys = [{ id = 1, secret = \"0123456789abcdef0123456789abcdef\" }]\n";
    let config = route(sticky) + &cluster("all", &[&one, &two, &three], "policy = \"round_robin\"");
    let (_proxy, address) = start(&config);
    let first = get(address, "/");
    let cookie = first.field("set-cookie").expect("a cookie").split(';').next().unwrap().to_owned();
    for _ in 0..10 {
        let answer = Client::new(address).get_with("/", &format!("Cookie: {cookie}\r\n"));
        assert_eq!(answer.text(), first.text());
    }
    let others: Vec<String> = (0..6).map(|_| get(address, "/").text()).collect();
    assert!(others.iter().any(|other| *other != first.text()), "{others:?}");
}

/// With every answer, so that the test need not wait for half of a lifetime.
#[test]
fn a_cookie_is_renewed() {
    let (one, two, three) = (Backend::named("one"), Backend::named("two"), Backend::named("three"));
    let sticky = "[http.routes.affinity.cookie]\nname = \"at\"\nrenew = { after = 0.0 }\nkeys = [{ id = 1, secret = \"0123456789abcdef0123456789abcdef\" }]\n";
    let config = route(sticky) + &cluster("all", &[&one, &two, &three], "policy = \"round_robin\"");
    let (_proxy, address) = start(&config);
    let first = get(address, "/");
    let mut cookie = first.field("set-cookie").expect("a cookie").split(';').next().unwrap().to_owned();
    for _ in 0..5 {
        let answer = Client::new(address).get_with("/", &format!("Cookie: {cookie}\r\n"));
        assert_eq!(answer.text(), first.text());
        cookie = answer.field("set-cookie").expect("again").split(';').next().unwrap().to_owned();
    }
}

#[test]
fn too_many_requests_are_told_when_to_come_again() {
    let one = Backend::named("one");
    let limit = "rate_limits = [{ requests = 2, per = \"1h\" }]";
    let (proxy, address) = start(&(route(limit) + &cluster("all", &[&one], "")));
    let statuses: Vec<u16> = (0..4).map(|_| get(address, "/").status).collect();
    assert_eq!(statuses, [200, 200, 429, 429]);
    let answer = get(address, "/");
    let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait) && answer.text() == "rate_limited\n");
    assert_eq!(proxy.counts().map(|counts| counts.answers[4].get()).sum::<u64>(), 3);
}

#[test]
fn routes_answer_redirect_and_change_headers() {
    let one = Backend::new(|stream, _| {
        answer(stream, 200, &[("server", "secret"), ("x-hop", "1"), ("connection", "x-hop")], b"one")
    });
    let routes = r#"
        [[http.routes]]
        name = "fixed"
        match = { paths = [{ exact = "/fixed" }] }
        action = { respond = { status = 418, body = "short and stout" } }
        headers = { response = [{ set = { name = "x-pot", value = "tea" } }] }
        [[http.routes]]
        name = "moved"
        match = { paths = [{ prefix = "/old" }] }
        action = { redirect = { location = "https://{host}{path}{query}", status = 308 } }
        [[http.routes]]
        name = "api"
        match = { hosts = ["test"] }
        action = { cluster = "all" }
        [http.routes.headers]
        request = [{ set = { name = "x-by", value = "proxy" } }, { remove = { name = "x-secret" } }]
        response = [{ remove = { name = "server" } }, { add = { name = "x-served", value = "yes" } }]
    "#;
    let (_proxy, address) = start(&(routes.to_owned() + &cluster("all", &[&one], "")));
    let mut client = Client::new(address);
    let fixed = client.get("/fixed");
    assert_eq!(
        (fixed.status, fixed.text().as_str(), fixed.field("x-pot")),
        (418, "short and stout", Some("tea"))
    );
    let moved = client.get("/old/x?y=1");
    assert_eq!((moved.status, moved.field("location")), (308, Some("https://test/old/x?y=1")));
    let api = client.get_with("/api", "X-Secret: 1\r\n");
    assert_eq!((api.status, api.field("x-served")), (200, Some("yes")));
    assert_eq!((api.field("server"), api.field("x-hop")), (None, None));
    let seen = one.seen();
    assert_eq!((seen[0].values("x-by"), seen[0].values("x-secret")), (vec!["proxy"], vec![]));
    let nowhere = client.send("GET / HTTP/1.1\r\nHost: other\r\n\r\n").answer();
    assert_eq!((nowhere.status, nowhere.text().as_str()), (404, "no_route\n"));
}

#[test]
fn copies_go_aside_and_change_nothing() {
    let one = Backend::named("one");
    let shadow = Backend::new(|_, _| {
        std::thread::sleep(Duration::from_secs(1));
        Ok(false)
    });
    let mirror = "mirror = { cluster = \"shadow\", share = 1.0, host_suffix = \"-shadow\" }";
    let config = route(mirror) + &cluster("all", &[&one], "") + &cluster("shadow", &[&shadow], "");
    let (_proxy, address) = start(&config);
    for i in 0..5 {
        assert_eq!(get(address, &format!("/{i}")).text(), "one");
    }
    let body =
        Client::new(address).send("POST /b HTTP/1.1\r\nHost: a:80\r\nContent-Length: 2\r\n\r\nab").answer();
    assert_eq!(body.status, 200);
    until("all copies have come", || shadow.seen().len() == 6);
    let seen = shadow.seen();
    assert!(seen.iter().all(|seen| seen.head.contains("-shadow")));
    let post = seen.iter().find(|seen| seen.line().starts_with("POST")).unwrap();
    assert_eq!((post.values("host"), post.body.as_slice()), (vec!["a-shadow:80"], &b"ab"[..]));
}

#[test]
fn another_cluster_serves_when_the_first_cannot() {
    let spare = Backend::named("spare");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = route("")
        + "[http.fallbacks]\nall = \"spare\"\n"
        + &super::cluster_at("all", &[gone], "").replace("address", "weight = 0, address")
        + &cluster("spare", &[&spare], "");
    let (_proxy, address) = start(&config);
    assert_eq!(get(address, "/").text(), "spare");
}

#[test]
fn operators_see_health_numbers_and_lines() {
    let folder = std::env::temp_dir().join(format!("evenkeel-l7-log-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("access.log");
    let one = Backend::named("one");
    let program = format!(
        "[program]\nworkers = 2\nhealthz = \"/-/healthz\"\naccess_log = {:?}\n[admin]\naddress = \"127.0.0.1:0\"\n",
        file.display().to_string()
    );
    let (proxy, address) = start(&(route("") + &cluster("all", &[&one], "") + &program));
    assert_eq!(get(address, "/-/healthz").text(), "ok\n");
    assert_eq!(get(address, "/x?y='z'").status, 200);
    let admin = proxy.admin().unwrap();
    assert_eq!(get(admin, "/healthz").text(), "ok\n");
    let numbers = get(admin, "/metrics").text();
    for line in
        ["l7_answers_total{class=\"2xx\"} ", "evenkeel_cluster_membership{cluster=\"all\"} 1", "# EOF"]
    {
        assert!(numbers.contains(line), "{line} not in {numbers}");
    }
    assert_eq!(get(admin, "/api/clusters").status, 421, "a name that anybody may point here");
    let local = |path: &str| {
        let mut client = Client::new(admin);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).answer()
    };
    assert!(local("/").text().contains("<!doctype html>"));
    let cluster: serde_json::Value = serde_json::from_str(&local("/api/clusters/all").text()).unwrap();
    assert_eq!(cluster["endpoints"][0]["id"], "all-1");
    assert_eq!(cluster["endpoints"][0]["actual_share"], 1.0, "{cluster}");
    assert_eq!(local("/nothing").status, 404);
    drop(proxy);
    let log = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{log}");
    let line = lines.iter().find(|line| line["route"] == "all").unwrap();
    assert_eq!(
        (&line["endpoint"], &line["status"], &line["bytes"]),
        (&"all-1".into(), &200.into(), &3.into())
    );
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Whoever leaves before the answer, and whatever is no request, has a line and a number too.
#[test]
fn clients_that_leave_have_lines() {
    let file = std::env::temp_dir().join(format!("evenkeel-l7-left-{}.log", std::process::id()));
    let one = Backend::new(|stream, _| {
        std::thread::sleep(Duration::from_secs(1));
        answer(stream, 200, &[], b"late")
    });
    let program = format!("[program]\nworkers = 1\naccess_log = {:?}\n", file.display().to_string());
    let (proxy, address) = start(&(route("") + &cluster("all", &[&one], "") + &program));
    let mut client = Client::new(address);
    client.send("GET /gone HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it is under way", || proxy.running().cluster("all").unwrap().report().endpoints[0].in_flight == 1);
    drop(client);
    let count = |of: fn(&Counts) -> &Count| proxy.counts().map(|counts| of(counts).get()).sum::<u64>();
    until("it is known to have left", || count(|counts| &counts.left) == 1);
    let mut client = Client::new(address);
    client.send("no request\r\n\r\n");
    until("it is counted", || count(|counts| &counts.garbage) == 1);
    drop(proxy);
    let log = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert_eq!((&lines[0]["path"], &lines[0]["cause"]), (&"/gone".into(), &"client_left".into()));
    assert_eq!(lines[1]["cause"], "no_request");
    std::fs::remove_file(&file).unwrap();
}

/// An endpoint that says itself that it is sick gets no requests.
#[test]
fn checks_are_those_of_the_configuration() {
    let good = Backend::named("good");
    let sick = Backend::new(|stream, seen| {
        let status = if seen.line().contains("/health") { 500 } else { 200 };
        answer(stream, status, &[], b"sick")
    });
    let check =
        "[clusters.check]\nprobe = { http = { path = \"/health\" } }\nschedule = { interval = \"50ms\" }\n";
    let (proxy, address) =
        start(&(route("") + &cluster("all", &[&good, &sick], &format!("policy = \"round_robin\"\n{check}"))));
    until("the sick one is found out", || {
        let report = proxy.running().cluster("all").unwrap().report();
        report.endpoints.iter().filter(|endpoint| endpoint.usable).count() == 1
    });
    for _ in 0..10 {
        assert_eq!(get(address, "/").text(), "good");
    }
}

/// An endpoint that fails is ejected, and its failures are nobody's but the retries'.
#[test]
fn an_outlier_is_ejected_without_a_lost_request() {
    let good = Backend::named("good");
    let bad = Backend::new(|stream, _| answer(stream, 502, &[], b"bad"));
    let outlier = "policy = \"round_robin\"\n[clusters.outlier]\nconsecutive_failures = 3\nejection = { base = \"1h\", max = \"1h\" }\n";
    let config = route("retry = { attempts = 2 }") + &cluster("all", &[&good, &bad], outlier);
    let (proxy, address) = start(&config);
    let usable = || {
        let report = proxy.running().cluster("all").unwrap().report();
        report.endpoints.iter().filter(|endpoint| endpoint.usable).count()
    };
    assert_eq!(usable(), 2);
    let mut client = Client::new(address);
    let mut asked = 0;
    while usable() == 2 {
        assert_eq!(client.get("/").text(), "good");
        asked += 1;
        assert!(asked < 1000, "it is never ejected");
    }
    let seen = bad.seen().len();
    assert_eq!(seen, 3);
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "good");
    }
    assert_eq!((bad.seen().len(), usable()), (seen, 1));
}

/// An endpoint that is new begins with a small share.
#[test]
fn a_new_endpoint_starts_slowly() {
    let (old, new) = (Backend::named("old"), Backend::named("new"));
    let slow = "policy = \"weighted_random\"\nslow_start = { window = \"24h\" }\n";
    let listener = "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n";
    let text = |backends: &[&Backend]| listener.to_owned() + &route("") + &cluster("all", backends, slow);
    let (proxy, address) = start(&text(&[&old]));
    let loaded = evenkeel_config::Loaded::parse(&text(&[&old, &new]), evenkeel_config::Syntax::Toml).unwrap();
    proxy.reload(&loaded).unwrap();
    let mut client = Client::new(address);
    for _ in 0..400 {
        assert_eq!(client.get("/").status, 200);
    }
    // A tenth of the old one's share: 36 of 400, give or take 6.
    let share = new.seen().len();
    assert!((1..100).contains(&share), "{share}");
}

/// `Via` is written if the proxy has a name, and a request that comes by again is a loop.
#[test]
fn requests_do_not_go_round_in_circles() {
    let one = Backend::named("one");
    let listener =
        |name: &str, at: u8| format!("[[listeners]]\nname = \"{name}\"\naddress = \"127.0.0.{at}:0\"\n");
    let (inner, at) =
        start(&(route("") + &cluster("all", &[&one], "") + "[program]\nworkers = 1\nvia = \"inner\"\n"));
    let edge = listener("web", 1)
        + &listener("other", 2)
        + &route("match = { paths = [{ prefix = \"/\" }] }")
        + &super::cluster_at("all", &[at], "")
        + "[program]\nworkers = 1\nvia = \"edge\"\n";
    let (edge, address) = start(&edge);
    assert_eq!(get(address, "/").text(), "one");
    assert_eq!(one.seen()[0].values("via"), ["1.1 edge", "1.1 inner"]);
    let again = Client::new(edge.address("other").unwrap()).get_with("/", "Via: 1.1 edge, 1.0 x\r\n");
    assert_eq!((again.status, again.text().as_str()), (508, "loop\n"));
    assert_eq!(inner.counts().map(|counts| counts.answers[2].get()).sum::<u64>(), 1);
    assert_eq!(one.seen().len(), 1);
}

#[test]
fn servers_that_say_how_busy_they_are_get_what_fits() {
    let says = |busy: &'static str, name: &'static [u8]| {
        Backend::new(move |stream, _| answer(stream, 200, &[("endpoint-load-metrics", busy)], name))
    };
    let busy = says("TEXT rps_fractional=10,cpu_utilization=0.9", b"busy");
    let idle = says("TEXT rps_fractional=10,cpu_utilization=0.1", b"idle");
    let policy = "policy = { type = \"orca\", blackout_period = \"1ms\", weight_update_period = \"100ms\" }";
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&busy, &idle], policy)));
    // Nine to one, once both have told.
    until("18 of 20 go to the idle one", || {
        (0..20).filter(|_| get(address, "/").text() == "idle").count() == 18
    });
}

/// A slow endpoint and a bad one, and a third attempt allowed, for which nobody is left.
#[test]
fn what_an_attempt_beside_others_answered_is_judged() {
    let slow = Backend::new(|stream, _| {
        std::thread::sleep(Duration::from_millis(500));
        answer(stream, 200, &[], b"slow")
    });
    let bad = Backend::new(|stream, _| answer(stream, 502, &[], b"bad"));
    let hedge = "hedge = { attempts = 3, after = { fixed = \"20ms\" } }";
    let more = "policy = \"round_robin\"\nbreaker = { rules = [{ consecutive = { failures = 1 } }], open_for = \"1h\" }";
    let (proxy, address) = start(&(route(hedge) + &cluster("all", &[&slow, &bad], more)));
    let out = || {
        let report = proxy.running().cluster("all").unwrap().report();
        report.endpoints.iter().filter(|endpoint| !endpoint.usable).count()
    };
    for _ in 0..2 {
        assert_eq!(get(address, "/").text(), "slow");
    }
    until("the bad one is known as such", || out() == 1);
}
