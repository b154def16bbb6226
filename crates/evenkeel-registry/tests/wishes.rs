//! What users of discovery asked for, in their own issues. Each test names what it grants.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use evenkeel_registry::{
    Action, Answer, Catalog, Cause, ChangeKind, Coverage, Event, FeedError, Heard, Hold, HoldReason,
    LeaseLost, LeaseToken, Merge, Mirror, MirrorConfig, Order, Owner, Proof, Registrar, RegistrarConfig,
    RegistrarState, Registry, Removal, Revision, Saved, Settle, SourceState, TroubleKind,
};
use evenkeel_types::{Announced, Difference, Endpoint, EndpointId, Labels, Timestamp, Weight};

fn secs(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn at(token: u64) -> Revision {
    Revision::new("life-1", token).unwrap()
}

fn endpoint(number: u32) -> Endpoint {
    let [.., high, low] = number.to_be_bytes();
    Endpoint::new(id(number), format!("10.0.{high}.{low}:80").parse().unwrap())
}

fn id(number: u32) -> EndpointId {
    format!("e{number:05}").parse().unwrap()
}

fn set(count: u32) -> Vec<Endpoint> {
    (0..count).map(endpoint).collect()
}

fn mirror(config: MirrorConfig) -> Mirror {
    Mirror::new("users".parse().unwrap(), "store".parse().unwrap(), config).unwrap()
}

/// A mirror with so many endpoints since second 1.
fn filled(count: u32) -> Mirror {
    let mut mirror = mirror(MirrorConfig::default());
    mirror.apply(secs(1), Event::full(at(1), set(count))).unwrap();
    mirror
}

fn shown(mirror: &Mirror) -> usize {
    mirror.snapshot().endpoints().len()
}

fn removal(number: u32, cause: Cause) -> Removal {
    Removal { id: id(number), cause }
}

fn delta(from: u64, to: u64, upserts: Vec<Endpoint>, removals: Vec<Removal>) -> Event {
    Event::Delta { from: at(from), to: at(to), upserts, removals }
}

// Registry trouble or an empty answer must not empty me: alibaba/nacos#4470, #5163, #10209; apache/dubbo#1508, #9213;
// istio/old_pilot_repo#1501; networknt/light-4j#1456; smallrye/smallrye-stork#231; EmbarkStudios/quilkin#777;
// kgateway-dev/kgateway#9873.
#[test]
fn neither_trouble_nor_an_empty_answer_empties_the_set() {
    let mut mirror = filled(5);
    mirror.apply(secs(2), Event::trouble(TroubleKind::Server, "500")).unwrap();
    assert_eq!((shown(&mirror), mirror.state()), (5, SourceState::Stale { since: secs(2) }));
    mirror.apply(secs(3), Event::full(at(2), vec![])).unwrap();
    let held = mirror.status(secs(3)).held.unwrap();
    assert_eq!((shown(&mirror), held.reason, held.until), (5, HoldReason::EmptyAnswer, secs(303)));
    assert!(
        mirror.snapshot().endpoints().iter().all(|e| e.announced() == Announced::Unknown),
        "nobody lies about health"
    );
}

// … and must not keep the dead for ever: apache/dubbo#9965, #10916; networknt/light-4j#376, #632;
// higress-group/higress#4390; prometheus/prometheus#2799; hashicorp/consul#5499; Netflix/eureka#1073;
// spring-cloud/spring-cloud-netflix#747; kubernetes/kube-state-metrics#694.
#[test]
fn a_hold_ends_at_its_bound() {
    let mut mirror = filled(5);
    mirror.apply(secs(3), Event::full(at(2), vec![])).unwrap();
    assert_eq!(mirror.next_deadline(), Some(secs(303)));
    assert!(mirror.tick(Timestamp::from_nanos(secs(303).as_nanos() - 1)).changes.is_empty());
    assert_eq!(mirror.tick(secs(303)).changes.len(), 5);
    assert_eq!((shown(&mirror), mirror.state()), (0, SourceState::Absent));
}

// One lease after another runs out while their owners are cut off: the same loss as an empty answer, by another road.
#[test]
fn deletions_without_a_word_do_not_empty_the_set() {
    let mut mirror = filled(3);
    let lost = (0..3).map(|number| removal(number, Cause::Unknown)).collect();
    mirror.apply(secs(2), delta(1, 2, vec![], lost)).unwrap();
    let held = mirror.status(secs(2)).held.unwrap();
    assert_eq!((shown(&mirror), held.reason, held.until), (3, HoldReason::EmptyAnswer, secs(302)));
    assert_eq!(mirror.next_deadline(), Some(secs(302)));
    // Whoever comes back ends the hold, and whoever says goodbye was never in it.
    mirror.apply(secs(3), delta(2, 3, vec![endpoint(0)], vec![])).unwrap();
    assert!(mirror.status(secs(3)).held.is_none_or(|held| held.reason != HoldReason::EmptyAnswer));
    let mut mirror = filled(3);
    let gone = (0..3).map(|number| removal(number, Cause::Deregistered)).collect();
    mirror.apply(secs(2), delta(1, 2, vec![], gone)).unwrap();
    assert_eq!(shown(&mirror), 0);
}

// An empty answer of a store that then is silent is confirmed by nobody.
#[test]
fn a_hold_does_not_end_while_the_source_cannot_be_asked() {
    let mut mirror = filled(5);
    mirror.apply(secs(3), Event::full(at(2), vec![])).unwrap();
    mirror.apply(secs(103), Event::trouble(TroubleKind::Closed, "gone")).unwrap();
    assert_eq!(mirror.next_deadline(), None);
    assert!(mirror.tick(secs(2_000)).changes.is_empty());
    assert_eq!(shown(&mirror), 5);
    // It lasts as long as it would have from then on.
    mirror.apply(secs(2_103), Event::fresh()).unwrap();
    assert_eq!((shown(&mirror), mirror.next_deadline()), (5, Some(secs(2_303))));
    assert_eq!(mirror.tick(secs(2_303)).changes.len(), 5);
}

#[test]
fn a_hold_ends_by_proof() {
    for proof in [Proof::NoTarget, Proof::NotFound, Proof::Deleted, Proof::Declared, Proof::Operator] {
        let mut mirror = filled(5);
        mirror.apply(secs(3), Event::full(at(2), vec![])).unwrap();
        let fed = mirror.apply(secs(4), Event::Absent { proof }).unwrap();
        assert_eq!(fed.changes.len(), 5, "{proof:?}");
        assert!(fed.changes.iter().all(|c| c.kind == ChangeKind::Removed { cause: Cause::Absent }));
        assert_eq!(mirror.state(), SourceState::Absent);
    }
}

#[test]
fn a_hold_ends_when_separate_answers_agree() {
    let mut mirror = filled(5);
    for (second, left) in [(10, 5), (11, 5), (12, 5), (39, 5), (40, 0)] {
        mirror.apply(secs(second), Event::full(at(second), vec![])).unwrap();
        assert_eq!(shown(&mirror), left, "at {second} s");
    }
}

#[test]
fn holds_of_no_and_of_endless_length_have_names() {
    for (hold, left) in [(Hold::Never, 0), (Hold::Forever, 5)] {
        let mut config = MirrorConfig::default();
        config.empty.hold = hold;
        let mut mirror = mirror(config);
        mirror.apply(secs(1), Event::full(at(1), set(5))).unwrap();
        mirror.apply(secs(3), Event::full(at(2), vec![])).unwrap();
        mirror.tick(secs(1_000_000));
        assert_eq!(shown(&mirror), left, "{hold:?}");
    }
}

// Zones are rewritten in steps: apple/servicetalk#2776. SERVFAIL is not NXDOMAIN.
#[test]
fn a_missing_name_is_believed_when_it_is_missing_again() {
    let mut mirror = filled(3);
    let missing = Event::Absent { proof: Proof::NameError { negative_ttl: Duration::from_secs(10) } };
    for (second, left) in [(5, 3), (14, 3), (15, 0)] {
        mirror.apply(secs(second), missing.clone()).unwrap();
        assert_eq!(shown(&mirror), left, "at {second} s");
    }
    let mut mirror = filled(3);
    mirror.apply(secs(5), missing).unwrap();
    assert_eq!(mirror.status(secs(5)).held.unwrap().reason, HoldReason::Unconfirmed);
    mirror.apply(secs(6), Event::set(set(3))).unwrap();
    assert_eq!((shown(&mirror), mirror.status(secs(6)).held), (3, None));
}

// Half a service seldom dies within a minute, and often loses its network: Netflix/eureka (percent limit),
// alibaba/nacos (protectThreshold).
#[test]
fn a_mass_removal_is_held_as_suspects_and_let_go_window_by_window() {
    let mut mirror = mirror(MirrorConfig::default());
    let up = |e: Endpoint| e.with_announced(Announced::Up);
    mirror.apply(secs(1), Event::full(at(1), set(20).into_iter().map(up).collect())).unwrap();
    mirror.apply(secs(2), Event::full(at(2), vec![up(endpoint(0))])).unwrap();
    let snapshot = mirror.snapshot();
    assert_eq!((snapshot.endpoints().len(), snapshot.suspects().len()), (10, 9));
    for endpoint in snapshot.endpoints().iter() {
        let suspect = snapshot.is_suspect(endpoint.id());
        assert_eq!(endpoint.announced(), if suspect { Announced::Unknown } else { Announced::Up });
    }
    let held = mirror.status(secs(2)).held.unwrap();
    assert_eq!((held.reason, held.endpoints, held.until), (HoldReason::MassRemoval, 9, secs(62)));
    let mut left = Vec::new();
    while let Some(next) = mirror.next_deadline() {
        mirror.tick(next);
        left.push(shown(&mirror));
    }
    assert_eq!(left, [7, 4, 1], "15 % of twenty per window");
}

// Addresses are used again: never send to the old identity.
#[test]
fn a_suspect_whose_address_belongs_to_another_goes_at_once() {
    let mut mirror = filled(20);
    let heir = Endpoint::new("heir".parse().unwrap(), endpoint(7).address().clone());
    mirror.apply(secs(2), Event::full(at(2), vec![heir.clone()])).unwrap();
    assert!(mirror.snapshot().endpoint(&id(7)).is_none());
    assert!(mirror.snapshot().endpoint(heir.id()).is_some());
}

#[test]
fn goodbyes_pass_every_guard() {
    let mut mirror = filled(20);
    let all = (0..20).map(|n| removal(n, Cause::Deregistered)).collect();
    assert_eq!(mirror.apply(secs(2), delta(1, 2, vec![], all)).unwrap().changes.len(), 20);
    assert_eq!(mirror.state(), SourceState::Absent);
}

#[test]
fn who_comes_back_within_the_hold_never_left() {
    let mut mirror = filled(20);
    mirror.apply(secs(2), Event::full(at(2), vec![endpoint(0)])).unwrap();
    let suspect = mirror.snapshot().suspects()[0].clone();
    let fed = mirror.apply(secs(3), Event::full(at(3), set(20))).unwrap();
    let changed = fed.changes.iter().any(|change| *change.id() == suspect);
    assert!(!changed, "unknown before, unknown after: nothing to see");
    assert!(mirror.snapshot().suspects().is_empty());
    assert_eq!((shown(&mirror), mirror.status(secs(3)).held), (20, None));
}

#[test]
fn a_flapping_endpoint_is_given_its_time() {
    let config = MirrorConfig { flap: Duration::from_secs(5), ..MirrorConfig::default() };
    let mut mirror = mirror(config);
    mirror.apply(secs(1), Event::full(at(1), set(3))).unwrap();
    for second in 2..10 {
        let count = 2 + u32::from(second % 2 == 0);
        assert!(mirror.apply(secs(second), Event::full(at(second), set(count))).unwrap().changes.is_empty());
    }
    assert_eq!(mirror.status(secs(9)).held.unwrap().reason, HoldReason::Flap);
    assert_eq!(mirror.tick(secs(14)).changes.len(), 1);
}

// Resume or resync a broken watch by itself: etcdv3/etcd-client#17, #48, #54; ai-dynamo/dynamo#1592, #11144;
// etcd-io/etcd#8668, #10650; k3s-io/k3s#5482; milvus-io/milvus#17857; Revolution1/etcd3-py#61;
// vllm-project/production-stack#999.
#[test]
fn a_gap_asks_for_a_full_set_and_deltas_are_refused_until_then() {
    let mut mirror = filled(3);
    assert!(matches!(
        mirror.apply(secs(2), delta(5, 6, vec![endpoint(9)], vec![])),
        Err(FeedError::NeedFull(_))
    ));
    assert!(matches!(
        mirror.apply(secs(2), delta(1, 6, vec![endpoint(9)], vec![])),
        Err(FeedError::NeedFull(_))
    ));
    assert_eq!(shown(&mirror), 3, "what is known stays");
    mirror.apply(secs(3), Event::full(at(6), set(4))).unwrap();
    mirror.apply(secs(9), delta(6, 7, vec![endpoint(9)], vec![])).unwrap();
    assert_eq!(shown(&mirror), 5);
}

#[test]
fn what_a_lease_deleted_while_the_watch_was_broken_goes_with_the_next_full_set() {
    let mut mirror = filled(3);
    mirror.apply(secs(2), Event::trouble(TroubleKind::Gap, "compacted")).unwrap();
    mirror.apply(secs(3), Event::full(at(9), set(2))).unwrap();
    assert_eq!((shown(&mirror), mirror.state()), (2, SourceState::Live));
}

// Index or version that falls: hashicorp/consul#7939, #5358; simplesurance/grpcconsulresolver#26; networknt/light-4j#726.
#[test]
fn a_new_incarnation_forces_a_full_set() {
    let mut mirror = filled(3);
    let reborn = Revision::new("life-2", 1).unwrap();
    let event = Event::Delta { from: at(1), to: reborn.clone(), upserts: vec![], removals: vec![] };
    assert!(matches!(mirror.apply(secs(2), event), Err(FeedError::NeedFull(_))));
    let mut mirror = filled(3);
    assert!(matches!(mirror.apply(secs(2), Event::fresh_at(reborn.clone())), Err(FeedError::NeedFull(_))));
    mirror.apply(secs(3), Event::full(reborn, set(3))).unwrap();
    assert_eq!(mirror.state(), SourceState::Live);
}

// Lease arithmetic that is what it says: Netflix/eureka#531, #1277, #1450.
#[test]
fn a_lease_lasts_its_time_to_live_once() {
    let mut catalog = Catalog::default();
    let service = "users".parse().unwrap();
    let (lease, _) = catalog.register(secs(0), &service, endpoint(1), Some(Duration::from_secs(90))).unwrap();
    assert_eq!(catalog.renew(secs(30), &lease), Ok(secs(120)));
    assert_eq!(catalog.tick(secs(120)).len(), 1);
    assert_eq!(catalog.renew(secs(120), &lease), Err(LeaseLost::Gone));
}

// Register again after lease or session loss. Each is one client's fault.
mod registering_again {
    use super::*;

    /// A registrar that is kept by a lease of 15 s from second 1.
    fn kept() -> Registrar {
        let mut registrar = Registrar::new(endpoint(1), RegistrarConfig::default(), 1).unwrap();
        registrar.ready(secs(1), true);
        grant(&mut registrar, secs(1), 1);
        write(&mut registrar, secs(1));
        assert_eq!(registrar.state(), RegistrarState::Kept);
        registrar
    }

    fn next(registrar: &mut Registrar) -> (Timestamp, Order) {
        for _ in 0..100 {
            let now = registrar.next_deadline().unwrap();
            if let Some(order) = registrar.poll(now) {
                return (now, order);
            }
        }
        panic!("no order: {registrar:?}")
    }

    fn grant(registrar: &mut Registrar, now: Timestamp, lease: u64) {
        let order = registrar.poll(now).unwrap();
        assert!(matches!(order.action, Action::Grant { .. }), "{order:?}");
        let answer = Answer::Granted { lease: LeaseToken::new(lease), ttl: Duration::from_secs(15) };
        assert_eq!(registrar.answer(now, order.ticket, answer), Heard::Counted);
    }

    fn write(registrar: &mut Registrar, now: Timestamp) -> Endpoint {
        let order = registrar.poll(now).unwrap();
        let Action::Write { endpoint, .. } = order.action else { panic!("{order:?}") };
        assert_eq!(registrar.answer(now, order.ticket, Answer::Written), Heard::Counted);
        *endpoint
    }

    /// The registrar has noticed that its lease is lost: a new lease, and the entry written again under it.
    fn comes_back(registrar: &mut Registrar) {
        let (now, order) = next(registrar);
        assert!(matches!(order.action, Action::Grant { .. }), "{order:?}");
        let lease = LeaseToken::new(2);
        registrar.answer(
            now,
            order.ticket,
            Answer::Granted { lease: lease.clone(), ttl: Duration::from_secs(15) },
        );
        let order = registrar.poll(now).unwrap();
        assert!(matches!(&order.action, Action::Write { lease: under, .. } if *under == lease), "{order:?}");
        registrar.answer(now, order.ticket, Answer::Written);
        assert_eq!(registrar.state(), RegistrarState::Kept);
    }

    // smallnest/rpcx#420: the lease is gone, and the client renews a dead id for ever.
    #[test]
    fn rpcx_420_a_lost_lease_is_not_renewed() {
        let mut registrar = kept();
        let (now, order) = next(&mut registrar);
        assert!(matches!(order.action, Action::Renew { .. }));
        registrar.answer(now, order.ticket, Answer::LeaseLost);
        comes_back(&mut registrar);
    }

    // kitex-contrib/registry-etcd#11: etcd answers a renewal of a dead lease with a TTL of 0, which is no success.
    #[test]
    fn registry_etcd_11_a_renewal_for_no_time_is_a_loss() {
        let mut registrar = kept();
        let (now, order) = next(&mut registrar);
        registrar.answer(now, order.ticket, Answer::Renewed { ttl: Duration::ZERO });
        comes_back(&mut registrar);
    }

    // coreos/torus#252, CurvineIO/curvine#1618: the keepalive stream broke, and nobody opened another.
    #[test]
    fn curvine_1618_a_failed_renewal_is_tried_on_a_new_stream_before_the_deadline() {
        let mut registrar = kept();
        let deadline = registrar.lease().unwrap().1;
        let mut tries = 0;
        loop {
            let (now, order) = next(&mut registrar);
            let Action::Renew { new_stream, .. } = order.action else { break };
            assert!(now < deadline);
            assert_eq!(new_stream, tries > 0);
            registrar.answer(now, order.ticket, Answer::Failed { kind: TroubleKind::Closed });
            tries += 1;
        }
        assert!(tries > 3, "{tries} tries");
        assert!(registrar.lease().is_none());
    }

    // coreos/torus#252: without an answer there is no error either.
    #[test]
    fn torus_252_silence_is_a_failure() {
        let mut registrar = kept();
        let mut now = secs(1);
        while registrar.state() == RegistrarState::Kept {
            now = registrar.next_deadline().unwrap().max(now);
            let _unanswered = registrar.poll(now);
            assert!(now <= secs(20), "{registrar:?}");
        }
        comes_back(&mut registrar);
    }

    // pinterest/memq#55, alibaba/nacos#7219, Netflix/eureka#914: registered once, and never again.
    #[test]
    fn memq_55_the_store_forgets_again_and_again() {
        let mut registrar = kept();
        for _ in 0..5 {
            let lease = registrar.lease().unwrap().0.clone();
            assert_eq!(registrar.lease_lost(registrar.next_deadline().unwrap(), &lease), Heard::Counted);
            comes_back(&mut registrar);
        }
    }

    // apache/dubbo#5135: the node of the old session still stands, so the new one cannot be made, and vanishes later.
    #[test]
    fn dubbo_5135_the_node_of_the_old_session_goes_first() {
        let mut registrar = Registrar::new(endpoint(1), RegistrarConfig::default(), 1).unwrap();
        registrar.ready(secs(1), true);
        grant(&mut registrar, secs(1), 1);
        let order = registrar.poll(secs(1)).unwrap();
        registrar.answer(secs(1), order.ticket, Answer::Exists { owner: Owner::OlderSession });
        let order = registrar.poll(secs(1)).unwrap();
        assert!(matches!(order.action, Action::DeleteForeign { .. }));
        registrar.answer(secs(1), order.ticket, Answer::Removed);
        write(&mut registrar, secs(1));
        assert_eq!(registrar.state(), RegistrarState::Kept);
    }

    // Two processes with one id: nobody deletes the other's.
    #[test]
    fn an_entry_of_somebody_else_is_left_alone() {
        let mut registrar = Registrar::new(endpoint(1), RegistrarConfig::default(), 1).unwrap();
        registrar.ready(secs(1), true);
        grant(&mut registrar, secs(1), 1);
        let order = registrar.poll(secs(1)).unwrap();
        registrar.answer(secs(1), order.ticket, Answer::Exists { owner: Owner::Other });
        let (_, order) = next(&mut registrar);
        assert!(matches!(order.action, Action::Write { .. }), "{order:?}");
    }

    // rabbitmq/rabbitmq-server#17404: the old lease's end must not end the new registration.
    #[test]
    fn rabbitmq_17404_the_end_of_an_older_lease_says_nothing() {
        let mut registrar = kept();
        assert_eq!(registrar.lease_lost(secs(2), &LeaseToken::new("older")), Heard::Stale);
        assert_eq!(registrar.state(), RegistrarState::Kept);
    }

    // apache/curator#702: after a reconnect, the old description came back.
    #[test]
    fn curator_702_the_newest_description_is_written_again() {
        let mut registrar = kept();
        let heavier = endpoint(1).with_weight(Weight::new(9));
        registrar.update(secs(2), heavier.clone()).unwrap();
        assert_eq!(write(&mut registrar, secs(2)), heavier);
        let lease = registrar.lease().unwrap().0.clone();
        registrar.lease_lost(secs(3), &lease);
        let (now, order) = next(&mut registrar);
        let answer = Answer::Granted { lease: LeaseToken::new(2), ttl: Duration::from_secs(15) };
        registrar.answer(now, order.ticket, answer);
        assert_eq!(write(&mut registrar, now), heavier);
    }

    // Deregister, wait, then stop; register only when ready: networknt/light-4j#20; hashicorp/nomad#2441, #6955;
    // gliderlabs/registrator#127; apache/shenyu#1266; alibaba/nacos#1845; apache/dubbo#1850.
    #[test]
    fn nomad_2441_ready_gated_and_drained_before_leaving() {
        let mut registrar = Registrar::new(endpoint(1), RegistrarConfig::default(), 1).unwrap();
        assert!(registrar.poll(secs(1)).is_none() && registrar.next_deadline().is_none());
        let mut registrar = kept();
        registrar.drain(secs(2));
        let written = write(&mut registrar, secs(2));
        assert_eq!((written.weight().get(), written.announced()), (0, Announced::Draining));
        assert!(registrar.poll(secs(6)).is_none_or(|order| matches!(order.action, Action::Renew { .. })));
        let mut registrar = kept();
        registrar.drain(secs(2));
        write(&mut registrar, secs(2));
        let order = registrar.poll(secs(7)).unwrap();
        assert!(matches!(order.action, Action::Remove { .. }), "five seconds later: {order:?}");
        registrar.answer(secs(7), order.ticket, Answer::Removed);
        assert_eq!((registrar.state(), registrar.next_deadline()), (RegistrarState::Gone, None));
    }
}

// Re-resolve DNS periodically: grpc/grpc#12295; grpc/grpc-go#6604; grpc/grpc-node#2455; elixir-grpc/grpc#520. The
// resolver is the adapter's; here, an unchanged poll costs nothing and shows as fresh.
#[test]
fn an_unchanged_poll_is_fresh_and_makes_no_generation() {
    let mut mirror = filled(100);
    let generation = mirror.generation();
    let backwards = set(100).into_iter().rev().collect();
    assert!(mirror.apply(secs(31), Event::set(backwards)).unwrap().is_empty());
    assert_eq!(
        (mirror.generation(), mirror.status(secs(40)).age(secs(40))),
        (generation, Some(Duration::from_secs(9)))
    );
}

// A rotating part of a large set must not churn it (Finagle's stabiliser).
#[test]
fn rotating_answers_are_joined_and_age_out_after_two_ttls() {
    let mut mirror = mirror(MirrorConfig::default());
    let part = |from: u32| Event::Full {
        revision: None,
        endpoints: (from..from + 4).map(endpoint).collect(),
        coverage: Coverage::Partial { ttl: Duration::from_secs(10) },
    };
    for (second, from, count) in [(0, 0, 4), (10, 4, 8), (20, 4, 4), (30, 4, 4)] {
        mirror.apply(secs(second), part(from)).unwrap();
        mirror.tick(secs(second + 1));
        assert_eq!(shown(&mirror), count, "at {second} s");
    }
}

// One service from several registries: istio/old_pilot_repo#1128; smallrye/smallrye-stork#111; higress-group/higress#1641;
// hashicorp/consul-k8s#3291; hashicorp/vault#8419.
#[test]
fn one_service_from_several_registries() {
    let registry = Registry::default();
    let service = "users".parse().unwrap();
    let feed = |name: &str, preference| {
        let config = MirrorConfig { preference, ..MirrorConfig::default() };
        registry.feed(&service, &name.parse().unwrap(), config, || secs(1)).unwrap()
    };
    let (consul, etcd) = (feed("consul", 1), feed("etcd", 2));
    consul.send(Event::set(vec![endpoint(1).with_weight(Weight::new(5)), endpoint(2)])).unwrap();
    etcd.send(Event::set(vec![endpoint(1), endpoint(3)])).unwrap();
    let _lease = registry.register(secs(1), &service, endpoint(4), None).unwrap();
    let ids = || registry.snapshot(&service).endpoints().iter().map(|e| e.id().clone()).collect::<Vec<_>>();
    assert_eq!(ids(), [id(1), id(2), id(3), id(4)]);
    let first = registry.snapshot(&service).endpoint(&id(1)).unwrap().weight();
    assert_eq!(first, Weight::new(5), "the preferred source describes what both list");
    let names: Vec<_> = registry.sources(&service).iter().map(|s| s.name.to_string()).collect();
    assert_eq!(names, ["local", "consul", "etcd"]);

    registry.detach(secs(1), &service, &"local".parse().unwrap()).unwrap_err();
    let lease = registry.register(secs(1), &service, endpoint(4), None).unwrap().0;
    registry.deregister(secs(1), &lease).unwrap();
    registry.set_merge(secs(1), &service, Merge::Prefer).unwrap();
    assert_eq!(ids(), [id(1), id(2)]);
    consul.send(Event::trouble(TroubleKind::Unreachable, "no route")).unwrap();
    assert_eq!(ids(), [id(1), id(3)], "the fresh one counts");
    registry.set_merge(secs(1), &service, Merge::FallBack).unwrap();
    assert_eq!(ids(), [id(1), id(2)], "the first has somebody");
    consul.send(Event::Absent { proof: Proof::NotFound }).unwrap();
    registry.tick(secs(3));
    assert_eq!(ids(), [id(1), id(3)]);
    assert_eq!(registry.detach(secs(3), &service, etcd.source()).unwrap().len(), 2);
    assert_eq!(etcd.send(Event::fresh()), Err(FeedError::Detached));
}

#[test]
fn a_source_over_its_age_gives_way_and_is_visible() {
    let registry = Registry::default();
    let service = "users".parse().unwrap();
    let clock = Arc::new(AtomicU64::new(1));
    let open = |name: &str, preference, max_stale| {
        let clock = clock.clone();
        let config = MirrorConfig { preference, max_stale, ..MirrorConfig::default() };
        let now = move || Timestamp::from_secs(clock.load(Ordering::Relaxed));
        registry.feed(&service, &name.parse().unwrap(), config, now).unwrap()
    };
    let first = open("a", 1, Some(Duration::from_secs(60)));
    let second = open("b", 2, None);
    registry.set_merge(secs(1), &service, Merge::FallBack).unwrap();
    first.send(Event::set(vec![endpoint(1)])).unwrap();
    second.send(Event::set(vec![endpoint(2)])).unwrap();
    first.send(Event::trouble(TroubleKind::Timeout, "no answer")).unwrap();
    assert_eq!(registry.snapshot(&service).endpoints()[0].id(), &id(1));
    assert_eq!(registry.next_deadline(), Some(secs(61)));
    registry.tick(secs(61));
    assert_eq!(registry.snapshot(&service).endpoints()[0].id(), &id(2));
    assert!(registry.sources(&service)[0].over_age);
}

// Start while the registry is down (disk cache): apache/dubbo#15873; spring-cloud/spring-cloud-consul#594, #752;
// micro/go-micro#526.
#[test]
fn a_start_from_a_disk_is_stale_and_never_live() {
    let saved = filled(5).save(secs(11), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
    let saved = Saved::from_json(saved.to_json().as_bytes()).unwrap();
    let mut mirror = mirror(MirrorConfig::default());
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_100);
    mirror.load(secs(2), &saved, wall).unwrap();
    assert!(matches!(mirror.state(), SourceState::Stale { .. }));
    assert_eq!(
        mirror.status(secs(2)).age(secs(2)),
        Some(Duration::from_secs(110)),
        "ten before saving, a hundred since"
    );
    mirror.apply(secs(3), Event::full(at(1), vec![])).unwrap();
    assert_eq!(shown(&mirror), 5, "the store came back empty");
    mirror.apply(secs(4), Event::full(at(2), set(5))).unwrap();
    assert_eq!(mirror.state(), SourceState::Live);
}

// Swap a relist atomically: kube-rs/kube#1209; stackabletech/hdfs-operator#774.
#[test]
fn readers_see_nothing_of_a_list_until_it_is_whole() {
    let mut mirror = filled(4);
    let before = mirror.snapshot();
    mirror.apply(secs(2), Event::Begin).unwrap();
    for page in [0..3, 3..6] {
        mirror.apply(secs(2), Event::Stage { endpoints: page.map(endpoint).collect() }).unwrap();
        assert_eq!(mirror.snapshot(), before);
    }
    let commit = Event::Commit { revision: Some(at(2)), coverage: Coverage::Complete };
    assert_eq!(mirror.apply(secs(2), commit.clone()).unwrap().changes.len(), 2);
    assert_eq!(mirror.apply(secs(2), commit), Err(FeedError::NotStaging));
    mirror.apply(secs(3), Event::Begin).unwrap();
    mirror.apply(secs(3), Event::Stage { endpoints: set(1) }).unwrap();
    mirror.apply(secs(3), Event::Begin).unwrap();
    mirror.apply(secs(3), Event::Stage { endpoints: set(6) }).unwrap();
    let commit = Event::Commit { revision: Some(at(3)), coverage: Coverage::Complete };
    assert!(mirror.apply(secs(3), commit).unwrap().is_empty(), "the broken list was dropped");
}

// Discovery must advance without requests: linkerd/linkerd2#2550; linkerd/linkerd2-proxy#1289.
#[test]
fn a_watch_hears_of_it_on_the_adapters_thread() {
    let registry = Registry::default();
    let service = "users".parse().unwrap();
    let watch = registry.watch(&service);
    let (woken, nearer) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let count = |counter: &Arc<AtomicU64>| {
        let counter = counter.clone();
        move || _ = counter.fetch_add(1, Ordering::Relaxed)
    };
    watch.on_change(count(&woken));
    registry.on_deadline(count(&nearer));
    let feed = registry.feed(&service, &"dns".parse().unwrap(), MirrorConfig::default(), || secs(1)).unwrap();
    let before = woken.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        let feed = feed.clone();
        scope.spawn(move || feed.send(Event::set(set(1))).unwrap());
    });
    assert_eq!(woken.load(Ordering::Relaxed), before + 1);
    feed.send(Event::set(set(2))).unwrap();
    assert_eq!(nearer.load(Ordering::Relaxed), 1, "gathered until a deadline, of which the driver hears");
    registry.tick(feed.next_deadline().unwrap());
    assert_eq!(watch.latest().endpoints().len(), 2);
    feed.send(Event::trouble(TroubleKind::Timeout, "")).unwrap();
    assert_eq!(woken.load(Ordering::Relaxed), before + 3, "staleness wakes too");
}

// Weights and metadata through discovery; change the set at run time: cloudflare/pingora#291, #441;
// apple/servicetalk#1223. Equality is on the whole endpoint (volo compares addresses only and loses a weight).
#[test]
fn every_change_of_a_description_is_told_with_its_kind() {
    let base = endpoint(1);
    let labels = Labels::new([("stage", "canary")]).unwrap();
    for (changed, what) in [
        (base.clone().with_weight(Weight::new(2)), Difference::WEIGHT),
        (base.clone().with_labels(labels), Difference::LABELS),
        (base.clone().with_address("10.9.9.9:80".parse().unwrap()), Difference::ADDRESSES),
        (base.clone().with_announced(Announced::Draining), Difference::ANNOUNCED),
        (base.clone().with_hostname("a.example"), Difference::HOSTNAME),
        (base.clone().with_expiry(Some(secs(9))), Difference::EXPIRY),
    ] {
        let mut mirror = filled(3);
        let fed = mirror.apply(secs(2), delta(1, 2, vec![changed], vec![])).unwrap();
        assert_eq!(fed.changes.len(), 1);
        assert_eq!(fed.changes[0].kind, ChangeKind::Updated { what });
    }
}

// Batch bursts: envoyproxy/gateway#9773, #9803.
#[test]
fn a_burst_costs_a_few_swaps() {
    let mut mirror = filled(1);
    let millis = |millis: u64| Timestamp::from_millis(10_000 + millis);
    let mut swaps = Vec::new();
    for step in 0..300_u64 {
        let number = u32::try_from(step).unwrap() + 10;
        let event = delta(step + 1, step + 2, vec![endpoint(number)], vec![]);
        if !mirror.apply(millis(step * 10), event).unwrap().changes.is_empty() {
            swaps.push(step * 10);
        }
    }
    assert!(swaps.len() <= 4 && swaps[0] == 0, "first at once, then each second: {swaps:?}");
    let last = mirror.next_deadline().unwrap();
    assert!(last <= millis(2_990 + 100), "then in the quiet");
    mirror.tick(last);
    assert_eq!(shown(&mirror), 301);
}

#[test]
fn without_settling_every_change_is_shown() {
    let settle = Settle { quiet: Duration::ZERO, max: Duration::ZERO };
    let mut mirror = mirror(MirrorConfig { settle, ..MirrorConfig::default() });
    mirror.apply(secs(1), Event::full(at(1), set(1))).unwrap();
    for step in 1..10 {
        let event = delta(step, step + 1, vec![endpoint(100 + u32::try_from(step).unwrap())], vec![]);
        assert_eq!(mirror.apply(secs(1), event).unwrap().changes.len(), 1);
    }
}

// Nobody hears of a silent partition without a keepalive.
#[test]
fn silence_is_stale_if_a_limit_is_set() {
    let mut mirror =
        mirror(MirrorConfig { silent_after: Some(Duration::from_secs(10)), ..MirrorConfig::default() });
    mirror.apply(secs(1), Event::set(set(2))).unwrap();
    mirror.apply(secs(5), Event::fresh()).unwrap();
    assert_eq!(mirror.next_deadline(), Some(secs(15)));
    mirror.tick(secs(15));
    assert_eq!(mirror.state(), SourceState::Stale { since: secs(15) });
    assert_eq!(mirror.status(secs(15)).error.unwrap().kind, TroubleKind::Silent);
    mirror.apply(secs(16), Event::fresh()).unwrap();
    assert_eq!(mirror.state(), SourceState::Live);
}
