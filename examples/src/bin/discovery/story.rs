//! What happens to the fleet, and who sends to it meanwhile.

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::{MonotonicClock, Registry, ServiceName, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fleet::Fleet;
use crate::ledger::Ledger;
use crate::load::Client;
use crate::resolver::Resolver;
use crate::upstream::Upstream;
use crate::{Options, proxy, table};

/// What an instance did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Joins,
    Leaves,
    Crashes,
}

/// A change, and when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) act: Act,
    pub(crate) name: &'static str,
    pub(crate) at: Timestamp,
}

/// Plays the story for both patterns at once and prints the comparison: whether every promise was kept.
pub(crate) async fn tell(options: Options) -> Result<bool, Box<dyn Error>> {
    let (registry, service, clock) =
        (Registry::default(), "users".parse::<ServiceName>()?, MonotonicClock::new());
    let fleet = Arc::new(Fleet::new(registry.clone(), service.clone(), clock));
    for name in ["a", "b", "c", "d"] {
        fleet.join(name).await?;
    }
    println!("four instances of {service}; {} clients of each kind\n", options.clients);
    let (client_side, server_side) = (Arc::new(Ledger::default()), Arc::new(Ledger::default()));
    let mut helpers = JoinSet::new();
    helpers.spawn(Arc::clone(&fleet).keep_alive());

    let resolver = |ledger: &Arc<Ledger>, seed: u32| {
        Resolver::new(&registry, &service, clock, Arc::clone(ledger), u64::from(seed))
    };
    let (stop, stopped) = watch::channel(false);
    let mut clients = JoinSet::new();
    let every = Duration::from_secs(1) / options.rate;
    for number in 1..=options.clients {
        let client = Client::Resolving(Arc::new(resolver(&client_side, number)?));
        clients.spawn(client.run(every, Arc::clone(&client_side), stopped.clone()));
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    helpers.spawn(proxy::serve(listener, Arc::new(resolver(&server_side, 0)?), Arc::clone(&server_side)));
    for _ in 0..options.clients {
        let client = Client::Simple(Arc::new(Upstream::new(address.into(), Arc::default())));
        clients.spawn(client.run(every, Arc::clone(&server_side), stopped.clone()));
    }

    let changes = play(&fleet).await?;
    stop.send(true)?;
    while clients.join_next().await.is_some() {}
    let columns = [("client-side", &*client_side), ("server-side", &*server_side)];
    println!("\n{}", table::of(&columns, &changes));
    let broken: Vec<_> = columns
        .iter()
        .flat_map(|(name, ledger)| table::broken(ledger, &changes).into_iter().map(move |why| (name, why)))
        .collect();
    for (name, why) in &broken {
        println!("broken promise, {name}: {why}");
    }
    Ok(broken.is_empty())
}

async fn play(fleet: &Fleet) -> Result<Vec<Change>, Box<dyn Error>> {
    let mut changes = Vec::new();
    for (act, name) in SCRIPT {
        tokio::time::sleep(PAUSE).await;
        println!("{name} {}", act.told());
        let at = match act {
            Act::Joins => fleet.join(name).await?,
            Act::Leaves => fleet.leave(name).await?,
            Act::Crashes => fleet.crash(name).await,
        };
        changes.push(Change { act, name, at });
    }
    tokio::time::sleep(PAUSE + PAUSE).await;
    Ok(changes)
}

impl Act {
    pub(crate) const fn told(self) -> &'static str {
        match self {
            Self::Joins => "joins",
            Self::Leaves => "drains and leaves",
            Self::Crashes => "crashes",
        }
    }
}

/// A name is used once, so that what is noted under it belongs to one process.
const SCRIPT: [(Act, &str); 6] = [
    (Act::Joins, "e"),
    (Act::Leaves, "a"),
    (Act::Crashes, "b"),
    (Act::Joins, "f"),
    (Act::Leaves, "c"),
    (Act::Crashes, "d"),
];

const PAUSE: Duration = Duration::from_secs(1);
