use std::fmt::Write;

use evenkeel_types::{Address, Endpoint};

use crate::hash::placed::placed_and_chosen;
use crate::hash::point_counts::PointCounts;
use crate::hash::ring::{Owner, Points, Ring};
use crate::hash::{Bits, Candidate, Chooser, HashFunction, KeySettings, Placement};
use crate::{BuiltIn, InvalidPolicy, Members, PolicySettings};

/// Settings of [`Ketama`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct KetamaConfig {
    /// Points of a unit of weight, 1 to 16 384. Default 160, as in nginx; with another number nothing agrees with it.
    pub points: u32,
    /// The most points of the ring, 1 to 67 108 864. Default 4 194 304, which are a total weight of 26 214. Weights that
    /// ask for more have all their points halved until they fit, and no longer agree with nginx.
    pub max_points: u32,
    /// What is done with keys. `key.function` is `crc32` by default here.
    pub key: KeySettings,
}

impl Default for KetamaConfig {
    fn default() -> Self {
        Self { points: 160, max_points: 4_194_304, key: KeySettings::default() }
    }
}

/// Equal keys to one endpoint, and to the same one as nginx and its relatives send them.
///
/// **Idea.** A ring of 32-bit points, each the CRC-32 of the endpoint's host, a zero byte, its port and the point before;
/// a key belongs to the first point at or after its CRC-32. The ring is that of [`RingHash`](crate::RingHash), with its
/// index and its cheap updates. **Ties** of points, which 32 bits make likely in large rings, go to the smaller id; nginx
/// keeps one of them and does not say which. Endpoints of one address have the same points, so the one with the smallest
/// id serves their keys while it is usable.
/// **Cost.** O(1); 14 bytes a point, or 16 with more than 4 096 endpoints. **When.** Moving from nginx, or beside it, without moving keys; so give each
/// endpoint the address that nginx has in its `server` line. **When not.** Everything else: CRC-32 is neither keyed nor
/// even, and the address is what moves keys when a process gets another one; use [`RingHash`](crate::RingHash).
/// **Source.** nginx `hash … consistent`; libketama; pingora-ketama.
#[derive(Debug)]
pub struct Ketama {
    config: KetamaConfig,
    ring: Crc32Ring,
    chooser: Chooser,
}

/// The ring, asked with hashes of 32 bits.
#[derive(Debug)]
struct Crc32Ring(Ring);

impl Ketama {
    /// The policy for these members. O(points).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if a setting is out of range, or there are more endpoints than points or than 16 777 216.
    pub fn new(config: &KetamaConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let mut config = *config;
        config.key.function.get_or_insert(HashFunction::Crc32);
        let ring = Crc32Ring(Ring::new::<Chain>(owners(&config, members)?));
        let chooser = Chooser::new(NAME, &config.key, Bits::AsTheyAre, members)?;
        Ok(Self { config, ring, chooser })
    }

    /// The policy for other members. Costs what changes, and O(members).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn updated(&self, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let ring = Crc32Ring(self.ring.0.updated::<Chain>(owners(&self.config, members)?));
        let chooser = self.chooser.rebuild(&self.config.key, members);
        Ok(Self { config: self.config, ring, chooser })
    }

    /// How many points there are.
    #[must_use]
    pub const fn points(&self) -> usize {
        self.ring.0.points()
    }
}

placed_and_chosen!(Ketama, ring, fallible);

fn owners(config: &KetamaConfig, members: &dyn Members) -> Result<Vec<Owner>, InvalidPolicy> {
    let counts = PointCounts { points: config.points, reference: 1, most: config.max_points };
    let counts = counts.of(NAME, members.weights())?;
    let mut text = String::new();
    Ring::owners(NAME, members, &counts, |endpoint| {
        text.clear();
        name(endpoint, &mut text);
        CRC.state(text.as_bytes()).into()
    })
}

/// Host, zero byte, port; a path has no port.
fn name(endpoint: &Endpoint, text: &mut String) {
    let written = match endpoint.address() {
        Address::Socket(address) if address.is_ipv6() => {
            write!(text, "[{}]\0{}", address.ip(), address.port())
        }
        Address::Socket(address) => write!(text, "{}\0{}", address.ip(), address.port()),
        Address::Host(name, port) => write!(text, "{}\0{port}", name.as_str()),
        Address::Unix(path) => write!(text, "{}\0", path.display()),
        other => write!(text, "{other}\0"),
    };
    written.expect("a string takes all that is written");
}

/// The CRC-32 of the name, which is the origin, and the point before, from zero on.
struct Chain;

impl Points for Chain {
    #[inline]
    fn each(origin: u64, count: u32, mut each: impl FnMut(u64)) {
        let mut point = 0;
        for _ in 0..count {
            point = !CRC.word(origin as u32, point);
            each(u64::from(point) << 32);
        }
    }
}

/// CRC-32 by the byte, in a form that goes on from any state: four bytes at a time cost four independent loads.
struct Crc([[u32; 256]; 4]);

static CRC: Crc = Crc::new();

impl Crc {
    const fn new() -> Self {
        let mut tables = [[0; 256]; 4];
        let mut byte = 0;
        while byte < 256 {
            let mut state = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                state = (state >> 1) ^ if state & 1 == 1 { 0xedb8_8320 } else { 0 };
                bit += 1;
            }
            tables[0][byte] = state;
            byte += 1;
        }
        let mut table = 1;
        while table < 4 {
            let mut byte = 0;
            while byte < 256 {
                let before: u32 = tables[table - 1][byte];
                tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
                byte += 1;
            }
            table += 1;
        }
        Self(tables)
    }

    /// The state after these bytes.
    fn state(&self, bytes: &[u8]) -> u32 {
        let step =
            |state: u32, &byte: &u8| (state >> 8) ^ self.0[0][((state ^ u32::from(byte)) & 0xff) as usize];
        bytes.iter().fold(u32::MAX, step)
    }

    /// The state after the four bytes of a word, the low one first.
    #[inline]
    fn word(&self, state: u32, word: u32) -> u32 {
        let [a, b, c, d] = (state ^ word).to_le_bytes();
        self.0[3][usize::from(a)]
            ^ self.0[2][usize::from(b)]
            ^ self.0[1][usize::from(c)]
            ^ self.0[0][usize::from(d)]
    }
}

impl Placement for Crc32Ring {
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn home(&self, hash: u64) -> Option<Candidate> {
        self.0.home(hash << 32)
    }

    #[inline]
    fn next(&self, hash: u64, step: u32, last: Candidate) -> Candidate {
        self.0.next(hash << 32, step, last)
    }
}

impl PolicySettings for KetamaConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(Ketama::new(self, members)?))
    }
}

const NAME: &str = "ketama";

#[cfg(test)]
mod tests {
    use evenkeel_types::Weight;

    use super::*;
    use crate::hash::crc32;
    use crate::{Mask, MemberList, Script, Table};

    fn list(addresses: &[(&str, u32)]) -> MemberList {
        MemberList::new(addresses.iter().map(|&(address, weight)| {
            Endpoint::at(address.parse().unwrap()).unwrap().with_weight(Weight::new(weight))
        }))
    }

    /// The rule, written with the bytes as nginx lays them out and another CRC-32.
    fn by_the_rule(servers: &[(&str, &str, u32)], key: &[u8]) -> usize {
        let mut points = Vec::new();
        for (position, (host, port, weight)) in servers.iter().enumerate() {
            let mut previous = 0_u32;
            for _ in 0..160 * weight {
                let bytes = [host.as_bytes(), b"\0", port.as_bytes(), &previous.to_le_bytes()].concat();
                previous = crc32(&bytes);
                points.push((previous, position));
            }
        }
        points.sort_unstable();
        let hash = crc32(key);
        points.iter().find(|point| point.0 >= hash).unwrap_or(&points[0]).1
    }

    #[test]
    fn keys_live_where_the_rule_says() {
        let members = list(&[
            ("10.0.0.1:8080", 1),
            ("[fd00::1]:80", 2),
            ("cache-3.example:11211", 3),
            ("unix:/run/cache.sock", 1),
            ("10.0.0.1:8081", 1),
        ]);
        let servers = [
            ("10.0.0.1", "8080", 1),
            ("[fd00::1]", "80", 2),
            ("cache-3.example", "11211", 3),
            ("/run/cache.sock", "", 1),
            ("10.0.0.1", "8081", 1),
        ];
        let ketama = Ketama::new(&KetamaConfig::default(), &members).unwrap();
        assert_eq!(ketama.points(), 160 * 8);
        let mask = Mask::all_usable(5);
        let view = Table::new(&mask, &[1, 2, 3, 1, 1], &[]);
        for number in 0..2000 {
            let key = format!("/img/{number}.png");
            let mut caller = Script::seeded(1).with_key_bytes(key.as_bytes());
            let expected = by_the_rule(&servers, key.as_bytes());
            assert_eq!(ketama.choose(&view, &mut caller), Some(expected), "{key}");
        }
    }

    /// The first three points of `127.0.0.1:8080`, computed with zlib.
    #[test]
    fn the_first_points_of_a_server() {
        let mut points = Vec::new();
        Chain::each(CRC.state(b"127.0.0.1\x008080").into(), 3, |point| points.push((point >> 32) as u32));
        assert_eq!(points, [0x6dca_9547, 0x92c7_adf9, 0xddbe_b1b8]);
    }

    #[test]
    fn another_address_under_one_id_is_placed_anew() {
        let at = |address: &str| {
            let endpoint =
                |id: &str, address: &str| Endpoint::new(id.parse().unwrap(), address.parse().unwrap());
            MemberList::new([
                endpoint("a", "10.0.0.1:80"),
                endpoint("b", address),
                endpoint("c", "10.0.0.3:80"),
            ])
        };
        let moved = Ketama::new(&KetamaConfig::default(), &at("10.0.0.2:80")).unwrap();
        let moved = moved.updated(&at("10.0.0.9:80")).unwrap();
        let fresh = Ketama::new(&KetamaConfig::default(), &at("10.0.0.9:80")).unwrap();
        for key in 0..2000_u32 {
            let hash = u64::from(crc32(&key.to_le_bytes()));
            assert_eq!(
                moved.home(hash).map(|home| home.position),
                fresh.home(hash).map(|home| home.position)
            );
        }
    }

    #[test]
    fn a_walk_meets_the_points_that_follow() {
        let members = crate::laws::members(&[1; 40]);
        let ketama = Ketama::new(&KetamaConfig::default(), &members).unwrap();
        let points = ketama.ring.0.laid_out();
        for key in 0..500_u32 {
            let hash = u64::from(crc32(&key.to_le_bytes()));
            let start = points.iter().position(|&(point, _)| point >= hash << 32).unwrap_or(0);
            let mut last = ketama.home(hash).unwrap();
            for step in 0..20 {
                assert_eq!(last.position, points[(start + step) % points.len()].1, "{key} step {step}");
                last = ketama.next(hash, step as u32 + 1, last);
            }
        }
    }

    /// Two endpoints of one address have equal points: the smaller id has the keys, the other one takes over.
    #[test]
    fn endpoints_of_one_address_follow_each_other() {
        let endpoint = |id: &str| Endpoint::new(id.parse().unwrap(), "10.0.0.1:80".parse().unwrap());
        let ketama =
            Ketama::new(&KetamaConfig::default(), &MemberList::new(["b", "a"].map(endpoint))).unwrap();
        for (usable, expected) in [([true, true], 1), ([true, false], 0)] {
            let mask = Mask::new(2, |position| usable[position]);
            let view = Table::new(&mask, &[], &[]);
            let pick = |key| ketama.choose(&view, &mut Script::seeded(1).with_key(key));
            assert!((0..100).all(|key| pick(key << 25) == Some(expected)));
        }
    }
}
