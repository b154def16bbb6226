//! The suite for adapters, against a store in memory: it passes a good adapter, and finds the faults of bad ones.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use evenkeel_registry::conformance::{Done, Limits, Refusal, StoreUnderTest, Verdict, run};
use evenkeel_registry::{
    Action, Answer, Cause, Event, Feed, FeedError, LeaseToken, MirrorConfig, Registrar, RegistrarConfig,
    RegistrarState, Registry, Removal, Revision, Saved, TroubleKind, Watch,
};
use evenkeel_types::{Endpoint, EndpointId, Timestamp};

const STEP: Duration = Duration::from_millis(20);

/// A store with a revision, a history, leases, and an adapter that watches it.
struct Memory {
    faults: Faults,
    clock: Arc<AtomicU64>,
    registry: Registry,
    feed: Feed,
    entries: BTreeMap<EndpointId, (Endpoint, Option<Timestamp>)>,
    checkpoint: BTreeMap<EndpointId, (Endpoint, Option<Timestamp>)>,
    life: u64,
    revision: u64,
    /// What the adapter was told, and up to where.
    seen: Option<(u64, u64)>,
    history: Vec<(u64, Result<Endpoint, EndpointId>)>,
    malformed: bool,
    stopped: bool,
    registrants: Vec<Rc<RefCell<Registrar>>>,
}

/// What the adapter does wrong.
#[derive(Clone, Copy, Default)]
struct Faults {
    /// It does not notice that the store does not answer.
    no_keepalive: bool,
    /// A registrant just leaves.
    no_drain: bool,
    /// An entry that cannot be read is left out without a word.
    hides_rejects: bool,
}

impl Memory {
    fn new(faults: Faults) -> (Self, Watch) {
        let clock = Arc::new(AtomicU64::new(1));
        let (registry, feed, watch) = wire(&clock);
        let memory = Self {
            faults,
            clock,
            registry,
            feed,
            entries: BTreeMap::new(),
            checkpoint: BTreeMap::new(),
            life: 1,
            revision: 1,
            seen: None,
            history: Vec::new(),
            malformed: false,
            stopped: false,
            registrants: Vec::new(),
        };
        (memory, watch)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.load(Ordering::Relaxed))
    }

    fn write(&mut self, endpoint: &Endpoint, until: Option<Timestamp>) {
        self.revision += 1;
        self.entries.insert(endpoint.id().clone(), (endpoint.clone(), until));
        self.history.push((self.revision, Ok(endpoint.clone())));
    }

    fn delete(&mut self, id: &EndpointId) {
        self.revision += 1;
        self.entries.remove(id);
        self.history.push((self.revision, Err(id.clone())));
    }

    /// The adapter: lists, then follows the history; lists again when it is too short.
    fn watch_store(&mut self) {
        if self.stopped {
            if !self.faults.no_keepalive {
                let _ = self.feed.send(Event::trouble(TroubleKind::Timeout, "no answer"));
            }
            return;
        }
        if std::mem::take(&mut self.malformed) && !self.faults.hides_rejects {
            self.feed.send(Event::reject(Some("case-bad"), "no port")).unwrap();
        }
        let to = self.at(self.revision);
        let Some((life, seen)) = self.seen.filter(|(life, _)| *life == self.life) else {
            return self.list(to);
        };
        let whole = self.history.first().map_or(self.revision, |(first, _)| first - 1) <= seen;
        if !whole {
            return self.list(to);
        }
        if seen == self.revision {
            self.feed.send(Event::fresh()).unwrap();
            return;
        }
        let (mut upserts, mut removals) = (BTreeMap::new(), BTreeMap::new());
        for (_, what) in self.history.iter().filter(|(at, _)| *at > seen) {
            match what {
                Ok(endpoint) => {
                    removals.remove(endpoint.id());
                    upserts.insert(endpoint.id().clone(), endpoint.clone());
                }
                Err(id) => {
                    upserts.remove(id);
                    removals.insert(id.clone(), Removal { id: id.clone(), cause: Cause::Unknown });
                }
            }
        }
        let from = Revision::new(life, seen).unwrap();
        let delta = Event::Delta {
            from,
            to: to.clone(),
            upserts: upserts.into_values().collect(),
            removals: removals.into_values().collect(),
        };
        match self.feed.send(delta) {
            Err(FeedError::NeedFull(_)) => self.list(to),
            other => {
                other.unwrap();
                self.seen = Some((self.life, self.revision));
            }
        }
    }

    fn list(&mut self, to: Revision) {
        let all = self.entries.values().map(|(endpoint, _)| endpoint.clone()).collect();
        self.feed.send(Event::full(to, all)).unwrap();
        self.seen = Some((self.life, self.revision));
    }

    fn at(&self, revision: u64) -> Revision {
        Revision::new(self.life, revision).unwrap()
    }

    fn registrar_step(&mut self, registrar: &mut Registrar) {
        let now = self.now();
        while let Some(order) = registrar.poll(now) {
            let ttl = Duration::from_secs(6);
            let answer = match order.action {
                _ if self.stopped => Answer::Failed { kind: TroubleKind::Timeout },
                Action::Grant { .. } => Answer::Granted { lease: LeaseToken::new(1), ttl },
                Action::Write { endpoint, .. } => {
                    self.write(&endpoint, Some(now.saturating_add(ttl)));
                    Answer::Written
                }
                Action::Renew { .. } => {
                    let id = registrar.endpoint().id().clone();
                    match self.entries.get_mut(&id) {
                        Some((_, until)) => {
                            *until = Some(now.saturating_add(ttl));
                            Answer::Renewed { ttl }
                        }
                        None => Answer::LeaseLost,
                    }
                }
                _ => {
                    let id = registrar.endpoint().id().clone();
                    self.delete(&id);
                    Answer::Removed
                }
            };
            registrar.answer(now, order.ticket, answer);
        }
    }

    fn restart(&mut self, entries: BTreeMap<EndpointId, (Endpoint, Option<Timestamp>)>) {
        self.life += 1;
        (self.entries, self.revision) = (entries, 1);
        self.history.clear();
    }

    fn registrant(&self, id: &EndpointId) -> Option<usize> {
        self.registrants.iter().position(|registrar| registrar.borrow().endpoint().id() == id)
    }
}

fn wire(clock: &Arc<AtomicU64>) -> (Registry, Feed, Watch) {
    let registry = Registry::default();
    let service = "users".parse().unwrap();
    let watch = registry.watch(&service);
    let clock = clock.clone();
    let now = move || Timestamp::from_millis(clock.load(Ordering::Relaxed));
    let feed = registry.feed(&service, &"memory".parse().unwrap(), MirrorConfig::default(), now).unwrap();
    (registry, feed, watch)
}

impl StoreUnderTest for Memory {
    fn wait(&mut self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(STEP);
            left -= step;
            self.clock.fetch_add(u64::try_from(step.as_millis()).unwrap(), Ordering::Relaxed);
            for registrar in self.registrants.clone() {
                self.registrar_step(&mut registrar.borrow_mut());
            }
            self.registrants.retain(|registrar| registrar.borrow().state() != RegistrarState::Gone);
            let now = self.now();
            let expired = |(id, (_, until)): (&EndpointId, &(_, Option<Timestamp>))| {
                until.is_some_and(|until| until <= now).then(|| id.clone())
            };
            let expired: Vec<_> = self.entries.iter().filter_map(expired).collect();
            expired.iter().for_each(|id| self.delete(id));
            self.watch_store();
            self.registry.tick(now);
        }
    }

    fn put(&mut self, endpoint: &Endpoint) -> Done {
        self.write(endpoint, None);
        Ok(())
    }

    fn remove(&mut self, id: &EndpointId) -> Done {
        self.delete(id);
        Ok(())
    }

    fn put_malformed(&mut self) -> Done {
        self.malformed = true;
        Ok(())
    }

    fn register(&mut self, endpoint: &Endpoint) -> Done {
        let config = RegistrarConfig { propagation: Duration::from_secs(1), ..Default::default() };
        let mut registrar = Registrar::new(endpoint.clone(), config, 7).unwrap();
        registrar.ready(self.now(), true);
        self.registrants.push(Rc::new(RefCell::new(registrar)));
        Ok(())
    }

    fn crash(&mut self, id: &EndpointId) -> Done {
        let at = self.registrant(id).unwrap();
        self.registrants.remove(at);
        Ok(())
    }

    fn drain(&mut self, id: &EndpointId) -> Done {
        let at = self.registrant(id).unwrap();
        if self.faults.no_drain {
            self.registrants.remove(at);
            self.delete(id);
        } else {
            self.registrants[at].borrow_mut().drain(self.now());
        }
        Ok(())
    }

    fn compact(&mut self) -> Done {
        // The adapter sleeps meanwhile, so that it finds a history that is too short.
        self.write(&Endpoint::at("10.9.9.9:1".parse().unwrap()).unwrap(), None);
        let id = self.entries.keys().find(|id| id.as_str() == "10.9.9.9:1").unwrap().clone();
        self.delete(&id);
        self.history.clear();
        Ok(())
    }

    fn stop(&mut self) -> Done {
        self.stopped = true;
        Ok(())
    }

    fn go_on(&mut self) -> Done {
        self.stopped = false;
        Ok(())
    }

    fn checkpoint(&mut self) -> Done {
        self.checkpoint = self.entries.clone();
        Ok(())
    }

    fn restart_older(&mut self) -> Done {
        let older = self.checkpoint.clone();
        self.restart(older);
        Ok(())
    }

    fn restart_empty(&mut self) -> Done {
        self.restart(BTreeMap::new());
        Ok(())
    }

    fn save(&mut self) -> Result<Saved, Refusal> {
        self.feed.save(SystemTime::UNIX_EPOCH).ok_or(Refusal::Failed("nothing to save".to_owned()))
    }

    fn restart_adapter(&mut self, saved: &Saved) -> Result<Watch, Refusal> {
        let (registry, feed, watch) = wire(&self.clock);
        feed.load(saved, SystemTime::UNIX_EPOCH).unwrap();
        (self.registry, self.feed, self.seen) = (registry, feed, None);
        Ok(watch)
    }

    fn limits(&self) -> Limits {
        Limits { step: STEP, ..Limits::default() }
    }
}

fn verdicts(faults: Faults) -> Vec<(&'static str, Verdict)> {
    let (mut memory, watch) = Memory::new(faults);
    let report = run(&mut memory, watch);
    print!("{report}");
    report.cases
}

fn failed(faults: Faults) -> Vec<&'static str> {
    let failed = |(name, verdict): (_, _)| matches!(verdict, Verdict::Failed(_)).then_some(name);
    verdicts(faults).into_iter().filter_map(failed).collect()
}

#[test]
fn a_good_adapter_passes_everything() {
    let verdicts = verdicts(Faults::default());
    assert_eq!(verdicts.len(), 13);
    assert!(verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Passed), "{verdicts:?}");
}

#[test]
fn faults_are_found() {
    assert_eq!(failed(Faults { no_keepalive: true, ..Faults::default() }), ["stopped_store"]);
    assert_eq!(failed(Faults { no_drain: true, ..Faults::default() }), ["drain_before_leaving"]);
    assert_eq!(failed(Faults { hides_rejects: true, ..Faults::default() }), ["malformed_among_good"]);
}

struct Bare(Memory);

impl StoreUnderTest for Bare {
    fn wait(&mut self, time: Duration) {
        self.0.wait(time);
    }

    fn put(&mut self, endpoint: &Endpoint) -> Done {
        self.0.put(endpoint)
    }

    fn remove(&mut self, id: &EndpointId) -> Done {
        self.0.remove(id)
    }
}

#[test]
fn what_a_store_cannot_do_is_skipped_with_a_reason() {
    let (memory, watch) = Memory::new(Faults::default());
    let report = run(&mut Bare(memory), watch);
    assert!(report.is_ok(), "{report}");
    let skipped = report.cases.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Skipped(_))).count();
    assert_eq!(skipped, 8, "{report}");
}
