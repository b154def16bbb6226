use super::hash_type::full_hash;

/// The points of `hash-type consistent` for one group of servers: as many for each server as its effective weight says.
///
/// Two sorted arrays and an index by the upper bits of a point, so that a lookup takes about one step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ring {
    points: Vec<u32>,
    owners: Vec<u32>,
    /// Where the points begin whose upper bits are the place.
    index: Vec<u32>,
    shift: u32,
}

impl Ring {
    /// The ring of these servers: server, number and count of points of each. O(points log points).
    pub(crate) fn new(servers: impl IntoIterator<Item = (usize, u32, u32)>) -> Self {
        let servers = servers.into_iter();
        let mut entries: Vec<(u32, u32)> = servers
            .flat_map(|(server, id, count)| points(id, count).map(move |point| (point, server as u32)))
            .collect();
        // Numbers below 2^20 have no point in common; of others the first one goes first.
        entries.sort_unstable();
        let mut ring = Self::default();
        ring.take(&entries);
        ring
    }

    /// The number of points.
    pub(crate) fn len(&self) -> usize {
        self.points.len()
    }

    /// The server of a place.
    pub(crate) fn owner(&self, place: usize) -> Option<usize> {
        self.owners.get(place).map(|&owner| owner as usize)
    }

    /// The point of a place.
    pub(crate) fn point(&self, place: usize) -> Option<u32> {
        self.points.get(place).copied()
    }

    /// The place of the point nearest to a hash, before or after it; the one before if both are as near.
    pub(crate) fn nearest(&self, hash: u32) -> Option<usize> {
        let last = self.len().checked_sub(1)?;
        let after = self.at_or_after(hash);
        let after = if after > last { 0 } else { after };
        let before = after.checked_sub(1).unwrap_or(last);
        let is_before_nearer =
            hash.wrapping_sub(self.points[before]) <= self.points[after].wrapping_sub(hash);
        Some(if is_before_nearer { before } else { after })
    }

    /// The first place whose point is at least `hash`; the number of points if there is none.
    pub(crate) fn at_or_after(&self, hash: u32) -> usize {
        let bucket = hash.checked_shr(self.shift).unwrap_or(0) as usize;
        let mut place = self.index.get(bucket).map_or(self.len(), |&place| place as usize);
        while self.points.get(place).is_some_and(|&point| point < hash) {
            place += 1;
        }
        place
    }

    /// Takes the points of a server out and puts `count` of them in. O(points + count log count).
    pub(crate) fn set(&mut self, server: usize, id: u32, count: u32) {
        let mut fresh: Vec<u32> = points(id, count).collect();
        fresh.sort_unstable();
        let old = self.points.iter().copied().zip(self.owners.iter().copied());
        let mut old = old.filter(|&(_, owner)| owner != server as u32).peekable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(self.len() + fresh.len());
        for point in fresh {
            while let Some(entry) = old.next_if(|&(other, _)| other <= point) {
                merged.push(entry);
            }
            merged.push((point, server as u32));
        }
        merged.extend(old);
        self.take(&merged);
    }

    fn take(&mut self, entries: &[(u32, u32)]) {
        self.points = entries.iter().map(|&(point, _)| point).collect();
        self.owners = entries.iter().map(|&(_, owner)| owner).collect();
        let bits = self.len().max(1).ilog2().min(MOST_BITS);
        self.shift = u32::BITS - bits;
        self.index = Vec::with_capacity(1 << bits);
        for place in 0..self.len() {
            let bucket = self.points[place].checked_shr(self.shift).unwrap_or(0) as usize;
            while self.index.len() <= bucket {
                self.index.push(place as u32);
            }
        }
    }
}

/// The first points of a server number.
fn points(id: u32, count: u32) -> impl Iterator<Item = u32> {
    let first = id.wrapping_mul(POINTS);
    (0..count).map(move |number| full_hash(first.wrapping_add(number)))
}

/// Points of one server number: a number is followed by those of the next.
const POINTS: u32 = 4096;
/// An index of at most 4 MiB.
const MOST_BITS: u32 = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(points: &[(u32, u32)]) -> Ring {
        let mut ring = Ring::default();
        ring.take(points);
        ring
    }

    #[test]
    fn the_nearest_point_lies_before_or_after() {
        let ring = ring(&[(100, 0), (200, 1), (u32::MAX - 9, 2)]);
        for (hash, owner) in
            [(100, 0), (101, 0), (150, 0), (151, 1), (u32::MAX, 2), (45, 2), (46, 0), (0, 2), (1 << 31, 1)]
        {
            assert_eq!(ring.nearest(hash).and_then(|place| ring.owner(place)), Some(owner), "{hash}");
        }
        assert_eq!(Ring::default().nearest(7), None);
    }

    proptest! {
        #[test]
        fn a_server_that_comes_and_goes_moves_nothing_else(counts in prop::collection::vec(0_u32..200, 1..8), hashes in prop::collection::vec(any::<u32>(), 50)) {
            let mut ring = Ring::default();
            for (server, &count) in counts.iter().enumerate() {
                ring.set(server, server as u32 + 1, count);
            }
            prop_assert_eq!(ring.len() as u32, counts.iter().sum::<u32>());
            prop_assert!(ring.points.is_sorted());
            for &hash in &hashes {
                prop_assert_eq!(ring.at_or_after(hash), ring.points.partition_point(|&point| point < hash));
            }
            let before: Vec<_> = hashes.iter().map(|&hash| ring.nearest(hash)).collect();
            ring.set(77, 78, 160);
            ring.set(77, 78, 0);
            let after: Vec<_> = hashes.iter().map(|&hash| ring.nearest(hash)).collect();
            prop_assert_eq!(before, after);
        }
    }
}
