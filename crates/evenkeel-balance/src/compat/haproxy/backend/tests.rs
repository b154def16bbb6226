use proptest::prelude::*;

use super::super::{HashType, Method};
use super::*;

const BALANCES: [Balance; 9] = [
    Balance::RoundRobin,
    Balance::StaticRr,
    Balance::LeastConn,
    Balance::First,
    Balance::Source,
    Balance::Uri,
    Balance::UrlParam,
    Balance::Hdr,
    Balance::Hash,
];

fn backend(balance: Balance, servers: &[Server]) -> Backend {
    Backend::new(BackendConfig { balance, ..BackendConfig::default() }, servers).expect("in range")
}

fn backup(weight: u32) -> Server {
    Server { is_backup: true, ..Server::weighing(weight) }
}

fn picks(backend: &mut Backend, count: usize) -> Vec<usize> {
    (0..count).filter_map(|_| backend.choose(None)).collect()
}

#[test]
fn one_backup_serves_alone_unless_all_are_asked_for() {
    let servers = [Server::weighing(1), backup(2), backup(1)];
    for (uses_all_backups, expected) in [(false, [1, 1, 1]), (true, [1, 1, 2])] {
        for balance in [Balance::RoundRobin, Balance::StaticRr] {
            let config = BackendConfig { balance, uses_all_backups, ..BackendConfig::default() };
            let mut backend = Backend::new(config, &servers).expect("in range");
            assert_eq!(picks(&mut backend, 3), [0, 0, 0]);
            backend.set_admin(0, Admin::Drain);
            let mut served = picks(&mut backend, 3);
            served.sort_unstable();
            assert_eq!(served, expected, "{balance:?}");
            backend.set_up(1, false);
            assert_eq!(picks(&mut backend, 2), [2, 2], "{balance:?}");
        }
    }
}

/// HAProxy deals as many slots as the first backup has weight, but to all backups.
#[test]
fn a_heavier_backup_gets_into_the_map_of_the_first() {
    let servers = [Server::weighing(0), backup(2), backup(9)];
    assert_eq!(picks(&mut backend(Balance::StaticRr, &servers), 4), [2, 2, 2, 2]);
    assert_eq!(picks(&mut backend(Balance::RoundRobin, &servers), 4), [1, 1, 1, 1]);
}

#[test]
fn maps_take_no_new_weights() {
    let servers = [Server::weighing(10), Server::weighing(4)];
    let mut map = backend(Balance::StaticRr, &servers);
    assert_eq!(map.set_weight(0, 5), Err(InvalidWeight::IsStatic { weight: 5, configured: 10 }));
    assert_eq!(map.set_weight_percent(0, 50), Err(InvalidWeight::IsStatic { weight: 5, configured: 10 }));
    assert_eq!(map.set_weight(0, 0), Ok(()));
    assert_eq!(picks(&mut map, 2), [1, 1]);
    assert_eq!(map.set_weight_percent(0, 100), Ok(()));
    assert!(picks(&mut map, 7).contains(&0));
    let mut turns = backend(Balance::RoundRobin, &servers);
    assert_eq!(turns.set_weight(0, 257), Err(InvalidWeight::OutOfRange { weight: 257 }));
    assert_eq!(turns.set_weight_percent(0, u32::MAX), Ok(()), "256 at most");
    assert_eq!(turns.set_weight_percent(1, 9), Ok(()), "rounded down to 0");
    assert_eq!(picks(&mut turns, 3), [0, 0, 0]);
}

/// Recorded from HAProxy 2.6.12: its walk ends the round over the backups before it comes back to the others.
#[test]
fn a_walk_over_backups_is_walked_to_its_end() {
    let servers = [Server::default(), Server::default(), backup(1), backup(1)];
    let hash_type = HashType::bare(Method::Consistent);
    let config = BackendConfig {
        balance: Balance::Hdr,
        hash_type,
        uses_all_backups: true,
        ..BackendConfig::default()
    };
    let mut backend = Backend::new(config, &servers).expect("in range");
    assert_eq!(picks(&mut backend, 5), [1, 0, 0, 0, 1]);
    (0..2).for_each(|server| backend.set_admin(server, Admin::Maintenance));
    assert_eq!(picks(&mut backend, 7), [2, 3, 3, 2, 3, 3, 2]);
    (0..2).for_each(|server| backend.set_admin(server, Admin::Ready));
    let rest = [3, 2, 2, 2, 2, 2, 3, 2, 2, 3, 2, 3, 3, 2, 3, 2, 3, 3, 2, 2, 3, 2, 3, 3, 3, 1, 0, 0, 0, 1];
    assert_eq!(picks(&mut backend, 30), rest);
}

#[test]
fn whoever_leaves_maintenance_is_up() {
    let mut backend = backend(Balance::RoundRobin, &[Server::default()]);
    backend.set_up(0, false);
    backend.set_admin(0, Admin::Drain);
    backend.set_admin(0, Admin::Ready);
    assert_eq!(backend.choose(None), None);
    backend.set_admin(0, Admin::Maintenance);
    backend.set_admin(0, Admin::Ready);
    assert_eq!(backend.choose(None), Some(0));
}

/// A server that is down when its backend gets a successor was in the successor's map.
#[test]
fn who_is_down_stays_down_in_the_successor() {
    for balance in BALANCES {
        let servers = [Server::default(); 3];
        let mut old = backend(balance, &servers);
        old.set_up(1, false);
        let mut new = old.successor(&servers, &[Some(0), Some(1), Some(2)]).expect("in range");
        assert!((0..9).all(|n| new.choose(Some(n)) != Some(1) && new.choose(None) != Some(1)), "{balance:?}");
    }
}

#[test]
fn the_bound_sends_hot_keys_on() {
    let hash_type = HashType::bare(Method::Consistent);
    let config = BackendConfig {
        balance: Balance::Hash,
        hash_type,
        hash_balance_factor: Some(150),
        ..BackendConfig::default()
    };
    let mut backend = Backend::new(config, &[Server::default(); 4]).expect("in range");
    let hash = Some(backend.hash_key(b"hot"));
    let mut counts = [0; 4];
    for _ in 0..100 {
        let server = backend.choose(hash).expect("all are usable");
        backend.take(server);
        counts[server] += 1;
    }
    assert!(counts.iter().all(|&count| count <= 38), "{counts:?}");
}

#[test]
fn what_haproxy_refuses_is_refused() {
    let config = BackendConfig::default();
    let refusal = |config, servers: &[Server]| Backend::new(config, servers).expect_err("out of range");
    assert_eq!(
        refusal(config, &[Server::weighing(1), Server::weighing(257)]),
        InvalidBackend::Weight { server: 1, weight: 257 }
    );
    assert_eq!(refusal(config, &[Server::default(); 4096]), InvalidBackend::TooMany { count: 4096 });
    let one_group_each: Vec<_> =
        (0..8190).map(|n| if n % 2 == 0 { backup(1) } else { Server::default() }).collect();
    assert!(Backend::new(config, &one_group_each).is_ok());
    let config = BackendConfig { hash_balance_factor: Some(100), ..config };
    assert_eq!(refusal(config, &[]), InvalidBackend::BalanceFactor { factor: 100 });
}

#[derive(Clone, Debug)]
enum Op {
    Choose(Option<u32>),
    ChooseWithout(Option<u32>, usize),
    Take(usize),
    Release(usize),
    Weight(usize, u32),
    Percent(usize, u32),
    Admin(usize, Admin),
    Up(usize, bool),
    UpEach(u32),
    Most(usize, Option<u32>),
    Successor(Vec<Option<usize>>),
}

fn op() -> impl Strategy<Value = Op> {
    let server = 0_usize..9;
    let admin = prop::sample::select(vec![Admin::Ready, Admin::Drain, Admin::Maintenance]);
    let hash = prop::option::of(any::<u32>());
    prop_oneof![
        8 => hash.clone().prop_map(Op::Choose),
        4 => (hash, server.clone()).prop_map(|(hash, server)| Op::ChooseWithout(hash, server)),
        4 => server.clone().prop_map(Op::Take),
        3 => server.clone().prop_map(Op::Release),
        2 => (server.clone(), 0_u32..300).prop_map(|(server, weight)| Op::Weight(server, weight)),
        1 => (server.clone(), any::<u32>()).prop_map(|(server, percent)| Op::Percent(server, percent)),
        2 => (server.clone(), admin).prop_map(|(server, admin)| Op::Admin(server, admin)),
        2 => (server.clone(), any::<bool>()).prop_map(|(server, is_up)| Op::Up(server, is_up)),
        1 => any::<u32>().prop_map(Op::UpEach),
        1 => (server.clone(), prop::option::of(0_u32..4)).prop_map(|(server, most)| Op::Most(server, most)),
        1 => Just((0..8).map(Some).chain([None, None]).collect::<Vec<_>>()).prop_shuffle().prop_map(Op::Successor),
    ]
}

fn server() -> impl Strategy<Value = Server> {
    let weight = prop_oneof![0_u32..8, 0..=MOST_WEIGHT];
    (weight, any::<[bool; 4]>()).prop_map(|(weight, [backup, a, b, c])| Server {
        is_backup: backup && a,
        is_disabled: b && c,
        ..Server::weighing(weight)
    })
}

fn config() -> impl Strategy<Value = BackendConfig> {
    let method = prop::sample::select(vec![Method::MapBased, Method::Consistent]);
    let factor = prop::option::of(prop_oneof![101_u32..300, Just(u32::MAX)]);
    (prop::sample::select(BALANCES.to_vec()), method, factor, any::<bool>()).prop_map(
        |(balance, method, hash_balance_factor, uses_all_backups)| BackendConfig {
            balance,
            hash_type: HashType::bare(method),
            hash_balance_factor,
            uses_all_backups,
        },
    )
}

impl Backend {
    /// Whether a request may go to a server now, as far as the server is concerned.
    fn takes(&self, server: usize) -> bool {
        let group = usize::from(self.servers.iter().all(|state| state.group == 1 || !state.is_usable()));
        self.servers[server].is_usable() && self.servers[server].group == group
    }

    /// Chooses, and checks what can be said of any choice.
    fn check(&mut self, hash: Option<u32>, without: Option<usize>) {
        let picked = self.choose_among(hash, |server| Some(server) != without);
        match picked {
            Some(server) => {
                let walks = hash.is_none() && matches!(self.structure, Structure::Consistent(_));
                let is_right = self.takes(server) || walks && self.servers[server].is_usable();
                assert!(is_right && without != Some(server), "{server} of {self:?}");
            }
            None => {
                // A walk over points that has not begun, and one backup alone, may fail although others have room.
                let is_exact = !matches!(self.structure, Structure::Consistent(_)) && self.alone().is_none();
                let is_free = |server: usize| {
                    self.takes(server) && Some(server) != without && self.servers[server].has_room()
                };
                assert!(!is_exact || !(0..self.len()).any(is_free), "{self:?}");
            }
        }
    }

    fn perform(&mut self, op: Op) {
        match op {
            Op::Choose(hash) => self.check(hash, None),
            Op::ChooseWithout(hash, server) => self.check(hash, Some(server)),
            Op::Take(server) => self.take(server),
            Op::Release(server) => self.release(server),
            Op::Weight(server, weight) => {
                let _ = self.set_weight(server, weight);
            }
            Op::Percent(server, percent) => {
                let _ = self.set_weight_percent(server, percent);
            }
            Op::Admin(server, admin) => self.set_admin(server, admin),
            Op::Up(server, is_up) => self.set_up(server, is_up),
            Op::UpEach(mask) => self.set_up_each(|server| mask >> server & 1 == 1),
            Op::Most(server, most) => self.set_max_connections(server, most),
            Op::Successor(from) => {
                let from: Vec<_> = from.into_iter().map(|old| old.filter(|&old| old < self.len())).collect();
                let server = |&old: &Option<usize>| {
                    let state = old.map(|old| self.servers[old]);
                    Server {
                        id: state.map(|state| state.id),
                        is_backup: state.is_some_and(|state| state.group == 1),
                        ..Server::weighing(state.map_or(3, |state| state.weight))
                    }
                };
                let servers: Vec<_> = from.iter().map(server).collect();
                *self = self.successor(&servers, &from).expect("the weights are in range");
            }
        }
        assert_eq!(
            self.usable.count.iter().sum::<usize>(),
            self.servers.iter().filter(|state| state.is_usable()).count()
        );
    }
}

proptest! {
    #[test]
    fn any_sequence_of_events_leaves_a_backend_that_picks(
        config in config(),
        servers in prop::collection::vec(server(), 0..8),
        ops in prop::collection::vec(op(), 0..60),
    ) {
        let mut backend = Backend::new(config, &servers).expect("in range");
        for op in ops {
            backend.perform(op);
        }
    }

    #[test]
    fn turns_are_as_many_as_weights_say(weights in prop::collection::vec(1_u32..=256, 1..6)) {
        let servers: Vec<_> = weights.iter().map(|&weight| Server::weighing(weight)).collect();
        let total: u32 = weights.iter().sum();
        for balance in [Balance::RoundRobin, Balance::StaticRr] {
            let mut counts = vec![0_u32; servers.len()];
            for server in picks(&mut backend(balance, &servers), total as usize) {
                counts[server] += 1;
            }
            for (&count, &weight) in counts.iter().zip(&weights) {
                prop_assert!(count.abs_diff(weight) <= 2, "{balance:?} {counts:?} {weights:?}");
            }
        }
    }
}
