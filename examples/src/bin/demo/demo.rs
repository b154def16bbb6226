//! The story from start to end: six backends, a proxy, a load, and trouble.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use evenkeel::Weight;
use evenkeel_types::SplitMix64;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::backend::CHECK_PATH;
use crate::checker::Check;
use crate::checks::{self, Fairness, Results};
use crate::display::{self, Title};
use crate::fleet::Fleet;
use crate::journal::By;
use crate::load::{self, Schedule, Seen};
use crate::options::Options;
use crate::screen::Screen;
use crate::stage::Stage;
use crate::story::{self, Cast};
use crate::summary::{self, Chapter};
use crate::world::{Settings, World};

/// Tells the story and checks it: whether every promise was kept.
pub(crate) async fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let length = Duration::from_secs(options.seconds);
    let mut draws = SplitMix64::new(options.seed);
    let (cast, script) = (Cast::drawn(&mut draws), story::script(length, &mut draws));
    let schedule = Schedule { rate: options.rate, length };

    let settings =
        Settings { policy: options.policy.clone(), seed: options.seed, open_for: at_least(length / 20, 200) };
    let world = Arc::new(World::new(settings)?);
    let fleet = Arc::new(raise_fleet(&world, length).await?);
    // One line instead of one for each.
    drop(world.journal.take());
    world.journal.tell(By::Cluster, format!("b1 to b{} joined", story::STARTING));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let target = listener.local_addr()?;
    let helpers = start_helpers(&world, &fleet)?;
    let (stop, serving) = world.serve(listener);
    let admin = options.admin.map(|at| world.administer(at)).transpose()?;
    let mut screen = Screen::new();
    let mut words = vec![introduction(options, target)];
    words.extend(admin.as_ref().map(|admin| format!("Its status page: http://{}\n", admin.address())));
    screen.update(&words, &[]);
    let seen = Arc::new(Seen::new());
    let title = Title::story(options, Arc::clone(&seen));
    let showing = display::Showing::start(Arc::clone(&world), screen, title);

    let start = Instant::now();
    let cluster = world.cluster.clone();
    let loading =
        tokio::spawn(load::run(target, schedule, Arc::clone(&seen), world.clock, move || cluster.usable()));
    let stage = Stage { world: &world, fleet: &fleet, cast: &cast, start };
    let played = stage.play(&script).await?;
    loading.await?;
    let ending = played.end(&stage);

    let _ = stop.send(true);
    serving.await?;
    helpers.iter().for_each(JoinHandle::abort);
    let mut screen = showing.end().await;

    let checks = checks::all(&Results {
        due: schedule.requests(),
        answered: seen.answered(),
        lost: seen.lost(),
        drained: ending.drained,
        returned: ending.returned,
        added: ending.added,
        fairness: Fairness::of(&options.policy),
        slow: cast.slow.clone(),
        phases: world.ledger.phases(),
    });
    screen.update(&closing_words(&cast, &ending.chapters, &seen, world.proxy.retries(), &checks), &[]);
    Ok(!checks.iter().any(checks::is_broken))
}

/// Active checks, the heartbeats of the backends, and the look at each phase.
fn start_helpers(world: &Arc<World>, fleet: &Arc<Fleet>) -> Result<[JoinHandle<()>; 3], Box<dyn Error>> {
    let checking = world.check(Check { path: CHECK_PATH.parse()?, fails_from: 300 });
    let (fleet, world) = (Arc::clone(fleet), Arc::clone(world));
    let beating = tokio::spawn(async move { fleet.keep_alive().await });
    let looking = tokio::spawn(async move { world.ledger.look_at(&world.cluster).await });
    Ok([checking, beating, looking])
}

fn introduction(options: &Options, target: SocketAddr) -> String {
    format!("The story of seed {}, behind a proxy on http://{target}\n", options.seed)
}

fn closing_words(
    cast: &Cast,
    chapters: &[Chapter],
    seen: &Seen,
    retries: u64,
    checks: &[checks::Check],
) -> Vec<String> {
    let sections = [
        ("What happened, and what it did to that backend's share:", summary::effects(cast, chapters)),
        ("What the clients saw:", summary::numbers(seen, retries)),
        ("What was promised:", summary::verdicts(checks)),
    ];
    let paragraphs = sections.into_iter().map(|(title, lines)| format!("\n{title}\n{}", lines.join("\n")));
    paragraphs.collect()
}

async fn raise_fleet(world: &World, length: Duration) -> Result<Fleet, Box<dyn Error>> {
    let time_to_live = at_least(length / 15, 1_000);
    let fleet = Fleet::new(world.registry.clone(), world.service.clone(), world.clock, time_to_live);
    for (number, &pace) in (1..=story::STARTING).zip(&story::PACES) {
        fleet.add(&story::name(number), pace, Weight::new(story::WEIGHT)).await?;
    }
    Ok(fleet)
}

fn at_least(duration: Duration, millis: u64) -> Duration {
    duration.max(Duration::from_millis(millis))
}
