use std::net::IpAddr;

use crate::hash::choose::Asked;
use crate::hash::placed::placed;
use crate::hash::rendezvous::RendezvousTable;
use crate::hash::{Bits, Chooser, KeySettings, MissingKey, sip13};
use crate::{BuiltIn, Caller, InvalidPolicy, Members, PolicySettings, View, Wants};

/// Settings of [`IpHash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct IpHashConfig {
    /// How many leading bits of an IPv4 address tell clients apart: 0 to 32. Default 32: behind a 24 (nginx takes the first
    /// three bytes) stand up to 256 customers of a provider, and all of them would load one endpoint.
    pub ipv4_prefix: u8,
    /// How many leading bits of an IPv6 address tell clients apart: 0 to 128. Default 64: hosts change the lower 64 by
    /// themselves every day (RFC 8981), and one customer has at least all of them.
    pub ipv6_prefix: u8,
    /// The secret of the hash. Default none: then that of the cluster's keys, its `hash_seed`, which a caller gives as `key_seed`. Whoever
    /// knows it can choose addresses that meet at one endpoint, so one that serves strangers sets its own, the same on all balancers
    /// that should agree.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub seed: Option<u64>,
    /// Where a request without an address goes. Default `random`.
    pub missing_source: MissingKey,
    /// The most that an endpoint may have in flight, in percent of its fair share, at least 100. Default none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub balance_factor: Option<u32>,
}

impl Default for IpHashConfig {
    fn default() -> Self {
        Self {
            ipv4_prefix: 32,
            ipv6_prefix: 64,
            seed: None,
            missing_source: MissingKey::default(),
            balance_factor: None,
        }
    }
}

impl IpHashConfig {
    fn validate(&self) -> Result<(), InvalidPolicy> {
        for (setting, prefix, most) in
            [("ipv4_prefix", self.ipv4_prefix, 32), ("ipv6_prefix", self.ipv6_prefix, 128)]
        {
            if prefix > most {
                let problem = format!("{prefix} is out of range: allowed are 0 to {most}");
                return Err(InvalidPolicy::setting("ip_hash", setting, problem));
            }
        }
        Ok(())
    }

    fn key(&self) -> KeySettings {
        KeySettings {
            missing_key: self.missing_source,
            balance_factor: self.balance_factor,
            ..KeySettings::default()
        }
    }

    /// The hash of what tells a client apart: SipHash-1-3 of 4 or 16 bytes, the masked address.
    fn hash(&self, address: IpAddr, key_seed: u64) -> u64 {
        let seed = self.seed.unwrap_or(key_seed);
        // ::ffff:192.0.2.1 is what a socket for both families says of an IPv4 client.
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.ipv4_prefix)).unwrap_or(0);
                sip13(seed, &(address.to_bits() & mask).to_be_bytes())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.ipv6_prefix)).unwrap_or(0);
                sip13(seed, &(address.to_bits() & mask).to_be_bytes())
            }
        }
    }
}

impl PolicySettings for IpHashConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(IpHash::new(self, members)?))
    }
}

/// All requests of one client to one endpoint, by the client's address.
///
/// **Idea.** The address is masked, hashed under a seed, and placed by [`Rendezvous`](crate::Rendezvous): it needs no
/// table and no history, keys move only from or to endpoints that changed, and shares are exactly the weights. An IPv4
/// address inside an IPv6 one is taken as IPv4. **Which address** [`Caller::source`] gives is the caller's
/// decision: behind a proxy the peer's is the proxy's, and what a header says can be forged.
/// **Cost.** O(n), about a nanosecond an endpoint; 8 to 20 bytes each. **When.** Sessions that live in an endpoint's
/// memory, and clients without cookies. **When not.** Many clients behind few addresses, as with providers that share
/// them among customers: then shares are those of addresses, not of clients. Thousands of endpoints: hash the address
/// yourself, and give it to [`Maglev`](crate::Maglev) as a key. **Source.** nginx `ip_hash`, HAProxy `balance source`;
/// to agree with them to the bit see [`compat`](crate::compat).
#[derive(Debug)]
pub struct IpHash {
    config: IpHashConfig,
    table: RendezvousTable,
    chooser: Chooser,
}

impl IpHash {
    /// The policy for these members. O(n).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if a setting is out of range.
    pub fn new(config: &IpHashConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        config.validate()?;
        let chooser = Chooser::new("ip_hash", &config.key(), Bits::Uniform, members)?;
        Ok(Self { config: *config, table: RendezvousTable::new(members), chooser })
    }

    /// The policy for other members; counts of those that stay are shared with it.
    #[must_use]
    pub fn updated(&self, members: &dyn Members) -> Self {
        Self {
            config: self.config,
            table: RendezvousTable::new(members),
            chooser: self.chooser.rebuild(&self.config.key(), members),
        }
    }

    /// An open position, or `None` if none is open.
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let asked = match caller.source() {
            Some(address) => Asked::Hash(self.config.hash(address, caller.key_seed())),
            None => self.chooser.ask_without_key(view, caller),
        };
        match asked {
            Asked::Hash(hash) if !self.chooser.is_bounded() => self.table.best_open(hash, view),
            Asked::Hash(hash) => self.chooser.place(&self.table, view, hash),
            Asked::Picked(picked) => picked,
        }
    }

    /// The hash that stands for a client, where the cluster's key hashes have this seed.
    #[must_use]
    pub fn hash_of(&self, address: IpAddr, key_seed: u64) -> u64 {
        self.config.hash(address, key_seed)
    }
}

placed!(IpHash, table, always, |wants| wants.difference(Wants::KEY).union(Wants::SOURCE));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;
    use crate::hash::crowd::Crowd;
    use crate::laws::members;
    use crate::{Mask, Script, Table};

    fn hash(config: IpHashConfig, address: &str) -> u64 {
        config.hash(address.parse().unwrap(), 0)
    }

    #[test]
    fn prefixes_say_who_is_one_client() {
        let with = |ipv4_prefix, ipv6_prefix| IpHashConfig { ipv4_prefix, ipv6_prefix, ..Default::default() };
        for (config, one, other, same) in [
            (with(32, 64), "192.0.2.1", "192.0.2.2", false),
            (with(24, 64), "192.0.2.1", "192.0.2.254", true),
            (with(24, 64), "192.0.2.1", "192.0.3.1", false),
            (with(25, 64), "192.0.2.127", "192.0.2.128", false),
            (with(0, 64), "192.0.2.1", "10.0.0.1", true),
            (with(32, 64), "2001:db8::1", "2001:db8::ffff:1", true),
            (with(32, 64), "2001:db8:0:1::1", "2001:db8:0:2::1", false),
            (with(32, 128), "2001:db8::1", "2001:db8::2", false),
            (with(32, 0), "2001:db8::1", "fe80::1", true),
            // Inside an IPv6 address, but an IPv4 client.
            (with(32, 64), "192.0.2.1", "::ffff:192.0.2.1", true),
            (with(32, 64), "::ffff:192.0.2.2", "::ffff:192.0.2.1", false),
        ] {
            assert_eq!(hash(config, one) == hash(config, other), same, "{config:?} {one} {other}");
        }
    }

    /// Its own seed comes before that of the cluster's keys.
    #[test]
    fn the_seed_is_that_of_the_keys_unless_set() {
        let of = |seed, key_seed| {
            let config = IpHashConfig { seed, ..Default::default() };
            config.hash("192.0.2.1".parse().unwrap(), key_seed)
        };
        assert_ne!(of(None, 1), of(None, 2));
        assert_eq!(of(Some(1), 2), of(None, 1));
        assert_eq!(of(None, 0), of(Some(0), 7));
        // And a pick asks for it.
        let crowd = Crowd::equal(100);
        let policy = IpHash::new(&IpHashConfig::default(), &crowd).unwrap();
        let mask = Mask::all_usable(100);
        let view = Table::new(&mask, &[1; 100], &[0; 100]);
        let homes = |seed| {
            let pick = |client: u32| {
                let mut caller = Script::seeded(1).with_source(IpAddr::V4(client.into())).with_key_seed(seed);
                policy.choose(&view, &mut caller)
            };
            (0..100).map(pick).collect::<Vec<_>>()
        };
        assert_eq!(homes(5), homes(5));
        assert!(homes(5).iter().zip(&homes(6)).filter(|(one, other)| one == other).count() < 20);
    }

    #[test]
    fn prefixes_out_of_range_are_refused() {
        for (ipv4_prefix, ipv6_prefix, problem) in [
            (33, 64, "policy ip_hash: ipv4_prefix: 33 is out of range: allowed are 0 to 32"),
            (32, 129, "policy ip_hash: ipv6_prefix: 129 is out of range: allowed are 0 to 128"),
        ] {
            let config = IpHashConfig { ipv4_prefix, ipv6_prefix, ..Default::default() };
            assert_eq!(IpHash::new(&config, &members(&[1])).unwrap_err().to_string(), problem);
        }
    }

    #[test]
    fn a_client_stays_and_moves_only_while_its_endpoint_is_out() {
        let crowd = Crowd::of(&[(1, 1), (2, 2), (3, 1)]);
        let policy = IpHash::new(&IpHashConfig::default(), &crowd).unwrap();
        assert_eq!(policy.wants(), Wants::SOURCE);
        let pick = |mask: &Mask, client: u32| {
            let mut caller = Script::seeded(1).with_source(IpAddr::V4(client.into()));
            policy.choose(&Table::new(mask, &[1, 2, 1], &[0; 3]), &mut caller).unwrap()
        };
        let all = Mask::all_usable(3);
        let mut counts = [0_u32; 3];
        for client in 0..4000 {
            let home = pick(&all, client);
            counts[home] += 1;
            for out in 0..3 {
                let now = pick(&Mask::new(3, |position| position != out), client);
                assert!(now != out && (now == home || out == home));
            }
        }
        assert!(
            counts.iter().zip([1000, 2000, 1000]).all(|(&count, share)| count.abs_diff(share) < 160),
            "{counts:?}"
        );
    }

    #[test]
    fn requests_without_an_address_are_drawn_or_meet() {
        let crowd = Crowd::equal(4);
        let mask = Mask::all_usable(4);
        let view = Table::new(&mask, &[1; 4], &[0; 4]);
        for (missing_source, places) in [(MissingKey::Random, 4), (MissingKey::Fixed, 1)] {
            let policy = IpHash::new(&IpHashConfig { missing_source, ..Default::default() }, &crowd).unwrap();
            let mut caller = Script::seeded(3);
            let mut met: Vec<_> = (0..100).filter_map(|_| policy.choose(&view, &mut caller)).collect();
            met.sort_unstable();
            met.dedup();
            assert_eq!(met.len(), places, "{missing_source:?}");
        }
    }
}
