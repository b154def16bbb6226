use std::sync::Arc;

use crate::Members;

/// What is learnt of each endpoint: by position for picks, by token for events.
#[derive(Debug)]
pub(crate) struct Learnt<S> {
    by_position: Box<[Arc<S>]>,
    /// Ascending by token.
    by_token: Box<[(u64, u32)]>,
}

impl<S> Learnt<S> {
    /// Something new for each member. O(n log n).
    pub(crate) fn new(members: &dyn Members, make: impl Fn() -> S) -> Self {
        Self::gather(members, |_| Arc::new(make()))
    }

    /// For other members: shared for those that stay, new for those that come.
    pub(crate) fn rebuild(&self, members: &dyn Members, make: impl Fn() -> S) -> Self {
        Self::gather(members, |token| self.shared(token).map_or_else(|| Arc::new(make()), Arc::clone))
    }

    fn gather(members: &dyn Members, state: impl Fn(u64) -> Arc<S>) -> Self {
        let tokens = (0..members.weights().len()).map(|position| members.token(position));
        let mut by_token: Vec<(u64, u32)> = tokens.zip(0..).collect();
        let by_position = by_token.iter().map(|&(token, _)| state(token)).collect();
        by_token.sort_unstable();
        Self { by_position, by_token: by_token.into() }
    }

    /// Of the endpoint at a position; `None` beyond the end.
    #[inline]
    pub(crate) fn at(&self, position: usize) -> Option<&S> {
        self.by_position.get(position).map(Arc::as_ref)
    }

    /// Of the endpoint with a token; `None` if it is none of these.
    pub(crate) fn of(&self, token: u64) -> Option<&S> {
        self.shared(token).map(Arc::as_ref)
    }

    /// The position of the endpoint with a token; `None` if it is none of these.
    pub(crate) fn position(&self, token: u64) -> Option<usize> {
        let (first, _) = *self.by_token.first()?;
        // Endpoints that came together have tokens in a row: then the place is known without a search.
        let guess = usize::try_from(token.checked_sub(first)?).unwrap_or(usize::MAX);
        let place = match self.by_token.get(guess) {
            Some(&(found, _)) if found == token => guess,
            _ => self.by_token.binary_search_by_key(&token, |&(token, _)| token).ok()?,
        };
        Some(self.by_token[place].1 as usize)
    }

    /// All of them, in order of position.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &S> {
        self.by_position.iter().map(Arc::as_ref)
    }

    fn shared(&self, token: u64) -> Option<&Arc<S>> {
        self.by_position.get(self.position(token)?)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use evenkeel_types::Endpoint;

    use super::*;

    /// Members with tokens of the test's choice.
    pub(crate) struct Tokens {
        pub(crate) tokens: Vec<u64>,
        pub(crate) weights: Vec<u32>,
    }

    impl Tokens {
        pub(crate) fn new(tokens: impl IntoIterator<Item = u64>) -> Self {
            let tokens: Vec<u64> = tokens.into_iter().collect();
            let weights = vec![1; tokens.len()];
            Self { tokens, weights }
        }
    }

    impl Members for Tokens {
        fn weights(&self) -> &[u32] {
            &self.weights
        }

        fn token(&self, position: usize) -> u64 {
            self.tokens[position]
        }

        fn endpoint(&self, position: usize) -> Arc<Endpoint> {
            let id = format!("e{}", self.tokens[position]).parse().expect("a name");
            Arc::new(Endpoint::new(id, "10.0.0.1:80".parse().expect("an address")))
        }
    }

    #[test]
    fn states_are_found_by_position_and_by_token() {
        let learnt = Learnt::new(&Tokens::new([7, 3, 900, 8]), || AtomicU32::new(0));
        for (position, token) in [7, 3, 900, 8].into_iter().enumerate() {
            learnt.of(token).unwrap().store(token as u32, Ordering::Relaxed);
            assert_eq!(learnt.at(position).unwrap().load(Ordering::Relaxed), token as u32);
        }
        for token in [0, 2, 4, 9, 899, u64::MAX] {
            assert!(learnt.of(token).is_none(), "{token}");
        }
        assert!(learnt.at(4).is_none());
        assert!(Learnt::new(&Tokens::new([]), || ()).of(0).is_none());
    }

    #[test]
    fn a_successor_shares_what_stays() {
        let old = Learnt::new(&Tokens::new([1, 2, 3]), || AtomicU32::new(0));
        let new = old.rebuild(&Tokens::new([3, 9, 1]), || AtomicU32::new(50));
        old.of(3).unwrap().store(33, Ordering::Relaxed);
        let seen: Vec<u32> = new.iter().map(|state| state.load(Ordering::Relaxed)).collect();
        assert_eq!(seen, [33, 50, 0], "what the old one hears after the successor was built counts");
        assert!(new.of(2).is_none());
    }
}
