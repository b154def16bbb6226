//! How do I use the health machines without a cluster?
//!
//! The check machine says when to probe and what results mean; the word collects what everybody says; the record beside it
//! tells why. Here the clock and the server are a script.

use std::error::Error;
use std::time::Duration;

use evenkeel_health::{
    ActiveCheck, AdminState, CheckConfig, CheckResult, Entry, Note, Opinion, Provenance, Ramp, SlowStart,
    SlowStartConfig, Standing, TimeToLive,
};
use evenkeel_types::{Ratio, SplitMix64, Timestamp};

/// The server answers, except from 20 s to 31 s.
fn probe(now: Timestamp) -> CheckResult {
    let outage = Timestamp::from_secs(20)..Timestamp::from_secs(31);
    if outage.contains(&now) { CheckResult::Fail } else { CheckResult::Pass }
}

fn main() -> Result<(), Box<dyn Error>> {
    let config = CheckConfig {
        interval: Duration::from_secs(5),
        fast_interval: Some(Duration::from_secs(1)),
        jitter: Ratio::ZERO,
        ..CheckConfig::default()
    };
    let mut check = ActiveCheck::new(config, Timestamp::ORIGIN, &mut SplitMix64::new(7))?;
    let (standing, mut provenance) = (Standing::new(), Provenance::new(TimeToLive::default())?);
    let ramp = Ramp::new(SlowStartConfig { window: Duration::from_secs(10), ..SlowStartConfig::default() })?;
    let slow_start = SlowStart::new();

    // The operator drains it at 50 s, for ten seconds.
    let mut drained = false;
    let mut now = check.next_deadline();
    while now < Timestamp::from_secs(70) {
        if !drained && now >= Timestamp::from_secs(50) {
            drained = true;
            let limit = now.saturating_add(Duration::from_secs(10));
            let note = Note::expiring(limit).by("alice")?.because("kernel update")?;
            let _ = provenance.say(&standing, Opinion::Admin(AdminState::Drain), note, now);
            tell(now, &standing, &provenance);
        }
        if provenance.tick(&standing, now).iter().any(|change| change.turned_usable()) {
            tell(now, &standing, &provenance);
        }
        let _ = check.tick(now);
        if let Some(ticket) = check.start(now)
            && let Some(change) = check.finish(ticket, now, probe(now))
        {
            let turned = provenance.say(&standing, Opinion::Check(change.after), Note::default(), now);
            tell(now, &standing, &provenance);
            if turned.turned_usable() {
                slow_start.enter(&ramp, Entry::Return, true, now);
            }
        }
        let factor = slow_start.factor(&ramp, now);
        if factor < 1.0 {
            println!("{:>5.1} s   takes {:.0} % of its share", seconds(now), 100.0 * factor);
        }
        now = provenance.next_deadline().map_or(check.next_deadline(), |end| end.min(check.next_deadline()));
    }
    Ok(())
}

fn tell(now: Timestamp, standing: &Standing, provenance: &Provenance) {
    println!("{:>5.1} s {}", seconds(now), standing.load());
    for evidence in provenance.evidence(now) {
        println!("          {evidence}");
    }
}

fn seconds(now: Timestamp) -> f64 {
    now.saturating_since(Timestamp::ORIGIN).as_secs_f64()
}
