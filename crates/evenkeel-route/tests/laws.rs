//! Machines under random events: they replay to the bit, bear clocks that go back, and never get stuck.

use std::time::Duration;

use evenkeel_route::failover::{GrpcChild, GrpcPriority, GrpcPriorityConfig};
use evenkeel_route::retry::{Ending, Hedge, HedgeConfig, HedgeStep, Next, RetryConfig, RetryPolicy};
use evenkeel_route::split::{Ramp, RampArm, RampConfig, RampState};
use evenkeel_types::{Outcome, Ratio, Timestamp};
use proptest::prelude::*;
use proptest::sample::select;

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        (select(vec![200, 404, 500, 503, 0, u16::MAX]), prop::option::of(any::<u64>()))
            .prop_map(|(status, wait)| Ending::Http { status, retry_after: wait.map(Duration::from_nanos) }),
        (0..20_u8).prop_map(|code| Ending::Grpc { code, pushback: None }),
        Just(Ending::ConnectFailed),
        Just(Ending::Reset),
        Just(Ending::TimedOut),
    ]
}

proptest! {
    #[test]
    fn ramps_replay_and_only_rise_until_they_end(
        events in prop::collection::vec((0..8_u8, 0..9000_u64), 0..300),
    ) {
        let run = || {
            let mut ramp = Ramp::new(&RampConfig::default(), Timestamp::ORIGIN).expect("defaults are valid");
            let mut trace = Vec::new();
            for &(event, secs) in &events {
                let now = Timestamp::from_secs(secs);
                trace.push(match event {
                    0 => ramp.tick(now),
                    1 => ramp.record(RampArm::New, &Outcome::failure(), now),
                    2 | 3 => ramp.record(RampArm::New, &Outcome::success(), now),
                    4 | 5 => ramp.record(RampArm::Old, &Outcome::success(), now),
                    6 => ramp.pause(),
                    _ => ramp.resume(now),
                });
            }
            (ramp, trace)
        };
        let (mut ramp, trace) = run();
        prop_assert_eq!(&trace, &run().1);
        let mut share = Ratio::ZERO;
        for change in trace.into_iter().flatten() {
            prop_assert!(change.to == RampState::Aborted || change.share >= share);
            share = change.share;
        }
        // Left alone it ends.
        let _ = ramp.resume(Timestamp::from_secs(9000));
        for _ in 0..10 {
            if let Some(deadline) = ramp.next_deadline() {
                prop_assert!(ramp.tick(deadline).is_some(), "a deadline is inclusive");
            }
        }
        prop_assert!(matches!(ramp.state(), RampState::Done | RampState::Aborted));
    }

    #[test]
    fn grpc_children_replay_and_somebody_is_always_chosen(
        priorities in 1..5_usize,
        events in prop::collection::vec((0..6_usize, 0..5_u8, 0..3000_u64), 0..100),
    ) {
        let run = || {
            let (mut policy, first) = GrpcPriority::new(&GrpcPriorityConfig::default(), priorities, Timestamp::ORIGIN);
            let mut trace = vec![first];
            for &(child, state, secs) in &events {
                let now = Timestamp::from_secs(secs);
                let states =
                    [GrpcChild::Idle, GrpcChild::Connecting, GrpcChild::Ready, GrpcChild::TransientFailure];
                trace.push(match states.get(usize::from(state)) {
                    Some(&state) => policy.report(child, state, now),
                    None => policy.tick(now),
                });
                assert!(policy.current().is_some_and(|current| current < priorities));
            }
            (policy, trace)
        };
        let (mut policy, trace) = run();
        prop_assert_eq!(trace, run().1);
        let mut ticks = 0;
        while let Some(deadline) = policy.next_deadline() {
            policy.tick(deadline);
            ticks += 1;
            prop_assert!(ticks < 100, "timers end");
        }
    }

    #[test]
    fn retries_end_within_their_attempts_and_their_deadline(
        endings in prop::collection::vec((ending(), any::<u64>(), any::<u64>(), prop::bool::ANY), 20),
        attempts in 1..=16_u32,
        deadline: u64,
        may_repeat: bool,
    ) {
        let config = RetryConfig { attempts, ..RetryConfig::default() };
        let policy = RetryPolicy::new(&config).expect("valid");
        let deadline = Timestamp::from_nanos(deadline);
        let mut plan = policy.begin(Timestamp::ORIGIN, Some(deadline), may_repeat);
        let mut made = 0;
        for (i, (ending, now, draw, permitted)) in endings.into_iter().enumerate() {
            made += 1;
            let next = plan.ended(&ending, i as u64, 0, Timestamp::from_nanos(now), draw, || permitted);
            let Next::Retry { at } = next else { break };
            prop_assert!(permitted && at < deadline && (may_repeat || ending.is_unseen()));
        }
        prop_assert!(made <= attempts);
    }

    #[test]
    fn hedges_send_no_more_than_allowed_and_answer_once(
        attempts in 2..=5_u32,
        events in prop::collection::vec((ending(), any::<u64>(), prop::bool::ANY, prop::bool::ANY), 0..40),
    ) {
        let config = HedgeConfig { attempts, ..HedgeConfig::default() };
        let mut hedge = Hedge::new(&config, Duration::from_nanos(1 << 50), Timestamp::ORIGIN).expect("valid");
        let (mut sent, mut ended, mut answers) = (1, 0, 0);
        for (ending, now, is_tick, permitted) in events {
            let now = Timestamp::from_nanos(now);
            let step = if is_tick {
                hedge.tick(now, || permitted)
            } else if ended < sent && answers == 0 {
                ended += 1;
                hedge.ended(&ending, now, || permitted)
            } else {
                continue;
            };
            match step {
                HedgeStep::Send(number) => {
                    sent += 1;
                    prop_assert_eq!(number, sent);
                    prop_assert!(answers == 0 && permitted);
                }
                HedgeStep::Answer => answers += 1,
                HedgeStep::Wait => {}
            }
            prop_assert!(sent <= attempts && answers <= 1);
            prop_assert!(answers == 1 || hedge.running() > 0, "nobody is waited for, and nothing was answered");
        }
    }
}
