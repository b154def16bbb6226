//! What does the policy `client_side_weighted_round_robin` do?
//!
//! Endpoints report how many requests they serve and how busy that makes them; each gets what it has shown it can bear.
//! Here time is simulated, and one of three endpoints has four times the cores. Nobody told the cluster.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::{Cluster, Endpoint, EndpointId, LoadReport, ManualClock, Outcome, PolicyConfig, Request};

fn main() -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(ManualClock::default());
    let builder = Cluster::<()>::builder("users").policy(PolicyConfig::client_side_weighted_round_robin());
    let cluster = builder.clock(Arc::clone(&clock)).seed(1).build()?;
    cluster.apply(["a", "b", "c"].map(|name| endpoint(name).expect("a letter is a name")))?;
    println!("c has four times the cores of a and b; 900 requests a second; how busy each is:");
    let mut picks: BTreeMap<EndpointId, f64> = BTreeMap::new();
    for second in 0..16 {
        let before = std::mem::take(&mut picks);
        for _ in 0..900 {
            let pick = cluster.pick(&Request::new())?;
            let id = pick.endpoint().id();
            // A real endpoint says so in a header or trailer of its answer; reports count after ten seconds.
            if let Some(&queries) = before.get(&id) {
                pick.report(LoadReport::new(queries, 0.0, busy(&id, queries)));
            }
            *picks.entry(id).or_default() += 1.0;
            pick.finish(Outcome::success());
            clock.advance(Duration::from_micros(1_111));
        }
        if second % 3 == 0 {
            let shown = picks.iter().map(|(id, &queries)| {
                format!("{id} {:>3.0} requests, {:>3.0} %", queries, 100.0 * busy(id, queries))
            });
            println!("  {second:>2} s: {}", shown.collect::<Vec<_>>().join("; "));
        }
    }
    Ok(())
}

/// How busy an endpoint is that serves so many requests a second.
fn busy(id: &EndpointId, queries: f64) -> f64 {
    queries / if id.as_str() == "c" { 1600.0 } else { 400.0 }
}

fn endpoint(name: &str) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?))
}
