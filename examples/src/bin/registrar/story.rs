use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::{Endpoint, MonotonicClock, Registry};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::announcement::Announcement;
use crate::audience::{Audience, Heard};
use crate::gate;
use crate::options::{Options, Store};
use crate::service::Service;

/// From the first port to the last word: whether it left in order.
pub(crate) async fn tell(options: &Options) -> Result<bool, Box<dyn Error>> {
    let (start, clock, registry) = (Instant::now(), MonotonicClock::new(), Registry::default());
    let asked_to_stop = asked_to_stop()?;
    let say = move |words: &str| println!("{:>6.2} s  {words}", start.elapsed().as_secs_f64());

    let audience = match options.store {
        Store::Embedded => Some(Audience::new(&registry, &options.service.parse()?, clock)?),
        _ => None,
    };
    let listening = audience.map(|audience| tokio::spawn(audience.listen()));
    let service = Service::start(options.listen, options.warm_up).await?;
    say(&format!("{} listens on {}, and warms up", options.id, service.address()));
    let endpoint = Endpoint::new(options.id.clone(), service.address().into());
    let announcement = Arc::new(Announcement::start(options, endpoint, &registry, clock)?);
    let watching = tokio::spawn(watch(Arc::clone(&announcement), say));

    let why = tokio::select! {
        () = gate::keep(service.address(), &announcement) => "nobody asks for its health any more",
        why = asked_to_stop => why,
        () = sleep(options.run_for()) => "its time is over",
    };
    say(&format!("{why}: it drains, and goes on answering, for {:?} at most", options.deadline));
    let in_order = leave(&announcement, &service, options.deadline).await;
    watching.abort();
    match &in_order {
        Ok(()) => say("the entry is gone and nothing is in progress: it stops listening"),
        Err(reason) => say(&format!("it stops all the same: {reason}")),
    }
    drop(service);
    let heard = hear(listening).await?;
    Ok(in_order.is_ok() && heard.is_none_or(|heard| is_good(&heard)))
}

/// Listens from now on, and returns when somebody wants the process to stop.
#[cfg(unix)]
fn asked_to_stop() -> std::io::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

#[cfg(not(unix))]
fn asked_to_stop() -> std::io::Result<impl Future<Output = &'static str>> {
    Ok(async { tokio::signal::ctrl_c().await.map_or("no signals here", |()| "Ctrl-C") })
}

/// Takes the entry out of the store, then waits for requests in progress, and for both together no longer than this.
async fn leave(
    announcement: &Arc<Announcement>,
    service: &Service,
    deadline: Duration,
) -> Result<(), String> {
    let until = Instant::now() + deadline;
    let leaving = Arc::clone(announcement);
    let left = tokio::task::spawn_blocking(move || leaving.leave(deadline)).await;
    left.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let idle = tokio::time::timeout_at(until, service.until_idle()).await;
    idle.map_err(|_| "requests are still in progress".to_owned())
}

/// Tells every state of the entry.
async fn watch(announcement: Arc<Announcement>, say: impl Fn(&str)) {
    let mut told = None;
    loop {
        let state = announcement.state();
        if told != Some(state) {
            say(&format!("the entry: {state:?}"));
            told = Some(state);
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn hear(listening: Option<JoinHandle<Heard>>) -> Result<Option<Heard>, Box<dyn Error>> {
    let Some(listening) = listening else { return Ok(None) };
    let heard = timeout(Duration::from_secs(5), listening).await??;
    println!(
        "somebody who follows the registry: {} requests answered, {} lost; {} times there was nobody",
        heard.answered,
        heard.lost.len(),
        heard.nobody
    );
    for reason in heard.lost.iter().take(5) {
        println!("lost: {reason}");
    }
    Ok(Some(heard))
}

fn is_good(heard: &Heard) -> bool {
    heard.answered > 0 && heard.lost.is_empty()
}
