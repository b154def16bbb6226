//! Ours among the choices alone: placements from a hash, orders and loads from a view.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_balance::hash::Placement;
use evenkeel_balance::{
    Anchor, AnchorConfig, BuiltIn, Caller, Event, Jump, JumpConfig, Ketama, KetamaConfig, Maglev,
    MaglevConfig, Mask, Modulo, ModuloConfig, MultiProbe, MultiProbeConfig, Observation, Observed, Policy,
    PolicyConfig, Rendezvous, RendezvousConfig, RingHash, RingHashConfig, SmoothWeightedRoundRobinConfig,
    Table, TurnOrder, Wants, place_in,
};
use evenkeel_benches::{Weights, members, weights};
use evenkeel_types::{RandomSource, SplitMix64, Timestamp};

use crate::cases::{Cases, repeat};
use crate::select::Keys;

/// A lookup from a hash in each placement of `n` endpoints.
pub(crate) fn lookups(cases: &mut Cases, n: usize) {
    let members = &members(n, Weights::Equal);
    let add = &mut |name: &str, home: Box<dyn Fn() -> crate::method::Runner>| {
        cases.add("select", &format!("evenkeel/{name}"), n, 1.0, home);
    };
    macro_rules! placed {
        ($name:literal, $policy:ident, $config:ident) => {
            let policy =
                Arc::new($policy::new(&$config::default(), members).expect("the defaults are valid"));
            // The position, as the crates return it, and not where a walk would go on from.
            let home = |policy: &$policy, hash| policy.home(hash).map(|home| home.position);
            add($name, Box::new(move || lookup(Arc::clone(&policy), home)));
        };
    }
    placed!("modulo", Modulo, ModuloConfig);
    placed!("maglev", Maglev, MaglevConfig);
    placed!("ring_hash", RingHash, RingHashConfig);
    placed!("ketama", Ketama, KetamaConfig);
    placed!("jump", Jump, JumpConfig);
    placed!("anchor", Anchor, AnchorConfig);
    placed!("multi_probe", MultiProbe, MultiProbeConfig);
    placed!("rendezvous", Rendezvous, RendezvousConfig);
}

fn lookup<P: Send + Sync + 'static, R: 'static>(
    policy: Arc<P>,
    home: impl Fn(&P, u64) -> R + Send + 'static,
) -> crate::method::Runner {
    let mut keys = Keys::default();
    repeat(move || home(&policy, keys.hash()))
}

/// Orders, draws and loads over a view of `n` endpoints; those that hear events hear those of every request.
pub(crate) fn choices(cases: &mut Cases, n: usize) {
    for name in [
        "weighted_random",
        "smooth_weighted_round_robin",
        "earliest_deadline_first",
        "static_stride",
        "interleaved",
        "static_map",
        "least_request",
        "least_connections",
        "shortest_expected_delay",
        "join_idle_queue",
        "peak_ewma",
        "least_latency",
        "least_time",
        "c3",
        "prequal",
        "client_side_weighted_round_robin",
    ] {
        choice(cases, name, &name.parse().expect("a known policy"), n);
    }
    let global = SmoothWeightedRoundRobinConfig { order: TurnOrder::Global };
    choice(cases, "smooth_weighted_round_robin-global", &PolicyConfig::SmoothWeightedRoundRobin(global), n);
    in_order_behind_a_swap(cases, n);
}

fn choice(cases: &mut Cases, name: &str, config: &PolicyConfig, n: usize) {
    let subject = format!("evenkeel/{name}");
    if !cases.is_wanted("select", &subject) {
        return;
    }
    // Some refuse sets of this size: then there is no row.
    let Ok(policy) = BuiltIn::new(config, &members(n, Weights::OneToTen)) else { return };
    let policy = Arc::new(policy);
    let world = Arc::new((Mask::all_usable(n), weights(n, Weights::OneToTen), vec![0; n]));
    cases.add("select", &subject, n, 1.0, || {
        let (policy, world, mut caller) = (Arc::clone(&policy), Arc::clone(&world), Own::default());
        let wants = policy.wants();
        repeat(move || {
            let (mask, weights, loads) = &*world;
            let position = policy.choose(&Table::new(mask, weights, loads), &mut caller)?;
            tell(&policy, wants, position as u64, caller.now);
            Some(position)
        })
    });
}

/// One global order as a cluster would use it: the snapshot is loaded, then the shared cursor moves.
fn in_order_behind_a_swap(cases: &mut Cases, n: usize) {
    let subject = "evenkeel/smooth_weighted_round_robin-global+load";
    if !cases.is_wanted("select", subject) {
        return;
    }
    let global = SmoothWeightedRoundRobinConfig { order: TurnOrder::Global };
    let config = PolicyConfig::SmoothWeightedRoundRobin(global);
    let policy = BuiltIn::new(&config, &members(n, Weights::OneToTen)).expect("valid");
    let current =
        Arc::new(ArcSwap::from_pointee((policy, Mask::all_usable(n), weights(n, Weights::OneToTen))));
    cases.add("select", subject, n, 1.0, || {
        let (current, mut caller) = (Arc::clone(&current), Own::default());
        repeat(move || {
            let snapshot = current.load();
            let (policy, mask, weights) = &**snapshot;
            policy.choose(&Table::new(mask, weights, &[]), &mut caller)
        })
    });
}

fn tell(policy: &BuiltIn, wants: Wants, token: u64, at: Timestamp) {
    if wants.contains(Wants::EVENTS) {
        policy.on_event(Event::Picked(token));
    }
    if wants.contains(Wants::OBSERVED) {
        let latency = Duration::from_millis(5);
        policy.on_event(Event::Observed(
            token,
            Observation { latency, kind: Observed::Success, in_flight: 1, at },
        ));
    }
    if wants.contains(Wants::EVENTS) {
        policy.on_event(Event::Released(token));
    }
}

/// A caller of one thread.
struct Own {
    draws: SplitMix64,
    place: u32,
    now: Timestamp,
}

impl Default for Own {
    fn default() -> Self {
        static SEED: AtomicU64 = AtomicU64::new(1);
        let seed = SEED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self {
            draws: SplitMix64::new(SplitMix64::mix(seed)),
            place: seed as u32,
            now: Timestamp::from_secs(100),
        }
    }
}

impl Caller for Own {
    #[inline]
    fn draw(&mut self) -> u64 {
        self.draws.next_u64()
    }

    #[inline]
    fn turn(&mut self, length: u32) -> u32 {
        self.place = place_in(self.place.wrapping_add(1), length);
        self.place
    }

    fn now(&mut self) -> Timestamp {
        self.now = self.now.saturating_add(Duration::from_micros(10));
        self.now
    }
}

/// Whole builds, and one endpoint more and less.
pub(crate) fn builds(cases: &mut Cases) {
    let many = Arc::new(members(10_000, Weights::Equal));
    macro_rules! built {
        ($name:literal, $policy:ident, $config:ident, $n:expr, $members:expr) => {
            let members = $members;
            cases.add_single(
                "build",
                concat!("evenkeel/", $name),
                $n,
                1,
                repeat(move || $policy::new(&$config::default(), &*members).is_ok()),
            );
        };
    }
    built!("ring_hash", RingHash, RingHashConfig, 10_000, Arc::clone(&many));
    built!("ketama", Ketama, KetamaConfig, 10_000, Arc::clone(&many));
    built!("maglev", Maglev, MaglevConfig, 1000, Arc::new(members(1000, Weights::Equal)));
    built!("anchor", Anchor, AnchorConfig, 10_000, Arc::clone(&many));
    let fewer = Arc::new(members(9_999, Weights::Equal));
    for name in ["ring_hash", "ketama", "anchor"] {
        let config: PolicyConfig = name.parse().expect("a known policy");
        let (more, less) = (Arc::clone(&many), Arc::clone(&fewer));
        let mut policy = BuiltIn::new(&config, &*many).expect("valid");
        let mut turn = 0_u32;
        let change = move || {
            turn += 1;
            let members = if turn.is_multiple_of(2) { &more } else { &less };
            policy = policy.rebuild(&config, &**members).expect("valid");
        };
        cases.add_single("build", &format!("evenkeel/{name}:one-changed"), 10_000, 1, repeat(change));
    }
}
