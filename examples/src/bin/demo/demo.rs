//! The story from start to end: six backends, a proxy, a load, and trouble.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use evenkeel::{Clock, EndpointId, Weight};
use evenkeel_types::SplitMix64;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::backend::CHECK_PATH;
use crate::checker::Check;
use crate::checks::{self, Drained, Fairness, Results};
use crate::display::{self, Title};
use crate::fleet::{Fleet, FleetError};
use crate::journal::By;
use crate::load::{self, Schedule, Seen};
use crate::options::Options;
use crate::screen::Screen;
use crate::story::{self, Act, Cast, Cue};
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
    let checking = world.check(Check { path: CHECK_PATH.parse()?, fails_from: 300 });
    let beating = tokio::spawn({
        let fleet = Arc::clone(&fleet);
        async move { fleet.keep_alive().await }
    });
    let looking = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.ledger.look_at(&world.cluster).await }
    });
    let (stop, serving) = world.serve(listener);
    let mut screen = Screen::new();
    screen.update(&[introduction(options, target)], &[]);
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
    for task in [checking, beating, looking] {
        task.abort();
    }
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

/// Where the story is played.
struct Stage<'a> {
    world: &'a World,
    fleet: &'a Fleet,
    cast: &'a Cast,
    start: Instant,
}

/// What the script noted on the way.
struct Played {
    chapters: Vec<Chapter>,
    /// What the drained backend had served when it had run dry.
    dry_at: Option<u64>,
    /// How often the crashed backend had been picked when it returned.
    tries_at_return: u64,
}

/// What there is to judge at the end.
struct Ending {
    chapters: Vec<Chapter>,
    drained: Drained,
    returned: (EndpointId, u64),
    added: (EndpointId, u64),
}

impl Stage<'_> {
    async fn play(&self, script: &[Cue]) -> Result<Played, FleetError> {
        let mut played = Played { chapters: vec![self.chapter(None)], dry_at: None, tries_at_return: 0 };
        for cue in script {
            tokio::time::sleep_until(self.start + cue.at).await;
            played.chapters.push(self.chapter(Some(cue.act)));
            self.world.journal.tell(By::Story, self.cast.tell(cue.act).to_string());
            self.perform(cue.act, &mut played).await?;
        }
        Ok(played)
    }

    async fn perform(&self, act: Act, played: &mut Played) -> Result<(), FleetError> {
        let (cast, fleet) = (self.cast, self.fleet);
        let conduct = fleet.conduct(cast.subject(act));
        match (act, conduct) {
            (Act::Slow, Some(conduct)) => conduct.slow_down(story::SLOWDOWN),
            (Act::Recover, Some(conduct)) => conduct.slow_down(1),
            (Act::Fail, Some(conduct)) => conduct.fail(true),
            (Act::Mend, Some(conduct)) => conduct.fail(false),
            (Act::Kill, _) => fleet.kill(&cast.killed),
            (Act::Return, _) => {
                played.tries_at_return = self.tries(&cast.killed);
                fleet.restart(&cast.killed).await?;
            }
            (Act::Drain, Some(conduct)) => {
                if self.drain().await {
                    played.dry_at = Some(conduct.served());
                }
            }
            (Act::Add, _) => {
                let pace = story::PACES[story::STARTING as usize];
                fleet.add(&cast.added, pace, Weight::new(story::WEIGHT)).await?;
            }
            (Act::Weigh, _) => {
                fleet.set_weight(&cast.heavier, Weight::new(story::HEAVIER))?;
                fleet.set_weight(&cast.lighter, Weight::new(story::LIGHTER))?;
            }
            (Act::Slow | Act::Recover | Act::Fail | Act::Mend | Act::Drain, None) => {}
        }
        Ok(())
    }

    /// Drains, and waits until nothing is in flight any more: whether that happened.
    async fn drain(&self) -> bool {
        let (world, id) = (self.world, &self.cast.drained);
        if world.cluster.drain(id).is_err() {
            return false;
        }
        world.meters.of(id).mark_drained(world.clock.now());
        let dry = async {
            while world.cluster.in_flight(id).is_some_and(|count| count > 0) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let ran_dry = tokio::time::timeout(DRY_WITHIN, dry).await.is_ok();
        if ran_dry {
            world.journal.tell(By::Cluster, format!("{id} has nothing in flight any more"));
        }
        ran_dry
    }

    fn chapter(&self, act: Option<Act>) -> Chapter {
        Chapter { at: self.start.elapsed(), act, tries: self.world.meters.tries() }
    }

    fn tries(&self, id: &EndpointId) -> u64 {
        self.world.meters.of(id).tries()
    }
}

impl Played {
    fn end(mut self, stage: &Stage<'_>) -> Ending {
        self.chapters.push(stage.chapter(None));
        let cast = stage.cast;
        let served = stage.fleet.conduct(&cast.drained).map(|conduct| conduct.served());
        let arrivals = served.zip(self.dry_at).map(|(served, dry_at)| served - dry_at);
        let picks = stage.world.meters.of(&cast.drained).tries_while_drained();
        Ending {
            chapters: self.chapters,
            drained: Drained { id: cast.drained.clone(), picks, arrivals },
            returned: (cast.killed.clone(), stage.tries(&cast.killed) - self.tries_at_return),
            added: (cast.added.clone(), stage.tries(&cast.added)),
        }
    }
}

/// Longer than the proxy waits for an answer.
const DRY_WITHIN: Duration = Duration::from_secs(5);
