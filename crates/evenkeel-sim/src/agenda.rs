//! What happens when: a heap of events in the order of time, and of their making where times are equal.

/// Something that will happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<E> {
    pub(crate) at: u64,
    order: u64,
    pub(crate) event: E,
}

/// Events to come. Four children a node: half as deep as a binary heap, and the four lie side by side.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    heap: Vec<Entry<E>>,
    made: u64,
}

impl<E: Copy> Agenda<E> {
    pub(crate) const fn new() -> Self {
        Self { heap: Vec::new(), made: 0 }
    }

    /// The number in the order of making that the next event gets; for those who keep events elsewhere.
    #[inline]
    pub(crate) const fn order(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    #[inline]
    pub(crate) fn push(&mut self, at: u64, event: E) {
        let entry = Entry { at, order: self.order(), event };
        let mut hole = self.heap.len();
        self.heap.push(entry);
        while hole > 0 {
            let parent = (hole - 1) / CHILDREN;
            if !is_before(&entry, &self.heap[parent]) {
                break;
            }
            self.heap[hole] = self.heap[parent];
            hole = parent;
        }
        self.heap[hole] = entry;
    }

    /// The time and the order of the first event.
    #[inline]
    pub(crate) fn first(&self) -> Option<(u64, u64)> {
        self.heap.first().map(|entry| (entry.at, entry.order))
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Entry<E>> {
        let last = self.heap.pop()?;
        let Some(&first) = self.heap.first() else { return Some(last) };
        let length = self.heap.len();
        let mut hole = 0;
        loop {
            let from = CHILDREN * hole + 1;
            if from >= length {
                break;
            }
            let mut least = from;
            for child in from + 1..length.min(from + CHILDREN) {
                if is_before(&self.heap[child], &self.heap[least]) {
                    least = child;
                }
            }
            if !is_before(&self.heap[least], &last) {
                break;
            }
            self.heap[hole] = self.heap[least];
            hole = least;
        }
        self.heap[hole] = last;
        Some(first)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[inline(always)]
const fn is_before<E>(one: &Entry<E>, other: &Entry<E>) -> bool {
    one.at < other.at || one.at == other.at && one.order < other.order
}

const CHILDREN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// As a stable sort by time.
        #[test]
        fn events_come_in_the_order_of_time_then_of_making(times in prop::collection::vec(0_u64..50, 0..300)) {
            let mut agenda = Agenda::new();
            for (index, &at) in times.iter().enumerate() {
                agenda.push(at, index);
            }
            let mut expected: Vec<(u64, usize)> = times.iter().copied().zip(0..).collect();
            expected.sort_by_key(|&(at, _)| at);
            let mut come = Vec::new();
            while let Some(entry) = agenda.pop() {
                come.push((entry.at, entry.event));
            }
            prop_assert_eq!(come, expected);
        }

        #[test]
        fn pushes_between_pops_keep_the_order(steps in prop::collection::vec((0_u64..20, any::<bool>()), 0..300)) {
            let mut agenda = Agenda::new();
            let (mut now, mut inside) = (0, 0_usize);
            for (delay, pops) in steps {
                if pops {
                    if let Some(entry) = agenda.pop() {
                        prop_assert!(entry.at >= now);
                        now = entry.at;
                        inside -= 1;
                    }
                } else {
                    agenda.push(now + delay, ());
                    inside += 1;
                }
            }
            prop_assert_eq!(agenda.is_empty(), inside == 0);
        }
    }
}
