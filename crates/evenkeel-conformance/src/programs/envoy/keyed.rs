//! Ring hash and Maglev: a pick for each key.

use evenkeel_balance::compat::envoy::{
    EnvoyPolicy, Maglev, Ring, RingHashSettings, RingSizes, TableSize, priority_of,
};

use super::cluster::Cluster;
use super::request::Template;
use super::{Answers, Pick, Refused, text};
use crate::{Case, Tally, Vector};

pub(super) fn replay(
    vector: &Vector,
    case: &Case,
    cluster: &Cluster,
    answers: &Answers,
    tally: &mut Tally,
) -> Result<(), Refused> {
    let tables = Tables::of(cluster)?;
    let template = Template::of(case, cluster.rule().map(Option::<&_>::cloned))?;
    let usable = cluster.usable();
    let mut check = |hash: Option<u64>, theirs: Pick, key: &str| match hash {
        Some(hash) => {
            let ours = tables.host(cluster, hash);
            tally.check(text(ours), text(theirs), || format!("{} key {key:?}", case.id()));
        }
        // A draw of Envoy's: that it is one of those it may draw is all that can be said.
        None => {
            let may_be = theirs.map_or(usable.is_empty(), |server| usable.contains(&server));
            tally.check(may_be, true, || format!("{} without a hash: {} is usable", case.id(), text(theirs)));
        }
    };
    match answers {
        Answers::Keyed(picks) => {
            let keys = vector.keys_of(case);
            for (index, &theirs) in picks.iter().enumerate() {
                let key = keys.get(index).map_or("", String::as_str);
                check(template.hash(Some(key.as_bytes())), theirs, key);
            }
        }
        Answers::Requests(requests) => {
            for (hex, picks) in requests {
                let key = hex.as_deref().map(bytes_of);
                let hash = template.hash(key.as_deref());
                picks.iter().for_each(|&theirs| check(hash, theirs, hex.as_deref().unwrap_or("absent")));
            }
        }
        Answers::Runs(runs) => {
            let hash = template.hash(None);
            runs.iter().flatten().for_each(|&theirs| check(hash, theirs, "absent"));
        }
    }
    Ok(())
}

/// A table for each priority level.
struct Tables(Vec<Table>);

enum Table {
    Ring(Ring),
    Maglev(Maglev),
}

impl Tables {
    fn of(cluster: &Cluster) -> Result<Self, Refused> {
        let levels = 0..cluster.loads().len();
        levels.map(|level| Table::of(cluster, level)).collect::<Result<_, _>>().map(Self)
    }

    fn host(&self, cluster: &Cluster, hash: u64) -> Option<u32> {
        let (level, _) = priority_of(cluster.loads(), hash)?;
        match &self.0[level] {
            Table::Ring(ring) => ring.host(hash),
            Table::Maglev(table) => table.host(hash),
        }
    }
}

impl Table {
    fn of(cluster: &Cluster, level: usize) -> Result<Self, Refused> {
        let shares = cluster.shares_in(level)?;
        let text = |server| cluster.text(server);
        let ring = match cluster.policy() {
            Some(EnvoyPolicy::Maglev(settings)) => {
                let size = TableSize::new(settings.table_size)?;
                return Ok(Self::Maglev(Maglev::new(&shares, text, size)));
            }
            Some(EnvoyPolicy::RingHash(settings)) => *settings,
            _ => RingHashSettings::default(),
        };
        let sizes = RingSizes::new(ring.minimum_ring_size, ring.maximum_ring_size)?;
        Ok(Self::Ring(Ring::new(&shares, text, sizes, ring.hash_function)))
    }
}

/// The bytes of hexadecimal digits.
fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
    hex.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
