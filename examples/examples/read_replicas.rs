//! How do I spread reads over database replicas, by how far they lag behind, and fail over to the primary?
//!
//! The replicas here are played: each has a figure that a program of yours would ask for, such as
//! `now() - pg_last_xact_replay_timestamp()` of PostgreSQL. What lags gets less, what lags too much gets nothing, and when no replica is
//! left the primary, a tier behind them, reads too. Time is an argument, so minutes pass at once.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::{CheckState, Cluster, Endpoint, ManualClock, Outcome, PolicyConfig, Priority, Request};

/// Reads older than this are wrong for this program.
const TOO_OLD: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(ManualClock::default());
    let policy = PolicyConfig::weighted_random();
    let reads = Cluster::<()>::builder("reads").policy(policy).seed(1).clock(Arc::clone(&clock)).build()?;
    reads.apply([
        endpoint("replica-1", 0)?,
        endpoint("replica-2", 0)?,
        endpoint("replica-3", 0)?,
        endpoint("primary", 1)?,
    ])?;
    // Writes know one address and no policy.
    let writes = Cluster::<()>::builder("writes").build()?;
    writes.apply([endpoint("primary", 0)?])?;

    let seconds = |lags: [u64; 3]| lags.map(Duration::from_secs);
    let shares = read(&reads, &clock, "all are fresh", seconds([0, 0, 0]))?;
    assert!(shares.values().all(|share| (30..=37).contains(share)) && !shares.contains_key("primary"));

    let shares = read(&reads, &clock, "replica-3 is 5 s behind", seconds([0, 0, 5]))?;
    assert!((17..=23).contains(&shares["replica-3"]), "half of the others' share: {shares:?}");

    let shares = read(&reads, &clock, "replica-3 is 40 s behind", seconds([0, 0, 40]))?;
    assert!(!shares.contains_key("replica-3") && !shares.contains_key("primary"));

    let shares = read(&reads, &clock, "replication is broken", seconds([60, 60, 60]))?;
    assert_eq!(shares, BTreeMap::from([("primary".to_owned(), 100)]));

    let shares = read(&reads, &clock, "and mended", seconds([0, 0, 1]))?;
    assert!(!shares.contains_key("primary"));
    assert_eq!(writes.pick(&Request::new())?.endpoint().id().as_str(), "primary");
    Ok(())
}

/// Takes in the lags, and reads ten thousand times: in percent, who was asked.
fn read(
    reads: &Cluster<()>,
    clock: &ManualClock,
    title: &str,
    lags: [Duration; 3],
) -> Result<BTreeMap<String, u64>, Box<dyn Error>> {
    for (number, lag) in (1..).zip(lags) {
        let replica = reads.endpoint(&format!("replica-{number}").parse()?)?;
        let is_fresh = lag < TOO_OLD;
        let _ = replica.set_check(if is_fresh { CheckState::Up } else { CheckState::Down });
        // A factor beside the weight: no table is built anew, however often the lag is measured.
        replica.set_reported(1.0 - lag.as_secs_f64() / TOO_OLD.as_secs_f64());
    }
    clock.advance(Duration::from_secs(60));
    let _ = reads.tick();
    let mut asked = BTreeMap::<String, u64>::new();
    for _ in 0..10_000 {
        let pick = reads.pick(&Request::new())?;
        *asked.entry(pick.endpoint().id().to_string()).or_default() += 1;
        pick.finish(Outcome::success());
    }
    let shares: BTreeMap<_, _> = asked.into_iter().map(|(id, times)| (id, (times + 50) / 100)).collect();
    println!("{title}: in percent {shares:?}");
    Ok(shares)
}

fn endpoint(id: &str, tier: u8) -> Result<Endpoint, Box<dyn Error>> {
    let address = format!("{id}.db.example:5432").parse()?;
    Ok(Endpoint::new(id.parse()?, address).with_priority(Priority::new(tier)?))
}
