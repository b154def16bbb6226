//! Names to addresses, by the resolver of the system, which blocks.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::connect::{Lack, Progress};
use crate::excerpt::Excerpt;
use crate::reason::{Phase, Reason};

/// Asks the system's resolver. That blocks a thread, so only a few may ask at a time; a question that was given up keeps
/// its thread until the system answers, and its place too, so that a dead resolver ties up those few threads and no
/// more.
///
/// A name has one question open at a time: the next check of a target waits for the same answer, so that a few dead names
/// do not take all places. Where they are all taken, a name goes by the addresses that it had lately, and a check of one
/// that has none says nothing about its endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    places: Arc<Semaphore>,
}

/// What is known of the name of one target.
#[derive(Debug, Default)]
pub(crate) struct Lookup(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    open: Option<Answered>,
    lately: Option<(Instant, Vec<SocketAddr>)>,
}

/// What a question led to, once it did.
type Answered = watch::Receiver<Option<Result<Vec<SocketAddr>, Excerpt>>>;

impl Resolver {
    /// Questions at a time, each of which takes a thread.
    pub(crate) const THREADS: usize = 4;

    pub(crate) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(Self::THREADS)) }
    }

    /// Whether no question is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.places.available_permits() == Self::THREADS
    }

    pub(crate) async fn resolve(
        &self,
        name: &str,
        port: u16,
        lookup: &Lookup,
        progress: &Progress,
    ) -> Result<Vec<SocketAddr>, Reason> {
        let mut answered = match lookup.open() {
            Some(open) => open,
            None => {
                let place = match Arc::clone(&self.places).try_acquire_owned() {
                    Ok(place) => place,
                    Err(_) => match lookup.lately() {
                        Some(addresses) => return Ok(addresses),
                        None => self.wait_for_place(progress).await?,
                    },
                };
                lookup.ask(name, port, place)
            }
        };
        progress.enter(Phase::Resolve);
        // Nobody answers where the question itself broke.
        let found = answered.wait_for(Option::is_some).await.map_err(|_| Reason::Internal)?.clone();
        lookup.take(found.ok_or(Reason::Internal)?).map_err(Reason::Resolve)
    }

    async fn wait_for_place(&self, progress: &Progress) -> Result<OwnedSemaphorePermit, Reason> {
        progress.lacks(Lack::Resolver);
        Arc::clone(&self.places).acquire_owned().await.map_err(|_| Reason::Internal)
    }

    /// Takes all places, as names do that nobody answers.
    #[cfg(test)]
    pub(crate) async fn occupy(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.places).acquire_many_owned(Self::THREADS as u32).await.unwrap()
    }
}

impl Lookup {
    /// The question that is still open. One that was answered after its check had ended is no answer to the next check, but
    /// its addresses are known.
    fn open(&self) -> Option<Answered> {
        let open = self.0.lock().open.take()?;
        let answer = open.borrow().clone();
        match answer {
            Some(answer) => {
                let _ = self.take(answer);
                None
            }
            // Closed without an answer: it broke.
            None if open.has_changed().is_err() => None,
            None => {
                self.0.lock().open = Some(open.clone());
                Some(open)
            }
        }
    }

    fn ask(&self, name: &str, port: u16, place: OwnedSemaphorePermit) -> Answered {
        let (tell, answered) = watch::channel(None);
        self.0.lock().open = Some(answered.clone());
        let name = name.to_owned();
        tokio::task::spawn_blocking(move || {
            let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            drop(place);
            let found = match found {
                Ok(found) if found.is_empty() => Err(Excerpt::of("no address")),
                found => found.map_err(|error| Excerpt::shown(&error)),
            };
            let _ = tell.send(Some(found));
        });
        answered
    }

    fn take(&self, answer: Result<Vec<SocketAddr>, Excerpt>) -> Result<Vec<SocketAddr>, Excerpt> {
        let mut known = self.0.lock();
        known.open = None;
        if let Ok(addresses) = &answer {
            known.lately = Some((Instant::now(), addresses.clone()));
        }
        answer
    }

    fn lately(&self) -> Option<Vec<SocketAddr>> {
        let known = self.0.lock();
        let (at, addresses) = known.lately.as_ref()?;
        (at.elapsed() < LATELY).then(|| addresses.clone())
    }
}

/// How long the addresses of a name stand in for a question that cannot be asked: longer than an outage of a name server
/// usually is, and short enough that nobody else has the address yet, as a rule.
const LATELY: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;
    use crate::connect::tests::check;
    use crate::tcp::TcpProbe;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_name_that_cannot_be_asked_for_says_nothing_of_its_endpoint() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let address: evenkeel_types::Address = format!("localhost:{port}").parse().unwrap();
        runtime().block_on(async {
            let resolver = Resolver::new();
            let short = TcpProbe { timeout: Duration::from_millis(20), ..TcpProbe::default() };
            let prepared = crate::probe::Prepared::new(&short.clone().into(), &address).unwrap();
            let taken = resolver.occupy().await;
            let answer = check(&prepared, &resolver).await;
            assert_eq!(answer.result, None, "{answer:?}");
            assert!(matches!(answer.reason, Some(Reason::Local(_))), "{answer:?}");
            let within = TcpProbe { connect_timeout: Some(short.timeout), ..TcpProbe::default() };
            let within = crate::probe::Prepared::new(&within.into(), &address).unwrap();
            assert_eq!(check(&within, &resolver).await.result, None);
            drop(taken);
            let patient = crate::probe::Prepared::new(&TcpProbe::default().into(), &address).unwrap();
            assert_eq!(check(&patient, &resolver).await, Answer::pass());
            // From here on its addresses are known.
            let _taken = resolver.occupy().await;
            assert_eq!(check(&patient, &resolver).await, Answer::pass());
        });
    }

    #[test]
    fn a_question_that_is_open_is_not_asked_again() {
        runtime().block_on(async {
            let (lookup, resolver, progress) = (Lookup::default(), Resolver::new(), Progress::default());
            let (tell, answered) = watch::channel(None);
            lookup.0.lock().open = Some(answered);
            // All places are taken: who asked would wait.
            let _taken = resolver.occupy().await;
            let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
            let answer = async {
                tokio::task::yield_now().await;
                assert_eq!(progress.timed_out(), Reason::TimedOut(Phase::Resolve));
                tell.send(Some(Ok(vec![address]))).unwrap();
            };
            let (found, ()) = tokio::join!(resolver.resolve("a", 80, &lookup, &progress), answer);
            assert_eq!(found.unwrap(), [address]);
            // An answer that nobody waited for is no answer to the next check.
            let (tell, answered) = watch::channel(None);
            lookup.0.lock().open = Some(answered);
            tell.send(Some(Err(Excerpt::of("no such name")))).unwrap();
            assert_eq!(
                resolver.resolve("a", 80, &lookup, &progress).await.unwrap(),
                [address],
                "known lately"
            );
            // Nor is one that broke.
            let (tell, answered) = watch::channel(None);
            lookup.0.lock().open = Some(answered);
            drop(tell);
            assert_eq!(resolver.resolve("a", 80, &lookup, &progress).await.unwrap(), [address]);
        });
    }
}
