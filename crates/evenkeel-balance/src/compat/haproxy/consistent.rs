use super::ring::Ring;

/// `hash-type consistent`: the rings of both groups, the walk over their points, and the bound on loads.
#[derive(Clone, Debug)]
pub(crate) struct Consistent {
    rings: [Ring; 2],
    /// The point that the walk returned last, and the group of its ring.
    last: Option<(usize, u32)>,
    /// The weight of all that stand before a server in its group. Reckoned once at the start, as in HAProxy: it goes stale
    /// when weights or states change.
    weight_before: Vec<u32>,
    /// The most points that a server ever had, or was configured to have.
    most_points: Vec<u32>,
}

/// The bound of `hash-balance-factor`, and what it is reckoned from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) factor: u32,
    /// Connections of all servers.
    pub(crate) connections: u32,
    /// The weight of all servers in use.
    pub(crate) weight: u32,
}

impl Consistent {
    pub(crate) fn new(weight_before: Vec<u32>, most_points: Vec<u32>) -> Self {
        Self { rings: [Ring::default(), Ring::default()], last: None, weight_before, most_points }
    }

    /// Makes both rings anew: group, server, number and count of points of each. A walk that stood at a point that is gone
    /// goes on from the next one.
    pub(crate) fn rebuild(&mut self, servers: &[(usize, usize, u32, u32)]) {
        for group in [0, 1] {
            let members = servers.iter().filter(|&&(own, ..)| own == group);
            self.rings[group] = Ring::new(members.map(|&(_, server, id, count)| (server, id, count)));
        }
        self.set_last(self.last);
    }

    /// Where the walk stands.
    pub(crate) fn last(&self) -> Option<(usize, u32)> {
        self.last
    }

    /// Goes on from a point, or the next one if it is gone.
    pub(crate) fn set_last(&mut self, last: Option<(usize, u32)>) {
        self.last = last.and_then(|(group, point)| {
            let ring = &self.rings[group];
            let place = ring.at_or_after(point);
            Some((group, ring.point(place).or_else(|| ring.point(0))?))
        });
    }

    /// The server nearest to a hash that `suits`, or else of the next points.
    ///
    /// If nobody suits, it is the one of the last point before the walk has come round twice, as in HAProxy.
    pub(crate) fn at(&self, group: usize, hash: u32, mut suits: impl FnMut(usize) -> bool) -> Option<usize> {
        let ring = &self.rings[group];
        let mut place = ring.nearest(hash)?;
        let mut rounds = 0;
        while !suits(ring.owner(place)?) {
            place += 1;
            if place == ring.len() {
                rounds += 1;
                if rounds > 1 {
                    return ring.owner(place - 1);
                }
                place = 0;
            }
        }
        ring.owner(place)
    }

    /// The server of the next point that `has_room`.
    ///
    /// As HAProxy's, a walk that has not begun looks at the first point only, and one that is on the ring of the other group
    /// goes on there until its end.
    pub(crate) fn next(&mut self, group: usize, mut has_room: impl FnMut(usize) -> bool) -> Option<usize> {
        let stop = self.last;
        let mut at = self.last;
        for _ in 0..=self.rings[0].len() + self.rings[1].len() {
            at = Some(self.after(group, at)?);
            self.last = at;
            let owner = self.owner(at)?;
            if has_room(owner) {
                return Some(owner);
            }
            if stop.is_none() || at == stop {
                break;
            }
        }
        self.last = None;
        None
    }

    /// A server has so many points from now on.
    pub(crate) fn set(&mut self, group: usize, server: usize, id: u32, count: u32) {
        let is_standing_there =
            self.last.is_some_and(|(own, _)| own == group) && self.owner(self.last) == Some(server);
        // Who gets more points than it ever had leaves for a moment.
        let most = self.most_points.get(server).copied().unwrap_or(0);
        let kept = if count > most { 0 } else { count };
        let last = if is_standing_there { self.stay(group, server, id, kept) } else { self.last };
        self.rings[group].set(server, id, count);
        self.last = last;
        if let Some(most) = self.most_points.get_mut(server) {
            *most = count.max(*most);
        }
    }

    /// How many connections a server may have.
    pub(crate) fn slots(&self, server: usize, weight: u32, bound: Bound) -> u32 {
        let total = bound.weight.max(1);
        let slots = bound.connections.wrapping_add(1).wrapping_mul(bound.factor).wrapping_add(99) / 100;
        let (each, rest) = (slots / total, slots % total);
        let before = self.weight_before.get(server).copied().unwrap_or(0);
        let part = |weight: u32| weight.wrapping_mul(rest) / total;
        let own = part(before.wrapping_add(weight)).wrapping_sub(part(before));
        weight.wrapping_mul(each).wrapping_add(own).max(1)
    }

    /// The point after another, which is looked for in its own ring: at the end of it comes the start of the group's.
    fn after(&self, group: usize, at: Option<(usize, u32)>) -> Option<(usize, u32)> {
        let next = at.and_then(|(own, point)| {
            let ring = &self.rings[own];
            let place = ring.at_or_after(point.checked_add(1)?);
            Some((own, ring.point(place)?))
        });
        next.or_else(|| Some((group, self.rings[group].point(0)?)))
    }

    fn owner(&self, at: Option<(usize, u32)>) -> Option<usize> {
        let (group, point) = at?;
        let ring = &self.rings[group];
        let place = ring.at_or_after(point);
        ring.owner(place).filter(|_| ring.point(place) == Some(point))
    }

    /// Where the walk stands once the points of a server have changed, if it stands on one of them: there, or at the next
    /// point that stays.
    fn stay(&self, group: usize, server: usize, id: u32, count: u32) -> Option<(usize, u32)> {
        let mut kept = Ring::default();
        kept.set(server, id, count);
        let ring = &self.rings[group];
        let (_, point) = self.last?;
        let start = ring.at_or_after(point);
        let places = (start..ring.len()).chain(0..start);
        let stays = |&place: &usize| {
            let point = ring.point(place).unwrap_or(0);
            ring.owner(place) != Some(server) || kept.point(kept.at_or_after(point)) == Some(point)
        };
        places.filter(stays).find_map(|place| Some((group, ring.point(place)?)))
    }
}
