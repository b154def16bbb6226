//! Laws of slow start, drains, flap damping, phi accrual and provenance, for every sequence of events.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::time::Duration;

use evenkeel_health::{
    AdminState, CheckState, Curve, Drain, DrainConfig, DrainState, Entry, EnvoySlowStart,
    EnvoySlowStartConfig, FlapChange, FlapConfig, FlapDamper, Note, Opinion, PhiAccrual, PhiConfig, PhiForm,
    Provenance, Ramp, SlowStart, SlowStartConfig, Source, Standing, TimeToLive, Warmth,
};
use evenkeel_types::{Ratio, Timestamp};
use proptest::prelude::*;

fn moment() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        8 => (0_u64..2_000_000).prop_map(Timestamp::from_millis),
        1 => any::<u64>().prop_map(Timestamp::from_nanos),
    ]
}

fn curve() -> impl Strategy<Value = Curve> {
    prop_oneof![
        Just(Curve::Linear),
        Just(Curve::Sixteenths),
        (0.01_f64..1000.0).prop_map(|aggression| Curve::Power { aggression }),
    ]
}

fn ramp() -> impl Strategy<Value = Ramp> {
    (1_u64..600, curve(), 0_u32..=100).prop_map(|(window, curve, percent)| {
        let config = SlowStartConfig {
            window: Duration::from_secs(window),
            curve,
            min_factor: Ratio::percent(percent).unwrap(),
            ..SlowStartConfig::default()
        };
        Ramp::new(config).unwrap()
    })
}

proptest! {
    /// The factor lies in 0 ..= 1, grows with the age, and is 1 from the end of the window on.
    #[test]
    fn a_ramp_grows_from_its_minimum_to_one(ramp in ramp(), mut ages in prop::collection::vec(any::<u64>(), 1..40)) {
        let window = ramp.config().window.as_nanos() as u64;
        ages.iter_mut().for_each(|age| *age %= 2 * window);
        ages.sort_unstable();
        let mut last = ramp.config().min_factor.as_f64();
        for age in ages {
            let factor = ramp.factor(Duration::from_nanos(age));
            prop_assert!(factor >= last && factor <= 1.0, "{factor} after {last}");
            prop_assert!(age < window || factor == 1.0);
            last = factor;
        }
    }

    /// Whoever warms up is warm in the end, by following the deadlines; and no call panics at any time.
    #[test]
    fn a_slow_start_is_never_stuck(ramp in ramp(), events in prop::collection::vec((moment(), 0_u8..4), 0..40)) {
        let slow_start = SlowStart::new();
        for (now, event) in events {
            match event {
                0 => prop_assert!(slow_start.enter(&ramp, Entry::Return, true, now)),
                1 => prop_assert!(!slow_start.enter(&ramp, Entry::New, false, now)),
                2 => { slow_start.leave(); }
                _ => { slow_start.tick(&ramp, now); }
            }
            prop_assert!((0.0..=1.0).contains(&slow_start.factor(&ramp, now)));
        }
        let mut now = Timestamp::ORIGIN;
        let mut steps = 0;
        while let Some(next) = slow_start.next_change(&ramp, now) {
            prop_assert!(next > now || slow_start.tick(&ramp, next), "no progress at {now:?}");
            now = next;
            slow_start.tick(&ramp, now);
            steps += 1;
            prop_assert!(steps <= 700, "at most one a second");
        }
        prop_assert_eq!(slow_start.state(&ramp, now), Warmth::Warm);
        prop_assert_eq!(slow_start.factor(&ramp, Timestamp::ORIGIN), 1.0);
    }

    #[test]
    fn envoys_slow_start_survives_any_time(
        aggression in any::<f64>(), events in prop::collection::vec((moment(), any::<bool>()), 0..40),
    ) {
        let config = EnvoySlowStartConfig { aggression, ..EnvoySlowStartConfig::default() };
        let mut host = EnvoySlowStart::new(&config).unwrap();
        for (now, pass) in events {
            if pass { let _ = host.pass(now); } else { host.fail(now); }
            let factor = host.factor(now);
            prop_assert!((0.1..=1.0).contains(&factor), "{factor}");
            prop_assert_eq!(host.factor(Timestamp::ORIGIN), factor, "time going back changes nothing");
        }
        prop_assert!(!host.is_warming(Timestamp::MAX));
    }

    /// A drain that began ends, cleanly or by force, and replays.
    #[test]
    fn a_drain_is_never_stuck(
        notice in 0_u64..50, sticky in any::<bool>(),
        events in prop::collection::vec((moment(), 0_u8..5, 0_usize..3), 0..40),
    ) {
        let config = DrainConfig {
            limit: Duration::from_secs(50),
            notice: Duration::from_secs(notice),
            sticky,
            ..DrainConfig::default()
        };
        let replay = || {
            let mut drain = Drain::new(&config).unwrap();
            let mut seen = Vec::new();
            for &(now, event, in_flight) in &events {
                let change = match event {
                    0 => drain.begin(now),
                    1 => drain.cancel(now),
                    2 => drain.begin_until(now, Timestamp::from_secs(100)),
                    _ => drain.tick(now, in_flight),
                };
                seen.push((change, drain.state(now), drain.next_deadline()));
            }
            (drain, seen)
        };
        let (mut drain, seen) = replay();
        prop_assert_eq!(&seen, &replay().1);

        let before = drain.clone();
        prop_assert_eq!(drain.tick(Timestamp::ORIGIN, 1), None, "time going back");
        prop_assert_eq!(&drain, &before);
        let _ = drain.cancel(Timestamp::ORIGIN);
        let _ = drain.begin(Timestamp::ORIGIN);
        let mut steps = 0;
        while let Some(deadline) = drain.next_deadline() {
            let _ = drain.tick(deadline, 1);
            steps += 1;
            prop_assert!(steps <= 2);
        }
        let end = drain.state(Timestamp::ORIGIN);
        prop_assert!(matches!(end, DrainState::Drained(_)), "{end:?}");
    }

    /// Who is quiet is released after `max_suppress` at the latest; the penalty stays finite, and replays.
    #[test]
    fn a_damper_is_never_stuck(events in prop::collection::vec((moment(), 0_u8..4, any::<f64>()), 0..40)) {
        let replay = || {
            let mut damper = FlapDamper::new(FlapConfig::default()).unwrap();
            let mut seen = Vec::new();
            let mut told = false;
            for &(now, event, points) in &events {
                let change = match event {
                    0 => damper.up(now),
                    1 => damper.down(now),
                    2 => damper.flap_by(now, points),
                    _ => damper.tick(now),
                };
                told = change.map_or(told, |change| matches!(change, FlapChange::Suppressed { .. }));
                assert_eq!(told, damper.is_suppressed(now), "whoever follows the changes knows the state");
                seen.push((change, damper.penalty(now).to_bits(), damper.next_deadline()));
            }
            (damper, seen)
        };
        let (mut damper, seen) = replay();
        prop_assert_eq!(&seen, &replay().1);
        prop_assert!(seen.iter().all(|&(_, penalty, _)| (0.0..=32.0).contains(&f64::from_bits(penalty))));
        let before = damper.clone();
        let _ = damper.tick(Timestamp::ORIGIN);
        prop_assert_eq!(&damper, &before, "time going back");
        if let Some(deadline) = damper.next_deadline() {
            let _ = damper.tick(deadline);
            prop_assert!(!damper.is_suppressed(deadline));
            prop_assert_eq!(damper.next_deadline(), None);
        }
    }

    /// Phi grows between beats, is finite, and falls to the threshold exactly where it says.
    #[test]
    fn phi_grows_and_a_beat_revives(
        exponential in any::<bool>(),
        beats in prop::collection::vec(moment(), 1..40),
        mut looks in prop::collection::vec(moment(), 1..10),
    ) {
        let form = if exponential { PhiForm::Exponential } else { PhiForm::Normal };
        let config = PhiConfig { form, max_samples: 8, ..PhiConfig::default() };
        let replay = || {
            let mut detector = PhiAccrual::new(config.clone()).unwrap();
            for &beat in &beats {
                let _ = detector.tick(beat);
                let _ = detector.heartbeat(beat);
            }
            detector
        };
        let mut detector = replay();
        prop_assert_eq!(format!("{detector:?}"), format!("{:?}", replay()));
        looks.sort_unstable();
        let mut last = 0.0;
        for look in looks {
            let phi = detector.phi(look);
            prop_assert!(phi.is_finite() && phi >= last, "{phi} after {last}");
            last = phi;
        }
        if let Some(moment) = detector.suspect_at() {
            prop_assert!(!detector.is_available(moment));
            prop_assert!(detector.is_available(moment.saturating_sub(Duration::from_nanos(1))) || moment == Timestamp::ORIGIN);
            let _ = detector.tick(moment);
            let _ = detector.heartbeat(moment);
            prop_assert!(detector.is_available(moment));
        }
    }

    /// After a tick the word says what the records say; no source's end touches another's word; all limits end.
    #[test]
    fn the_word_and_the_record_agree(
        events in prop::collection::vec((moment(), 0_usize..12, any::<bool>(), prop::option::of(moment())), 0..40),
    ) {
        let ttl = TimeToLive { check: Some(Duration::from_secs(30)), ..TimeToLive::default() };
        let (standing, mut provenance) = (Standing::new(), Provenance::new(ttl).unwrap());
        let mut latest = Timestamp::ORIGIN;
        for (now, place, on, limit) in events {
            latest = latest.max(now);
            let _ = provenance.tick(&standing, now);
            let opinion = match (Source::ALL[place], on) {
                (source, false) => Opinion::neutral(source),
                (Source::Admin, true) => Opinion::Admin(AdminState::Drain),
                (Source::Check, true) => Opinion::Check(CheckState::Down),
                (Source::Outlier, true) => Opinion::Ejected(true),
                (Source::Flap, true) => Opinion::FlapDamped(true),
                (_, true) => Opinion::Warming(true),
            };
            let before = standing.load();
            let change = provenance.say(&standing, opinion, limit.map_or_else(Note::default, Note::expiring), now);
            prop_assert_eq!(change.before, before);
            for other in Source::ALL.into_iter().filter(|&other| other != opinion.source()) {
                prop_assert_eq!(standing.load().opinion(other), before.opinion(other));
            }
            let _ = provenance.tick(&standing, now);
            prop_assert_eq!(provenance.status(now), standing.load());
            let causes: Vec<_> = provenance.evidence(now).map(|evidence| evidence.cause).collect();
            prop_assert_eq!(causes, standing.load().causes().collect::<Vec<_>>());
        }
        while let Some(deadline) = provenance.next_deadline() {
            prop_assert!(!provenance.tick(&standing, deadline).is_empty(), "a deadline at which nothing happens");
        }
        prop_assert_eq!(standing.load().check(), CheckState::Unknown);
    }
}
