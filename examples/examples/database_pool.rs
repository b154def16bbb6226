//! How do I keep a pool of connections for each database server?
//!
//! Make the pool the payload `T` of the endpoint: it is made once for each server, kept over updates, and dropped when the server has left
//! and its last request has ended. The pool is the crate `deadpool`; the servers are loopback sockets that answer each line with their name.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use deadpool::managed::{Manager, Metrics, Pool, RecycleError, RecycleResult};
use evenkeel::{Address, Cluster, Endpoint, Outcome, PolicyConfig, Request, Tried, Weight};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Makes the connections of one pool.
struct Connect(Address);

impl Manager for Connect {
    type Type = BufReader<TcpStream>;
    type Error = io::Error;

    async fn create(&self) -> io::Result<Self::Type> {
        Ok(BufReader::new(TcpStream::connect(self.0.to_string()).await?))
    }

    /// A connection that the server has closed in the meantime must not be used again.
    async fn recycle(&self, connection: &mut Self::Type, _: &Metrics) -> RecycleResult<io::Error> {
        match connection.get_ref().try_read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            _ => Err(RecycleError::message("closed, or not at the start of an answer")),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (first, second) = (Server::start("db-1").await?, Server::start("db-2").await?);
    let policy = PolicyConfig::round_robin();
    let databases = Cluster::<Pool<Connect>>::builder("databases").policy(policy).build()?;
    let pools = AtomicUsize::new(0);
    let make = |endpoint: &Endpoint| {
        pools.fetch_add(1, Ordering::Relaxed);
        let pool = Pool::builder(Connect(endpoint.address().clone())).max_size(4).build();
        pool.expect("a pool without time limits needs no runtime")
    };
    databases.apply_with([first.endpoint(1)?, second.endpoint(1)?], make)?;

    let mut answers = BTreeMap::<String, usize>::new();
    for _ in 0..40 {
        *answers.entry(query(&databases).await?).or_default() += 1;
    }
    let connections = [&first, &second].map(|server| server.connections.load(Ordering::Relaxed));
    println!("40 queries: {answers:?}, over {connections:?} connections");
    assert_eq!(answers, BTreeMap::from([("db-1".to_owned(), 20), ("db-2".to_owned(), 20)]));
    assert_eq!(connections, [1, 1], "connections are used again");

    databases.apply_with([first.endpoint(3)?, second.endpoint(1)?], make)?;
    query(&databases).await?;
    println!("a new weight: still {} pools, and no new connection", pools.load(Ordering::Relaxed));
    assert_eq!(pools.load(Ordering::Relaxed), 2);
    assert_eq!(first.connections.load(Ordering::Relaxed), 1);

    first.stop();
    for _ in 0..8 {
        assert_eq!(query(&databases).await?, "db-2");
    }
    println!("db-1 stops: its queries go to db-2, and none is lost");
    Ok(())
}

/// Asks one database, and another one if that fails.
async fn query(databases: &Cluster<Pool<Connect>>) -> Result<String, Box<dyn Error>> {
    let mut tried = Tried::default();
    loop {
        let pick = databases.pick(&Request::new().excluding(&tried))?;
        tried.add(&pick);
        let answer = ask(pick.payload()).await;
        let outcome = if answer.is_ok() { Outcome::success() } else { Outcome::failure() };
        pick.finish(outcome);
        if answer.is_ok() || tried.len() == 2 {
            return answer;
        }
    }
}

async fn ask(pool: &Pool<Connect>) -> Result<String, Box<dyn Error>> {
    let mut connection = pool.get().await?;
    let mut answer = String::new();
    let asked = async {
        connection.write_all(b"who are you?\n").await?;
        connection.read_line(&mut answer).await
    };
    match asked.await {
        Ok(1..) => Ok(answer.trim_end().to_owned()),
        other => {
            // It is of no use to anybody any more: the pool must not have it back.
            drop(deadpool::managed::Object::take(connection));
            other?;
            Err("the server closed the connection".into())
        }
    }
}

struct Server {
    name: &'static str,
    address: Address,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(name: &'static str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?.into();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            // All connections end with this task.
            let mut serving = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                serving.spawn(answer(name, stream));
            }
        });
        Ok(Self { name, address, connections, task })
    }

    fn endpoint(&self, weight: u32) -> Result<Endpoint, Box<dyn Error>> {
        Ok(Endpoint::new(self.name.parse()?, self.address.clone()).with_weight(Weight::new(weight)))
    }

    fn stop(&self) {
        self.task.abort();
    }
}

async fn answer(name: &str, stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        if stream.write_all(format!("{name}\n").as_bytes()).await.is_err() {
            return;
        }
        line.clear();
    }
}
