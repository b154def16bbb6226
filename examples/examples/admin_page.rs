//! How do I watch clusters in a browser, and drain an endpoint by a click?
//!
//! Put an `Admin` beside the proxy and serve it. Here requests are played, not sent: `--stay` keeps the page up until standard input
//! ends, and `--at 127.0.0.1:9901` says where.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, io, thread};

use evenkeel::route::matching::Request;
use evenkeel::router::{Incoming, Scratch};
use evenkeel::{Outcome, RandomSource};
use evenkeel_config::{Loaded, Running, Syntax};
use evenkeel_examples::admin::{Admin, AdminSettings, Exposure, Listener, Meter, Metrics};
use evenkeel_types::SplitMix64;

const CONFIG: &str = r#"
    [[http.routes]]
    name = "checkout"
    match = { paths = [{ prefix = "/checkout" }] }
    action = { cluster = "checkout" }
    [[http.routes]]
    name = "everything else"
    action = { cluster = "web <b>shop</b>" }

    [[clusters]]
    name = "checkout"
    breaker = { open_for = "5s" }
    failover = { mode = "spill" }
    endpoints = [
        { id = "checkout-1", address = "10.0.1.1:8080", weight = 2 },
        { id = "checkout-2", address = "10.0.1.2:8080" },
        { id = "checkout-far", address = "10.9.1.1:8080", priority = 1 },
    ]

    [[clusters]]
    name = "web <b>shop</b>"
    breaker = { rules = [{ consecutive = { failures = 20 } }] }
    endpoints = [
        { id = "web-1", address = "10.0.2.1:8080", weight = 3 },
        { id = "web-2", address = "10.0.2.2:8080" },
        { id = "<img src=x onerror=alert(1)>", address = "10.0.2.3:8080" },
    ]
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (mut at, mut stay) = (SocketAddr::from(([127, 0, 0, 1], 0)), false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--stay" => stay = true,
            "--at" => at = arguments.next().ok_or("--at needs an address")?.parse()?,
            other => return Err(format!("{other}: --stay and --at are known").into()),
        }
    }

    let metrics = Metrics::default();
    let observers = metrics.clone();
    let loaded = Loaded::parse(CONFIG, Syntax::Toml)?;
    // The payload of an endpoint holds its meter; a proxy's holds a pool of connections besides.
    let running = Running::start_observed(loaded, |_| Meter::new(), move |name| observers.observer(name))?;
    let running = Arc::new(running);
    let admin = Admin::new(AdminSettings::default())?
        .with_running(Arc::clone(&running), |meter| Some(meter))
        .with_metrics(metrics);
    let listener = Listener::start(at, Exposure::Loopback, Arc::new(admin))?;
    println!("status page on http://{}", listener.address());
    io::stdout().flush()?;

    if stay {
        let ended = Arc::new(AtomicBool::new(false));
        let (play_on, running) = (Arc::clone(&ended), Arc::clone(&running));
        let playing = thread::spawn(move || {
            let mut draws = SplitMix64::new(1);
            while !play_on.load(Ordering::Relaxed) {
                play(&running, &mut draws, 4);
                thread::sleep(Duration::from_millis(20));
            }
        });
        io::copy(&mut io::stdin(), &mut io::sink())?;
        ended.store(true, Ordering::Relaxed);
        return playing.join().map_err(|_| "the player panicked".into());
    }

    play(&running, &mut SplitMix64::new(1), 300);
    let answer = ask(listener.address(), "POST", "/api/clusters/checkout/endpoints/checkout-1/drain", "{}")?;
    assert!(answer.contains("\"state\":\"admin_drain\""), "{answer}");
    println!("drained by the API: checkout-1 gets nothing new");
    let answer = ask(
        listener.address(),
        "POST",
        "/api/explain",
        r#"{"host": "shop.example", "path": "/checkout/pay"}"#,
    )?;
    assert!(answer.contains("\"picked\":\"checkout-2\""), "{answer}");
    println!("a request for /checkout/pay would go to checkout-2");
    assert!(ask(listener.address(), "GET", "/metrics", "")?.contains("evenkeel_cluster_"));
    Ok(())
}

/// Plays requests: what they meet is drawn, nothing is sent.
fn play(running: &Running<Meter>, draws: &mut SplitMix64, requests: usize) {
    let mut scratch = Scratch::default();
    for _ in 0..requests {
        let path = if draws.next_u64().is_multiple_of(3) { "/checkout/pay" } else { "/" };
        let request = Incoming::new(Request::new("GET", "shop.example", path));
        let Ok(routed) = running.router().route(&request, &mut scratch) else { continue };
        let Some(mut exchange) = routed.into_exchange() else { continue };
        let now = exchange.cluster().now();
        let Ok(pick) = exchange.pick() else { continue };
        pick.payload().picked(now);
        let taken = Duration::from_micros(2_000 + draws.next_u64() % 6_000);
        let fails = pick.endpoint().id().as_str() == "web-2" && draws.next_u64().is_multiple_of(12);
        let outcome = if fails { Outcome::failure() } else { Outcome::success() }.with_latency(taken);
        pick.payload().ended(taken, outcome.verdict(), now);
        pick.finish(outcome);
    }
}

fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
