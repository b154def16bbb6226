//! Performs the acts of a story, and notes what the checks need to know.

use std::time::Duration;

use evenkeel::{Clock, EndpointId, Weight};
use tokio::time::Instant;

use crate::checks::Drained;
use crate::fleet::{Fleet, FleetError};
use crate::journal::By;
use crate::story::{self, Act, Cast, Cue};
use crate::summary::Chapter;
use crate::world::World;

/// Where the story is played.
pub(crate) struct Stage<'a> {
    pub(crate) world: &'a World,
    pub(crate) fleet: &'a Fleet,
    pub(crate) cast: &'a Cast,
    pub(crate) start: Instant,
}

/// What the script noted on the way.
pub(crate) struct Played {
    chapters: Vec<Chapter>,
    /// What the drained backend had served when it had run dry.
    dry_at: Option<u64>,
    /// How often the crashed backend had been picked when it returned.
    tries_at_return: u64,
}

/// What there is to judge at the end.
pub(crate) struct Ending {
    pub(crate) chapters: Vec<Chapter>,
    pub(crate) drained: Drained,
    pub(crate) returned: (EndpointId, u64),
    pub(crate) added: (EndpointId, u64),
}

impl Stage<'_> {
    /// Performs every act at its time.
    pub(crate) async fn play(&self, script: &[Cue]) -> Result<Played, FleetError> {
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
    /// Takes stock when the last request is answered.
    pub(crate) fn end(mut self, stage: &Stage<'_>) -> Ending {
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
