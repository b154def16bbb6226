//! Ring hash and Maglev: a pick for each key.

use evenkeel_balance::compat::envoy::{
    EnvoyPolicy, Maglev, Ring, RingHashSettings, RingSizes, TableSize, priority_of,
};

use super::cluster::Cluster;
use super::request::Template;
use super::{Answers, Refused};
use crate::recorded::{Pick, text};
use crate::{Case, Tally};

pub(super) fn replay(
    case: &Case,
    cluster: &Cluster,
    answers: &Answers,
    tally: &mut Tally,
) -> Result<(), Refused> {
    let tables = Tables::of(cluster)?;
    let template = Template::of(case, cluster.rule().map(Option::<&_>::cloned))?;
    let usable = cluster.usable();
    let mut check = |key: Option<&[u8]>, theirs: Pick| {
        let shown = || key.map_or("absent".into(), String::from_utf8_lossy);
        match (template.hash(key), key) {
            (Some(hash), _) => {
                let ours = tables.host(cluster, hash);
                tally.check(text(ours), text(theirs), || format!("{} key {:?}", case.id(), shown()));
            }
            (None, Some(key)) if !key.is_empty() => {
                tally.fail(format!("{}: no policy finds the key {:?} in the request", case.id(), shown()));
            }
            // A draw of Envoy's: that it is one of those it may draw is all that can be said.
            (None, _) => {
                let may_be = theirs.map_or(usable.is_empty(), |server| usable.contains(&server));
                let what = || format!("{} without a hash: {} is usable", case.id(), text(theirs));
                tally.check(may_be, true, what);
            }
        }
    };
    match answers {
        Answers::Requests(requests) => {
            for (key, picks) in requests {
                picks.iter().for_each(|&theirs| check(key.as_deref(), theirs));
            }
        }
        Answers::Runs(runs, Some(keys)) => {
            for run in runs {
                run.iter().zip(keys).for_each(|(&theirs, key)| check(Some(key), theirs));
            }
        }
        // The request that is recorded may have what is hashed.
        Answers::Runs(runs, None) if template.hash(None).is_some() => {
            runs.iter().flatten().for_each(|&theirs| check(None, theirs));
        }
        Answers::Runs(..) => return Err(Refused::Keyless),
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
