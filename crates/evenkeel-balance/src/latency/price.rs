use std::cmp::Ordering;

use evenkeel_stats::Reading;

use crate::View;
use crate::draws::few::Contest;

/// What the next request costs at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Price {
    /// An endpoint that is hot loses against any that is not.
    pub(crate) hot: bool,
    /// What the request takes by itself.
    pub(crate) next: f64,
    /// What lies before it: the requests in flight there.
    pub(crate) queued: f64,
}

impl Price {
    /// By the latency of an endpoint: what its answer takes, times one more than what is in flight there.
    ///
    /// An estimate that is forgiven by age, because nobody was sent there, ends at half of what is typical: that is less
    /// than what those cost that are in use, so somebody is sent there. What is in flight costs what an answer took when
    /// there was one. So the endpoint is tried by one request at a time, and not flooded before it could answer. One of
    /// which nothing is known counts as typical and forgiven.
    #[inline]
    pub(crate) fn of_latency(reading: Option<Reading>, typical: Option<f64>, load: u32) -> Self {
        let load = f64::from(load);
        match (reading, typical) {
            (Some(Reading { last, present }), Some(typical)) => {
                Self { hot: false, next: present.max(last.min(typical / 2.0)), queued: last * load }
            }
            (Some(Reading { last, present }), None) => {
                Self { hot: false, next: present, queued: last * load }
            }
            (None, Some(typical)) => Self { hot: false, next: typical / 2.0, queued: typical * load },
            (None, None) => Self { hot: false, next: 1.0, queued: load },
        }
    }

    /// The same, so many times as dear.
    #[inline]
    pub(crate) fn times(self, factor: f64) -> Self {
        Self { hot: self.hot, next: self.next * factor, queued: self.queued * factor }
    }

    fn total(self) -> f64 {
        self.next + self.queued
    }
}

/// The lower price wins; `price` says it of a position and its requests in flight.
///
/// A candidate o replaces one that was drawn by weight, b, iff
///
/// ```text
/// (next_o + queued_o) / w_o  <  (queued_b + next_b min(1, w_b / w_o)) / w_b
/// ```
///
/// With equal weights that is the lower sum. With unequal ones and equal latencies it is what least request does: nothing
/// is replaced while loads are low, so the draws make the shares, and the load by weight decides when it builds up. A
/// light endpoint that is faster must be so by the ratio of the weights; a heavy one just faster.
pub(crate) struct Cheapest<P>(pub(crate) P);

#[derive(Clone, Copy)]
pub(crate) struct Candidate {
    price: Price,
    weight: f64,
}

impl<P: Fn(usize, u32) -> Price> Contest for Cheapest<P> {
    type Candidate = Candidate;

    #[inline]
    fn enter<V: View + ?Sized>(&self, view: &V, position: usize) -> Candidate {
        let weight = f64::from(view.weight(position).max(1));
        Candidate { price: self.0(position, view.load(position)), weight }
    }

    #[inline]
    fn second_wins<V: View + ?Sized>(&self, view: &V, first: usize, second: usize) -> bool {
        let (first, second) = (self.0(first, view.load(first)), self.0(second, view.load(second)));
        if first.hot == second.hot { second.total() < first.total() } else { first.hot }
    }

    #[inline]
    fn replaces(&self, candidate: Candidate, best: Candidate) -> bool {
        if candidate.price.hot != best.price.hot {
            return best.price.hot;
        }
        let own_way = best.price.next * best.weight.min(candidate.weight);
        candidate.price.total() * best.weight < best.price.queued * candidate.weight + own_way
    }

    fn compare(&self, one: Candidate, other: Candidate) -> Ordering {
        let by_cost = (one.price.total() * other.weight).total_cmp(&(other.price.total() * one.weight));
        one.price.hot.cmp(&other.price.hot).then(by_cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaces(candidate: (f64, u32, f64), best: (f64, u32, f64)) -> bool {
        let enter = |(next, load, weight): (f64, u32, f64)| Candidate {
            price: Price { hot: false, next, queued: next * f64::from(load) },
            weight,
        };
        Cheapest(|_, _| Price { hot: false, next: 1.0, queued: 0.0 }).replaces(enter(candidate), enter(best))
    }

    #[test]
    fn who_replaces_whom() {
        // (latency, in flight, weight) each.
        for (candidate, best, expected) in [
            ((1.0, 0, 1.0), (1.0, 0, 1.0), false),
            ((1.0, 0, 1.0), (1.0, 1, 1.0), true),
            ((1.0, 2, 1.0), (2.0, 1, 1.0), true),
            ((1.0, 3, 1.0), (2.0, 1, 1.0), false),
            // Idle and equally fast: weights made the draw, and nobody is replaced.
            ((1.0, 0, 9.0), (1.0, 0, 1.0), false),
            ((1.0, 0, 1.0), (1.0, 0, 9.0), false),
            // One request on the heavy one is no reason to leave it, two for each unit of weight are.
            ((1.0, 0, 1.0), (1.0, 1, 2.0), false),
            ((1.0, 0, 1.0), (1.0, 2, 2.0), true),
            // Idle: a heavy one that is faster, a light one only if it is so by the ratio of the weights.
            ((0.9, 0, 2.0), (1.0, 0, 1.0), true),
            ((0.9, 0, 1.0), (1.0, 0, 2.0), false),
            ((0.4, 0, 1.0), (1.0, 0, 2.0), true),
        ] {
            assert_eq!(replaces(candidate, best), expected, "{candidate:?} against {best:?}");
        }
    }

    #[test]
    fn forgiving_ends_at_half_of_what_is_typical_and_counts_what_is_in_flight_in_full() {
        let reading = Some(Reading { last: 1000.0, present: 1.0 });
        let price = |load| Price::of_latency(reading, Some(80.0), load);
        assert_eq!((price(0).next, price(0).queued), (40.0, 0.0));
        assert_eq!((price(2).next, price(2).queued), (40.0, 2000.0));
        let fast = Some(Reading { last: 10.0, present: 1.0 });
        assert_eq!(Price::of_latency(fast, Some(80.0), 0).next, 10.0, "never dearer than it was");
        assert_eq!(
            Price::of_latency(None, Some(80.0), 3).total(),
            280.0,
            "the unknown is typical and forgiven"
        );
        assert_eq!(Price::of_latency(None, None, 3).total(), 4.0);
    }
}
