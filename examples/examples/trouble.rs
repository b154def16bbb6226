//! What does a cluster do about trouble, and what does it tell?
//!
//! One file switches everything on: outlier detection, slow start, a limit at each endpoint and one in front of all, and a budget
//! for what is sent again. Time is moved by hand, so that a minute passes at once.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::{
    Cluster, ClusterBuilder, ClusterConfig, Endpoint, ManualClock, Outcome, PickError, Request, Tried,
};

const FILE: &str = r#"
name = "orders"
policy = "round_robin"
seed = 7

[outlier]                       # five failures in a row, or more of them than the peers: out for a while
consecutive_failures = 5

[slow_start]                    # back from a failed check: from a tenth of its share to all of it
window = "30s"

[endpoint_limit.fixed]          # busy, not broken: the next one is asked
limit = 8

[limit.fixed]                   # in front of all: shed at once, queue nothing
limit = 20

[budget.total]                  # retries and hedges: a fifth of the requests, and no more in bad times
ratio = 0.2
min_per_second = 0
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(ManualClock::default());
    let builder = ClusterBuilder::<()>::from(ClusterConfig::from_toml(FILE)?);
    let cluster = builder.clock(Arc::clone(&clock)).build()?;
    let endpoints: Result<Vec<_>, _> = (1..=4).map(endpoint).collect();
    cluster.apply(endpoints?)?;

    println!("orders-2 answers with 500:");
    requests(&cluster, 60, |id| id == "orders-2")?;
    tell(&cluster);

    println!("\ntwo minutes later, with traffic that goes well:");
    for _ in 0..1_200 {
        clock.advance(Duration::from_millis(100));
        requests(&cluster, 20, |_| false)?;
    }
    tell(&cluster);

    println!("\norders-3 has failed its checks, and passes them again:");
    let third = &cluster.endpoints()[2];
    for passed in [false, false, false, true, true] {
        third.record_check(passed);
    }
    tell(&cluster);

    println!("\ntwenty requests under way, and one more:");
    let held: Vec<_> = (0..20).map(|_| cluster.pick(&Request::new())).collect::<Result<_, _>>()?;
    if let Err(error) = cluster.pick(&Request::new()) {
        println!("  {error}");
    }
    drop(held);

    clock.advance(Duration::from_secs(20)); // what the budget knew is forgotten
    println!("\neverything fails, and every request wants to go again:");
    let (mut sent_again, mut refused) = (0, 0);
    for _ in 0..500 {
        let mut tried = Tried::default();
        let first = cluster.pick(&Request::new())?;
        tried.add(&first);
        first.finish(Outcome::neutral());
        match cluster.pick(&Request::new().excluding(&tried)) {
            Ok(_) => sent_again += 1,
            Err(PickError::BudgetSpent(_)) => refused += 1,
            Err(error) => return Err(error.into()),
        }
    }
    println!("  500 requests: {sent_again} sent again, {refused} not");
    Ok(())
}

fn endpoint(n: u32) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(format!("orders-{n}").parse()?, format!("10.0.0.{n}:80").parse()?))
}

fn requests(cluster: &Cluster<()>, count: u32, fails: impl Fn(&str) -> bool) -> Result<(), PickError> {
    for _ in 0..count {
        let pick = cluster.pick(&Request::new())?;
        let failed = fails(pick.endpoint().id().as_str());
        pick.finish(if failed { Outcome::failure() } else { Outcome::success() });
    }
    Ok(())
}

/// What a status page would show.
fn tell(cluster: &Cluster<()>) {
    for endpoint in cluster.report().endpoints {
        print!("  {}: {:>3.0} % of the requests", endpoint.id, endpoint.expected_share * 100.0);
        for cause in &endpoint.causes {
            print!(", {} since {:?}", cause.cause, seconds(cause.since));
            if let Some(until) = cause.until {
                print!(" until {:?}", seconds(until));
            }
            if let Some(reason) = &cause.reason {
                print!(" ({reason})");
            }
        }
        println!();
    }
}

fn seconds(moment: evenkeel::Timestamp) -> Duration {
    Duration::from_millis(moment.as_nanos() / 1_000_000)
}
