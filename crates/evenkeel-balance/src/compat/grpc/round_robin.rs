/// gRPC's `round_robin`: the ready endpoints in turn, in the order of their addresses, from a start drawn whenever the
/// set of them changes. Weights are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundRobin {
    ready: Vec<u32>,
    next: u64,
}

impl RoundRobin {
    /// The turns of these endpoints; the first pick is that at `start` modulo their number.
    #[must_use]
    pub const fn new(ready: Vec<u32>, start: u64) -> Self {
        Self { ready, next: start }
    }

    /// The endpoint whose turn it is.
    pub fn pick(&mut self) -> Option<u32> {
        let count = self.ready.len() as u64;
        let place = self.next.checked_rem(count)?;
        self.next = self.next.wrapping_add(1);
        Some(self.ready[place as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_in_turn() {
        let mut turns = RoundRobin::new(vec![0, 2, 5], 4);
        assert_eq!([turns.pick(), turns.pick(), turns.pick()], [Some(2), Some(5), Some(0)]);
        assert_eq!(RoundRobin::new(Vec::new(), 4).pick(), None);
    }
}
