//! Everything at once, one thing after the other and from many threads: in the end nothing is held, nobody is out for ever,
//! and reports say what is so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use evenkeel::{
    AdminState, Announced, BreakerConfig, CheckState, Cluster, Endpoint, EndpointId, Force, LatencyConfig,
    LedgerConfig, LimitConfig, ManualClock, Outcome, OutlierConfig, Owner, Pick, PickError, PolicyConfig,
    Priority, Request, Rule, SlowStartConfig, Timestamp, Tried, Weight,
};
use proptest::prelude::*;

const NAMES: u8 = 6;
const PER_ENDPOINT: u32 = 3;

#[derive(Clone, Debug)]
enum Op {
    Pick { key: u8, retry: bool, prefer: bool, hedge: bool },
    End(usize, u8),
    Tick,
    Clock(i32),
    Upsert(u8, u32, u8),
    Renew(u8),
    Remove(u8),
    Apply(u8),
    Admin(u8, u8),
    AdminFor(u8, u8, u16),
    Check(u8, bool),
    SetCheck(u8, u8),
    Announce(u8, u8),
    Force(u8, u8, Option<u16>),
    Unforce(u8),
    Report(u8, u8),
    Policy(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let name = 0..NAMES;
    prop_oneof![
        14 => (any::<u8>(), any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(key, retry, prefer, hedge)| Op::Pick { key, retry: retry && key % 3 == 0, prefer, hedge: hedge && key % 5 == 0 }),
        14 => (0_usize..12, 0_u8..8).prop_map(|(which, how)| Op::End(which, how)),
        2 => Just(Op::Tick),
        4 => prop_oneof![8 => 0..60_000, 1 => -40_000..0, 1 => 0..4_000_000].prop_map(Op::Clock),
        2 => (name.clone(), prop_oneof![Just(0_u32), 1_u32..4], 0_u8..2).prop_map(|(n, w, p)| Op::Upsert(n, w, p)),
        1 => name.clone().prop_map(Op::Renew),
        1 => name.clone().prop_map(Op::Remove),
        1 => (1_u8..64).prop_map(Op::Apply),
        2 => (name.clone(), 0_u8..3).prop_map(|(n, s)| Op::Admin(n, s)),
        2 => (name.clone(), 0_u8..3, any::<u16>()).prop_map(|(n, s, t)| Op::AdminFor(n, s, t)),
        3 => (name.clone(), any::<bool>()).prop_map(|(n, p)| Op::Check(n, p)),
        1 => (name.clone(), 0_u8..5).prop_map(|(n, s)| Op::SetCheck(n, s)),
        1 => (name.clone(), 0_u8..4).prop_map(|(n, s)| Op::Announce(n, s)),
        1 => (name.clone(), 0_u8..4, prop::option::of(any::<u16>())).prop_map(|(n, f, t)| Op::Force(n, f, t)),
        1 => name.clone().prop_map(Op::Unforce),
        2 => (name, any::<u8>()).prop_map(|(n, s)| Op::Report(n, s)),
        1 => any::<u8>().prop_map(Op::Policy),
    ]
}

fn id(name: u8) -> EndpointId {
    format!("e{name}").parse().expect("a valid id")
}

fn endpoint(name: u8) -> Endpoint {
    Endpoint::new(id(name), format!("10.0.0.{name}:80").parse().expect("an address"))
}

fn admin(state: u8) -> AdminState {
    [AdminState::Ready, AdminState::Drain, AdminState::Maintenance][usize::from(state) % 3]
}

fn check(state: u8) -> CheckState {
    use CheckState::{Degraded, Down, Starting, Unknown, Up};
    [Unknown, Starting, Up, Degraded, Down][usize::from(state) % 5]
}

fn policy(number: u8) -> PolicyConfig {
    let names =
        ["least_request", "round_robin", "random", "ring_hash", "join_idle_queue", "least_connections"];
    let known = names.iter().filter_map(|name| name.parse().ok()).collect::<Vec<PolicyConfig>>();
    assert!(known.len() >= 4);
    known[usize::from(number) % known.len()].clone()
}

fn everything(number: u8) -> (Cluster<()>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    clock.set(Timestamp::from_secs(1_000));
    let cluster = Cluster::builder("chaos")
        .policy(policy(number))
        .breaker(BreakerConfig { rules: vec![Rule::Consecutive { failures: 4 }], ..BreakerConfig::default() })
        .outlier(OutlierConfig { consecutive_failures: Some(3), ..OutlierConfig::default() })
        .slow_start(SlowStartConfig::default())
        .latency(LatencyConfig::default())
        .endpoint_limit(LimitConfig::fixed(PER_ENDPOINT))
        .limit(LimitConfig::fixed(10))
        .budget(LedgerConfig::default())
        .seed(u64::from(number))
        .clock(Arc::clone(&clock))
        .build()
        .expect("valid settings");
    cluster.apply((0..4).map(endpoint)).expect("a valid set");
    (cluster, clock)
}

struct World {
    cluster: Cluster<()>,
    clock: Arc<ManualClock>,
    held: Vec<Pick<()>>,
    incarnation: u64,
}

impl World {
    fn act(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let cluster = &self.cluster;
        let with = |name: u8, act: &dyn Fn(evenkeel::Handle<()>)| {
            if let Ok(handle) = cluster.endpoint(&id(name)) {
                act(handle);
            }
        };
        match *op {
            Op::Pick { key, retry, prefer, hedge } => self.pick(key, retry, prefer, hedge)?,
            Op::End(which, how) => {
                if which < self.held.len() {
                    end(self.held.swap_remove(which), how);
                }
            }
            Op::Tick => {
                let _ = cluster.tick();
            }
            Op::Clock(millis) => {
                let moved = Duration::from_millis(millis.unsigned_abs().into());
                let now = self.cluster.now();
                self.clock.set(if millis < 0 {
                    now.saturating_sub(moved)
                } else {
                    now.saturating_add(moved)
                });
            }
            Op::Upsert(name, weight, priority) => {
                let priority = Priority::new(priority).expect("in range");
                let known = cluster.endpoint(&id(name)).map_or(0, |known| known.description().incarnation());
                let endpoint = endpoint(name).with_weight(Weight::new(weight)).with_priority(priority);
                cluster.upsert(endpoint.with_incarnation(known)).expect("a valid endpoint");
            }
            Op::Renew(name) => {
                self.incarnation += 1;
                cluster.upsert(endpoint(name).with_incarnation(self.incarnation)).expect("a valid endpoint");
            }
            Op::Remove(name) => drop(cluster.remove(&id(name))),
            Op::Apply(set) => {
                let members = (0..NAMES).filter(|name| set & (1 << name) != 0);
                cluster.apply(members.map(endpoint)).expect("a valid set");
            }
            Op::Admin(name, state) => with(name, &|handle| {
                let _ = handle.set_admin(admin(state));
            }),
            Op::AdminFor(name, state, limit) => with(name, &|handle| {
                let limit = Duration::from_millis(limit.into());
                handle.set_admin_for(admin(state), limit, "chaos", "to see").expect("short texts");
            }),
            Op::Check(name, passed) => with(name, &|handle| {
                let _ = handle.record_check(passed);
            }),
            Op::SetCheck(name, state) => with(name, &|handle| {
                let _ = handle.set_check(check(state));
            }),
            Op::Announce(name, state) => with(name, &|handle| {
                use Announced::{Degraded, Down, Draining, Up};
                let announced = [Up, Degraded, Draining, Down][usize::from(state) % 4];
                let endpoint = (*handle.description()).clone().with_announced(announced);
                cluster.upsert(endpoint).expect("a valid endpoint");
            }),
            Op::Force(name, force, limit) => with(name, &|handle| {
                let force = [Force::Open, Force::Closed, Force::DryRun][usize::from(force) % 3];
                let limit = limit.map(|limit| Duration::from_millis(u64::from(limit) + 1));
                let _ = handle.force_breaker(force, Owner::UNNAMED, limit);
            }),
            Op::Unforce(name) => with(name, &|handle| {
                let _ = handle.unforce_breaker();
            }),
            Op::Report(name, share) => with(name, &|handle| handle.set_reported(f64::from(share) / 200.0)),
            Op::Policy(number) => {
                cluster.set_policy(policy(number)).expect("valid settings");
            }
        }
        self.compare()
    }

    /// Whom a request might get: usable, not at its limit, breaker not half open.
    fn open(&self, tried: &[EndpointId]) -> Vec<(u8, EndpointId)> {
        let report = self.cluster.report();
        let is_open = |endpoint: &evenkeel::EndpointReport| {
            endpoint.usable
                && !tried.contains(&endpoint.id)
                && endpoint.breaker.is_none_or(|state| state != evenkeel::BreakerState::HalfOpen)
                && self.cluster.endpoint(&endpoint.id).is_ok_and(|handle| !handle.is_saturated())
        };
        report.endpoints.iter().filter(|e| is_open(e)).map(|e| (e.priority.get(), e.id.clone())).collect()
    }

    fn pick(&mut self, key: u8, retry: bool, prefer: bool, hedge: bool) -> Result<(), TestCaseError> {
        // What is due passes first, as in any pick.
        self.cluster.tick();
        let mut tried = Tried::default();
        let mut names = Vec::new();
        for pick in self.held.iter().filter(|_| retry) {
            tried.add(pick);
            // Of an incarnation that is gone: nobody who is here.
            let here = self.cluster.endpoint(&pick.endpoint().id());
            if here.is_ok_and(|here| {
                here.description().incarnation() == pick.endpoint().description().incarnation()
            }) {
                names.push(pick.endpoint().id());
            }
        }
        let key = key.to_string();
        let request = Request::with_key(&key);
        let request = if prefer { request.preferring_others(&tried) } else { request.excluding(&tried) };
        let request = if hedge { request.as_hedge() } else { request };
        let open = self.open(&names);
        match self.cluster.pick(&request) {
            Ok(pick) => self.held.push(pick),
            Err(PickError::BudgetSpent(_)) => prop_assert!(retry || hedge),
            Err(PickError::Saturated(_)) => prop_assert_eq!(self.held.len(), 10),
            Err(error) => prop_assert!(open.is_empty(), "{error} though {open:?} are open"),
        }
        Ok(())
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        for endpoint in self.cluster.report().endpoints {
            prop_assert_eq!(endpoint.usable, endpoint.status.usable());
            prop_assert_eq!(endpoint.cause, endpoint.status.cause());
            // Words that have an end are told until then, though nobody ticked yet: no more than the status says.
            for cause in &endpoint.causes {
                prop_assert!(endpoint.status.causes().any(|said| said == cause.cause), "{endpoint:#?}");
            }
            prop_assert!(endpoint.factor > 0.0 && endpoint.factor <= 1.0, "{endpoint:#?}");
            if let Some(outlier) = endpoint.outlier {
                use evenkeel::{Cause, OutlierState};
                let says = |cause: Cause| endpoint.status.causes().any(|said| said == cause);
                prop_assert_eq!(outlier.state == OutlierState::Ejected, says(Cause::Ejected));
                prop_assert_eq!(outlier.state == OutlierState::Probation, says(Cause::Probation));
            }
        }
        Ok(())
    }

    /// Everybody says what is good, and time passes: all are back, whole, and nothing is held.
    fn end(mut self) -> Result<(), TestCaseError> {
        self.held.drain(..).for_each(drop);
        heal(&self.cluster, &self.clock);
        self.compare()?;
        settle_down(&self.cluster).map_err(TestCaseError::fail)
    }
}

fn end(mut pick: Pick<()>, how: u8) {
    match how {
        0 => drop(pick),
        1 => pick.finish(Outcome::success()),
        2 => pick.finish(Outcome::overload(None)),
        3 => {
            pick.record(Outcome::failure());
            drop(pick);
        }
        4 => pick.finish(Outcome::neutral()),
        _ => pick.finish(Outcome::failure()),
    }
}

fn heal(cluster: &Cluster<()>, clock: &ManualClock) {
    for handle in cluster.endpoints() {
        let endpoint = (*handle.description()).clone();
        let endpoint = endpoint
            .with_announced(Announced::Up)
            .with_weight(Weight::new(1))
            .with_priority(Priority::HIGHEST);
        cluster.upsert(endpoint).expect("a valid endpoint");
        handle.set_admin(AdminState::Ready);
        handle.set_check(CheckState::Up);
        handle.unforce_breaker().expect("it has one");
        handle.set_reported(1.0);
    }
    for _ in 0..400 {
        clock.advance(Duration::from_secs(60));
        cluster.tick();
        for _ in 0..12 {
            if let Ok(pick) = cluster.pick(&Request::new()) {
                pick.finish(Outcome::success());
            }
        }
    }
}

fn settle_down(cluster: &Cluster<()>) -> Result<(), String> {
    for endpoint in cluster.report().endpoints {
        let handle = cluster.endpoint(&endpoint.id).map_err(|error| error.to_string())?;
        let is_whole = endpoint.usable && endpoint.cause.is_none() && endpoint.factor == 1.0;
        if !is_whole || endpoint.in_flight != 0 || handle.is_saturated() {
            return Err(format!("{endpoint:#?}"));
        }
        if !endpoint.causes.is_empty() {
            return Err(format!("{endpoint:#?}"));
        }
    }
    // All slots are free: as many picks as the limits allow, and no more.
    let most = (cluster.len() as u32 * PER_ENDPOINT).min(10);
    let held: Vec<_> = (0..most).map(|_| cluster.pick(&Request::new())).collect();
    if let Some(Err(error)) = held.iter().find(|pick| pick.is_err()) {
        return Err(format!("slots are lost: {error}"));
    }
    match cluster.pick(&Request::new()) {
        Ok(_) if most > 0 => Err("one slot too many".into()),
        _ => Ok(()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(80) })]

    #[test]
    fn whatever_happens_everything_comes_back(number in any::<u8>(), ops in prop::collection::vec(op(), 1..120)) {
        let (cluster, clock) = everything(number);
        let mut world = World { cluster, clock, held: Vec::new(), incarnation: 0 };
        for op in ops {
            world.act(&op)?;
        }
        world.end()?;
    }
}

/// Sets a flag when it is dropped: also if a thread panics, or the others would go on for ever.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn many_threads_leave_nothing_behind() {
    for number in 0..6 {
        let (cluster, clock) = everything(number);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for thread in 0..2_u32 {
                let (cluster, done) = (&cluster, &done);
                scope.spawn(move || {
                    let _end = SetAtEnd(done);
                    let mut picker = cluster.picker();
                    let mut tried = Tried::default();
                    let mut round = thread;
                    while !done.load(Ordering::Relaxed) {
                        round = round.wrapping_add(1);
                        let request = match round % 4 {
                            0 => Request::new().excluding(&tried),
                            1 => Request::new().preferring_others(&tried),
                            _ => Request::new(),
                        };
                        let picked =
                            if round % 2 == 0 { cluster.pick(&request) } else { picker.pick(&request) };
                        if let Ok(pick) = picked {
                            tried.add(&pick);
                            end(pick, (round % 8) as u8);
                        }
                        if round % 16 == 0 {
                            tried = Tried::default();
                        }
                    }
                });
            }
            scope.spawn(|| {
                let _end = SetAtEnd(&done);
                let mut round = 0_u32;
                while !done.load(Ordering::Relaxed) {
                    round = round.wrapping_add(1);
                    let Ok(handle) = cluster.endpoint(&id((round % 6) as u8)) else { continue };
                    let limit = Duration::from_millis(u64::from(round % 500) + 1);
                    match round % 11 {
                        0 => _ = handle.set_admin(admin((round / 11 % 3) as u8)),
                        1 => _ = handle.set_check(check((round / 11 % 5) as u8)),
                        2 => _ = handle.record_check(round.is_multiple_of(2)),
                        3 => handle.set_reported(f64::from(round % 10) / 9.0),
                        4 => _ = handle.force_breaker(Force::Open, Owner::UNNAMED, Some(limit)),
                        5 => _ = handle.unforce_breaker(),
                        6 => _ = handle.set_admin_for(AdminState::Drain, limit, "a", "b"),
                        7 => _ = cluster.report(),
                        _ => _ = cluster.tick(),
                    }
                    clock.advance(Duration::from_millis(u64::from(round % 300)));
                }
            });
            let _end = SetAtEnd(&done);
            for round in 0..400_u32 {
                let name = (round % 6) as u8;
                match round % 5 {
                    0 => drop(cluster.upsert(endpoint(name)).expect("a valid endpoint")),
                    1 => drop(cluster.apply((0..1 + name).map(endpoint)).expect("a valid set")),
                    2 => drop(cluster.remove(&id(name))),
                    3 => drop(cluster.upsert(endpoint(name).with_incarnation(round.into()))),
                    _ => drop(cluster.set_policy(policy((round / 5) as u8)).expect("valid settings")),
                }
            }
        });
        heal(&cluster, &clock);
        settle_down(&cluster).unwrap_or_else(|error| panic!("{number}: {error}"));
    }
}
