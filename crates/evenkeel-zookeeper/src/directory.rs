use std::collections::{BTreeMap, BTreeSet, VecDeque};

use evenkeel_registry::{Cause, Event, Removal, Revision, TroubleKind};
use evenkeel_types::{Endpoint, EndpointId};

use crate::{Entries, EntryError, Reading};

/// Follows the children of one node: told what the server says, it asks for what is missing and makes events. A plain
/// machine without IO or clock.
///
/// # How nothing is missed
///
/// The caller sets a persistent recursive watch first, then calls [`connected`](Self::connected), and the machine lists
/// and reads. Whatever [changes](Self::touched) meanwhile is read again afterwards, so the order of answers and
/// notifications does not matter: what counts is what a read after the last notification said. Reads go in rounds; a
/// round is one event, and what changes during it belongs to the next one. After each new connection everything is
/// listed again, because notifications of the time without one are not delivered (ZOOKEEPER-4698).
///
/// # States
///
/// ```text
///            connected   listed      missing    round read    touched       disconnected
/// Away       Listing     –           –          –             ignored       stay
/// Listing    Listing     Reading     Missing    –             noted         Away
/// Reading    Listing     –           –          Synced (1)    noted         Away
/// Synced     Listing     –           –          –             Reading       Away
/// Missing    Listing     –           –          –             Listing       Away
/// ```
///
/// 1. With `Full` after a list, else with `Delta`. Reading again, if something was noted meanwhile.
///
/// # Positions
///
/// The incarnation is the session, the position counts rounds: notifications carry no `zxid` before ZooKeeper 3.9, and a
/// server restored from an older copy counts it again from there.
#[derive(Clone, Debug)]
pub struct Directory {
    path: String,
    entries: Entries,
    max_entries: usize,
    session: String,
    rounds: u64,
    state: State,
    /// Of the round: to be asked for, and asked.
    queue: VecDeque<String>,
    asked: BTreeSet<String>,
    /// Of the round: what was read; `None` is gone.
    read: BTreeMap<String, Option<Result<Reading, EntryError>>>,
    /// Of the next round.
    noted: BTreeMap<String, Touch>,
    relist: bool,
    list_asked: bool,
    children: BTreeMap<String, Child>,
    /// How many probes in a row did not fit.
    misfits: u32,
    events: VecDeque<Event>,
}

/// What the machine asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The names of all children: answer by [`Directory::listed`], [`missing`](Directory::missing) or
    /// [`too_many`](Directory::too_many).
    List,
    /// The data of one child: answer by [`Directory::read`].
    Read {
        /// Its name.
        name: String,
        /// Its path.
        path: String,
    },
}

/// What a notification says of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// It was created, or has other data.
    Changed,
    /// It was deleted.
    Gone,
}

/// What the source had shown before its node was found missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nobody: it is not known yet, or empty.
    Nobody,
    /// Somebody.
    Somebody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Away,
    Listing,
    Reading { full: bool },
    Synced,
    Missing,
}

/// What a child is known as.
#[derive(Clone, Debug, PartialEq)]
enum Child {
    Endpoint { id: EndpointId, left_out: Option<EntryError> },
    NotAnEndpoint,
    Bad(EntryError),
}

impl Child {
    fn fault(&self) -> Option<&EntryError> {
        match self {
            Self::Endpoint { left_out, .. } => left_out.as_ref(),
            Self::NotAnEndpoint => None,
            Self::Bad(error) => Some(error),
        }
    }
}

impl Directory {
    /// A machine for the children of `path`, which does not end with a slash.
    #[must_use]
    pub fn new(path: &str, entries: Entries, max_entries: usize) -> Self {
        Self {
            path: path.to_owned(),
            entries,
            max_entries,
            session: String::new(),
            rounds: 0,
            state: State::Away,
            queue: VecDeque::new(),
            asked: BTreeSet::new(),
            read: BTreeMap::new(),
            noted: BTreeMap::new(),
            relist: false,
            list_asked: false,
            children: BTreeMap::new(),
            misfits: 0,
            events: VecDeque::new(),
        }
    }

    /// There is a connection of this session, and the watch is set: everything is listed anew. Answers to earlier asks
    /// must not be given any more.
    pub fn connected(&mut self, session: i64) {
        self.session = format!("{session:#x}");
        self.noted.clear();
        self.list();
    }

    /// The connection is lost. Answers to earlier asks must not be given any more.
    pub fn disconnected(&mut self) {
        self.drop_round();
        self.state = State::Away;
    }

    /// The position was lost, or time has come to look at everything.
    pub fn resync(&mut self) {
        match self.state {
            State::Away | State::Listing => {}
            State::Reading { .. } => self.relist = true,
            State::Synced | State::Missing => self.list(),
        }
    }

    /// A notification came, about this path. Those of grandchildren are ignored.
    pub fn touched(&mut self, path: &str, touch: Touch) {
        if self.state == State::Away {
            return;
        }
        if path == self.path {
            // Its own data mean nothing. If it vanished, all its children did before; if it came, they come after.
            if touch == Touch::Gone || self.state == State::Missing {
                self.resync();
            }
            return;
        }
        let below = path.strip_prefix(self.path.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let Some(name) = below.filter(|name| !name.is_empty() && !name.contains('/')) else { return };
        if self.state == State::Missing {
            return self.list();
        }
        self.noted.insert(name.to_owned(), touch);
        if self.state == State::Synced {
            self.start_round();
        }
    }

    /// What to ask for next, while less than `room` answers are outstanding.
    pub fn next_ask(&mut self, room: usize) -> Option<Ask> {
        match self.state {
            State::Listing if !self.list_asked => {
                self.list_asked = true;
                Some(Ask::List)
            }
            State::Reading { .. } if self.asked.len() < room => {
                let name = self.queue.pop_front()?;
                self.asked.insert(name.clone());
                Some(Ask::Read { path: format!("{}/{name}", self.path), name })
            }
            _ => None,
        }
    }

    /// All names.
    pub fn listed(&mut self, names: impl IntoIterator<Item = String>) {
        if self.state != State::Listing {
            return;
        }
        self.queue = names.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        if self.queue.len() > self.max_entries {
            return self.too_many(self.queue.len());
        }
        self.state = State::Reading { full: true };
        self.end_round_if_read();
    }

    /// There is no such node. That is no proof that there is nobody: the path is made by whoever comes first.
    pub fn missing(&mut self, before: Before) {
        if self.state != State::Listing {
            return;
        }
        self.state = State::Missing;
        self.children.clear();
        if before == Before::Somebody {
            self.rounds += 1;
            self.events.push_back(Event::full(self.position(), Vec::new()));
            return;
        }
        let text = format!("no node {}: nobody has ever registered there, or the path is wrong", self.path);
        self.events.push_back(Event::trouble(TroubleKind::Server, text));
    }

    /// There are more than are taken.
    pub fn too_many(&mut self, count: usize) {
        let text = format!("{} has {count} children: at most {} are taken", self.path, self.max_entries);
        self.events.push_back(Event::trouble(TroubleKind::TooLarge, text));
        self.drop_round();
        // As after a missing node: looked at again when something changes there or a probe finds it.
        self.state = State::Missing;
    }

    /// The data of a child; `None` if it is gone, or why they cannot be read.
    pub fn read(&mut self, name: &str, data: Option<Result<&[u8], EntryError>>) {
        if !self.asked.remove(name) {
            return;
        }
        let reading = data.map(|data| data.and_then(|data| self.entries.read(name, data)));
        self.read.insert(name.to_owned(), reading);
        self.end_round_if_read();
    }

    /// How many children the server counts; `None` if there is no such node. Says that nothing changed, or looks again.
    pub fn probed(&mut self, count: Option<usize>) {
        match (self.state, count) {
            (State::Synced, Some(count)) if count == self.children.len() => {
                self.misfits = 0;
                self.events.push_back(Event::fresh());
            }
            (State::Synced, _) => {
                // The probe may have been answered before what was told since; twice in a row is a notification lost.
                self.misfits += 1;
                if self.misfits >= 2 {
                    self.list();
                }
            }
            (State::Missing, Some(count)) if count <= self.max_entries => self.list(),
            _ => {}
        }
    }

    /// What to say to the feed, oldest first.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether all that was told has been read.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.state == State::Synced
    }

    fn list(&mut self) {
        self.drop_round();
        self.state = State::Listing;
    }

    fn drop_round(&mut self) {
        self.queue.clear();
        self.asked.clear();
        self.read.clear();
        (self.relist, self.list_asked, self.misfits) = (false, false, 0);
    }

    fn start_round(&mut self) {
        for (name, touch) in std::mem::take(&mut self.noted) {
            match touch {
                Touch::Changed => self.queue.push_back(name),
                Touch::Gone => _ = self.read.insert(name, None),
            }
        }
        self.state = State::Reading { full: false };
        self.end_round_if_read();
    }

    fn end_round_if_read(&mut self) {
        let State::Reading { full } = self.state else { return };
        if !self.queue.is_empty() || !self.asked.is_empty() {
            return;
        }
        self.end_round(full);
        self.state = State::Synced;
        if self.relist {
            self.list();
        } else if !self.noted.is_empty() {
            self.start_round();
        }
    }

    fn end_round(&mut self, full: bool) {
        let before = if full { std::mem::take(&mut self.children) } else { BTreeMap::new() };
        let (mut upserts, mut removals) = (Vec::new(), Vec::new());
        for (name, reading) in std::mem::take(&mut self.read) {
            let known = if full { before.get(&name).cloned() } else { self.children.remove(&name) };
            let (child, endpoint) = match reading {
                None => (None, None),
                Some(Err(error)) => (Some(Child::Bad(error)), None),
                Some(Ok(Reading::NotAnEndpoint)) => (Some(Child::NotAnEndpoint), None),
                Some(Ok(Reading::Endpoint { endpoint, left_out })) => {
                    (Some(Child::Endpoint { id: endpoint.id().clone(), left_out }), Some(*endpoint))
                }
            };
            let fault = child.as_ref().and_then(Child::fault);
            if let Some(fault) = fault.filter(|fault| known.as_ref().and_then(Child::fault) != Some(*fault)) {
                self.events.push_back(Event::reject(Some(&name), format!("{}/{name}: {fault}", self.path)));
            }
            if let (Some(Child::Endpoint { id, .. }), None) = (&known, &endpoint) {
                removals.push(Removal { id: id.clone(), cause: Cause::Unknown });
            }
            upserts.extend(endpoint);
            if let Some(child) = child {
                self.children.insert(name, child);
            }
        }
        self.say(full, upserts, removals);
        if self.children.len() > self.max_entries {
            self.relist = true;
        }
    }

    fn say(&mut self, full: bool, upserts: Vec<Endpoint>, removals: Vec<Removal>) {
        let from = self.position();
        if full {
            self.rounds += 1;
            self.events.push_back(Event::full(self.position(), upserts));
        } else if !upserts.is_empty() || !removals.is_empty() {
            self.rounds += 1;
            self.events.push_back(Event::Delta { from, to: self.position(), upserts, removals });
        }
    }

    fn position(&self) -> Revision {
        Revision::new(&self.session, self.rounds).expect("two numbers are short")
    }
}
