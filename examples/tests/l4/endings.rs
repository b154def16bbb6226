//! Endpoints that fail, limits, drains.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::backend::{Backend, nobody, reset};
use crate::client::{Setup, front, is_over, metric, read};
use crate::wait::{LIMIT, until};

const BREAKER: &str =
    "policy = \"round_robin\"\nbreaker = { rules = [{ consecutive = { failures = 3 } }], open_for = \"1h\" }";

fn breaker(proxy: &evenkeel_examples::l4::Proxy, endpoint: usize) -> String {
    let report = proxy.cluster("backs").unwrap();
    format!("{:?}", report.endpoints[endpoint].breaker)
}

#[test]
fn whoever_cannot_be_reached_is_passed_over() {
    let backend = Backend::echo("a");
    let setup = Setup { cluster: BREAKER.to_owned(), ..Setup::of([nobody(), backend.address]) };
    let proxy = setup.start();
    for _ in 0..40 {
        assert_eq!(read(&mut front(&proxy), 1), "a");
    }
    let failures = metric(proxy.admin().unwrap(), "l4_connect_failures_total");
    assert!(failures >= 3, "{failures}");
    assert!(breaker(&proxy, 0).contains("Open"), "{}", breaker(&proxy, 0));
    assert!(breaker(&proxy, 1).contains("Closed"), "{}", breaker(&proxy, 1));
}

#[test]
fn nobody_at_all_is_a_reset() {
    let proxy = Setup::of([nobody(), nobody()]).start();
    assert!(is_over(&mut front(&proxy)));
    assert_eq!(metric(proxy.admin().unwrap(), "l4_refused_endpoint_total"), 1);
}

/// Accepted and reset at once is a failure; whoever says a byte before, or ends in order, has done its job.
#[test]
fn the_verdict_depends_on_the_first_byte() {
    for (says, resets, wanted) in [("", true, "Open"), ("x", true, "Closed"), ("", false, "Closed")] {
        let backend = Backend::start(move |mut socket| {
            let mut go = [0; 1];
            let _ = socket.read_exact(&mut go);
            let _ = socket.write_all(says.as_bytes());
            if resets {
                // What was said is on its way when the client says so.
                let _ = socket.read_exact(&mut go);
                reset(socket);
            }
        });
        let proxy = Setup { cluster: BREAKER.to_owned(), ..Setup::of([backend.address]) }.start();
        for _ in 0..3 {
            let mut client = front(&proxy);
            client.write_all(b"!").unwrap();
            if !says.is_empty() {
                assert_eq!(read(&mut client, says.len()), says);
            }
            if resets {
                client.write_all(b"!").unwrap();
            } else {
                drop(client);
                until("it has ended", || proxy.connections() == 0);
                continue;
            }
            assert!(is_over(&mut client));
            until("it has ended", || proxy.connections() == 0);
        }
        assert!(breaker(&proxy, 0).contains(wanted), "{says:?} {resets}: {}", breaker(&proxy, 0));
    }
}

/// The endpoint resets while both ways wait for it. Whichever hears of it first, it is a reset for the client, and a failure.
#[test]
fn a_reset_is_no_end_also_where_it_is_written_to() {
    let (go, may_go) = channel::<usize>();
    let may_go = Mutex::new(may_go);
    let backend = Backend::start(move |mut socket| {
        let says = may_go.lock().unwrap().recv().unwrap_or_default();
        let _ = socket.write_all(&vec![b'x'; says]);
        let _ = may_go.lock().unwrap().recv();
        reset(socket);
    });
    let cluster = "breaker = { rules = [{ consecutive = { failures = 12 } }], open_for = \"1h\" }".to_owned();
    let program = "workers = 1".to_owned();
    let proxy = Setup { cluster, program, ..Setup::of([backend.address]) }.start();
    for round in [0, 2, 4, 1, 3, 5, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22] {
        let mut client = front(&proxy);
        client.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        // Until nobody takes more: the proxy holds some that it cannot write.
        while client.write(&[1; 64 << 10]).is_ok() {}
        // The ways take turns to go first, so a byte more has the other one hear of it first.
        go.send(round % 2).unwrap();
        read(&mut client, round % 2);
        thread::sleep(Duration::from_millis(20));
        go.send(0).unwrap();
        let ended = client.read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(ended, Err(ErrorKind::ConnectionReset), "round {round}");
    }
    until("all have ended", || proxy.connections() == 0);
    assert!(breaker(&proxy, 0).contains("Open"), "{}", breaker(&proxy, 0));
}

#[test]
fn an_endpoint_that_dies_takes_only_its_own() {
    let (dying, living) = (
        Backend::start(|mut socket| {
            let _ = socket.write_all(b"d");
            let _ = socket.read(&mut [0; 1]);
            reset(socket);
        }),
        Backend::echo("l"),
    );
    let proxy = Setup::of([dying.address, living.address]).start();
    let mut clients: Vec<_> = (0..20).map(|_| front(&proxy)).collect();
    let names: Vec<String> = clients.iter_mut().map(|client| read(client, 1)).collect();
    assert_eq!(names.iter().cloned().collect::<BTreeSet<_>>().len(), 2, "{names:?}");
    drop(dying);
    for (client, name) in clients.iter_mut().zip(&names) {
        client.write_all(b"?").unwrap();
        if name == "l" {
            assert_eq!(read(client, 1), "?");
        } else {
            assert!(is_over(client));
        }
    }
    // Nobody listens there any more.
    for _ in 0..20 {
        assert_eq!(read(&mut front(&proxy), 1), "l");
    }
}

#[test]
fn those_beyond_the_limit_wait_and_are_served() {
    let backend = Backend::echo("a");
    let listener = "limits = { max_connections = 10 }".to_owned();
    let proxy = Setup { listener, ..Setup::of([backend.address]) }.start();
    let flood: Vec<_> = (0..300).map(|_| front(&proxy)).collect();
    until("the limit is reached", || backend.accepted() == 10);
    thread::sleep(Duration::from_millis(100));
    assert_eq!((proxy.connections(), backend.accepted()), (10, 10));
    // They come in any order; each that ends makes room for another one.
    let reading: Vec<_> =
        flood.into_iter().map(|mut client| thread::spawn(move || read(&mut client, 1))).collect();
    for thread in reading {
        assert_eq!(thread.join().unwrap(), "a");
    }
    assert_eq!(backend.accepted(), 300);
}

#[test]
fn a_drained_endpoint_keeps_its_connections_until_the_deadline() {
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    let program = "workers = 2\nendpoint_drain = \"700ms\"".to_owned();
    let proxy = Setup { program, ..Setup::of([a.address, b.address]) }.start();
    let mut clients: Vec<_> = (0..10).map(|_| front(&proxy)).collect();
    let mut at_a: Vec<_> =
        clients.drain(..).filter_map(|mut client| (read(&mut client, 1) == "a").then_some(client)).collect();
    assert!(!at_a.is_empty());
    assert!(proxy.drain("backs", "b0"));
    for _ in 0..10 {
        assert_eq!(read(&mut front(&proxy), 1), "b");
    }
    // They go on for a while, and then no longer.
    at_a[0].write_all(b"?").unwrap();
    assert_eq!(read(&mut at_a[0], 1), "?");
    assert!(at_a.iter_mut().all(is_over));
    assert_eq!(metric(proxy.admin().unwrap(), "l4_drained_total"), at_a.len() as u64);
    // Back again, it takes new ones and keeps them.
    assert!(proxy.undrain("backs", "b0"));
    until("it is back", || read(&mut front(&proxy), 1) == "a");
    let mut kept = loop {
        let mut client = front(&proxy);
        if read(&mut client, 1) == "a" {
            break client;
        }
    };
    thread::sleep(Duration::from_millis(300));
    kept.write_all(b"?").unwrap();
    assert_eq!(read(&mut kept, 1), "?");
}

/// Who is cut off must not take it for the end of all that was to be said.
#[test]
fn a_cut_is_a_reset_on_both_sides() {
    for why in ["idle", "drain", "drop"] {
        let (heard, hears) = channel();
        let backend = Backend::start(move |mut socket| {
            let _ = socket.write_all(b"a");
            let _ = heard.send(socket.read(&mut [0; 1]).map_err(|error| error.kind()));
        });
        let listener = match why {
            "idle" => "timeouts = { idle = \"200ms\" }",
            "drain" => "timeouts = { drain = \"200ms\" }",
            _ => "",
        };
        let setup = Setup { listener: listener.to_owned(), ..Setup::of([backend.address]) };
        let proxy = setup.start();
        let mut client = front(&proxy);
        assert_eq!(read(&mut client, 1), "a");
        let kept = match why {
            "drain" => {
                proxy.stop();
                None
            }
            "drop" => {
                drop(proxy);
                None
            }
            _ => Some(proxy),
        };
        let ended = client.read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(ended, Err(ErrorKind::ConnectionReset), "{why}");
        assert_eq!(hears.recv_timeout(LIMIT).unwrap(), Err(ErrorKind::ConnectionReset), "{why}");
        drop(kept);
    }
}

/// Half of them say nothing, half of them send a byte now and then: nobody else waits.
#[test]
fn slow_clients_hold_nobody_up() {
    let backend = Backend::echo("a");
    let proxy = Setup { program: "workers = 1".to_owned(), ..Setup::of([backend.address]) }.start();
    let mut slow: Vec<_> = (0..200).map(|_| front(&proxy)).collect();
    for round in 0..20 {
        slow[round * 7].write_all(b"x").unwrap();
        let mut quick = front(&proxy);
        quick.write_all(b"ping").unwrap();
        assert_eq!(read(&mut quick, 5), "aping");
    }
}
