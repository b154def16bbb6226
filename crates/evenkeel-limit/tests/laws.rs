//! What holds for every sequence of events.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::sync::Arc;
use std::time::Duration;

use evenkeel_limit::{
    Accepts, AcceptsConfig, Admission, AdmissionConfig, Aimd, Batch, EnvoyGradient, Extra, Gradient2,
    HedgeConfig, Hedger, KeyedRate, KeyedRateConfig, Ledger, LedgerConfig, LedgerKind, LimitConfig, Limiter,
    NackConfig, NackFilter, Partitions, PartitionsConfig, Permit, RateConfig, RateLimit, RetryBudget,
    RetryBudgetConfig, Sample, Token, Vegas,
};
use evenkeel_types::{Origin, Outcome, RandomSource, Ratio, SplitMix64, Timestamp};
use proptest::prelude::*;

fn configs() -> impl Strategy<Value = LimitConfig> {
    let batch = prop_oneof![
        Just(None),
        Just(Some(Batch {
            min_samples: 3,
            min_time: Duration::ZERO,
            max_time: Duration::ZERO,
            ..Batch::default()
        }))
    ];
    prop_oneof![
        (0_u32..40).prop_map(LimitConfig::fixed),
        batch.clone().prop_map(|batch| LimitConfig::Aimd(Aimd { min: 1, max: 30, batch, ..Aimd::default() })),
        (batch.clone(), 1_u32..40).prop_map(|(batch, probe_every)| {
            LimitConfig::Vegas(Vegas { max: 60, probe_every, batch, ..Vegas::default() })
        }),
        batch.prop_map(|batch| LimitConfig::Gradient2(Gradient2 {
            min: 1,
            max: 60,
            batch,
            ..Gradient2::default()
        })),
        (1_u32..10).prop_map(|pinned| {
            let interval = Duration::from_millis(10);
            let probe_interval = Duration::from_millis(500);
            LimitConfig::EnvoyGradient(EnvoyGradient {
                pinned,
                max: 60,
                interval,
                probe_interval,
                probe_calls: 5,
                ..EnvoyGradient::default()
            })
        }),
    ]
}

#[derive(Clone, Debug)]
enum Event {
    Acquire,
    Release(u8, u8),
    Lose(u8),
    SetLimit(u8),
    Observe(u64, u32, bool),
    Tick,
}

/// Times go anywhere, mostly on.
fn events() -> impl Strategy<Value = Vec<(i64, Event)>> {
    let step = prop_oneof![8 => 0_i64..5_000_000, 1 => -10_000_000_000_i64..0, 1 => 0_i64..3_600_000_000_000];
    let event = prop_oneof![
        4 => Just(Event::Acquire),
        4 => (any::<u8>(), 0_u8..6).prop_map(|(which, how)| Event::Release(which, how)),
        1 => any::<u8>().prop_map(Event::Lose),
        1 => (0_u8..60).prop_map(Event::SetLimit),
        2 => (any::<u64>(), any::<u32>(), any::<bool>()).prop_map(|(a, b, c)| Event::Observe(a, b, c)),
        1 => Just(Event::Tick),
    ];
    proptest::collection::vec((step, event), 0..300)
}

fn outcome(how: u8) -> Outcome {
    match how {
        0 | 1 => Outcome::success(),
        2 => Outcome::failure(),
        3 => Outcome::failure().with_origin(Origin::Local),
        4 => Outcome::overload(None),
        _ => Outcome::neutral(),
    }
}

/// Plays the events and writes down what could be seen after each.
fn play(config: &LimitConfig, seed: u64, events: &[(i64, Event)]) -> Vec<(u32, u32)> {
    let limiter = Limiter::new(config, seed).unwrap();
    let (mut now, mut tokens, mut seen) = (1_000_000_000_000_u64, Vec::<Token>::new(), Vec::new());
    let mut latest = now;
    for (step, event) in events {
        now = now.saturating_add_signed(*step);
        latest = latest.max(now);
        let time = Timestamp::from_nanos(now);
        match event {
            Event::Acquire => {
                let before = limiter.in_flight();
                let result = limiter.try_acquire(time);
                assert_eq!(result.is_ok(), before < limiter.limit(), "room is given, and only room");
                tokens.extend(result);
            }
            Event::Release(which, how) if !tokens.is_empty() => {
                let token = tokens.swap_remove(usize::from(*which) % tokens.len());
                let before = limiter.limit();
                let change = limiter.release(token, &outcome(*how), time);
                assert_eq!(change.map_or(before, |change| change.to), limiter.limit());
            }
            Event::Lose(which) if !tokens.is_empty() => {
                limiter.give_back(tokens.swap_remove(usize::from(*which) % tokens.len()));
            }
            Event::SetLimit(to) => drop(limiter.set_limit(u32::from(*to))),
            Event::Observe(latency, in_flight, dropped) => {
                let latency = Duration::from_nanos(*latency);
                let started = time.saturating_sub(latency);
                let sample = Sample { started, latency, in_flight: *in_flight, dropped: *dropped };
                let _ = limiter.observe(&sample, time);
            }
            Event::Tick => drop(limiter.tick(time)),
            Event::Release(..) | Event::Lose(_) => {}
        }
        assert_eq!(limiter.in_flight() as usize, tokens.len());
        seen.push((limiter.limit(), limiter.in_flight()));
    }
    for token in tokens {
        limiter.give_back(token);
    }
    assert_eq!(limiter.in_flight(), 0);
    // No sequence leaves it stuck: with samples that are good, an algorithm lets calls through again. After a clock that went back
    // that is when the clock is where it was: until then no interval ends.
    if !matches!(config, LimitConfig::Fixed(_)) {
        for call in 0..200 {
            let time = Timestamp::from_nanos(latest.saturating_add(call * 20_000_000));
            let started = time.saturating_sub(Duration::from_millis(1));
            let in_flight = limiter.limit().max(1);
            let sample = Sample { started, latency: Duration::from_millis(1), in_flight, dropped: false };
            let _ = limiter.observe(&sample, time);
        }
        assert!(limiter.limit() > 0, "{config:?}");
    }
    seen
}

proptest! {
    #[test]
    fn the_same_events_give_the_same_limits(config in configs(), seed: u64, events in events()) {
        prop_assert_eq!(play(&config, seed, &events), play(&config, seed, &events));
    }

    #[test]
    fn ratios_are_exact(ppm in 0_u64..=2_000_000, deposits in 0_u64..10_000) {
        let ratio = ppm as f64 / 1e6;
        let budget = RetryBudget::new(&RetryBudgetConfig { ratio, min_per_second: 0, ..RetryBudgetConfig::default() });
        let budget = budget.unwrap();
        let now = Timestamp::from_secs(5);
        (0..deposits).for_each(|_| budget.deposit(now));
        let mut granted = 0;
        while budget.try_withdraw(now).is_ok() {
            granted += 1;
        }
        prop_assert_eq!(granted, deposits * ppm / 1_000_000);
    }

    /// A reference that remembers each event beside the budget that remembers ten slots.
    #[test]
    fn a_budget_is_what_the_last_ten_slots_say(
        events in proptest::collection::vec((0_u64..3_000, 0_u8..3), 0..400),
        ppm in 0_u64..=1_500_000,
        min_per_second in 0_u32..4,
    ) {
        let ttl = Duration::from_secs(10);
        let config = RetryBudgetConfig { ratio: ppm as f64 / 1e6, min_per_second, ttl };
        let budget = RetryBudget::new(&config).unwrap();
        let (mut deposits, mut spends, mut millis) = (Vec::new(), Vec::new(), 100_000_u64);
        for (step, event) in events {
            millis += step;
            let now = Timestamp::from_millis(millis);
            let slot = millis / 1000;
            let lives = |at: &&u64| **at + 10 > slot;
            match event {
                0 => {
                    budget.deposit(now);
                    deposits.push(slot);
                }
                1 => {
                    let allowed = u64::from(min_per_second) * 10_000_000
                        + deposits.iter().filter(lives).count() as u64 * ppm;
                    let spent = spends.iter().filter(lives).count() as u64;
                    let granted = budget.try_withdraw(now).is_ok();
                    prop_assert_eq!(granted, (spent + 1) * 1_000_000 <= allowed);
                    if granted {
                        spends.push(slot);
                    }
                }
                _ => if let Ok(withdrawal) = budget.try_withdraw(now) {
                    budget.cancel(withdrawal);
                },
            }
        }
    }

    #[test]
    fn a_ledger_keeps_its_one_number(
        events in proptest::collection::vec((0_u64..2_000, 0_usize..6), 0..400),
        ratio in 0.0_f64..0.9,
    ) {
        let total = RetryBudgetConfig { ratio, min_per_second: 1, ..RetryBudgetConfig::default() };
        let free = LedgerKind::default();
        let config = LedgerConfig { total, probe: free.clone(), retry: free.clone(), spill: free.clone(), hedge: free };
        let ledger = Ledger::new(&config).unwrap();
        let mut millis = 0;
        for (step, event) in events {
            millis += step;
            let now = Timestamp::from_millis(millis);
            match event {
                0..=3 => drop(ledger.reserve(Extra::ALL[event], now).map(|reserved| {
                    if step % 3 == 0 { ledger.cancel(reserved) } else { ledger.commit(reserved) }
                })),
                _ => ledger.deposit(now),
            }
            let sum: u64 = Extra::ALL.iter().map(|kind| ledger.spent_on(*kind, now)).sum();
            prop_assert_eq!(sum, ledger.spent(now));
        }
    }

    /// GCRA beside a bucket that counts tokens in nanoseconds.
    #[test]
    fn a_rate_is_a_token_bucket(
        steps in proptest::collection::vec((0_u64..400_000_000, 1_u32..4), 1..200),
        limit in 1_u32..50,
        burst in 1_u32..6,
    ) {
        let rate = RateLimit::new(&RateConfig { limit, per: Duration::from_secs(1), burst }).unwrap();
        let each = 1_000_000_000_u64.div_ceil(u64::from(limit));
        let full = each * u64::from(burst);
        let (mut level, mut nanos) = (full, 1_000_000_000_u64);
        for (step, count) in steps {
            nanos += step;
            level = full.min(level + step);
            let wanted = each * u64::from(count);
            let result = rate.try_take_many(count, Timestamp::from_nanos(nanos));
            prop_assert_eq!(result.is_ok(), level >= wanted);
            match result {
                Ok(()) => level -= wanted,
                Err(refusal) if wanted <= full => {
                    prop_assert_eq!(refusal.retry_at.as_nanos(), nanos + wanted - level);
                }
                Err(refusal) => prop_assert_eq!(refusal.retry_at, Timestamp::MAX),
            }
        }
    }

    #[test]
    fn no_key_gets_more_than_its_rate(keys in proptest::collection::vec((0_u8..30, 0_u64..200), 0..500)) {
        let rate = RateConfig { limit: 10, per: Duration::from_secs(1), burst: 3 };
        let keyed = KeyedRate::new(&KeyedRateConfig { rate: rate.clone(), keys: 1024, ..KeyedRateConfig::default() }, 3).unwrap();
        let alone: Vec<RateLimit> = (0..30).map(|_| RateLimit::new(&rate).unwrap()).collect();
        let mut millis = 1000;
        for (key, step) in keys {
            millis += step;
            let now = Timestamp::from_millis(millis);
            prop_assert_eq!(keyed.try_take(&[key], now).is_ok(), alone[usize::from(key)].try_take(now).is_ok());
        }
    }

    #[test]
    fn probabilities_stay_below_one_at_any_time(
        events in proptest::collection::vec((any::<u64>(), 0_u8..6), 0..200),
        seed: u64,
    ) {
        let mut draws = SplitMix64::new(seed);
        let accepts = Accepts::new(&AcceptsConfig::default()).unwrap();
        let nack = NackFilter::new(&NackConfig { min_per_second: 0, ..NackConfig::default() }).unwrap();
        let admission = Admission::new(&AdmissionConfig { aggression: 1.5, ..AdmissionConfig::default() }).unwrap();
        for (nanos, how) in events {
            let now = Timestamp::from_nanos(nanos);
            let _ = accepts.try_send(&mut draws, now);
            accepts.record(&outcome(how), now);
            nack.record(&outcome(how), now);
            admission.record(&outcome(how), now);
            for (p, most) in [(accepts.probability(now), 0.9), (nack.probability(), 0.75), (admission.probability(now), 0.8)] {
                prop_assert!((0.0..=most).contains(&p), "{}", p);
            }
        }
    }

    #[test]
    fn a_hedger_takes_any_time_and_latency(events in proptest::collection::vec((any::<u64>(), any::<u64>()), 0..60)) {
        let hedger = Hedger::new(&HedgeConfig { max_extra_load: Ratio::HALF, ..HedgeConfig::default() }).unwrap();
        for (nanos, latency) in events {
            let now = Timestamp::from_nanos(nanos);
            hedger.start(now);
            hedger.record(Duration::from_nanos(latency), now);
            if let Some(delay) = hedger.delay().get() {
                prop_assert!(delay >= Duration::from_millis(1) && delay < Duration::from_secs(2), "{:?}", delay);
            }
        }
    }
}

#[test]
fn never_eleven_of_ten() {
    // Netflix/concurrency-limits: 100 threads on a limit of 10; here eight that take more turns.
    let limiter = Arc::new(Limiter::new(&LimitConfig::fixed(10), 1).unwrap());
    let present = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let mut held = Vec::new();
                    while let Ok(permit) = Permit::try_acquire(&*limiter, Timestamp::ORIGIN) {
                        let before = present.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        assert!(before < 10, "{before} were there already");
                        held.push(permit);
                    }
                    for permit in held {
                        present.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(permit);
                    }
                }
            });
        }
    });
    assert_eq!(limiter.in_flight(), 0);
}

#[test]
fn partitions_exceed_the_limit_by_unused_shares_only() {
    let shares = [("a".to_owned(), Ratio::HALF), ("b".to_owned(), Ratio::HALF)].into();
    let parts = Partitions::new(&PartitionsConfig { limit: LimitConfig::fixed(10), shares }, 1).unwrap();
    let (a, b) = (parts.find("a").unwrap(), parts.find("b").unwrap());
    let mut draws = SplitMix64::new(7);
    let mut tokens = Vec::new();
    for _ in 0..20_000 {
        let draw = draws.next_u64();
        match draw % 5 {
            0 | 1 => tokens.extend(parts.try_acquire(a, Timestamp::ORIGIN)),
            2 => tokens.extend(parts.try_acquire(b, Timestamp::ORIGIN)),
            _ if !tokens.is_empty() => {
                let token = tokens.swap_remove((draw >> 8) as usize % tokens.len());
                parts.give_back(token);
            }
            _ => {}
        }
        assert!(parts.limiter().in_flight() <= 15);
        assert_eq!(parts.count(a).0 + parts.count(b).0, parts.limiter().in_flight());
    }
    tokens.into_iter().for_each(|token| parts.give_back(token));
    assert_eq!(parts.limiter().in_flight(), 0);
}

#[test]
fn vegas_keeps_its_baseline_under_load_and_netflix_does_not() {
    // A server that serves 20 at once in 10 ms each: more wait, and latency grows by Little's law.
    let run = |probe| {
        let config = LimitConfig::Vegas(Vegas { initial: 20, probe_every: 5, probe, ..Vegas::default() });
        let limiter = Limiter::new(&config, 1).unwrap();
        let mut now = Timestamp::from_secs(1);
        for _ in 0..20_000 {
            let in_flight = limiter.limit().max(1);
            let latency = Duration::from_micros(10_000 * u64::from(in_flight.max(20)) / 20);
            let started = now;
            now = now.saturating_add(latency / in_flight);
            let _ = limiter.observe(&Sample { started, latency, in_flight, dropped: false }, now);
        }
        (limiter.limit(), limiter.baseline().unwrap())
    };
    let (limit, baseline) = run(evenkeel_limit::VegasProbe::Drain);
    assert!(limit < 35 && baseline < Duration::from_millis(12), "{limit} {baseline:?}");
    let (limit, baseline) = run(evenkeel_limit::VegasProbe::NextSample);
    assert!(limit > 100 && baseline > Duration::from_millis(50), "{limit} {baseline:?}");
}

#[test]
fn processes_that_start_together_measure_apart() {
    // envoy#8337: the first measuring after the start lies anywhere in an interval, by the seed.
    let second_measuring = |seed| {
        let config = LimitConfig::EnvoyGradient(EnvoyGradient { probe_calls: 1, ..EnvoyGradient::default() });
        let limiter = Limiter::new(&config, seed).unwrap();
        let now = Timestamp::from_secs(100);
        let sample = Sample { started: now, latency: Duration::from_millis(5), in_flight: 1, dropped: false };
        let _ = limiter.observe(&sample, now);
        assert!(!limiter.is_measuring());
        let at = (0..600).find(|tenth| {
            let now = now.saturating_add(Duration::from_millis(100 * tenth));
            let _ = limiter.tick(now);
            limiter.is_measuring()
        });
        at.expect("within an interval")
    };
    let tenths: Vec<u64> = (0..50).map(second_measuring).collect();
    for quarter in 0..4 {
        let inside = tenths.iter().filter(|tenth| **tenth / 150 == quarter).count();
        assert!((4..=24).contains(&inside), "{tenths:?}");
    }
}
