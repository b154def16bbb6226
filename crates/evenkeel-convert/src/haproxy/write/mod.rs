//! Writing HAProxy's configuration: defaults, a frontend for each listener, a backend for each cluster.

mod backend;
mod balance;
mod check;
mod frontend;
mod tls;

use std::fmt::Write;

use crate::conversion::Written;
use crate::report::{Report, Tells};
use crate::setup::{Listener, Serves, Setup};

/// Writes a configuration of HAProxy.
pub(crate) fn write(setup: &Setup) -> Written {
    let mut writer = Writer { setup, report: Report::default(), answers: String::new(), count: 0 };
    let mut text = String::from("defaults\n    timeout connect 5s\n    timeout client 1m\n");
    for listener in &setup.listeners {
        writer.frontend(listener, &mut text);
    }
    for cluster in &setup.clusters {
        writer.backend(cluster, &mut text);
    }
    text.push_str(&writer.answers);
    Written { text, report: writer.report }
}

struct Writer<'a> {
    setup: &'a Setup,
    report: Report,
    /// Backends that only answer.
    answers: String,
    count: u32,
}

const SAID: [&str; 5] = ["match.headers", "match.cookies", "match.query", "match.methods", "affinity"];

impl Tells for Writer<'_> {
    fn report(&mut self) -> &mut Report {
        &mut self.report
    }
}

impl Writer<'_> {
    fn frontend(&mut self, listener: &Listener, text: &mut String) {
        if listener.udp {
            let detail = "HAProxy balances no datagrams: the listener is left out, with its routes";
            self.none(format!("listeners.{}", listener.name), detail);
            return;
        }
        let mode = match &listener.serves {
            Serves::Http(_) => "http",
            Serves::Stream(_) => "tcp",
        };
        let _ = write!(text, "\nfrontend {}\n    mode {mode}\n", name_of(&listener.name));
        let tls = listener.tls.as_ref().map(|tls| self.bind_tls(&listener.name, tls)).unwrap_or_default();
        for address in &listener.addresses {
            let _ = writeln!(text, "    bind {}{tls}", bind(address));
        }
        match &listener.serves {
            Serves::Http(router) => self.http(&listener.name, router, text),
            Serves::Stream(router) => self.stream(router, text),
        }
    }
}

/// What HAProxy takes for a name.
fn name_of(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.:".contains(c) { c } else { '_' }).collect()
}

fn bind(address: &str) -> String {
    match address.strip_prefix("unix:") {
        Some(path) => format!("unix@{path}"),
        None => address.to_owned(),
    }
}

/// A word, in quotes if it needs them.
fn quoted(text: &str) -> String {
    crate::quoted::quoted(text, b"\"'#\\$", &['"', '\\', '$'])
}
