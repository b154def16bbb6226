use std::hash::BuildHasherDefault;
use std::time::Duration;

use evenkeel_types::{EndpointId, Timestamp};
use hashbrown::HashMap;
use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;
use thiserror::Error;

/// A table of who is where, learnt from answers: a session id that the application gave out, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct LearnedConfig {
    /// The most keys, 1 to 100,000,000; the least recently used one makes room. Default 100,000.
    pub capacity: u32,
    /// How long a key is kept after its last use, above zero. Default 1 h.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub ttl: Duration,
    /// The seed of the hash of keys: secret, so that nobody can make keys that collide. Default 0.
    pub seed: u64,
}

impl Default for LearnedConfig {
    fn default() -> Self {
        Self { capacity: 100_000, ttl: Duration::from_secs(3600), seed: 0 }
    }
}

/// Which endpoint a key belongs to, in bounded memory.
///
/// Of a key only 128 bits of its keyed hash are kept (nginx keeps MD5). Each operation is O(1).
///
/// ```
/// use evenkeel_route::affinity::{Learned, LearnedConfig};
/// use evenkeel_types::Timestamp;
///
/// let mut table = Learned::new(&LearnedConfig { capacity: 2, ..LearnedConfig::default() })?;
/// let now = Timestamp::from_secs(1);
/// table.learn(b"session-1", &"users-1".parse()?, now);
/// assert_eq!(table.find(b"session-1", now).map(|id| id.as_str()), Some("users-1"));
/// assert_eq!(table.find(b"session-1", Timestamp::from_secs(3601)), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Learned {
    config: LearnedConfig,
    places: HashMap<u128, u32, BuildHasherDefault<SipHasher13>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The most recently used slot, and the least.
    newest: u32,
    oldest: u32,
    now: Timestamp,
}

#[derive(Clone, Debug)]
struct Slot {
    key: u128,
    endpoint: EndpointId,
    until: Timestamp,
    newer: u32,
    older: u32,
}

impl Learned {
    /// An empty table.
    ///
    /// # Errors
    ///
    /// [`LearnedError`] if it could hold nothing, or too much.
    pub fn new(config: &LearnedConfig) -> Result<Self, LearnedError> {
        if !(1..=MOST).contains(&config.capacity) {
            return Err(LearnedError::Capacity(config.capacity));
        }
        if config.ttl.is_zero() {
            return Err(LearnedError::ZeroTtl);
        }
        Ok(Self {
            config: *config,
            places: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            now: Timestamp::ORIGIN,
        })
    }

    /// How many keys it knows, those that have expired unnoticed included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Remembers, or learns anew, where a key belongs. Expired keys and, if there is no room, the least recently used one are
    /// forgotten.
    pub fn learn(&mut self, key: &[u8], endpoint: &EndpointId, now: Timestamp) {
        self.sweep(now);
        let key = self.hash(key);
        let until = self.now.saturating_add(self.config.ttl);
        if let Some(&at) = self.places.get(&key) {
            let slot = &mut self.slots[at as usize];
            (slot.endpoint, slot.until) = (endpoint.clone(), until);
            self.unlink(at);
            self.link(at);
            return;
        }
        if self.places.len() >= self.config.capacity as usize {
            self.forget(self.oldest);
        }
        let slot = Slot { key, endpoint: endpoint.clone(), until, newer: NONE, older: NONE };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.places.insert(key, at);
        self.link(at);
    }

    /// Where a key belongs; its time begins anew.
    pub fn find(&mut self, key: &[u8], now: Timestamp) -> Option<&EndpointId> {
        self.sweep(now);
        let at = *self.places.get(&self.hash(key))?;
        self.unlink(at);
        self.link(at);
        let until = self.now.saturating_add(self.config.ttl);
        let slot = &mut self.slots[at as usize];
        slot.until = until;
        Some(&slot.endpoint)
    }

    /// Forgets every key of an endpoint that is gone; how many. O(keys).
    pub fn forget_endpoint(&mut self, endpoint: &EndpointId) -> usize {
        let gone: Vec<u32> = self
            .places
            .values()
            .copied()
            .filter(|&at| self.slots[at as usize].endpoint == *endpoint)
            .collect();
        gone.iter().for_each(|&at| self.forget(at));
        gone.len()
    }

    /// When the next key expires.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.slots.get(self.oldest as usize).map(|slot| slot.until)
    }

    /// Forgets what has expired. All keys live equally long since their last use, so the least recently used one is the first.
    pub fn sweep(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        while self.next_deadline().is_some_and(|until| self.now >= until) {
            self.forget(self.oldest);
        }
    }

    fn hash(&self, key: &[u8]) -> u128 {
        let mut hasher = SipHasher24::new_with_keys(self.config.seed, !self.config.seed);
        hasher.write(key);
        hasher.finish128().as_u128()
    }

    fn forget(&mut self, at: u32) {
        let Some(slot) = self.slots.get(at as usize) else { return };
        self.places.remove(&slot.key);
        self.unlink(at);
        self.free.push(at);
    }

    fn link(&mut self, at: u32) {
        let before = std::mem::replace(&mut self.newest, at);
        match self.slots.get_mut(before as usize) {
            Some(slot) => slot.newer = at,
            None => self.oldest = at,
        }
        let slot = &mut self.slots[at as usize];
        (slot.newer, slot.older) = (NONE, before);
    }

    fn unlink(&mut self, at: u32) {
        let (newer, older) = (self.slots[at as usize].newer, self.slots[at as usize].older);
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }
}

/// A table that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LearnedError {
    /// Too small or too large.
    #[error("capacity is {0}: allowed are 1 to 100000000")]
    Capacity(u32),
    /// Keys that expire at once.
    #[error("ttl is 0: keys would expire at once")]
    ZeroTtl,
}

const NONE: u32 = u32::MAX;
const MOST: u32 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list that is searched.
        #[test]
        fn remembers_as_a_list_would(
            steps in prop::collection::vec((0..3_u8, 0..12_u8, 0..4_u8, 0..30_u64), 0..200),
        ) {
            let config = LearnedConfig { capacity: 5, ttl: Duration::from_secs(10), seed: 1 };
            let mut table = Learned::new(&config).unwrap();
            let mut list: Vec<(u8, u8, u64)> = Vec::new();
            let mut now = 0;
            for (verb, key, endpoint, at) in steps {
                now = now.max(at);
                list.retain(|&(.., until)| now < until);
                let id: EndpointId = format!("e{endpoint}").parse().unwrap();
                let time = Timestamp::from_secs(at);
                let known = list.iter().position(|&(other, ..)| other == key);
                match verb {
                    0 => {
                        if let Some(known) = known {
                            list.remove(known);
                        } else if list.len() == 5 {
                            list.remove(0);
                        }
                        list.push((key, endpoint, now + 10));
                        table.learn(&[key], &id, time);
                    }
                    1 => {
                        let expected = known.map(|known| {
                            let (_, endpoint, _) = list.remove(known);
                            list.push((key, endpoint, now + 10));
                            format!("e{endpoint}")
                        });
                        prop_assert_eq!(table.find(&[key], time).map(ToString::to_string), expected);
                    }
                    _ => {
                        table.sweep(time);
                        let before = list.len();
                        list.retain(|&(_, other, _)| other != endpoint);
                        prop_assert_eq!(table.forget_endpoint(&id), before - list.len());
                    }
                }
                prop_assert_eq!(table.len(), list.len());
                prop_assert_eq!(table.next_deadline(), list.first().map(|&(.., until)| Timestamp::from_secs(until)));
                prop_assert!(table.slots.len() <= 5);
            }
        }
    }
}
