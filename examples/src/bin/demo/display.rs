//! Keeps the screen up to date while something runs.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::{Clock, Ratio, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::load::Seen;
use crate::options::Options;
use crate::screen::Screen;
use crate::table::{self, Line, Shares, Tone};
use crate::world::World;

/// The line above the table.
#[derive(Debug)]
pub(crate) struct Title {
    fixed: String,
    length: Option<Duration>,
    seen: Option<Arc<Seen>>,
}

impl Title {
    pub(crate) fn story(options: &Options, seen: Arc<Seen>) -> Self {
        let fixed = format!("{}   {} requests/s", options.policy.name(), options.rate);
        Self { fixed, length: Some(Duration::from_secs(options.seconds)), seen: Some(seen) }
    }

    pub(crate) fn proxy(options: &Options) -> Self {
        Self { fixed: format!("{}   Ctrl-C ends it", options.policy.name()), length: None, seen: None }
    }

    /// ` 7.9 s of 20 s   least_request   400 requests/s   p50 6.2 ms   p99 18 ms   0 lost`
    fn text(&self, elapsed: Duration, now: Timestamp) -> String {
        let of = self.length.map_or(String::new(), |length| format!(" of {} s", length.as_secs()));
        let clients = self.seen.as_ref().map_or(String::new(), |seen| {
            let quantile =
                |percent| table::duration(Ratio::percent(percent).ok().and_then(|q| seen.recent(q, now)));
            format!("   p50 {}   p99 {}   {} lost", quantile(50), quantile(99), seen.lost().len())
        });
        format!("{:.1} s{of}   {}{clients}", elapsed.as_secs_f64(), self.fixed)
    }
}

/// A task that draws several times a second.
#[derive(Debug)]
pub(crate) struct Showing {
    stop: watch::Sender<bool>,
    task: JoinHandle<Screen>,
}

impl Showing {
    pub(crate) fn start(world: Arc<World>, screen: Screen, title: Title) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { stop, task: tokio::spawn(show(world, screen, title, stopped)) }
    }

    /// Draws a last time, and hands the screen on.
    pub(crate) async fn end(self) -> Screen {
        let _ = self.stop.send(true);
        self.task.await.unwrap_or_else(|_| Screen::new())
    }
}

async fn show(
    world: Arc<World>,
    mut screen: Screen,
    title: Title,
    mut stop: watch::Receiver<bool>,
) -> Screen {
    let start = world.clock.now();
    let mut shares = Shares::default();
    shares.note(start, world.meters.tries());
    let mut plain_due = Duration::ZERO;
    loop {
        let stopped = tokio::time::timeout(REFRESH, stop.wait_for(|stopped| *stopped)).await.is_ok();
        let now = world.clock.now();
        let elapsed = now.saturating_since(start);
        let recent = shares.note(now, world.meters.tries());
        let mut news: Vec<String> = world.journal.take().iter().map(|entry| entry.line(start)).collect();
        let mut lines = vec![Line::blank(), Line { text: title.text(elapsed, now), tone: Tone::Heading }];
        lines.extend(table::lines(&world, &recent, now));
        if !screen.is_live() && (elapsed >= plain_due || stopped) {
            plain_due = elapsed + PLAIN_EVERY;
            news.extend(lines.iter().map(|line| line.text.clone()));
            news.push(String::new());
        }
        screen.update(&news, &lines);
        if stopped {
            screen.settle();
            return screen;
        }
    }
}

/// Fast enough to look alive, slow enough to read.
const REFRESH: Duration = Duration::from_millis(200);

/// How often the table is printed where it cannot be drawn in place.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
