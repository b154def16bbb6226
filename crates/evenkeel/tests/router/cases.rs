//! Requests and what becomes of them, from files; and the configuration of the documentation.

use evenkeel::route::matching::Request;
use evenkeel::router::{Affinity, ArmReason, Decision, Incoming, RouterConfig};

use crate::world::{World, cluster, world};

#[test]
fn cases_of_files() {
    for (config, cases) in [(include_str!("shop.toml"), include_str!("shop.txt"))] {
        let mut world = world(config, vec![cluster("v1", 3), cluster("v2", 3), cluster("empty", 0)]);
        let lines = cases.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines {
            let mut fields = line.split('|').map(str::trim);
            let mut next = || fields.next().expect("three fields");
            let (request, headers, expected) = (next(), next(), next());
            assert_eq!(check(&mut world, request, headers), expected, "{line}");
        }
    }
}

fn check(world: &mut World, request: &str, headers: &str) -> String {
    let parts: Vec<&str> = request.split(' ').collect();
    let headers: Vec<(&str, &str)> = headers.split("; ").filter_map(|field| field.split_once(": ")).collect();
    let request = Request::new(parts[0], parts[1], parts[2]).with_headers(&headers);
    let incoming = Incoming::new(request);
    let explained = world.router.explain(&incoming);
    let routed = match world.router.route(&incoming, &mut world.scratch) {
        Ok(routed) => routed,
        Err(error) => return error.to_string(),
    };
    let name = routed.matched.name().to_owned();
    let explained = explained.expect("what can be routed can be explained");
    assert_eq!(explained.route.as_deref(), Some(&*name), "explain agrees with route");
    match routed.decision {
        Decision::Redirect { status, location } => format!("{name}: {status} to {location}"),
        Decision::Respond(response) => format!("{name}: {}", response.status),
        Decision::Send(mut exchange) => {
            let first = exchange.cluster().name().to_owned();
            assert_eq!(explained.arm.as_ref().map(|arm| &*arm.cluster), Some(&*first));
            assert_eq!(explained.arm.as_ref().map(|arm| arm.why), Some(exchange.arm_reason()));
            let pick = exchange.pick().expect("some cluster can serve");
            let served = exchange.cluster().name().to_owned();
            let mut text = format!("{name}: {served}");
            if served != first {
                text += &format!(" instead of {first}");
            }
            if exchange.arm_reason() != ArmReason::Only {
                text += &format!(" {:?}", exchange.arm_reason());
            }
            match exchange.affinity() {
                Affinity::None => {}
                Affinity::Listed => text += &format!(" Listed {}", pick.endpoint().id()),
                other => text += &format!(" {other:?}"),
            }
            if let Some(time) = exchange.attempt_time() {
                text += &format!(" {time:?}");
            }
            text
        }
    }
}

/// The complete example of the page on routing loads, and every cluster that it names is used.
#[test]
fn the_example_of_the_documentation_builds() {
    let page = include_str!("../../../../docs/routing-and-failover.md");
    let (_, section) = page.split_once("\n## The router\n").expect("the section");
    let (_, rest) = section.split_once("```toml\n").expect("an example in TOML");
    let (text, _) = rest.split_once("```").expect("an end of the example");
    let config = RouterConfig::from_toml(text).expect("it is valid TOML");
    let names = ["shop-v1", "shop-v2", "shop-shadow", "sessions", "sessions-far"];
    let world = crate::world::build_of(config.clone(), names.map(|name| cluster(name, 2)).to_vec())
        .expect("it is a valid configuration");
    for (host, target, expected) in [
        ("shop.example.com", "/shop/books", "shop"),
        ("shop.example.com:443", "/session/7", "sessions"),
        ("any", "/articles/7", "moved"),
        ("any", "/shop/books", "everything-else"),
    ] {
        let explained = world.router.explain(&Incoming::new(Request::new("GET", host, target)));
        assert_eq!(explained.expect("it can be matched").route.as_deref(), Some(expected));
    }
    assert_eq!(world.router.report().routes.len(), config.routes.len());
    let json = serde_json::to_string(&config).expect("it can be written");
    assert_eq!(serde_json::from_str::<RouterConfig>(&json).expect("and read again"), config);
}

#[test]
fn explanations_read_as_a_trail_and_serialise() {
    let world =
        world(include_str!("shop.toml"), vec![cluster("v1", 2), cluster("v2", 2), cluster("empty", 0)]);
    let headers = [("x-user", "ann")];
    let request = Request::new("GET", "shop.example.com", "/shop/books/1").with_headers(&headers);
    let explained = world.router.explain(&Incoming::new(request)).expect("it can be matched");
    let text = explained.to_string();
    for part in ["not canary: headers[0]", "route shop", "cluster v2: by its key", "picked v2-"] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    let json = serde_json::to_value(&explained).expect("it serialises");
    assert_eq!(json["arm"]["why"], "keyed");
    let broken =
        world.router.explain(&Incoming::new(Request::new("GET", "any", "/broken"))).expect("matched");
    assert_eq!(broken.clusters.len(), 2, "the fallback is told too:\n{broken}");
    let none = world.router.explain(&Incoming::new(Request::new("GET", "any", "/nothing"))).expect("matched");
    assert!(none.to_string().ends_with("no route takes it"));
    assert_eq!(none.rules.passed.len(), 7);
}
