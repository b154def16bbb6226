//! How do I take endpoints from a store that evenkeel does not know?
//!
//! Write a small adapter: read the store, say what it says in events, and nothing else. An error is not an empty answer; the registry keeps the
//! two apart, so an adapter has nothing to remember. The store here is a text that a script changes.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::{Clock, Cluster, Endpoint, Freshness, ManualClock, Registry, ServiceName, Weight};
use evenkeel_registry::{Event, Feed, FeedError, MirrorConfig, SourceName, TroubleKind};

/// The adapter: one line for each endpoint, with its name, address and weight.
struct Lines {
    feed: Feed,
}

impl Lines {
    /// One poll. A line that cannot be read is left out and told; the others are used.
    fn poll(&self, store: Result<&str, &str>) -> Result<(), FeedError> {
        let text = match store {
            Ok(text) => text,
            Err(error) => return self.say(Event::trouble(TroubleKind::Unreachable, error)),
        };
        let mut endpoints = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match endpoint(line) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(error) => self.say(Event::reject(line.split_whitespace().next(), error.to_string()))?,
            }
        }
        // The same set again costs one comparison and counts as a sign of life.
        self.say(Event::set(endpoints))
    }

    fn say(&self, event: Event) -> Result<(), FeedError> {
        self.feed.send(event).map(drop)
    }
}

fn endpoint(line: &str) -> Result<Endpoint, Box<dyn Error>> {
    let [id, address, weight] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err("a line is a name, an address and a weight".into());
    };
    Ok(Endpoint::new(id.parse()?, address.parse()?).with_weight(Weight::new(weight.parse()?)))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (registry, users): (Registry, ServiceName) = (Registry::default(), "users".parse()?);
    let clock = Arc::new(ManualClock::default());
    let cluster = Cluster::<()>::builder("users").clock(Arc::clone(&clock)).build()?;
    let _following = cluster.follow(&registry, &users, |_| ());
    let source: SourceName = "lines".parse()?;
    let times = Arc::clone(&clock);
    let adapter =
        Lines { feed: registry.feed(&users, &source, MirrorConfig::default(), move || times.now())? };
    // Changes are taken once the store has been quiet for a moment. A thread of yours would poll and tick.
    let poll = |store| {
        adapter.poll(store)?;
        clock.advance(Duration::from_secs(5));
        registry.tick(clock.now());
        Ok::<_, FeedError>(())
    };
    assert_eq!(cluster.freshness(), Freshness::Pending);

    poll(Ok("users-1 10.0.0.1:80 1\nusers-2 10.0.0.2:80 3"))?;
    show("the store lists two", &cluster);
    assert_eq!(cluster.len(), 2);

    poll(Ok("users-1 10.0.0.1:80 1\nusers-2 10.0.0.2 three\nusers-3 10.0.0.3:80 2"))?;
    show("one line is garbled", &cluster);
    let rejected = registry.sources(&users).first().map_or(0, |status| status.rejected);
    println!("  rejected: {rejected}");
    assert_eq!((cluster.len(), rejected), (2, 1), "users-1 and users-3");

    poll(Err("connection refused"))?;
    show("the store cannot be reached: everybody stays, and the set is stale", &cluster);
    assert_eq!(cluster.len(), 2);
    assert!(matches!(cluster.freshness(), Freshness::Stale { .. }));

    poll(Ok(""))?;
    show("an empty answer is no proof that nobody is left", &cluster);
    assert!(!cluster.is_empty());
    Ok(())
}

fn show(title: &str, cluster: &Cluster<()>) {
    println!("{title}:");
    for endpoint in cluster.report().endpoints {
        println!("  {} weight {}: {}", endpoint.id, endpoint.weight.get(), endpoint.status);
    }
}
