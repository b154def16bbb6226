//! What happens to requests when a zone dies, and when it comes back?
//!
//! Ten endpoints in each of three zones of the own region, and ten in another region as the second tier. This process stands
//! in zone a. The clock is scripted, so the run takes no time and always prints the same.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::{
    CheckState, Cluster, Endpoint, FailoverConfig, FailoverMode, Locality, LocalityConfig, ManualClock,
    Notice, Priority, Request, ZoneAwareConfig,
};

const PICKS: usize = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(ManualClock::default());
    let cluster = Cluster::<()>::builder("users")
        .seed(1)
        .clock(Arc::clone(&clock))
        .failover(FailoverMode::Spill(FailoverConfig::default()))
        .locality(LocalityConfig::ZoneAware(ZoneAwareConfig::new(Locality::new("eu", "a", ""))))
        .observer(|notice: &Notice| {
            if let Notice::Tier(notice) = notice {
                println!("        tier {}: {:?}", notice.priority.get(), notice.happened);
            }
        })
        .build()?;
    let mut fleet = Vec::new();
    for (zone, region, tier) in [("a", "eu", 0), ("b", "eu", 0), ("c", "eu", 0), ("us", "us", 1)] {
        for number in 0..10 {
            let address = format!("10.{}.0.{number}:80", zone.as_bytes()[0]).parse()?;
            let endpoint = Endpoint::new(format!("{zone}-{number}").parse()?, address);
            let place = Locality::new(region, zone, "");
            fleet.push(endpoint.with_locality(place).with_priority(Priority::new(tier)?));
        }
    }
    cluster.apply(fleet)?;
    let turn = |zone: &str, state: CheckState| {
        for endpoint in cluster.endpoints() {
            if endpoint.id().as_str().starts_with(zone) {
                let _ = endpoint.set_check(state);
            }
        }
    };

    println!("  time  zone a   zone b   zone c   region us   spilled");
    show(&cluster, "all is well");
    turn("a-0", CheckState::Down);
    show(&cluster, "an endpoint of zone a fails");
    turn("a-", CheckState::Down);
    show(&cluster, "zone a is dead");
    turn("b-", CheckState::Down);
    show(&cluster, "zone b too: what is left of the tier cannot take it all");
    turn("c-", CheckState::Down);
    show(&cluster, "nobody is left in the region");
    turn("", CheckState::Up);
    show(&cluster, "all are back: at once nothing changes");
    for _ in 0..4 {
        clock.advance(Duration::from_secs(10));
        let _ = cluster.tick();
        show(&cluster, "");
    }
    turn("", CheckState::Down);
    show(&cluster, "all checks fail: rather the checks are wrong, so everybody is asked");
    println!("\n{}", cluster.explain(&Request::new()).to_string().lines().last().unwrap_or_default());
    Ok(())
}

/// Picks, and tells where they went.
fn show(cluster: &Cluster<()>, what: &str) {
    let (mut zones, mut spilled) = ([0_usize; 4], 0);
    for _ in 0..PICKS {
        let Ok(pick) = cluster.pick(&Request::new()) else { continue };
        let description = pick.endpoint().description();
        let place = description.locality().map_or("", |at| at.zone());
        if let Some(zone) = ["a", "b", "c", "us"].iter().position(|zone| *zone == place) {
            zones[zone] += 1;
        }
        spilled += usize::from(pick.way().is_spilled());
    }
    let percent = |count: usize| count as f64 * 100.0 / PICKS as f64;
    let [a, b, c, us] = zones.map(percent);
    let (seconds, spilled) = (cluster.now().as_nanos() / 1_000_000_000, percent(spilled));
    println!("{seconds:>4} s {a:>6.1} % {b:>6.1} % {c:>6.1} % {us:>8.1} % {spilled:>8.1} %   {what}");
}
