use super::{Edf, Weighted};

/// Envoy's `ROUND_ROBIN`: a plain rotation while weights are equal, otherwise a schedule by [deadlines](Edf).
#[derive(Clone, Debug)]
pub struct RoundRobin(Form);

#[derive(Clone, Debug)]
enum Form {
    Rotation { hosts: Vec<u32>, next: u64 },
    Schedule { edf: Edf, weights: Vec<Weighted> },
}

impl RoundRobin {
    /// The turns of these hosts from `start` on; weight zero takes no part.
    ///
    /// Envoy draws the start. While weights are equal it is the place of the first pick (modulo their number), otherwise
    /// the number of picks that count as done.
    #[must_use]
    pub fn new(hosts: &[Weighted], start: u64) -> Self {
        let mut weights: Vec<Weighted> = hosts.iter().copied().filter(|&(_, weight)| weight > 0).collect();
        if weights.windows(2).all(|pair| pair[0].1 == pair[1].1) {
            let hosts = weights.into_iter().map(|(host, _)| host).collect();
            return Self(Form::Rotation { hosts, next: start });
        }
        // Sorted by host for the look-up; the order of turns lies in the schedule.
        let edf = Edf::after_picks(weights.iter().map(|&(host, weight)| (host, weight.into())), start as u32);
        weights.sort_unstable();
        Self(Form::Schedule { edf, weights })
    }

    /// The host whose turn it is.
    pub fn pick(&mut self) -> Option<u32> {
        match &mut self.0 {
            Form::Rotation { hosts, next } => {
                let host = hosts.get((*next % hosts.len().max(1) as u64) as usize)?;
                *next = next.wrapping_add(1);
                Some(*host)
            }
            Form::Schedule { edf, weights } => edf.pick(|host| weight_of(weights, host).into()),
        }
    }

    /// The place of the next pick, while weights are equal: Envoy keeps it when hosts come and go.
    #[must_use]
    pub const fn place(&self) -> Option<u64> {
        match &self.0 {
            Form::Rotation { next, .. } => Some(*next),
            Form::Schedule { .. } => None,
        }
    }
}

/// The weight of a host in a list sorted by host; 1 if it is not there.
pub(super) fn weight_of(weights: &[Weighted], host: u32) -> u32 {
    weights.binary_search_by_key(&host, |&(host, _)| host).map_or(1, |index| weights[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(weights: &[u32], start: u64, count: usize) -> Vec<u32> {
        let hosts: Vec<Weighted> = (0..).zip(weights.iter().copied()).collect();
        let mut turns = RoundRobin::new(&hosts, start);
        (0..count).filter_map(|_| turns.pick()).collect()
    }

    #[test]
    fn equal_weights_rotate_and_others_keep_deadlines() {
        assert_eq!(picks(&[7, 7, 7], 5, 4), [2, 0, 1, 2]);
        assert_eq!(picks(&[7, 0, 7], 1, 4), [2, 0, 2, 0]);
        assert_eq!(picks(&[5, 1, 1], 0, 7), [0, 0, 0, 0, 1, 2, 0]);
        assert_eq!(picks(&[1, 2], 0, 3), [1, 0, 1]);
        assert!(picks(&[], 3, 3).is_empty());
        assert!(picks(&[0], 3, 3).is_empty());
    }

    #[test]
    fn a_schedule_keeps_the_shares() {
        let picks = picks(&[2, 3, 5, 7, 11], 12_345, 28 * 50);
        for (host, weight) in (0..).zip([2, 3, 5, 7, 11]) {
            let count = picks.iter().filter(|&&other| other == host).count();
            assert!(count.abs_diff(weight * 50) <= 1, "{host}: {count}");
        }
    }

    #[test]
    fn a_rotation_survives_the_end_of_its_numbers() {
        let mut turns = RoundRobin::new(&[(4, 1), (9, 1)], u64::MAX);
        assert_eq!([turns.pick(), turns.pick(), turns.pick()], [Some(9), Some(4), Some(9)]);
        assert_eq!(turns.place(), Some(2));
    }
}
