use std::time::Duration;

use evenkeel_adapter::{Call, Method};
use evenkeel_registry::{Coverage, Event, Revision, TroubleKind};
use serde_json::Value;
use thiserror::Error;

use crate::entry::{Reading, duration, name, read};
use crate::{Consistency, ConsulConfig};

/// Follows a service of Consul by blocking queries, without IO: says what to ask, takes answers, gives events.
///
/// | the answer's index | what it means | events |
/// |---|---|---|
/// | higher | something may have changed | the whole set |
/// | the same | nothing has | fresh |
/// | lower | the servers were restarted, or it is another server (hashicorp/consul#7939) | the whole set, under a new incarnation; the next query does not wait |
/// | zero | as lower; a query that waited for it would never end | as lower |
///
/// Instances that cannot be read are left out and named in rejects; an answer with instances of which none can be read is
/// an error and no empty set.
///
/// An empty set is said as it is, and no proof of absence: a catalogue that was lost is empty too, until the agents have
/// registered their services again.
#[derive(Clone, Debug)]
pub struct Follower {
    path: String,
    max_behind: Duration,
    /// The index to wait beyond; zero to ask at once.
    index: u64,
    /// The index of the last answer.
    seen: u64,
    life: u64,
    /// The life in which the last answer that was told named nobody.
    nobody_in: Option<u64>,
    /// Of an answer that could not be used.
    rejects: Vec<Event>,
}

/// The headers of an answer that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head<'a> {
    /// `X-Consul-Index`.
    pub index: Option<&'a str>,
    /// `X-Consul-LastContact`, in milliseconds.
    pub last_contact: Option<&'a str>,
    /// `X-Consul-KnownLeader`.
    pub known_leader: Option<&'a str>,
    /// `X-Consul-Results-Filtered-By-ACLs`, of Consul 1.11 and later.
    pub filtered: Option<&'a str>,
}

/// An answer that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct FollowError {
    /// Of what kind.
    pub kind: TroubleKind,
    /// For people.
    pub text: String,
}

impl Follower {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new(config: &ConsulConfig) -> Self {
        // Instances are asked for whatever their health: a service in which all are critical is not empty.
        let mut path =
            format!("/v1/health/service/{}?wait={}", encoded(&config.service), duration(config.wait));
        if let Some(datacenter) = &config.datacenter {
            path.push_str(&format!("&dc={}", encoded(datacenter)));
        }
        for tag in &config.tags {
            path.push_str(&format!("&tag={}", encoded(tag)));
        }
        path.push_str(match config.consistency {
            Consistency::Default => "",
            Consistency::Stale => "&stale",
            Consistency::Consistent => "&consistent",
        });
        let rejects = Vec::new();
        Self { path, max_behind: config.max_behind, index: 0, seen: 0, life: 0, nobody_in: None, rejects }
    }

    /// What to ask next, and whether Consul will wait before it answers.
    #[must_use]
    pub fn ask(&self) -> (Call, bool) {
        let path = match self.index {
            0 => self.path.clone(),
            index => format!("{}&index={index}", self.path),
        };
        (Call { method: Method::Get, path, body: String::new() }, self.index > 0)
    }

    /// Asks for the set anew, without waiting: after any trouble.
    pub fn restart(&mut self) {
        self.index = 0;
    }

    /// The registry wants the whole set again.
    pub fn resend(&mut self) {
        self.restart();
        self.nobody_in = None;
    }

    /// Which instances of an answer could not be read, if none could.
    pub fn take_rejects(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.rejects)
    }

    /// An answer with status 200.
    ///
    /// # Errors
    ///
    /// [`FollowError`]: it cannot be used, and the next query starts anew.
    pub fn answered(&mut self, head: Head<'_>, body: &[u8]) -> Result<Vec<Event>, FollowError> {
        let answered = self.step(head, body);
        if answered.is_err() {
            self.restart();
        }
        answered
    }

    fn step(&mut self, head: Head<'_>, body: &[u8]) -> Result<Vec<Event>, FollowError> {
        let index: u64 = head
            .index
            .and_then(|index| index.parse().ok())
            .ok_or_else(|| error(TroubleKind::Malformed, "answer has no X-Consul-Index: is it Consul's?"))?;
        if head.filtered == Some("true") {
            // Some or all instances are withheld, with status 200: not a set to believe.
            return Err(error(TroubleKind::Denied, "the token may not read all of the service"));
        }
        if head.known_leader == Some("false") {
            return Err(error(TroubleKind::Server, "the server that answers knows no leader"));
        }
        let behind =
            head.last_contact.and_then(|ms| ms.parse().ok()).map_or(Duration::ZERO, Duration::from_millis);
        if behind > self.max_behind {
            let text =
                format!("the server that answers has not heard of the leader for {behind:?} (max_behind)");
            return Err(error(TroubleKind::Server, text));
        }
        if index == self.index && index > 0 {
            return Ok(vec![Event::Fresh { revision: None, behind }]);
        }
        let entries: Vec<Value> = serde_json::from_slice(body)
            .map_err(|e| error(TroubleKind::Malformed, format!("answer cannot be read: {e}")))?;
        let (mut endpoints, mut events) = (Vec::with_capacity(entries.len()), Vec::new());
        let (count, mut bad) = (entries.len(), None);
        for entry in entries {
            let named = name(&entry);
            let left_out = match read(entry) {
                Ok(Reading { endpoint, left_out }) => {
                    endpoints.push(endpoint);
                    left_out
                }
                Err(why) => {
                    bad.get_or_insert_with(|| format!("{named}: {why}"));
                    Some(why)
                }
            };
            if let Some(why) = left_out.filter(|_| events.len() < MAX_REJECTS) {
                events.push(Event::reject(Some(&named), format!("consul: {why}")));
            }
        }
        if let Some(why) = bad.filter(|_| endpoints.is_empty()) {
            self.rejects = events;
            let text = format!("none of {count} instances can be read: {why}");
            return Err(error(TroubleKind::Malformed, text));
        }
        let fell = index < self.seen || index == 0;
        if fell {
            self.life = self.life.saturating_add(1);
        }
        (self.index, self.seen) = (if fell { 0 } else { index }, index);
        let is_said = count == 0 && self.nobody_in == Some(self.life);
        self.nobody_in = (count == 0).then_some(self.life);
        if is_said {
            // A query for a service that is not there wakes at every change of any other (hashicorp/consul#3890): one witness that
            // repeats itself, where the registry counts answers that agree.
            events.push(Event::Fresh { revision: None, behind });
            return Ok(events);
        }
        let revision = Revision::new(self.life, index).ok();
        events.push(Event::Full { revision, endpoints, coverage: Coverage::Complete });
        if !behind.is_zero() {
            events.push(Event::Fresh { revision: None, behind });
        }
        Ok(events)
    }
}

fn error(kind: TroubleKind, text: impl Into<String>) -> FollowError {
    FollowError { kind, text: text.into() }
}

/// As it may stand in a path or query.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The mirror keeps the last 32; a catalogue full of nonsense must not cost memory here either.
const MAX_REJECTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn follower() -> Follower {
        Follower::new(&ConsulConfig { service: "a b".to_owned(), ..ConsulConfig::default() })
    }

    fn head(index: &str) -> Head<'_> {
        Head { index: Some(index), last_contact: Some("0"), known_leader: Some("true"), filtered: None }
    }

    const ONE: &[u8] = br#"[{"Node":{"Node":"n","Address":"10.0.0.1"},"Service":{"ID":"x","Port":80}}]"#;

    fn revision(events: &[Event]) -> Option<String> {
        events.iter().find_map(|event| match event {
            Event::Full { revision: Some(revision), .. } => Some(revision.to_string()),
            _ => None,
        })
    }

    #[test]
    fn nobody_is_said_once_in_each_life() {
        let mut follower = follower();
        assert_eq!(revision(&follower.answered(head("28"), ONE).unwrap()).as_deref(), Some("28@0"));
        assert_eq!(revision(&follower.answered(head("30"), b"[]").unwrap()).as_deref(), Some("30@0"));
        // Other services come back, each with a change, and after some trouble as well.
        assert_eq!(follower.answered(head("31"), b"[]").unwrap(), [Event::fresh()]);
        follower.restart();
        assert_eq!(follower.answered(head("31"), b"[]").unwrap(), [Event::fresh()]);
        follower.resend();
        assert_eq!(revision(&follower.answered(head("32"), b"[]").unwrap()).as_deref(), Some("32@0"));
        // A catalogue that begins anew is another witness.
        assert_eq!(revision(&follower.answered(head("3"), b"[]").unwrap()).as_deref(), Some("3@1"));
        assert_eq!(revision(&follower.answered(head("5"), ONE).unwrap()).as_deref(), Some("5@1"));
        assert_eq!(revision(&follower.answered(head("6"), b"[]").unwrap()).as_deref(), Some("6@1"));
    }

    #[test]
    fn indexes_lead_on_and_falls_start_anew() {
        let mut follower = follower();
        assert_eq!(follower.ask().0.path, "/v1/health/service/a%20b?wait=5000ms");
        assert_eq!(revision(&follower.answered(head("28"), ONE).unwrap()).as_deref(), Some("28@0"));
        assert!(follower.ask().0.path.ends_with("&index=28") && follower.ask().1);
        assert_eq!(follower.answered(head("28"), ONE).unwrap(), [Event::fresh()]);
        assert_eq!(revision(&follower.answered(head("30"), ONE).unwrap()).as_deref(), Some("30@0"));
        assert_eq!(revision(&follower.answered(head("13"), ONE).unwrap()).as_deref(), Some("13@1"));
        assert!(!follower.ask().1, "the next query does not wait");
        assert_eq!(revision(&follower.answered(head("13"), ONE).unwrap()).as_deref(), Some("13@1"));
        assert_eq!(revision(&follower.answered(head("0"), ONE).unwrap()).as_deref(), Some("0@2"));
        assert!(!follower.ask().1);
    }

    #[test]
    fn answers_without_a_leader_or_too_old_are_trouble() {
        let mut follower = follower();
        follower.answered(head("28"), ONE).unwrap();
        let no_leader = Head { known_leader: Some("false"), ..head("29") };
        assert_eq!(follower.answered(no_leader, ONE).unwrap_err().kind, TroubleKind::Server);
        assert!(!follower.ask().1);
        let old = Head { last_contact: Some("30001"), ..head("29") };
        assert_eq!(follower.answered(old, ONE).unwrap_err().kind, TroubleKind::Server);
        let filtered = Head { filtered: Some("true"), ..head("29") };
        assert_eq!(follower.answered(filtered, b"[]").unwrap_err().kind, TroubleKind::Denied);
        let behind = Head { last_contact: Some("700"), ..head("29") };
        let events = follower.answered(behind, ONE).unwrap();
        assert_eq!(events.last(), Some(&Event::Fresh { revision: None, behind: Duration::from_millis(700) }));
    }

    #[test]
    fn nonsense_is_refused_and_bad_entries_are_named() {
        let mut follower = follower();
        for (head, body) in
            [(head("7"), &b"{}"[..]), (head("7"), b"["), (head("x"), ONE), (Head::default(), ONE)]
        {
            assert_eq!(follower.answered(head, body).unwrap_err().kind, TroubleKind::Malformed);
        }
        let one = std::str::from_utf8(ONE).unwrap().trim_matches(['[', ']']);
        let body = format!(r#"[7,{{"Node":{{"Node":"n"}},"Service":{{"ID":"y"}}}},{one}]"#);
        let events = follower.answered(head("7"), body.as_bytes()).unwrap();
        assert!(
            matches!(&events[..], [Event::Reject { .. }, Event::Reject { id: Some(id), .. }, Event::Full { endpoints, .. }]
                if id == "n/y" && endpoints.len() == 1)
        );
    }

    #[test]
    fn an_answer_of_which_nothing_can_be_read_is_no_empty_set() {
        let mut follower = follower();
        follower.answered(head("7"), ONE).unwrap();
        let error = follower.answered(head("8"), br#"[7,{"Node":{"Node":"n"},"Service":{"ID":"y"}}]"#);
        let error = error.unwrap_err();
        assert_eq!(error.kind, TroubleKind::Malformed);
        assert!(error.text.starts_with("none of 2 instances can be read: ?/?"), "{error}");
        assert_eq!(follower.take_rejects().len(), 2);
        assert!(!follower.ask().1, "the next query does not wait");
        let events = follower.answered(head("9"), b"[]").unwrap();
        assert!(
            matches!(&events[..], [Event::Full { endpoints, .. }] if endpoints.is_empty()),
            "nobody is nobody"
        );
    }
}
