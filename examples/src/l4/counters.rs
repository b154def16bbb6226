use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the proxy itself has counted, on all threads together. Clusters count what is theirs.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: Count,
    pub(crate) ended: Count,
    pub(crate) accept_errors: Count,
    pub(crate) untrusted: Count,
    pub(crate) bad_header: Count,
    pub(crate) bad_hello: Count,
    pub(crate) no_route: Count,
    pub(crate) no_endpoint: Count,
    pub(crate) connect_failures: Count,
    pub(crate) idle: Count,
    pub(crate) closed_by_drain: Count,
    pub(crate) to_endpoints: Count,
    pub(crate) to_clients: Count,
    pub(crate) sessions: Count,
    pub(crate) sessions_ended: Count,
    pub(crate) moved_sessions: Count,
    pub(crate) datagrams: Count,
    pub(crate) replies: Count,
    pub(crate) dropped: Count,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// Connections that are open.
    pub(crate) fn active(&self) -> u64 {
        // In this order: what ends in between makes it less, never more than there were.
        let ended = self.ended.value();
        self.accepted.value().saturating_sub(ended)
    }

    /// The lines of `/metrics` that are this proxy's, in the form of OpenMetrics.
    pub(crate) fn write(&self, text: &mut String) {
        let counters: [(&str, &str, &Count); 16] = [
            ("l4_connections", "Connections taken.", &self.accepted),
            ("l4_accept_errors", "Connections that the system could not give.", &self.accept_errors),
            (
                "l4_refused_untrusted",
                "Closed: a PROXY header is due, and the peer is not trusted.",
                &self.untrusted,
            ),
            ("l4_refused_header", "Closed: no PROXY header in time, or a wrong one.", &self.bad_header),
            ("l4_refused_hello", "Closed: no TLS handshake in time, or a wrong one.", &self.bad_hello),
            ("l4_refused_route", "Closed: no route takes them.", &self.no_route),
            ("l4_refused_endpoint", "Closed: no endpoint could be reached.", &self.no_endpoint),
            ("l4_connect_failures", "Attempts to reach an endpoint that failed.", &self.connect_failures),
            ("l4_idle", "Connections closed because nothing moved.", &self.idle),
            ("l4_drained", "Connections closed because a drain was over.", &self.closed_by_drain),
            ("l4_upstream_bytes", "Bytes from clients to endpoints.", &self.to_endpoints),
            ("l4_downstream_bytes", "Bytes from endpoints to clients.", &self.to_clients),
            ("l4_udp_sessions_moved", "Sessions that went on at another endpoint.", &self.moved_sessions),
            ("l4_udp_datagrams", "Datagrams from clients to endpoints.", &self.datagrams),
            ("l4_udp_replies", "Datagrams from endpoints to clients.", &self.replies),
            ("l4_udp_dropped", "Datagrams that went nowhere.", &self.dropped),
        ];
        for (name, help, count) in counters {
            let _ =
                writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name}_total {}", count.value());
        }
        let sessions = self.sessions.value().saturating_sub(self.sessions_ended.value());
        for (name, help, value) in [
            ("l4_connections_active", "Connections that are open.", self.active()),
            ("l4_udp_sessions_active", "Sessions that are kept.", sessions),
        ] {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
    }
}
