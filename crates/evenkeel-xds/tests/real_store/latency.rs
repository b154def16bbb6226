//! From a change at the control plane to the snapshot, next to a bare stream in the same run.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use evenkeel_first_pick::{FirstPick, compared};
use evenkeel_registry::MirrorConfig;
use evenkeel_types::Weight;
use evenkeel_xds::{Follow, Scope, Variant, Xds, XdsClient, XdsConfig};

use crate::hub::{Hub, config};
use crate::raw;
use crate::server::ControlPlane;
use crate::support::{Resources, encoded, simple};

#[test]
fn latency() {
    for variant in [Variant::StateOfTheWorld, Variant::Delta] {
        let mut plane = ControlPlane::start();
        let set = |weight: u32| {
            let mut message = simple("users", &[1, 2, 3]);
            message.endpoints[0].lb_endpoints[0].load_balancing_weight = Some(weight);
            Resources::from([("users".to_owned(), encoded(&message))])
        };
        plane.set_endpoints("1", set(1));
        let hub = Hub::new();
        let xds = Xds::start(config(&plane, variant)).unwrap();
        xds.follow(Follow::Endpoints("users".to_owned()), hub.feed("users", MirrorConfig::default()))
            .unwrap();
        hub.until(Duration::from_secs(10), "live", |hub| hub.len("users") == 3);
        let raw_seen = Arc::new(Marks::default());
        let marks = raw_seen.clone();
        let mut client =
            XdsClient::new(&XdsConfig { variant, ..XdsConfig::new([plane.url()], "raw") }, Scope::Followed);
        client.follow(&Follow::Endpoints("users".to_owned()));
        let end = raw::stream(plane.port, variant, client, move || marks.mark());
        let seen = Arc::new(Marks::default());
        let marks = seen.clone();
        // First who picks, as in a program: to wake the thread of this test costs a good part of what is measured.
        let first = FirstPick::follow(&hub.registry, &"users".parse().unwrap());
        let watch = hub.watch("users");
        watch.on_change(move || marks.mark());
        let (mut ours, mut theirs, mut picks) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..110_u32 {
            sleep(Duration::from_millis(120)); // longer than the quiet that bursts are gathered by
            hub.tick();
            let _ = watch.take();
            let weight = Weight::new(round + 2);
            first.wish(move |endpoint| endpoint.weight() == weight);
            let start = Instant::now();
            plane.set_endpoints(&(round + 2).to_string(), set(round + 2));
            theirs.push(raw_seen.after(start));
            ours.push(seen.after(start));
            picks.push(first.after(start));
        }
        end();
        println!("{}", compared(&format!("xds, {variant:?}"), &picks, &theirs));
        println!("xds: {variant:?}: 110 changes: {} bare stream", quantiles(&mut theirs));
        println!("xds: {variant:?}: 110 changes: {} registry snapshot", quantiles(&mut ours));
    }
}

/// When something was last seen.
#[derive(Default)]
struct Marks(Mutex<Option<Instant>>, Condvar);

impl Marks {
    fn mark(&self) {
        *self.0.lock().unwrap() = Some(Instant::now());
        self.1.notify_all();
    }

    fn after(&self, start: Instant) -> Duration {
        let mut seen = self.0.lock().unwrap();
        loop {
            if let Some(at) = seen.filter(|at| *at > start) {
                return at - start;
            }
            let (again, wait) = self.1.wait_timeout(seen, Duration::from_secs(10)).unwrap();
            assert!(!wait.timed_out(), "a change was not seen within 10 s");
            seen = again;
        }
    }
}

fn quantiles(times: &mut [Duration]) -> String {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    format!("p50 {:?}, p99 {:?}, max {:?}", at(0.5), at(0.99), at(1.0))
}
