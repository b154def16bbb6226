use std::cmp::Ordering;

use crate::{BuiltIn, Caller, InvalidPolicy, Members, Policy, PolicySettings, View, Wants};

/// The first endpoint that has room.
///
/// **Idea.** Endpoints are filled one after the other: the first open one with fewer requests in flight than it may have
/// gets the request. The order is that of positions, which in a cluster is the order in which endpoints joined it.
/// Weights do not change the order; with `per = "weight"` they scale the room. If all are full, the least loaded one by
/// load ÷ room gets it: this policy chooses, it does not shed.
/// **Cost.** One load for each endpoint that is full, O(n) at worst; nothing is shared.
/// **When.** As few endpoints as possible should work, so that the others can be switched off: paid by the hour, or with
/// caches that are better kept warm in one place. **When not.** All of them run anyway: then the first answer slower than
/// they need to, and all of the traffic moves when the first fails.
/// **Source.** HAProxy `balance first`, which goes by the lowest id and by `maxconn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstAvailable {
    config: FirstAvailableConfig,
}

/// Settings of [`FirstAvailable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct FirstAvailableConfig {
    /// How many requests may be in flight at an endpoint before the next one is used: 100 unless set, at least 1. There is
    /// no figure that is right for all: it should be what one endpoint serves without slowing down.
    pub max_in_flight: u32,
    /// What has that much room: every `"endpoint"` (the default), or every unit of `"weight"`.
    pub per: RoomPer,
}

/// What [`FirstAvailableConfig::max_in_flight`] counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum RoomPer {
    /// Every endpoint has the same room.
    #[default]
    Endpoint,
    /// An endpoint has its weight times that room.
    Weight,
}

impl Default for FirstAvailableConfig {
    fn default() -> Self {
        Self { max_in_flight: 100, per: RoomPer::Endpoint }
    }
}

impl PolicySettings for FirstAvailableConfig {
    fn build(&self, _: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(FirstAvailable::new(*self)?))
    }
}

impl FirstAvailable {
    /// The policy of these settings.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy::Setting`] if there is no room at all.
    pub fn new(config: FirstAvailableConfig) -> Result<Self, InvalidPolicy> {
        if config.max_in_flight == 0 {
            let problem = "0 leaves no room anywhere: allowed are 1 to 4294967295";
            return Err(InvalidPolicy::setting("first_available", "max_in_flight", problem));
        }
        Ok(Self { config })
    }

    /// The first position with room, or the least loaded one; `None` if none is open.
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, _: &mut C) -> Option<usize> {
        let mut least: Option<(usize, u64, u64)> = None;
        for position in view.mask().iter().filter(|&position| view.admits(position)) {
            let (load, room) = (u64::from(view.load(position)), self.room(view, position));
            if load < room {
                return Some(position);
            }
            let is_less = least.is_none_or(|(_, others, its)| {
                (u128::from(load) * u128::from(its)).cmp(&(u128::from(others) * u128::from(room)))
                    == Ordering::Less
            });
            if is_less {
                least = Some((position, load, room));
            }
        }
        least.map(|(position, ..)| position)
    }

    fn room<V: View + ?Sized>(&self, view: &V, position: usize) -> u64 {
        match self.config.per {
            RoomPer::Endpoint => self.config.max_in_flight.into(),
            RoomPer::Weight => u64::from(self.config.max_in_flight) * u64::from(view.weight(position).max(1)),
        }
    }
}

impl Policy for FirstAvailable {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn wants(&self) -> Wants {
        Wants::LOADS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mask, Script, Table};

    #[test]
    fn endpoints_are_filled_one_after_the_other() {
        for (per, loads, down, excluded, expected) in [
            (RoomPer::Endpoint, [0, 0, 0], &[][..], &[][..], Some(0)),
            (RoomPer::Endpoint, [1, 0, 0], &[], &[], Some(0)),
            (RoomPer::Endpoint, [2, 0, 0], &[], &[], Some(1)),
            (RoomPer::Endpoint, [2, 2, 1], &[], &[], Some(2)),
            (RoomPer::Endpoint, [1, 0, 0], &[0], &[1], Some(2)),
            // All full: the least loaded, the first of equals.
            (RoomPer::Endpoint, [5, 3, 3], &[], &[], Some(1)),
            (RoomPer::Endpoint, [2, 9, 9], &[0], &[2], Some(1)),
            (RoomPer::Endpoint, [0, 0, 0], &[0, 1], &[2], None),
            // Room for 2, 6 and 2.
            (RoomPer::Weight, [2, 5, 0], &[], &[], Some(1)),
            (RoomPer::Weight, [3, 7, 3], &[], &[], Some(1)),
            (RoomPer::Weight, [u32::MAX, u32::MAX, u32::MAX], &[1], &[], Some(0)),
        ] {
            let policy = FirstAvailable::new(FirstAvailableConfig { max_in_flight: 2, per }).unwrap();
            let mask = Mask::new(3, |position| !down.contains(&position));
            let view = Table::new(&mask, &[1, 3, 1], &loads).excluding(excluded);
            let picked = policy.choose(&view, &mut Script::seeded(1));
            assert_eq!(picked, expected, "{per:?} {loads:?} down {down:?} excluded {excluded:?}");
        }
    }

    #[test]
    fn no_room_at_all_is_refused() {
        let config = FirstAvailableConfig { max_in_flight: 0, ..FirstAvailableConfig::default() };
        let error = FirstAvailable::new(config).unwrap_err().to_string();
        assert_eq!(
            error,
            "policy first_available: max_in_flight: 0 leaves no room anywhere: allowed are 1 to 4294967295"
        );
    }
}
