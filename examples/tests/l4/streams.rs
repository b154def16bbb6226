//! Bytes both ways.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::backend::{Backend, reset};
use crate::client::{Setup, front, is_over, metric, read};
use crate::wait::until;

/// The client ends first, and still hears the answer.
#[test]
fn the_end_of_the_client_is_passed_on() {
    let backend = Backend::start(|mut socket| {
        let mut said = String::new();
        socket.read_to_string(&mut said).unwrap();
        write!(socket, "heard {said}").unwrap();
    });
    let proxy = Setup::of([backend.address]).start();
    let mut client = front(&proxy);
    client.write_all(b"all of it").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "heard all of it");
}

/// The endpoint ends first, and still hears the client.
#[test]
fn the_end_of_the_endpoint_is_passed_on() {
    let (heard, hears) = std::sync::mpsc::channel();
    let backend = Backend::start(move |mut socket| {
        socket.write_all(b"bye").unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        socket.read_to_string(&mut said).unwrap();
        heard.send(said).unwrap();
    });
    let proxy = Setup::of([backend.address]).start();
    let mut client = front(&proxy);
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert_eq!(said, "bye");
    client.write_all(b"wait, one more thing").unwrap();
    drop(client);
    assert_eq!(hears.recv_timeout(crate::wait::LIMIT).unwrap(), "wait, one more thing");
    until("the connection is forgotten", || proxy.connections() == 0);
}

#[test]
fn a_reset_is_passed_on_as_one() {
    let backend = Backend::start(|mut socket| {
        socket.write_all(b"half an ans").unwrap();
        let mut go = [0; 1];
        socket.read_exact(&mut go).unwrap();
        reset(socket);
    });
    let proxy = Setup::of([backend.address]).start();
    let mut client = front(&proxy);
    assert_eq!(read(&mut client, 11), "half an ans");
    client.write_all(b"!").unwrap();
    let error = client.read(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    until("the connection is forgotten", || proxy.connections() == 0);
}

#[test]
fn a_client_that_is_gone_ends_the_connection_to_the_endpoint() {
    let (ended, ends) = std::sync::mpsc::channel();
    let backend = Backend::start(move |mut socket| {
        socket.write_all(b"hello").unwrap();
        ended.send(socket.read(&mut [0; 10]).map_err(|error| error.kind())).unwrap();
    });
    let proxy = Setup::of([backend.address]).start();
    let mut client = front(&proxy);
    read(&mut client, 5);
    reset(client);
    assert_eq!(ends.recv_timeout(crate::wait::LIMIT).unwrap(), Err(ErrorKind::ConnectionReset));
}

/// Megabytes of known bytes through both ways at once, by splice and by copy, in odd pieces.
#[test]
fn large_streams_arrive_whole() {
    for program in ["workers = 1\nsplice = true", "workers = 1\nsplice = false"] {
        let backend = Backend::start(|mut socket| {
            let mut reader = socket.try_clone().unwrap();
            let back = thread::spawn(move || check_numbers(&mut reader, 32 << 20));
            send_numbers(&mut socket, 48 << 20);
            socket.shutdown(Shutdown::Write).unwrap();
            back.join().unwrap();
            // The client hears that all was well only now.
            drop(socket);
        });
        let proxy = Setup { program: program.to_owned(), ..Setup::of([backend.address]) }.start();
        let mut client = front(&proxy);
        let mut writer = client.try_clone().unwrap();
        let sending = thread::spawn(move || {
            send_numbers(&mut writer, 32 << 20);
            writer.shutdown(Shutdown::Write).unwrap();
        });
        check_numbers(&mut client, 48 << 20);
        sending.join().unwrap();
        until("the connection is forgotten", || proxy.connections() == 0);
        let admin = proxy.admin().unwrap();
        assert_eq!(metric(admin, "l4_upstream_bytes_total"), 32 << 20, "{program}");
        assert_eq!(metric(admin, "l4_downstream_bytes_total"), 48 << 20, "{program}");
    }
}

fn number(at: usize) -> u8 {
    ((at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

fn send_numbers(socket: &mut TcpStream, count: usize) {
    let bytes: Vec<u8> = (0..count).map(number).collect();
    for part in bytes.chunks(77_777) {
        socket.write_all(part).unwrap();
    }
}

fn check_numbers(socket: &mut TcpStream, count: usize) {
    let mut buffer = vec![0; 100_003];
    let mut at = 0;
    loop {
        let read = socket.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        for (i, &byte) in buffer[..read].iter().enumerate() {
            assert_eq!(byte, number(at + i), "byte {}", at + i);
        }
        at += read;
    }
    assert_eq!(at, count);
}

/// Who does not read has the sender wait; the proxy does not take it all in.
#[test]
fn a_slow_reader_slows_the_writer() {
    for splice in [true, false] {
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        let backend = Backend::start(move |mut socket| {
            let bytes = vec![7; 64 << 10];
            while socket.write_all(&bytes).is_ok() {
                counter.fetch_add(bytes.len() as u64, Ordering::AcqRel);
            }
        });
        let program = format!("workers = 1\nsplice = {splice}");
        let proxy = Setup { program, ..Setup::of([backend.address]) }.start();
        let mut client = front(&proxy);
        // It stands still when the buffers of four sockets are full.
        let mut last = u64::MAX;
        until("the writer waits", || {
            thread::sleep(Duration::from_millis(200));
            let now = sent.load(Ordering::Acquire);
            std::mem::replace(&mut last, now) == now && now > 0
        });
        assert!(last < 64 << 20, "{last}");
        // And goes on when there is room.
        let mut left = 32 << 20;
        let mut buffer = vec![0; 64 << 10];
        while left > 0 {
            left -= client.read(&mut buffer).unwrap().min(left);
        }
        until("it went on", || sent.load(Ordering::Acquire) > last);
    }
}

#[test]
fn silence_ends_a_connection_and_a_trickle_does_not() {
    let backend = Backend::echo("");
    let listener = "timeouts = { idle = \"400ms\" }".to_owned();
    let proxy = Setup { listener, ..Setup::of([backend.address]) }.start();
    let (mut silent, mut talking) = (front(&proxy), front(&proxy));
    // More than twice the time of silence, in steps well below it.
    for _ in 0..20 {
        talking.write_all(b"x").unwrap();
        assert_eq!(read(&mut talking, 1), "x");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(is_over(&mut silent));
    assert!(is_over(&mut talking), "and when it is silent too, it ends");
    assert_eq!(metric(proxy.admin().unwrap(), "l4_idle_total"), 2);
}
