//! Servers in trouble: `troubled SEED ADDRESS,CORES,MEAN_MS,FAILING...`, for `benches/end_to_end/run`. Each has so many
//! cores, first come, first served, and needs an exponential time of that mean for a request; so its limit is known, and the
//! same on every machine. A share of the answers is 503, at once, as of a process that has lost its database.

use std::cell::RefCell;
use std::env;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};

struct Server {
    cores: Semaphore,
    /// Seconds.
    mean: f64,
    failing: f64,
    draws: RefCell<fastrand::Rng>,
    good: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: troubled SEED ADDRESS,CORES,MEAN_MS,FAILING...";
    let mut given = env::args().skip(1);
    let seed: u64 = given.next().ok_or(usage)?.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        for (number, text) in given.enumerate() {
            let fields: Vec<&str> = text.split(',').collect();
            let [address, cores, mean, failing] = fields.as_slice() else { return Err(usage.into()) };
            let server = Rc::new(Server {
                cores: Semaphore::new(cores.parse()?),
                mean: mean.parse::<f64>()? / 1e3,
                failing: failing.parse()?,
                draws: RefCell::new(fastrand::Rng::with_seed(seed.wrapping_add(number as u64))),
                good: answer("200 OK", 1024),
            });
            spawn_local(accept(TcpListener::bind(address).await?, server));
        }
        std::future::pending::<Result<(), Box<dyn Error>>>().await
    })
}

fn answer(status: &str, length: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
    [head.into_bytes(), vec![b'x'; length]].concat()
}

async fn accept(listener: TcpListener, server: Rc<Server>) {
    while let Ok((socket, _)) = listener.accept().await {
        spawn_local(serve(socket, Rc::clone(&server)));
    }
}

/// Requests without bodies, one after another.
async fn serve(mut socket: TcpStream, server: Rc<Server>) {
    let _ = socket.set_nodelay(true);
    let mut head = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        match socket.read(&mut buffer).await {
            Ok(count) if count > 0 => head.extend_from_slice(&buffer[..count]),
            _ => return,
        }
        while let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            // A check asks for the program, and gets an answer that needs no core.
            let check = head.starts_with(b"GET /health");
            head.drain(..end + 4);
            let answer = if check { server.good.clone() } else { server.work().await };
            if socket.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

impl Server {
    async fn work(&self) -> Vec<u8> {
        if self.draws.borrow_mut().f64() < self.failing {
            return answer("503 Service Unavailable", 0);
        }
        let Ok(_core) = self.cores.acquire().await else { return Vec::new() };
        let drawn = -self.mean * (1.0 - self.draws.borrow_mut().f64()).ln();
        tokio::time::sleep(Duration::from_secs_f64(drawn)).await;
        self.good.clone()
    }
}
