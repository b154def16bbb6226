//! How does a new version take over, and who sees it?
//!
//! ```sh
//! cargo run -p evenkeel-examples --example canary_split
//! ```

use std::time::Duration;

use evenkeel_route::matching::{HeaderMatch, Request, ValueMatch};
use evenkeel_route::split::{Arm, Canary, Ramp, RampArm, RampConfig, Split, SplitConfig, Stickiness};
use evenkeel_types::{Outcome, RandomSource, Ratio, SplitMix64, Timestamp};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("share   users of the new version, of whom were there before");
    let mut before: Vec<u64> = Vec::new();
    for percent in [1, 10, 50] {
        let split = split(Ratio::percent(percent)?)?;
        let there: Vec<u64> = (0..10_000).filter(|&user| split.cluster(split.keyed(user)) == "new").collect();
        let stayed = before.iter().filter(|user| there.contains(user)).count();
        println!("{percent:>4} %   {:>5}   {stayed} of {}", there.len(), before.len());
        before = there;
    }

    let always = [("x-canary", "always")];
    let tester = Request::new("GET", "example.com", "/").with_headers(&always);
    let split = split(Ratio::ZERO)?;
    println!("a tester at 0 %: {}", split.cluster(split.choose(&tester, 0).arm));

    // A version that fails one request in twenty. Time is an argument, so an hour passes in no time.
    let mut ramp = Ramp::new(&RampConfig::default(), Timestamp::ORIGIN)?;
    let mut draws = SplitMix64::new(7);
    let mut now = Timestamp::ORIGIN;
    for _ in 0..100_000 {
        now = now.saturating_add(Duration::from_millis(50));
        let is_new = draws.next_u64() % 1_000_000 < u64::from(ramp.share().parts_per_million());
        let outcome = if is_new && draws.next_u64().is_multiple_of(20) {
            Outcome::failure()
        } else {
            Outcome::success()
        };
        let arm = if is_new { RampArm::New } else { RampArm::Old };
        if let Some(change) = ramp.record(arm, &outcome, now) {
            println!(
                "{:>5} s  {:?} → {:?}: {:?}",
                now.as_nanos() / 1_000_000_000,
                change.from,
                change.to,
                change.why
            );
        }
    }
    Ok(())
}

fn split(share: Ratio) -> Result<Split, evenkeel_route::split::SplitError> {
    let arm = |cluster: &str, weight| Arm { cluster: cluster.into(), weight };
    let new = share.parts_per_million();
    let header =
        HeaderMatch { name: "x-canary".into(), test: ValueMatch::Exact("always".into()), invert: false };
    Split::new(&SplitConfig {
        arms: vec![arm("old", 1_000_000 - new), arm("new", new)],
        stickiness: Stickiness::Keyed,
        canaries: vec![Canary { cluster: "new".into(), headers: vec![header], ..Canary::default() }],
        ..SplitConfig::default()
    })
}
