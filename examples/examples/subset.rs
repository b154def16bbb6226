//! How do I use a part of a large fleet, and how even is that?
//!
//! 300 clients of 300 servers would hold 90 000 connections. Each kind of subset spares most of them; they differ in how
//! evenly they load the servers, and in how many connections move when a server leaves.

use std::collections::BTreeSet;
use std::error::Error;

use evenkeel::{
    ApertureConfig, Cluster, DeterministicSubsetConfig, Endpoint, LabelSubsetConfig, Labels,
    RandomSubsetConfig, Request, SubsetConfig,
};
use evenkeel_balance::MemberList;

const CLIENTS: u32 = 300;

fn main() -> Result<(), Box<dyn Error>> {
    println!("300 clients, 300 servers                load of a server          new connections when");
    println!("                         connections    least    greatest     one leaves     one comes");
    for size in [30, 90] {
        let deterministic = DeterministicSubsetConfig { size, ..DeterministicSubsetConfig::new(0) };
        show(&format!("deterministic, size {size}"), |client| {
            SubsetConfig::Deterministic(DeterministicSubsetConfig { client, ..deterministic })
        })?;
        show(&format!("random, size {size}"), |client| {
            // A number of its own for each process: here from its index, so that the run repeats.
            let seed = Some(u64::from(client).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            SubsetConfig::Random(RandomSubsetConfig { size, seed, ..RandomSubsetConfig::default() })
        })?;
        show(&format!("aperture, size {size}"), |peer| {
            SubsetConfig::Aperture(ApertureConfig { size, ..ApertureConfig::new(peer, CLIENTS) })
        })?;
    }
    show("label, shard of ten", |client| {
        let labels = Labels::new([("shard", (client % 10).to_string())]).unwrap_or_default();
        SubsetConfig::Label(LabelSubsetConfig::new(labels))
    })?;

    println!("\nThe cluster knows the whole fleet, and goes outside only when nothing inside is usable:");
    let aperture = ApertureConfig { size: 3, ..ApertureConfig::new(17, CLIENTS) };
    let cluster = Cluster::<()>::builder("users").subset(SubsetConfig::Aperture(aperture)).build()?;
    cluster.apply(fleet(CLIENTS)?)?;
    println!("  {} endpoints, {} in the subset", cluster.len(), cluster.subset().len());
    let inside: BTreeSet<_> = cluster.subset().iter().map(|endpoint| endpoint.id()).collect();
    for _ in 0..=inside.len() {
        let id = cluster.pick(&Request::new())?.endpoint().id();
        let place = if inside.contains(&id) { "inside; it drains now" } else { "outside" };
        println!("  picked {id}, {place}");
        cluster.drain(&id)?;
    }
    Ok(())
}

/// Prints the spread of the load, as parts of the mean, if all clients send the same.
fn show(name: &str, config: impl Fn(u32) -> SubsetConfig) -> Result<(), Box<dyn Error>> {
    let all = fleet(CLIENTS)?;
    let members = MemberList::new(all.clone());
    let fewer = all[1..].to_vec();
    let more = fleet(CLIENTS + 1)?;
    let mut load = vec![0.0; all.len()];
    let (mut connections, mut on_leaving, mut on_coming) = (0, 0, 0);
    for client in 0..CLIENTS {
        let subset = config(client).select(&members)?;
        let total: f64 = subset.weights().iter().map(|&weight| f64::from(weight)).sum();
        for (position, weight) in &subset {
            load[position] += f64::from(weight) / total;
        }
        connections += subset.len();
        let before: BTreeSet<_> = subset.iter().map(|(position, _)| all[position].id()).collect();
        let count_new = |servers: &[Endpoint]| -> Result<usize, Box<dyn Error>> {
            let after = config(client).select(&MemberList::new(servers.to_vec()))?;
            Ok(after.iter().filter(|&(position, _)| !before.contains(servers[position].id())).count())
        };
        on_leaving += count_new(&fewer)?;
        on_coming += count_new(&more)?;
    }
    let least = load.iter().copied().fold(f64::MAX, f64::min);
    let greatest = load.iter().copied().fold(0.0, f64::max);
    println!(
        "{name:<26} {connections:>8}      {least:>6.2}      {greatest:>6.2} {on_leaving:>14} {on_coming:>13}"
    );
    Ok(())
}

fn fleet(count: u32) -> Result<Vec<Endpoint>, Box<dyn Error>> {
    let server = |number: u32| {
        let address = format!("10.0.{}.{}:80", number / 256, number % 256).parse()?;
        let labels = Labels::new([("shard", (number % 10).to_string())])?;
        Ok(Endpoint::new(format!("server-{number}").parse()?, address).with_labels(labels))
    };
    (0..count).map(server).collect()
}
