use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn servers(count: usize) -> Vec<Server> {
    (0..count).map(|index| Server::new(format!("10.0.0.{index}:80"))).collect()
}

/// Asks once and is served.
fn served(upstream: &mut Upstream, subject: Subject<'_>) -> Option<usize> {
    let mut request = upstream.begin(subject);
    let place = upstream.pick(&mut request, NOW)?;
    assert_eq!(upstream.finish(&mut request, Answer::Served, NOW), Then::Done);
    Some(place.server)
}

/// Asks until it is done, and everybody answers so.
fn tried(upstream: &mut Upstream, answer: Answer) -> Vec<usize> {
    let mut request = upstream.begin(Subject::None);
    let mut tried = Vec::new();
    while let Some(place) = upstream.pick(&mut request, NOW) {
        tried.push(place.server);
        if upstream.finish(&mut request, answer, NOW) == Then::Done {
            break;
        }
    }
    tried
}

const NOW: Timestamp = Timestamp::from_secs(1000);
const METHODS: [Method; 5] =
    [Method::RoundRobin, Method::IpHash, Method::Hash, Method::HashConsistent, Method::LeastConn];

#[test]
fn a_block_that_nginx_refuses_is_refused() {
    let bad = |change: fn(&mut Server)| {
        let mut servers = servers(2);
        change(&mut servers[1]);
        Upstream::new(Method::Hash, &servers).unwrap_err()
    };
    assert_eq!(bad(|server| server.weight = 0), InvalidUpstream::ZeroWeight { server: 1 });
    assert_eq!(bad(|server| server.name.clear()), InvalidUpstream::NoName { server: 1 });
    assert_eq!(bad(|server| server.addresses = 0), InvalidUpstream::NoAddresses { server: 1 });
    let backup = bad(|server| server.backup = true);
    assert_eq!(backup, InvalidUpstream::Backup { server: 1, method: Method::Hash });
    assert_eq!(
        backup.to_string(),
        "server 1: `backup` is not allowed with hash, only with round robin and least_conn"
    );
    let half = Duration::from_millis(500);
    let mut list = servers(1);
    list[0].fail_timeout = half;
    assert_eq!(
        Upstream::new(Method::RoundRobin, &list).unwrap_err(),
        InvalidUpstream::FailTimeout { server: 0, fail_timeout: half }
    );
    assert_eq!(Upstream::new(Method::RoundRobin, &[]).unwrap_err(), InvalidUpstream::NoServers);
    let backups = [Server { backup: true, ..Server::new("a") }];
    assert_eq!(Upstream::new(Method::LeastConn, &backups).unwrap_err(), InvalidUpstream::NoServers);
    let heavy = [Server::new("a").with_weight(u32::MAX)];
    assert!(matches!(Upstream::new(Method::HashConsistent, &heavy), Err(InvalidUpstream::TooManyPoints(_))));
    let many = [Server { addresses: u32::MAX, ..Server::new("a") }];
    assert!(matches!(
        Upstream::new(Method::RoundRobin, &many),
        Err(InvalidUpstream::TooManyAddresses { .. })
    ));
}

#[test]
fn the_last_status_goes_to_the_client_and_is_no_failure() {
    let mut upstream = Upstream::new(Method::RoundRobin, &servers(2)).unwrap();
    assert_eq!(tried(&mut upstream, Answer::Retryable), [0, 1]);
    assert_eq!(tried(&mut upstream, Answer::Served), [1], "only the first has failed");
    let mut upstream = Upstream::new(Method::RoundRobin, &servers(2)).unwrap();
    assert_eq!(tried(&mut upstream, Answer::Refused), [0, 1]);
    assert_eq!(tried(&mut upstream, Answer::Served), [] as [usize; 0], "a refusal always counts");
    let mut upstream = Upstream::new(Method::RoundRobin, &servers(2)).unwrap();
    assert_eq!(tried(&mut upstream, Answer::Missing), [0, 1]);
    assert_eq!(tried(&mut upstream, Answer::Served), [1]);
    assert_eq!(tried(&mut upstream, Answer::Served), [0], "404 is no failure");
}

#[test]
fn a_single_server_keeps_its_requests() {
    for method in [Method::RoundRobin, Method::Hash, Method::LeastConn] {
        let mut upstream = Upstream::new(method, &servers(1)).unwrap();
        for _ in 0..3 {
            assert_eq!(tried(&mut upstream, Answer::Refused), [0], "{method:?}");
        }
    }
    let down = [Server { down: true, ..Server::new("a") }];
    let mut upstream = Upstream::new(Method::RoundRobin, &down).unwrap();
    assert_eq!(served(&mut upstream, Subject::None), None);
}

#[test]
fn backups_come_when_nobody_else_does_and_stay_for_the_request() {
    for method in [Method::RoundRobin, Method::LeastConn] {
        let mut list = servers(4);
        list[2].backup = true;
        list[3].backup = true;
        let mut upstream = Upstream::new(method, &list).unwrap();
        assert_eq!(tried(&mut upstream, Answer::Refused), [0, 1, 2, 3], "{method:?}");
        assert_eq!(served(&mut upstream, Subject::None), None, "{method:?}: all have failed");
        let mut upstream = Upstream::new(method, &list).unwrap();
        assert_eq!(served(&mut upstream, Subject::None), Some(0));
    }
}

#[test]
fn tries_can_be_fewer() {
    let mut upstream = Upstream::new(Method::RoundRobin, &servers(3)).unwrap();
    let mut request = upstream.begin(Subject::None).with_tries(2);
    assert!(upstream.pick(&mut request, NOW).is_some());
    assert_eq!(upstream.finish(&mut request, Answer::Refused, NOW), Then::TryNext);
    assert!(upstream.pick(&mut request, NOW).is_some());
    assert_eq!(upstream.finish(&mut request, Answer::Refused, NOW), Then::Done);
}

#[test]
fn a_server_at_max_conns_is_passed_over() {
    let mut list = servers(2);
    list[0].max_conns = 1;
    let mut upstream = Upstream::new(Method::RoundRobin, &list).unwrap();
    let mut first = upstream.begin(Subject::None);
    assert_eq!(upstream.pick(&mut first, NOW).map(|place| place.server), Some(0));
    assert_eq!(served(&mut upstream, Subject::None), Some(1));
    assert_eq!(served(&mut upstream, Subject::None), Some(1));
    let _ = upstream.finish(&mut first, Answer::Served, NOW);
    assert_eq!([(); 2].map(|()| served(&mut upstream, Subject::None)), [Some(1), Some(0)]);
}

#[test]
fn a_server_that_is_down_keeps_its_part_of_the_hash() {
    for method in [Method::Hash, Method::HashConsistent] {
        let mut list = servers(5);
        let mut all = Upstream::new(method, &list).unwrap();
        list[2].down = true;
        let mut some = Upstream::new(method, &list).unwrap();
        for key in 0..200 {
            let key = format!("key {key}");
            let before = served(&mut all, Subject::Key(key.as_bytes()));
            let after = served(&mut some, Subject::Key(key.as_bytes()));
            assert!(before == Some(2) || before == after, "{method:?}");
            assert_ne!(after, Some(2));
        }
    }
}

/// The chain of a key that meets one server of a thousand hardly ever finds the one that is left.
#[test]
fn after_20_misses_round_robin_decides() {
    let mut list = servers(1000);
    list.iter_mut().for_each(|server| server.down = true);
    list[999].down = false;
    for (method, subject) in [
        (Method::Hash, Subject::Key(b"key")),
        (Method::HashConsistent, Subject::Key(b"key")),
        (Method::IpHash, Subject::Address([10, 0, 0, 1].into())),
    ] {
        let mut upstream = Upstream::new(method, &list).unwrap();
        let mut request = upstream.begin(subject);
        assert_eq!(upstream.pick(&mut request, NOW).map(|place| place.server), Some(999), "{method:?}");
        assert!(!request.chain.goes_on(), "{method:?}");
    }
}

#[test]
fn without_a_key_servers_take_turns() {
    for method in [Method::Hash, Method::HashConsistent] {
        let mut upstream = Upstream::new(method, &servers(3)).unwrap();
        let picks: Vec<_> = (0..4).map(|_| served(&mut upstream, Subject::Key(b""))).collect();
        assert_eq!(picks, [0, 1, 2, 0].map(Some), "{method:?}");
    }
}

#[test]
fn addresses_of_one_name_take_turns_on_its_points() {
    let list = [Server { addresses: 2, ..Server::new("pool:80") }, Server::new("solo:80")];
    let mut upstream = Upstream::new(Method::HashConsistent, &list).unwrap();
    let mut of_pool = Vec::new();
    for key in 0..40 {
        let mut request = upstream.begin(Subject::Key(format!("key {key}").as_bytes()));
        let place = upstream.pick(&mut request, NOW).unwrap();
        let _ = upstream.finish(&mut request, Answer::Served, NOW);
        if place.server == 0 {
            of_pool.push(place.address);
        }
    }
    let turns: Vec<usize> = (0..of_pool.len()).map(|turn| turn % 2).collect();
    assert_eq!(of_pool, turns);
}

#[test]
fn a_request_of_another_block_harms_nobody() {
    let mut large = Upstream::new(Method::RoundRobin, &servers(9)).unwrap();
    let mut small = Upstream::new(Method::Hash, &servers(2)).unwrap();
    let mut requests: Vec<Request> = (0..9).map(|_| large.begin(Subject::None)).collect();
    for request in &mut requests {
        let _ = large.pick(request, NOW);
        let _ = small.finish(request, Answer::Refused, NOW);
        let _ = small.pick(request, NOW);
    }
}

proptest! {
    #[test]
    fn whatever_happens_only_usable_servers_are_tried_and_each_once(
        method in prop::sample::select(METHODS.to_vec()),
        lines in prop::collection::vec((1_u32..9, 0_u32..3, 0_u32..3, any::<bool>(), any::<bool>(), 1_u32..3), 1..6),
        requests in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..9), any::<u8>(), 0..4, any::<u32>()), 0..40),
    ) {
        let list: Vec<Server> = lines
            .iter()
            .map(|&(weight, max_fails, max_conns, down, backup, addresses)| Server {
                weight, max_fails, max_conns, down, addresses,
                backup: backup && method.allows_backup(),
                ..Server::new(format!("s{weight}"))
            })
            .collect();
        let Ok(mut upstream) = Upstream::new(method, &list) else { return Ok(()) };
        let mut open = Vec::new();
        for (key, fails, kind, second) in requests {
            let now = Timestamp::from_secs(second.into());
            let subject = match method {
                Method::IpHash => Subject::Address([fails, 1, 2, 3].into()),
                _ => Subject::Key(&key),
            };
            let mut request = upstream.begin(subject);
            let mut tried: Vec<Place> = Vec::new();
            while let Some(place) = upstream.pick(&mut request, now) {
                prop_assert!(!list[place.server].down);
                prop_assert!((place.address as u32) < list[place.server].addresses);
                prop_assert!(!tried.contains(&place) || upstream.is_single());
                tried.push(place);
                if kind == 0 {
                    open.push(request.clone());
                    break;
                }
                let fails = fails >> (tried.len() % 8) & 1 == 1;
                let answers = [Answer::Refused, Answer::Retryable, Answer::Missing];
                let answer = if fails { answers[kind as usize - 1] } else { Answer::Served };
                if upstream.finish(&mut request, answer, now) == Then::Done {
                    break;
                }
                prop_assert!(tried.len() < 20);
            }
        }
        for request in &mut open {
            let _ = upstream.finish(request, Answer::Served, NOW);
        }
        let connections = |group: &Group| group.states.iter().map(|state| state.connections).sum::<u32>();
        prop_assert_eq!(connections(&upstream.primary) + connections(&upstream.backup), 0);
    }
}
