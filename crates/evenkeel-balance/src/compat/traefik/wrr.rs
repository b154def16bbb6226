/// Traefik's strategy `wrr`: the earliest deadline first.
///
/// **Idea.** Each server has a deadline; the earliest is picked and put off by 1 ÷ weight. The order of equal deadlines is
/// what a binary heap leaves: a new entry and a put-off one rise from the end, the last entry sinks from the top, neither
/// past an equal. Deadlines are doubles, so even the rounding of 1 ÷ weight is part of the order. Traefik shuffles its
/// servers before it enters them, so its start is random; here they are entered as given.
/// **Cost.** O(log n) a pick; one that is not usable is picked, put off and passed over, as there.
/// **When.** Picks must agree with those of a Traefik whose order of entry is known, or its rhythm is to be kept.
/// **When not.** A fixed rhythm without gaps for unusable servers is wanted: take smooth weighted round robin.
/// **Source.** Traefik 3.7, `pkg/server/service/loadbalancer/wrr`, and Go's `container/heap`; reproduced from recorded
/// answers.
///
/// ```
/// use evenkeel_balance::compat::traefik::Wrr;
///
/// let mut wrr = Wrr::new(&[2, 1]);
/// let picks: Vec<_> = (0..6).map(|_| wrr.pick(|_| true)).collect();
/// assert_eq!(picks, [0, 1, 0, 0, 1, 0].map(Some));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Wrr {
    heap: Vec<Entry>,
    /// The deadline of the pick before: where a new server enters the race.
    current: f64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    server: usize,
    weight: f64,
    deadline: f64,
}

impl Wrr {
    /// The servers 0, 1, … of these weights, entered in this order. Those of weight zero are left out, as in Traefik.
    #[must_use]
    pub fn new(weights: &[u32]) -> Self {
        let mut wrr = Self::default();
        for (server, &weight) in weights.iter().enumerate() {
            wrr.add(server, weight);
        }
        wrr
    }

    /// Enters a server; nothing happens if its weight is zero. O(log n).
    pub fn add(&mut self, server: usize, weight: u32) {
        let weight = f64::from(weight);
        if weight > 0.0 {
            self.push(Entry { server, weight, deadline: self.current + 1.0 / weight });
        }
    }

    /// The next server that is usable, or `None` if none is.
    ///
    /// At most [`MOST_STEPS`](Self::MOST_STEPS) steps are taken through servers that are not usable, where Traefik takes
    /// any number; after that the usable one of the earliest deadline is picked at once.
    pub fn pick(&mut self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        if !self.heap.iter().any(|entry| usable(entry.server)) {
            return None;
        }
        for _ in 0..Self::MOST_STEPS {
            let server = self.step()?;
            if usable(server) {
                return Some(server);
            }
        }
        self.jump(usable)
    }

    /// So many servers that are not usable are passed over in a pick.
    pub const MOST_STEPS: usize = 1024;

    /// Picks the top and puts it off.
    fn step(&mut self) -> Option<usize> {
        let mut entry = self.pop()?;
        self.current = entry.deadline;
        entry.deadline += 1.0 / entry.weight;
        self.push(entry);
        Some(entry.server)
    }

    /// Picks the usable one of the earliest deadline, wherever it stands in the heap.
    fn jump(&mut self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let open = self.heap.iter_mut().enumerate().filter(|(_, entry)| usable(entry.server));
        let (place, entry) = open.min_by(|(_, a), (_, b)| a.deadline.total_cmp(&b.deadline))?;
        entry.deadline += 1.0 / entry.weight;
        let server = entry.server;
        self.sink(place);
        Some(server)
    }

    fn push(&mut self, entry: Entry) {
        self.heap.push(entry);
        let mut child = self.heap.len() - 1;
        while child > 0 {
            let parent = (child - 1) / 2;
            if !self.is_before(child, parent) {
                break;
            }
            self.heap.swap(child, parent);
            child = parent;
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        if self.heap.is_empty() {
            return None;
        }
        let entry = self.heap.swap_remove(0);
        self.sink(0);
        Some(entry)
    }

    fn sink(&mut self, mut parent: usize) {
        loop {
            let left = 2 * parent + 1;
            if left >= self.heap.len() {
                return;
            }
            let right = left + 1;
            let least = if right < self.heap.len() && self.is_before(right, left) { right } else { left };
            if !self.is_before(least, parent) {
                return;
            }
            self.heap.swap(parent, least);
            parent = least;
        }
    }

    fn is_before(&self, a: usize, b: usize) -> bool {
        self.heap[a].deadline < self.heap[b].deadline
    }

    /// The same race with other servers: `successor` tells the new number and weight of an old one that stays. Those that
    /// are new enter at the present deadline.
    pub(super) fn rebuilt(&self, weights: &[u32], before: impl Fn(usize) -> Option<usize>) -> Self {
        let mut deadlines: Vec<Option<f64>> = Vec::new();
        for entry in &self.heap {
            if deadlines.len() <= entry.server {
                deadlines.resize(entry.server + 1, None);
            }
            deadlines[entry.server] = Some(entry.deadline);
        }
        let mut wrr = Self { heap: Vec::with_capacity(weights.len()), current: self.current };
        for (server, &weight) in weights.iter().enumerate().filter(|&(_, &weight)| weight > 0) {
            let weight = f64::from(weight);
            let enters = self.current + 1.0 / weight;
            let old = before(server).and_then(|old| deadlines.get(old).copied().flatten());
            let deadline = old.map_or(enters, |old| old.min(enters));
            wrr.push(Entry { server, weight, deadline });
        }
        wrr
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picks(wrr: &mut Wrr, count: usize) -> Vec<usize> {
        (0..count).map(|_| wrr.pick(|_| true).unwrap()).collect()
    }

    #[test]
    fn equal_deadlines_stand_as_the_heap_leaves_them() {
        assert_eq!(picks(&mut Wrr::new(&[1, 1, 1]), 9), [0, 2, 1, 2, 1, 0, 1, 0, 2]);
    }

    #[test]
    fn who_is_not_usable_is_put_off_all_the_same() {
        let mut wrr = Wrr::new(&[1, 1, 1]);
        let open: Vec<_> = (0..6).map(|_| wrr.pick(|server| server != 0).unwrap()).collect();
        assert_eq!(open, [2, 1, 2, 1, 1, 2]);
        assert_eq!(wrr.pick(|_| false), None);
        assert_eq!(Wrr::new(&[0, 0]).pick(|_| true), None);
    }

    #[test]
    fn a_heavy_server_that_is_down_holds_nobody_up() {
        let mut wrr = Wrr::new(&[u32::MAX, 1, 2]);
        let open: Vec<_> = (0..6).map(|_| wrr.pick(|server| server != 0).unwrap()).collect();
        assert_eq!(open.iter().filter(|&&server| server == 2).count(), 4);
    }

    #[test]
    fn a_new_server_enters_the_race_where_it_is() {
        let mut wrr = Wrr::new(&[1, 1]);
        picks(&mut wrr, 100);
        let mut wrr = wrr.rebuilt(&[1, 1, 1], |server| (server < 2).then_some(server));
        let mut counts = [0; 3];
        picks(&mut wrr, 30).into_iter().for_each(|server| counts[server] += 1);
        assert_eq!(counts, [10, 10, 10]);
    }

    proptest! {
        #[test]
        fn shares_follow_weights(weights in prop::collection::vec(0_u32..20, 1..8)) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let mut wrr = Wrr::new(&weights);
            let mut counts = vec![0_u32; weights.len()];
            picks(&mut wrr, total as usize * 10).into_iter().for_each(|server| counts[server] += 1);
            for (count, weight) in counts.iter().zip(&weights) {
                prop_assert!(count.abs_diff(weight * 10) <= 1, "{:?} for {:?}", counts, weights);
            }
        }
    }
}
