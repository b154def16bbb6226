//! Events, as a subscriber hears them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails the test")]

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use evenkeel::{AdminState, Cluster, Endpoint, ManualClock};
use evenkeel_metrics::{Counters, Events};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Heard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "evenkeel"
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn who_goes_out_of_service_is_a_warning() {
    let heard = Heard::default();
    let _guard = tracing::subscriber::set_default(heard.clone());
    let counters = Counters::new();
    let cluster = Cluster::<()>::builder("users")
        .clock(ManualClock::default())
        .observer(counters.and(Events::new("users")))
        .build()
        .unwrap();
    cluster.apply([Endpoint::new("a".parse().unwrap(), "10.0.0.1:80".parse().unwrap())]).unwrap();
    let handle = cluster.endpoint(&"a".parse().unwrap()).unwrap();
    handle.set_admin(AdminState::Maintenance);
    handle.set_admin(AdminState::Ready);
    let lines = heard.0.lock().unwrap().clone();
    let [joined, out, back] = &lines[..] else { panic!("{lines:#?}") };
    assert!(joined.starts_with("INFO ") && joined.contains("added=1"), "{joined}");
    assert!(
        out.starts_with("WARN ") && out.contains("cause=maintenance") && out.contains("endpoint=a"),
        "{out}"
    );
    assert!(back.starts_with("INFO ") && back.contains("in service"), "{back}");
}
