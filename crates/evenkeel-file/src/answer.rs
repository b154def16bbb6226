use std::collections::BTreeMap;

use evenkeel_registry::{Coverage, Event, Proof, TroubleKind};
use evenkeel_types::{Endpoint, EndpointId};

use crate::Fault;

/// What a file says about one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The good entries, in the order of the file, no id twice.
    pub endpoints: Vec<Endpoint>,
    /// The bad ones; at most 1000 are kept.
    pub bad: Vec<BadEntry>,
    /// How many bad ones there are in all.
    pub bad_count: usize,
    /// The file says in so many words that nobody is meant.
    pub declared_empty: bool,
}

/// An entry that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEntry {
    /// Its name, or its place in the list as in `endpoints[3]`.
    pub id: String,
    /// What is wrong with it, and on which line.
    pub fault: Fault,
}

const MAX_BAD: usize = 1000;

impl Answer {
    /// The events that tell a registry so: the rejects first, then the set.
    #[must_use]
    pub fn into_events(self) -> Vec<Event> {
        let left_out = self.bad_count.saturating_sub(self.bad.len());
        let mut events: Vec<_> =
            self.bad.iter().map(|bad| Event::reject(Some(&bad.id), bad.fault.to_string())).collect();
        if left_out > 0 {
            events.push(Event::reject(None, format!("{left_out} more entries are bad")));
        }
        let nobody = self.endpoints.is_empty();
        events.push(if nobody && self.bad_count > 0 {
            // Entries there are, and none that can be read: that is no word about who exists.
            let text = format!("all {} entries are bad, the last set stays", self.bad_count);
            Event::trouble(TroubleKind::Malformed, text)
        } else if nobody && self.declared_empty {
            Event::Absent { proof: Proof::Declared }
        } else {
            Event::Full { revision: None, endpoints: self.endpoints, coverage: Coverage::Complete }
        });
        events
    }
}

/// Gathers entries, each id once.
#[derive(Default)]
pub(crate) struct Gathered {
    answer: Answer,
    lines: BTreeMap<EndpointId, usize>,
}

impl Gathered {
    pub(crate) fn take(
        &mut self,
        place: String,
        line: usize,
        read: Result<Endpoint, (Option<String>, Fault)>,
    ) {
        let endpoint = match read {
            Ok(endpoint) => endpoint,
            Err((id, fault)) => return self.bad(id.unwrap_or(place), fault),
        };
        match self.lines.get(endpoint.id()) {
            Some(first) => {
                let what = format!("a second entry with this id; the first stands on line {first}");
                self.bad(endpoint.id().to_string(), Fault::new(line, what));
            }
            None => {
                self.lines.insert(endpoint.id().clone(), line);
                self.answer.endpoints.push(endpoint);
            }
        }
    }

    pub(crate) fn bad(&mut self, id: String, fault: Fault) {
        self.answer.bad_count += 1;
        if self.answer.bad.len() < MAX_BAD {
            self.answer.bad.push(BadEntry { id, fault });
        }
    }

    pub(crate) fn done(self, declared_empty: bool) -> Answer {
        Answer { declared_empty, ..self.answer }
    }
}
