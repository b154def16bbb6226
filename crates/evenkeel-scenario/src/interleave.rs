//! Everything in every order.

use crate::action::Action;
use crate::expectation::Expectation;
use crate::fact::Fact;
use crate::scenario::takes;
use crate::suite::{Play, look};

/// Callers at once, and what must hold whoever comes first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interleave {
    /// What each does, one after the other.
    pub(crate) callers: Vec<Vec<Action>>,
    /// After every action.
    pub(crate) always: Vec<Expectation>,
    /// When all are done.
    pub(crate) finally: Vec<Expectation>,
}

impl Interleave {
    pub(crate) fn is_empty(&self) -> bool {
        self.callers.is_empty()
    }

    /// Plays every order of the callers' actions, each on a machine of its own that has been through the steps.
    ///
    /// # Errors
    ///
    /// There are too many orders, or in one of them something does not hold: the first such, and its order.
    pub(crate) fn run(&self, play: &Play<'_>) -> Result<(), String> {
        let callers: Vec<Vec<&Action>> = self.callers.iter().map(|actions| repeated(actions)).collect();
        let mut left: Vec<usize> = callers.iter().map(Vec::len).collect();
        let orders = orders_of(&left).filter(|orders| *orders <= MOST_ORDERS);
        if orders.is_none() {
            return Err(format!("interleave: there are more than {MOST_ORDERS} orders"));
        }
        self.each(play, &callers, &mut left, &mut Vec::new())
    }

    /// Every order that begins so.
    fn each(
        &self,
        play: &Play<'_>,
        callers: &[Vec<&Action>],
        left: &mut [usize],
        order: &mut Vec<usize>,
    ) -> Result<(), String> {
        if left.iter().all(|left| *left == 0) {
            return self.one(play, callers, order);
        }
        for caller in 0..left.len() {
            if left[caller] > 0 {
                left[caller] -= 1;
                order.push(caller);
                self.each(play, callers, left, order)?;
                order.pop();
                left[caller] += 1;
            }
        }
        Ok(())
    }

    fn one(&self, play: &Play<'_>, callers: &[Vec<&Action>], order: &[usize]) -> Result<(), String> {
        let (mut machine, now) = play.again()?;
        let mut told: Vec<String> = Vec::new();
        let mut next: Vec<_> = callers.iter().map(|actions| actions.iter()).collect();
        for &caller in order {
            let Some(&action) = next[caller].next() else { continue };
            told.push(action.to_string());
            let wrong = |error: String| format!("interleaved as {}: {error}", told.join(", "));
            machine.act(now, action.anew()).map_err(wrong)?;
            // Who got nothing has nothing to end.
            if takes(action) && machine.fact(now, "admitted") == Some(Fact::Is(false)) {
                next[caller] = [].iter();
            }
            let check =
                |expectation: &Expectation| expectation.check(|name| look(machine.as_mut(), now, name));
            self.always.iter().try_for_each(check).map_err(wrong)?;
        }
        let check = |expectation: &Expectation| expectation.check(|name| look(machine.as_mut(), now, name));
        let wrong = |error: String| format!("interleaved as {}, finally: {error}", told.join(", "));
        self.finally.iter().try_for_each(check).map_err(wrong)
    }
}

fn repeated(actions: &[Action]) -> Vec<&Action> {
    actions.iter().flat_map(|action| (0..action.count()).map(move |_| action)).take(MOST_ACTIONS).collect()
}

/// The multinomial coefficient; `None` if it is beyond all measure.
fn orders_of(lengths: &[usize]) -> Option<u64> {
    let (mut orders, mut placed) = (1_u64, 0_u64);
    for &length in lengths {
        for nth in 1..=length as u64 {
            placed += 1;
            // A binomial coefficient grows by whole numbers.
            orders = orders.checked_mul(placed)? / nth;
        }
    }
    Some(orders)
}

const MOST_ORDERS: u64 = 10_000;
/// More actions than have so few orders.
const MOST_ACTIONS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_counted() {
        assert_eq!(orders_of(&[]), Some(1));
        assert_eq!(orders_of(&[3]), Some(1));
        assert_eq!(orders_of(&[2, 2]), Some(6));
        assert_eq!(orders_of(&[2, 2, 2]), Some(90));
        assert_eq!(orders_of(&[1_000, 1_000]), None);
    }
}
