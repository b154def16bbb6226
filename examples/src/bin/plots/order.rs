//! Who is picked when: the first picks of weights 5, 1, 1 under each policy that keeps an order.

use std::error::Error;

use evenkeel_balance::{BuiltIn, Mask, MemberList, PolicyConfig, Script, Table};
use plotters::prelude::*;

use crate::picture::{canvas, colour};

const POLICIES: [&str; 6] = [
    "smooth_weighted_round_robin",
    "earliest_deadline_first",
    "static_stride",
    "static_map",
    "interleaved",
    "weighted_random",
];
const WEIGHTS: [u32; 3] = [5, 1, 1];
const PICKS: usize = 28;

pub(crate) fn draw() -> Result<String, Box<dyn Error>> {
    let rows = POLICIES.iter().map(|name| picks(name)).collect::<Result<Vec<_>, _>>()?;
    canvas((860, 60 + 32 * POLICIES.len() as u32 + 40), |area| {
        area.draw(&Text::new("The first 28 picks with weights 5, 1, 1", (24, 16), ("sans-serif", 18)))?;
        for (row, (name, picks)) in POLICIES.iter().zip(&rows).enumerate() {
            let y = 68 + 32 * row as i32;
            area.draw(&Text::new(*name, (24, y - 7), ("sans-serif", 14)))?;
            for (index, &position) in picks.iter().enumerate() {
                let x = 268 + 20 * index as i32;
                area.draw(&Circle::new((x, y), 8, colour(position).filled()))?;
            }
        }
        let y = 68 + 32 * POLICIES.len() as i32;
        for (position, weight) in WEIGHTS.iter().enumerate() {
            let x = 268 + 130 * position as i32;
            area.draw(&Circle::new((x, y), 6, colour(position).filled()))?;
            area.draw(&Text::new(format!("weight {weight}"), (x + 12, y - 6), ("sans-serif", 13)))?;
        }
        Ok(())
    })
}

fn picks(name: &str) -> Result<Vec<usize>, Box<dyn Error>> {
    let policy = BuiltIn::new(&name.parse::<PolicyConfig>()?, &members(&WEIGHTS)?)?;
    let mask = Mask::all_usable(WEIGHTS.len());
    let view = Table::new(&mask, &WEIGHTS, &[]);
    let mut caller = Script::seeded(7);
    Ok((0..PICKS).filter_map(|_| policy.choose(&view, &mut caller)).collect())
}

/// Members with these weights.
pub(crate) fn members(weights: &[u32]) -> Result<MemberList, Box<dyn Error>> {
    use evenkeel::{Endpoint, Weight};
    let endpoint = |(position, &weight): (usize, &u32)| -> Result<Endpoint, Box<dyn Error>> {
        let address = format!("10.0.{}.{}:80", position / 256, position % 256).parse()?;
        Ok(Endpoint::new(format!("e{position}").parse()?, address).with_weight(Weight::new(weight)))
    };
    let endpoints = weights.iter().enumerate().map(endpoint).collect::<Result<Vec<_>, _>>()?;
    Ok(MemberList::new(endpoints))
}
