//! How does one request find its way: through a canary with sticky users, a retry and a mirrored copy?
//!
//! ```sh
//! cargo run -p evenkeel-examples --example router
//! ```

use std::sync::Arc;
use std::time::Duration;

use evenkeel::route::matching::Request;
use evenkeel::route::retry::Ending;
use evenkeel::router::{Exchange, Incoming, Next, Router, RouterConfig, Scratch};
use evenkeel::{Cluster, Endpoint, ManualClock};

const CONFIG: &str = r#"
    [[routes]]
    name = "shop"
    match = { hosts = ["shop.example.com"], paths = [{ template = "/shop/{section}/**" }] }
    key = [{ cookie = "user" }]
    retry = { attempts = 3 }
    mirror = { cluster = "shadow", share = 0.1 }

    [routes.action.split]
    stickiness = "keyed"
    arms = [{ cluster = "v1", weight = 90 }, { cluster = "v2", weight = 10 }]
    canaries = [{ cluster = "v2", headers = [{ name = "x-canary", test = { exact = "yes" } }] }]

    [fallbacks]
    v2 = "v1"
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clusters = [cluster("v1", 4)?, cluster("v2", 2)?, cluster("shadow", 1)?];
    let clock = Arc::new(ManualClock::default());
    let builder = Router::<()>::builder().seed(7).clock(Arc::clone(&clock));
    let router = builder.build(RouterConfig::from_toml(CONFIG)?, clusters.clone())?;
    let mut scratch = Scratch::default();

    // Users stay in their arm, and move only to the one that grows.
    let mut config = router.config();
    let mut before: Vec<usize> = Vec::new();
    for weight in [10, 30, 90] {
        if let evenkeel::router::Action::Split(split) = &mut config.routes[0].action {
            split.arms[1].weight = weight;
        }
        router.apply(config.clone(), [])?;
        let mut there = Vec::new();
        for user in 0..1000 {
            if send(&router, &mut scratch, &[("cookie", &format!("user={user}"))])?.arm() == 1 {
                there.push(user);
            }
        }
        let stayed = before.iter().filter(|user| there.contains(user)).count();
        println!(
            "weight {weight:>2}: {:>3} of 1000 users in v2, {stayed} of {} stayed",
            there.len(),
            before.len()
        );
        before = there;
    }

    // One of four endpoints answers 503. Time is a value, so waiting takes none.
    let (mut answered, mut waited) = (0, Duration::ZERO);
    for user in 0..1000 {
        let mut exchange = send(&router, &mut scratch, &[("cookie", &format!("user={user}"))])?;
        loop {
            let mut pick = exchange.pick()?;
            let status = if pick.endpoint().id().as_str() == "v1-1" { 503 } else { 200 };
            match exchange.after(&mut pick, &Ending::Http { status, retry_after: None }) {
                Next::RetryAfter(wait) => {
                    clock.advance(wait);
                    waited += wait;
                }
                _ => {
                    answered += u32::from(status == 200);
                    break;
                }
            }
        }
    }
    let report = &router.report().routes[0];
    println!(
        "{answered} of 1000 answered, {} sent again after {waited:.1?} of waiting in all",
        report.retried
    );
    println!("{} of {} requests were copied", report.mirrored, report.matched);

    // A tester, while the new version is down.
    for i in 1..=2 {
        let _ = clusters[1].drain(&format!("v2-{i}").parse()?)?;
    }
    let headers = [("x-canary", "yes")];
    let request = Request::new("GET", "shop.example.com", "/shop/books/1").with_headers(&headers);
    println!("\n{}", router.explain(&Incoming::new(request))?);
    Ok(())
}

fn send(
    router: &Router<()>,
    scratch: &mut Scratch<()>,
    headers: &[(&str, &str)],
) -> Result<Exchange<()>, Box<dyn std::error::Error>> {
    let request = Request::new("GET", "shop.example.com", "/shop/books/1").with_headers(headers);
    let routed = router.route(&Incoming::new(request), scratch)?;
    routed.into_exchange().ok_or_else(|| "the route answers itself".into())
}

fn cluster(name: &str, endpoints: u8) -> Result<Cluster<()>, Box<dyn std::error::Error>> {
    let cluster = Cluster::builder(name).seed(7).clock(ManualClock::default()).build()?;
    for i in 1..=endpoints {
        let address = format!("10.0.0.{i}:80").parse()?;
        cluster.upsert(Endpoint::new(format!("{name}-{i}").parse()?, address))?;
    }
    Ok(cluster)
}
