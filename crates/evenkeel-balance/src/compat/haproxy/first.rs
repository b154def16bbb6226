/// `balance first` for one group of servers: the lowest number that has room.
#[derive(Clone, Debug, Default)]
pub(crate) struct First {
    /// Numbers and servers, ascending.
    order: Vec<(u32, u32)>,
}

impl First {
    /// The first server that `has_room`. O(k), if it is the k-th.
    pub(crate) fn choose(&self, mut has_room: impl FnMut(usize) -> bool) -> Option<usize> {
        self.order.iter().map(|&(_, server)| server as usize).find(|&server| has_room(server))
    }

    /// A server came. O(n).
    pub(crate) fn up(&mut self, server: usize, id: u32) {
        let entry = (id, server as u32);
        if let Err(place) = self.order.binary_search(&entry) {
            self.order.insert(place, entry);
        }
    }

    /// A server left. O(n).
    pub(crate) fn down(&mut self, server: usize, id: u32) {
        if let Ok(place) = self.order.binary_search(&(id, server as u32)) {
            self.order.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_with_room() {
        let mut first = First::default();
        for (server, id) in [(0, 9), (1, 2), (2, 5)] {
            first.up(server, id);
        }
        assert_eq!(first.choose(|_| true), Some(1));
        assert_eq!(first.choose(|server| server != 1), Some(2));
        first.down(1, 2);
        assert_eq!(first.choose(|_| true), Some(2));
    }
}
