//! How evenly the policies that hash keys share them out, and how many keys move when the set changes: as Markdown.
//!
//! ```sh
//! cargo run --release -p evenkeel-examples --bin churn
//! ```
//!
//! Keys, names and changes are fixed, so every run prints the same. `docs/hashing.md` holds the table and says how to read
//! it.

use std::io::{self, Write};
use std::sync::Arc;

use evenkeel::{Address, Endpoint, EndpointId, PolicyConfig, Weight};
use evenkeel_balance::{BuiltIn, InvalidPolicy, Mask, Members, Policy, Script, Table};
use evenkeel_types::SplitMix64;

/// What hashes a key. `ip_hash` is left out: its placement is that of `rendezvous`.
const POLICIES: [&str; 8] =
    ["ring_hash", "ketama", "maglev", "modulo", "jump", "rendezvous", "multi_probe", "anchor"];

const SIZES: [u64; 4] = [3, 10, 100, 1000];

const KEYS: u64 = 200_000;

/// How many changes of a kind are tried, each on its own, and averaged.
const TRIALS: u64 = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", Row::HEAD)?;
    for size in SIZES {
        for name in POLICIES {
            writeln!(out, "{}", Row::of(&name.parse()?, name, size, KEYS)?)?;
        }
    }
    Ok(())
}

/// One line of the table.
#[derive(Clone, Debug)]
struct Row {
    name: &'static str,
    size: u64,
    equal: Balance,
    weighted: Balance,
    add: Churn,
    remove: Churn,
    reweigh: Churn,
    bytes: i64,
}

impl Row {
    const HEAD: &str = "\
| policy | n | stddev | max/mean | stddev, weights 1–10 | add | remove | double a weight | needless, % | memory |
|---|---|---|---|---|---|---|---|---|---|";

    fn of(config: &PolicyConfig, name: &'static str, size: u64, keys: u64) -> Result<Self, InvalidPolicy> {
        let set = Set::equal(size);
        let mut kept = None;
        let allocations = allocation_counter::measure(|| kept = Some(BuiltIn::new(config, &set)));
        let before = Placed { policy: kept.expect("it was built")?, set, keys };
        let weighted = Set::of((0..size).map(|number| (number, 1 + (number % 10) as u32)));
        let weighted = Placed { policy: BuiltIn::new(config, &weighted)?, set: weighted, keys };
        let change = |changed: &dyn Fn(&Set, u64) -> Set| -> Result<Churn, InvalidPolicy> {
            let mut sum = Churn::default();
            for trial in 0..TRIALS.min(size) {
                // Spread over the list, and never its end: taking the last is what some handle better than the rest.
                let set = changed(&before.set, trial * size / TRIALS.min(size));
                let policy = before.policy.rebuild(config, &set)?;
                sum.add(&before, &Placed { policy, set, keys });
            }
            Ok(sum)
        };
        Ok(Self {
            name,
            size,
            equal: before.balance(),
            weighted: weighted.balance(),
            add: change(&|set, number| set.with(1_000_000 + number, 1))?,
            remove: change(&|set, number| set.without(number))?,
            reweigh: change(&|set, number| set.without(number).with(number, 2))?,
            bytes: allocations.bytes_current,
        })
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, size, equal, weighted, add, remove, reweigh, bytes } = self;
        write!(f, "| `{name}` | {size} | {:.3} | {:.2} ", equal.stddev, equal.greatest)?;
        write!(
            f,
            "| {:.3} | {:.2} × | {:.2} × | {:.2} × ",
            weighted.stddev,
            add.times(),
            remove.times(),
            reweigh.times()
        )?;
        write!(
            f,
            "| {} / {} / {} ",
            add.needless_percent(),
            remove.needless_percent(),
            reweigh.needless_percent()
        )?;
        match bytes {
            0..10_240 => write!(f, "| {bytes} B |"),
            10_240..10_485_760 => write!(f, "| {} KiB |", bytes / 1024),
            _ => write!(f, "| {} MiB |", bytes / 1_048_576),
        }
    }
}

/// How even shares are: the number of keys of each endpoint divided by what its weight asks for.
#[derive(Clone, Copy, Debug)]
struct Balance {
    stddev: f64,
    greatest: f64,
}

/// What changes of one kind have moved, in keys.
#[derive(Clone, Copy, Debug, Default)]
struct Churn {
    moved: u64,
    /// Between two endpoints that were there before and after, of the same weight.
    needless: u64,
    /// The least that a change of shares can move.
    least: f64,
    keys: u64,
}

impl Churn {
    fn add(&mut self, before: &Placed, after: &Placed) {
        for (from, to) in before.numbers().zip(after.numbers()) {
            let stays = |number| {
                let weight = before.set.weight(number);
                weight.is_some() && weight == after.set.weight(number)
            };
            self.moved += u64::from(from != to);
            self.needless += u64::from(from != to && stays(from) && stays(to));
        }
        // Whoever loses part of its share gives away that part at least.
        let losses = before
            .set
            .numbers
            .iter()
            .map(|&number| (before.set.share(number) - after.set.share(number)).max(0.0));
        self.least += losses.sum::<f64>() * before.keys as f64;
        self.keys += before.keys;
    }

    fn times(&self) -> f64 {
        self.moved as f64 / self.least
    }

    fn needless_percent(&self) -> String {
        match self.needless {
            0 => "0".to_owned(),
            needless => format!("{:.2}", 100.0 * needless as f64 / self.keys as f64),
        }
    }
}

/// A policy over the set that it was built for.
#[derive(Debug)]
struct Placed {
    policy: BuiltIn,
    set: Set,
    keys: u64,
}

impl Placed {
    /// The endpoint of each key, by its number.
    fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let mask = Mask::all_usable(self.set.numbers.len());
        (0..self.keys).map(move |key| {
            let view = Table::new(&mask, &self.set.weights, &[]);
            let hash = SplitMix64::mix((key + 1).wrapping_mul(SplitMix64::STEP));
            let picked = self.policy.pick(&view, &mut Script::seeded(1).with_key(hash));
            self.set.numbers[picked.expect("all are usable")]
        })
    }

    fn balance(&self) -> Balance {
        let mut counts = vec![0_u64; self.set.numbers.len()];
        for number in self.numbers() {
            counts[self.set.position(number).expect("it was picked")] += 1;
        }
        let shares: Vec<f64> = counts
            .iter()
            .zip(&self.set.numbers)
            .map(|(&count, &number)| count as f64 / (self.keys as f64 * self.set.share(number)))
            .collect();
        let variance = shares.iter().map(|share| (share - 1.0).powi(2)).sum::<f64>() / shares.len() as f64;
        Balance { stddev: variance.sqrt(), greatest: shares.into_iter().fold(0.0, f64::max) }
    }
}

/// Endpoints by number, which is name and token at once: so each is known in every set. Sorted by number.
#[derive(Clone, Debug)]
struct Set {
    numbers: Vec<u64>,
    weights: Vec<u32>,
}

impl Set {
    fn of(endpoints: impl Iterator<Item = (u64, u32)>) -> Self {
        let (numbers, weights) = endpoints.unzip();
        Self { numbers, weights }
    }

    fn equal(size: u64) -> Self {
        Self::of((0..size).map(|number| (number, 1)))
    }

    fn with(&self, number: u64, weight: u32) -> Self {
        let mut set = self.clone();
        let position = set.numbers.partition_point(|&other| other < number);
        set.numbers.insert(position, number);
        set.weights.insert(position, weight);
        set
    }

    fn without(&self, number: u64) -> Self {
        let kept = self.numbers.iter().copied().zip(self.weights.iter().copied());
        Self::of(kept.filter(|&(other, _)| other != number))
    }

    fn position(&self, number: u64) -> Option<usize> {
        self.numbers.binary_search(&number).ok()
    }

    fn weight(&self, number: u64) -> Option<u32> {
        self.position(number).map(|position| self.weights[position])
    }

    fn share(&self, number: u64) -> f64 {
        let total: u64 = self.weights.iter().copied().map(u64::from).sum();
        f64::from(self.weight(number).unwrap_or(0)) / total as f64
    }
}

impl Members for Set {
    fn weights(&self) -> &[u32] {
        &self.weights
    }

    fn token(&self, position: usize) -> u64 {
        self.numbers[position]
    }

    fn endpoint(&self, position: usize) -> Arc<Endpoint> {
        let number = self.numbers[position];
        let id: EndpointId = format!("endpoint-{number}").parse().expect("a short plain name");
        let address: Address = format!("10.{}.{}.{}:80", number >> 16 & 255, number >> 8 & 255, number & 255)
            .parse()
            .expect("an address");
        Arc::new(Endpoint::new(id, address).with_weight(Weight::new(self.weights[position])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, size: u64) -> Row {
        Row::of(&name.parse().expect("a policy"), name, size, 20_000).expect("the defaults are valid")
    }

    #[test]
    fn all_that_promise_it_move_no_key_without_need() {
        for name in ["ring_hash", "ketama", "jump", "rendezvous", "multi_probe", "anchor"] {
            for size in [3, 10, 100] {
                let row = row(name, size);
                let needless = [row.add.needless, row.remove.needless, row.reweigh.needless];
                assert_eq!(needless, [0; 3], "{row}");
            }
        }
    }

    /// The counts of a draw by weight, as far as 20 000 keys show: 1 ÷ √(keys ÷ n), and half of it for luck.
    #[test]
    fn those_without_a_table_of_points_are_as_even_as_draws() {
        for name in ["modulo", "jump", "rendezvous", "anchor"] {
            for size in [3, 10, 100] {
                let (row, chance) = (row(name, size), (size as f64 / 20_000.0).sqrt());
                assert!(row.equal.stddev < 1.5 * chance, "{row}");
                // The lightest of weights 1 to 10 has so many fewer keys.
                assert!(row.weighted.stddev < 1.5 * chance * 10_f64.sqrt(), "{row}");
            }
        }
    }

    /// What moves is what must, within the noise of 20 000 keys and the unevenness of the table.
    #[test]
    fn what_moves_is_what_must() {
        for name in ["ring_hash", "ketama", "jump", "rendezvous", "anchor", "multi_probe"] {
            for size in [10, 100] {
                let row = row(name, size);
                for churn in [row.add, row.remove, row.reweigh] {
                    assert!((0.75..1.25).contains(&churn.times()), "{row}");
                }
            }
        }
    }

    #[test]
    fn maglev_moves_a_few_more_and_modulo_almost_all() {
        let maglev = row("maglev", 100);
        assert!(maglev.add.times() < 2.5 && maglev.remove.times() < 2.5, "{maglev}");
        let modulo = row("modulo", 10);
        assert!(modulo.add.times() > 8.0 && modulo.remove.times() > 7.0, "{modulo}");
    }
}
