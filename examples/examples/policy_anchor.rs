//! What does the policy `anchor` do?
//!
//! A lookup of a few loads, shares as even as chance allows, and no key that moves without need. With `hot_keys` a key
//! that brings more than its share of the requests spreads over several endpoints.

use std::collections::BTreeMap;
use std::error::Error;

use evenkeel::{
    AnchorConfig, Cluster, Endpoint, EndpointId, HotKeySettings, KeySettings, PickError, PolicyConfig,
    Request,
};

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("caches").policy(PolicyConfig::anchor()).seed(1).build()?;
    cluster.apply((1..=10).filter_map(|number| endpoint(number).ok()))?;
    let before = places(&cluster)?;
    cluster.remove(&"cache-4".parse()?)?;
    let after = places(&cluster)?;
    let moved: Vec<_> = before.iter().zip(&after).filter(|(old, new)| old != new).collect();
    let its_own = moved.iter().filter(|(old, _)| old.as_str() == "cache-4").count();
    println!("cache-4 of 10 leaves: {its_own} of its keys move, {} of others", moved.len() - its_own);
    cluster.upsert(endpoint(4)?)?;
    let elsewhere = before.iter().zip(places(&cluster)?).filter(|(old, new)| *old != new).count();
    println!("cache-4 is back:      {elsewhere} keys are elsewhere");

    for hot_keys in [None, Some(HotKeySettings::default())] {
        let key = KeySettings { hot_keys, ..KeySettings::default() };
        cluster.set_policy(PolicyConfig::Anchor(AnchorConfig { key, ..AnchorConfig::default() }))?;
        // Every second request is for one page, that is for five times what an endpoint should have.
        let mut counts: BTreeMap<EndpointId, u32> = BTreeMap::new();
        for request in 0..20_000 {
            let page = if request % 2 == 0 { "/front".to_owned() } else { format!("/page/{request}") };
            let pick = cluster.pick(&Request::with_key(&page))?;
            *counts.entry(pick.endpoint().id().clone()).or_default() += 1;
        }
        let most = counts.into_values().max().unwrap_or(0);
        let label = if hot_keys.is_some() { "spread:   " } else { "as it is: " };
        println!("one hot key, {label} the busiest has {most} of 20000 requests");
    }
    Ok(())
}

/// Where each of 10 000 keys goes.
fn places(cluster: &Cluster<()>) -> Result<Vec<EndpointId>, PickError> {
    let place = |key| Ok(cluster.pick(&Request::with_key(&format!("/page/{key}")))?.endpoint().id().clone());
    (0..10_000).map(place).collect()
}

fn endpoint(number: u32) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(format!("cache-{number}").parse()?, format!("10.0.0.{number}:80").parse()?))
}
