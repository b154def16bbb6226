//! Requests at a fixed rate, whatever the answers do: `open_loop ADDRESS RATE CONNECTIONS SECONDS`, for
//! `benches/end_to_end/run`. A request is late from the moment at which it was due, so a front that stalls pays for all
//! that waited meanwhile. Prints one object of JSON, times in microseconds.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::env;
use std::error::Error;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};

#[derive(Default)]
struct Work {
    due: RefCell<VecDeque<Instant>>,
    more: Notify,
    taken: RefCell<Vec<u64>>,
    failed: RefCell<u64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = env::args().skip(1).collect();
    let [address, rate, connections, seconds] = given.as_slice() else {
        return Err("usage: open_loop ADDRESS RATE CONNECTIONS SECONDS".into());
    };
    let (rate, seconds) = (rate.parse::<f64>()?, seconds.parse::<f64>()?);
    let connections: usize = connections.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = Rc::new(Work::default());
    LocalSet::new().block_on(&runtime, run(address, rate, connections, seconds, &work))?;
    let mut taken = work.taken.take();
    taken.sort_unstable();
    let at =
        |share: f64| taken.get(((taken.len() as f64 * share) as usize).min(taken.len().saturating_sub(1)));
    let at = |share| at(share).copied().unwrap_or_default() as f64 / 1_000.0;
    println!(
        "{{\"requests\": {}, \"failed\": {}, \"p50\": {:.1}, \"p99\": {:.1}, \"p999\": {:.1}}}",
        taken.len(),
        work.failed.borrow(),
        at(0.5),
        at(0.99),
        at(0.999)
    );
    Ok(())
}

async fn run(
    address: &str,
    rate: f64,
    connections: usize,
    seconds: f64,
    work: &Rc<Work>,
) -> Result<(), Box<dyn Error>> {
    for _ in 0..connections {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        spawn_local(client(socket, address.to_owned(), Rc::clone(work)));
    }
    // The timers of tokio are good for a millisecond; this one for some microseconds.
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let tick = Timespec { tv_sec: 0, tv_nsec: TICK };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: tick, it_value: tick })?;
    // What takes its place is unsafe, for descriptors that are closed elsewhere; this one is owned.
    #[allow(deprecated)]
    let timer = AsyncFd::new(timer)?;
    let begun = Instant::now();
    let mut sent = 0_u64;
    while begun.elapsed().as_secs_f64() < seconds {
        let mut ready = timer.readable().await?;
        let mut count = [0; 8];
        let _ = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut count)?));
        drop(ready);
        let due = (begun.elapsed().as_secs_f64() * rate) as u64;
        while sent < due {
            work.due.borrow_mut().push_back(begun + Duration::from_secs_f64(sent as f64 / rate));
            sent += 1;
            work.more.notify_one();
        }
        tokio::task::yield_now().await;
    }
    // What is under way has a second to end; the rest has failed.
    let grace = Instant::now();
    let answered = || work.taken.borrow().len() as u64 + *work.failed.borrow();
    while answered() < sent && grace.elapsed() < Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    *work.failed.borrow_mut() += sent - answered();
    Ok(())
}

async fn client(mut socket: TcpStream, address: String, work: Rc<Work>) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let due = work.due.borrow_mut().pop_front();
        let Some(due) = due else {
            work.more.notified().await;
            continue;
        };
        // Of several notices only one is kept: whoever takes one passes it on.
        if !work.due.borrow().is_empty() {
            work.more.notify_one();
        }
        if exchange(&mut socket, &mut buffer).await.is_some() {
            work.taken.borrow_mut().push(due.elapsed().as_nanos() as u64);
            continue;
        }
        *work.failed.borrow_mut() += 1;
        let Ok(again) = TcpStream::connect(&address).await else { return };
        socket = again;
    }
}

/// One request and its answer, which has a `Content-Length`.
async fn exchange(socket: &mut TcpStream, buffer: &mut [u8]) -> Option<()> {
    socket.write_all(b"GET /1k HTTP/1.1\r\nHost: bench\r\n\r\n").await.ok()?;
    let mut end = 0;
    loop {
        let count = socket.read(&mut buffer[end..]).await.ok()?;
        if count == 0 {
            return None;
        }
        end += count;
        let head = buffer[..end].windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let Some(head) = head.map(|head| head + 4) else { continue };
        let text = std::str::from_utf8(&buffer[..head]).ok()?.to_ascii_lowercase();
        if !text.starts_with("http/1.1 200") {
            return None;
        }
        let length = text.split("content-length:").nth(1)?.lines().next()?.trim().parse::<usize>().ok()?;
        if end >= head + length {
            return Some(());
        }
    }
}

/// Nanoseconds.
const TICK: i64 = 100_000;
