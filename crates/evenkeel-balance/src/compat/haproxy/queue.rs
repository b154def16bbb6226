/// Servers in order of a key; equal keys in the order in which they came.
///
/// A binary heap that knows where each server stands, so that any of them can leave in O(log n). It allocates nothing once
/// every server was in it.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: Vec<Entry>,
    /// Where each server stands in `heap`, or [`NOWHERE`].
    places: Vec<u32>,
    next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: u32,
    turn: u64,
    server: u32,
}

impl Clone for Queue {
    /// A copy that allocates nothing later either: that of a list has no room beyond what is in it.
    fn clone(&self) -> Self {
        let mut heap = Vec::with_capacity(self.places.len());
        heap.extend_from_slice(&self.heap);
        Self { heap, places: self.places.clone(), next: self.next }
    }
}

impl Queue {
    /// An empty queue for servers `0..servers`.
    pub(crate) fn new(servers: usize) -> Self {
        Self { heap: Vec::with_capacity(servers), places: vec![NOWHERE; servers], next: 0 }
    }

    /// Puts a server behind all of its key. It must not be in the queue.
    pub(crate) fn insert(&mut self, server: usize, key: u32) {
        let entry = Entry { key, turn: self.next, server: server as u32 };
        self.next += 1;
        self.put(entry);
    }

    /// The first server.
    pub(crate) fn first(&self) -> Option<usize> {
        self.heap.first().map(|entry| entry.server as usize)
    }

    /// Takes a server out; whether it was in.
    pub(crate) fn remove(&mut self, server: usize) -> bool {
        self.take(server).is_some()
    }

    /// The key of a server that is in the queue.
    pub(crate) fn key(&self, server: usize) -> Option<u32> {
        let place = *self.places.get(server)?;
        self.heap.get(place as usize).map(|entry| entry.key)
    }

    /// The first server that `suits`, without changing the order. O(k log n), if it is the k-th.
    pub(crate) fn find(&mut self, aside: &mut Aside, mut suits: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut found = None;
        while let Some(&entry) = self.heap.first() {
            if suits(entry.server as usize) {
                found = Some(entry.server as usize);
                break;
            }
            self.take(entry.server as usize);
            aside.0.push(entry);
        }
        while let Some(entry) = aside.0.pop() {
            self.put(entry);
        }
        found
    }

    /// The same order for servers under other numbers: `from[new]` is the old number. Who has none is left out.
    pub(crate) fn renumbered(&self, from: &[Option<usize>]) -> Self {
        let mut queue = Self::new(from.len());
        queue.next = self.next;
        for (new, &old) in from.iter().enumerate() {
            let place = old.and_then(|old| self.places.get(old)).copied().unwrap_or(NOWHERE);
            if let Some(&entry) = self.heap.get(place as usize) {
                queue.put(Entry { server: new as u32, ..entry });
            }
        }
        queue
    }

    fn put(&mut self, entry: Entry) {
        let place = self.heap.len();
        self.heap.push(entry);
        self.places[entry.server as usize] = place as u32;
        self.rise(place);
    }

    fn take(&mut self, server: usize) -> Option<Entry> {
        let place = *self.places.get(server)? as usize;
        let entry = *self.heap.get(place)?;
        self.places[server] = NOWHERE;
        let last = self.heap.pop()?;
        if place < self.heap.len() {
            self.heap[place] = last;
            self.places[last.server as usize] = place as u32;
            self.sink(place);
            self.rise(place);
        }
        Some(entry)
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 && self.heap[place] < self.heap[(place - 1) / 2] {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let children = 2 * place + 1..(2 * place + 3).min(self.heap.len());
            let Some(least) = children.min_by_key(|&child| self.heap[child]) else { return };
            if self.heap[place] < self.heap[least] {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        for place in [one, other] {
            self.places[self.heap[place].server as usize] = place as u32;
        }
    }
}

/// Where [`Queue::find`] keeps whom it passes over: kept between calls, so that they allocate nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aside(Vec<Entry>);

impl Aside {
    /// Room for this many.
    pub(crate) fn new(servers: usize) -> Self {
        Self(Vec::with_capacity(servers))
    }
}

/// No place in a heap: beyond every end.
const NOWHERE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(mut queue: Queue) -> Vec<usize> {
        std::iter::from_fn(|| {
            let first = queue.first()?;
            queue.remove(first);
            Some(first)
        })
        .collect()
    }

    #[test]
    fn equal_keys_come_out_as_they_went_in() {
        let mut queue = Queue::new(5);
        for (server, key) in [(3, 7), (1, 7), (4, 2), (0, 7), (2, 9)] {
            queue.insert(server, key);
        }
        assert_eq!(queue.key(3), Some(7));
        assert_eq!(queue.find(&mut Aside::new(5), |server| server < 2), Some(1));
        assert_eq!(queue.find(&mut Aside::new(5), |_| false), None);
        assert_eq!(drain(queue.renumbered(&[Some(2), None, Some(3), Some(4), Some(1)])), [3, 2, 4, 0]);
        assert!(queue.remove(1) && !queue.remove(1) && !queue.remove(9));
        assert_eq!(drain(queue), [4, 3, 0, 2]);
    }

    proptest! {
        #[test]
        fn it_is_a_stable_sort(keys in prop::collection::vec(0_u32..6, 1..40), gone in prop::collection::vec(0_usize..40, 0..10)) {
            let mut queue = Queue::new(keys.len());
            for (server, &key) in keys.iter().enumerate() {
                queue.insert(server, key);
            }
            for &server in &gone {
                queue.remove(server);
            }
            let mut expected: Vec<usize> = (0..keys.len()).filter(|server| !gone.contains(server)).collect();
            expected.sort_by_key(|&server| keys[server]);
            prop_assert_eq!(drain(queue), expected);
        }
    }
}
