use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_registry::{Cause, Event, Removal, Revision};
use evenkeel_types::{Address, Announced, Endpoint, EndpointId, Timestamp};
use thiserror::Error;

use crate::slice::BadEntry;
use crate::{Family, Mapping, Slice};

/// The slices of one service, merged: told what a list and a watch say, it makes [`Event`]s. No IO, no clock.
///
/// ```text
/// list begins   began     what is held stays as it is
/// one of it     listed    staged
/// list ends     complete  the staged set in one `Full`
/// watch         changed   `Delta`
/// watch         deleted   `Delta`, after a while (below)
/// bookmark …    alive     `Fresh`
/// any error     failed    what was staged is dropped; the next thing to come is a list
/// ```
///
/// # Merging
///
/// An endpoint is known by the `uid` of what it is (its pod), else by its address. A dual-stack service has it in one
/// slice of each family: one endpoint with two addresses. While the controller moves it between slices it may be in two
/// of one family: the newer slice says what it is like. It may also be in none for a moment, since a move is two
/// writes: therefore an endpoint that vanishes without having said that it terminates stays for a moment
/// (`linger`), unless its address is another's by then. One that terminates goes at once, with proof
/// ([`Cause::Deregistered`]); of others nobody says why they went ([`Cause::Unknown`]), so the guards look at them.
///
/// A slice that cannot be read is rejected, and what it said before stays until it can be read or is deleted. One that does
/// not tell the port, since the Service has another or one more by now, is rejected as well; those of its entries that
/// were there before go on at the port they had.
///
/// # Positions
///
/// They are counted here: a list is an incarnation, an event that changes something is a step. Versions of Kubernetes
/// are opaque by contract; they are only used, where they are numbers, to tell which of two slices is newer, and that a
/// server has gone back in time ([`Relist::WentBack`]).
///
/// # Cost
///
/// A change costs its slice (100 endpoints as a rule) times the logarithm of all, and a list all of them.
#[derive(Debug)]
pub struct Slices {
    service: String,
    mapping: Mapping,
    most: usize,
    linger: Duration,
    now: Timestamp,
    held: Table,
    staged: Option<Table>,
    /// Whether what is held is what the store says, but for what is on its way.
    synced: bool,
    /// Who vanished, and when that is believed.
    lingering: BTreeMap<EndpointId, Timestamp>,
    list: u64,
    step: u64,
    /// The highest version seen in this incarnation.
    highest: u64,
    heard: u64,
    events: VecDeque<Event>,
}

/// Only a new list helps.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Relist {
    /// More endpoints than allowed. What is held stays.
    #[error("more than {most} endpoints or slices: raise bounds.max_endpoints, or follow fewer")]
    TooMany {
        /// How many are allowed.
        most: usize,
    },
    /// A version below one seen before: the server was restored from a copy, or is another one.
    #[error("resourceVersion {given} after {highest}: the server went back in time")]
    WentBack {
        /// What came.
        given: u64,
        /// The highest before.
        highest: u64,
    },
}

/// What slices say, by slice and by endpoint.
#[derive(Debug, Default)]
struct Table {
    slices: BTreeMap<Arc<str>, Held>,
    pieces: BTreeMap<EndpointId, Vec<Piece>>,
    shown: BTreeMap<EndpointId, Endpoint>,
}

/// What is held of a slice.
#[derive(Debug, Default)]
struct Held {
    ids: Vec<EndpointId>,
    rejected: BTreeSet<BadEntry>,
}

/// What one slice says about an endpoint.
#[derive(Clone, Debug)]
struct Piece {
    slice: Arc<str>,
    /// Version, then order of arrival: the higher is newer.
    rank: (u64, u64),
    endpoint: Endpoint,
}

impl Slices {
    /// Nothing known yet. `most` bounds endpoints and slices, each.
    #[must_use]
    pub fn new(service: impl Into<String>, mapping: Mapping, most: usize, linger: Duration) -> Self {
        Self {
            service: service.into(),
            mapping,
            most,
            linger,
            now: Timestamp::ORIGIN,
            held: Table::default(),
            staged: None,
            synced: false,
            lingering: BTreeMap::new(),
            list: 0,
            step: 0,
            highest: 0,
            heard: 0,
            events: VecDeque::new(),
        }
    }

    /// A list begins; one under way is dropped.
    pub fn began(&mut self) {
        self.failed();
        self.staged = Some(Table::default());
        self.highest = 0;
    }

    /// One slice of the list.
    ///
    /// # Errors
    ///
    /// [`Relist`]; the list is dropped.
    pub fn listed(&mut self, slice: Slice) -> Result<(), Relist> {
        let Some(mut staged) = self.staged.take() else { return Ok(()) };
        self.highest = self.highest.max(slice.version.unwrap_or(0));
        let before = self.held.slices.get(slice.name()).map(|held| &held.rejected);
        let before = before.cloned().unwrap_or_default();
        let taken = self.take(&mut staged, slice, &before);
        taken.map(|_| self.staged = Some(staged))
    }

    /// The list is whole.
    pub fn complete(&mut self) {
        let Some(mut staged) = self.staged.take() else { return };
        let family = self.mapping.first_family;
        staged.shown =
            staged.pieces.iter().filter_map(|(id, of)| Some((id.clone(), merged(of, family)?))).collect();
        self.held = staged;
        self.synced = true;
        self.list = self.list.saturating_add(1);
        self.step = 0;
        self.resend();
    }

    /// A slice is new or has changed.
    ///
    /// # Errors
    ///
    /// [`Relist`]; nothing was taken.
    pub fn changed(&mut self, now: Timestamp, slice: Slice) -> Result<(), Relist> {
        self.now = self.now.max(now);
        self.advance(&slice)?;
        let mut held = std::mem::take(&mut self.held);
        let before = held.slices.get(slice.name()).map(|held| held.rejected.clone()).unwrap_or_default();
        let touched = self.take(&mut held, slice, &before);
        self.held = held;
        self.tell(&touched?);
        Ok(())
    }

    /// A slice was deleted.
    ///
    /// # Errors
    ///
    /// [`Relist`]; nothing was taken.
    pub fn deleted(&mut self, now: Timestamp, slice: &Slice) -> Result<(), Relist> {
        self.now = self.now.max(now);
        self.advance(slice)?;
        if let Some(held) = self.held.slices.remove(slice.name()) {
            for id in &held.ids {
                self.held.drop_piece(id, slice.name());
            }
            self.tell(&held.ids.into_iter().collect());
        }
        Ok(())
    }

    /// The store answers, and nothing else is new.
    pub fn alive(&mut self) {
        if self.synced && self.staged.is_none() {
            self.events.push_back(Event::fresh());
        }
    }

    /// List or watch failed: what is held stays, and what comes next is a list.
    pub fn failed(&mut self) {
        self.staged = None;
        self.synced = false;
        // Whether they have moved elsewhere is for the list to say.
        self.lingering.clear();
    }

    /// Lets go of those whose time is over.
    pub fn tick(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        let due = |until: &Timestamp| *until <= self.now;
        let gone: Vec<_> =
            self.lingering.iter().filter(|(_, until)| due(until)).map(|(id, _)| id.clone()).collect();
        if !gone.is_empty() {
            self.step_with(Vec::new(), gone.into_iter().map(|id| (id, Cause::Unknown)).collect());
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.lingering.values().min().copied()
    }

    /// The next thing to tell a feed, in order.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Tells everything once more, for a feed that has lost its position. Needs no list.
    pub fn resend(&mut self) {
        if self.synced {
            let endpoints = self.held.shown.values().cloned().collect();
            self.events.push_back(Event::Full {
                revision: self.revision(),
                endpoints,
                coverage: evenkeel_registry::Coverage::Complete,
            });
        }
    }

    fn revision(&self) -> Option<Revision> {
        Revision::new(self.list, self.step).ok()
    }

    fn advance(&mut self, slice: &Slice) -> Result<(), Relist> {
        let Some(given) = slice.version else { return Ok(()) };
        if given < self.highest {
            return Err(Relist::WentBack { given, highest: self.highest });
        }
        self.highest = given;
        Ok(())
    }

    /// Takes a slice into a table, and gives whom that concerns.
    fn take(
        &mut self,
        table: &mut Table,
        slice: Slice,
        rejected_before: &BTreeSet<BadEntry>,
    ) -> Result<BTreeSet<EndpointId>, Relist> {
        let Slice { name, version, content } = slice;
        self.heard = self.heard.saturating_add(1);
        let rank = (version.unwrap_or(0), self.heard);
        if table.slices.len() >= self.most && !table.slices.contains_key(name.as_str()) {
            return Err(Relist::TooMany { most: self.most });
        }
        let content = content.map_err(|fault| fault.to_string());
        let known = |id: &EndpointId| table.port_of(id, &name).or_else(|| self.held.port_of(id, &name));
        let read = content.and_then(|content| self.mapping.endpoints(&self.service, content, known));
        let (good, mut bad) = match read {
            Ok(read) => read,
            Err(why) => {
                // What it said before stays, also over a list.
                let only = BTreeSet::from([BadEntry { which: String::new(), why }]);
                self.reject(&name, &only, rejected_before);
                let carried = self.held.pieces_of(&name);
                let held = table.slices.entry(name.into()).or_default();
                held.rejected = only;
                held.ids.extend(carried.iter().map(|piece| piece.endpoint.id().clone()));
                for piece in carried {
                    table.pieces.entry(piece.endpoint.id().clone()).or_default().push(piece);
                }
                return Ok(BTreeSet::new());
            }
        };
        let new = good.iter().filter(|endpoint| !table.pieces.contains_key(endpoint.id())).count();
        if table.pieces.len() + new > self.most {
            return Err(Relist::TooMany { most: self.most });
        }
        let name: Arc<str> = name.into();
        let old = table.slices.remove(&name).unwrap_or_default();
        for id in &old.ids {
            table.drop_piece(id, &name);
        }
        let mut ids = Vec::with_capacity(good.len());
        for endpoint in good {
            let id = endpoint.id().clone();
            let pieces = table.pieces.entry(id.clone()).or_default();
            if pieces.iter().any(|piece| piece.slice == name) {
                let why = format!("{id} is in the slice twice");
                bad.push(BadEntry { which: endpoint.address().to_string(), why });
                continue;
            }
            pieces.push(Piece { slice: name.clone(), rank, endpoint });
            ids.push(id);
        }
        let rejected = few(bad);
        self.reject(&name, &rejected, rejected_before);
        let touched = old.ids.into_iter().chain(ids.iter().cloned()).collect();
        table.slices.insert(name, Held { ids, rejected });
        Ok(touched)
    }

    /// Tells what is bad, if it was not told before.
    fn reject(&mut self, slice: &str, bad: &BTreeSet<BadEntry>, before: &BTreeSet<BadEntry>) {
        for BadEntry { which, why } in bad.difference(before) {
            let id = format!("{slice}{which}");
            self.events.push_back(Event::reject(Some(&id), format!("EndpointSlice {slice}: {why}")));
        }
    }

    /// Compares those with what was shown of them, and tells the difference.
    fn tell(&mut self, touched: &BTreeSet<EndpointId>) {
        let (mut upserts, mut removals) = (Vec::new(), Vec::new());
        for id in touched {
            let now = self.held.pieces.get(id).and_then(|pieces| merged(pieces, self.mapping.first_family));
            let shown = self.held.shown.get(id);
            match (now, shown) {
                (Some(now), shown) => {
                    self.lingering.remove(id);
                    if shown != Some(&now) {
                        upserts.push(now);
                    }
                }
                (None, Some(shown)) => {
                    if matches!(shown.announced(), Announced::Draining | Announced::Down) {
                        removals.push((id.clone(), Cause::Deregistered));
                    } else if self.linger.is_zero() {
                        removals.push((id.clone(), Cause::Unknown));
                    } else {
                        let until = self.now.saturating_add(self.linger);
                        self.lingering.entry(id.clone()).or_insert(until);
                    }
                }
                (None, None) => {}
            }
        }
        self.replace(&upserts, &mut removals);
        self.step_with(upserts, removals);
    }

    /// Those who linger at an address that is another's now are gone.
    fn replace(&self, upserts: &[Endpoint], removals: &mut Vec<(EndpointId, Cause)>) {
        if upserts.is_empty() || self.lingering.is_empty() {
            return;
        }
        let taken: BTreeSet<String> =
            upserts.iter().flat_map(Endpoint::addresses).map(ToString::to_string).collect();
        let gone = self.lingering.keys().filter(|id| {
            let shown = self.held.shown.get(id);
            shown.is_some_and(|shown| shown.addresses().any(|address| taken.contains(&address.to_string())))
        });
        removals.extend(gone.map(|id| (id.clone(), Cause::Replaced)));
    }

    fn step_with(&mut self, upserts: Vec<Endpoint>, removals: Vec<(EndpointId, Cause)>) {
        if upserts.is_empty() && removals.is_empty() {
            return;
        }
        let from = self.revision();
        self.step = self.step.saturating_add(1);
        let to = self.revision();
        for endpoint in &upserts {
            self.held.shown.insert(endpoint.id().clone(), endpoint.clone());
        }
        for (id, _) in &removals {
            self.held.shown.remove(id);
            self.lingering.remove(id);
        }
        let removals = removals.into_iter().map(|(id, cause)| Removal { id, cause }).collect();
        if let (Some(from), Some(to)) = (from, to) {
            self.events.push_back(Event::Delta { from, to, upserts, removals });
        }
    }
}

impl Table {
    fn port_of(&self, id: &EndpointId, slice: &str) -> Option<u16> {
        self.pieces.get(id)?.iter().find(|piece| &*piece.slice == slice)?.endpoint.address().port()
    }

    fn pieces_of(&self, slice: &str) -> Vec<Piece> {
        let ids = self.slices.get(slice).map(|held| held.ids.as_slice()).unwrap_or_default();
        let pieces = ids.iter().filter_map(|id| self.pieces.get(id)).flatten();
        pieces.filter(|piece| &*piece.slice == slice).cloned().collect()
    }

    fn drop_piece(&mut self, id: &EndpointId, slice: &str) {
        if let Some(pieces) = self.pieces.get_mut(id) {
            pieces.retain(|piece| &*piece.slice != slice);
            if pieces.is_empty() {
                self.pieces.remove(id);
            }
        }
    }
}

/// One endpoint of what several slices say: as the newest says, at the newest address of each family.
fn merged(pieces: &[Piece], first: Family) -> Option<Endpoint> {
    let newest = |v4: Option<bool>| {
        let of_family = |piece: &&Piece| v4.is_none_or(|v4| is_v4(piece.endpoint.address()) == v4);
        pieces.iter().filter(of_family).max_by_key(|piece| piece.rank)
    };
    let endpoint = newest(None)?.endpoint.clone();
    let mut addresses =
        [newest(Some(true)), newest(Some(false))].map(|piece| piece.map(|p| p.endpoint.address().clone()));
    if first == Family::V6 {
        addresses.reverse();
    }
    let mut addresses = addresses.into_iter().flatten();
    let endpoint = endpoint.with_address(addresses.next()?);
    endpoint.with_further_addresses(addresses.collect()).ok()
}

const fn is_v4(address: &Address) -> bool {
    matches!(address.socket_addr(), Some(socket) if socket.is_ipv4())
}

/// As many as people read, and a word about the others.
fn few(mut bad: Vec<BadEntry>) -> BTreeSet<BadEntry> {
    let more = bad.len().saturating_sub(MOST_REJECTED);
    bad.truncate(MOST_REJECTED);
    if more > 0 {
        bad.push(BadEntry { which: String::new(), why: format!("{more} more entries are bad") });
    }
    bad.into_iter().collect()
}

/// Of one slice. The registry keeps the last 32 of a source.
const MOST_REJECTED: usize = 16;
