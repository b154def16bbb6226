//! How evenly keys fall under the policies that place them.

use std::error::Error;

use evenkeel_balance::{BuiltIn, Mask, PolicyConfig, Script, Table};
use evenkeel_types::SplitMix64;

use crate::order::members;
use crate::picture::{Axis, Line, lines};

const POLICIES: [&str; 6] = ["ring_hash", "ketama", "maglev", "rendezvous", "multi_probe", "anchor"];
const SIZES: [usize; 6] = [3, 10, 30, 100, 300, 1000];
/// Enough that chance alone adds little: with 1 000 endpoints each gets 2 000 keys.
const KEYS: u64 = 2_000_000;

pub(crate) fn draw() -> Result<String, Box<dyn Error>> {
    let mut drawn = Vec::new();
    for name in POLICIES {
        let points = SIZES.iter().map(|&n| Ok((n as f64, imbalance(name, n)?)));
        drawn.push(Line { name: name.to_owned(), points: points.collect::<Result<_, Box<dyn Error>>>()? });
    }
    lines(
        "Keys of the busiest endpoint, over the mean (equal weights, 2 million keys)",
        &Axis { title: "endpoints", from: 3.0, to: 1000.0 },
        &Axis { title: "max / mean", from: 1.0, to: 1.6 },
        &drawn,
    )
}

fn imbalance(name: &str, n: usize) -> Result<f64, Box<dyn Error>> {
    let weights = vec![1; n];
    let policy = BuiltIn::new(&name.parse::<PolicyConfig>()?, &members(&weights)?)?;
    let mask = Mask::all_usable(n);
    let view = Table::new(&mask, &weights, &[]);
    let mut counts = vec![0_u64; n];
    for key in 0..KEYS {
        let mut caller = Script::seeded(key).with_key(SplitMix64::mix(key.wrapping_mul(SplitMix64::STEP)));
        if let Some(position) = policy.choose(&view, &mut caller) {
            counts[position] += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or_default();
    Ok(most as f64 * n as f64 / KEYS as f64)
}
