/// A buffer that is searched while it fills, each byte once, and never grows past its bound.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    needle: &'a [u8],
    held: Vec<u8>,
    most: usize,
    found: bool,
}

impl<'a> Search<'a> {
    pub(crate) fn new(needle: &'a [u8], most: usize) -> Self {
        Self { needle, held: Vec::new(), most, found: needle.is_empty() }
    }

    /// Takes in what arrived, as far as it fits.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let seen = self.held.len();
        let fits = &bytes[..bytes.len().min(self.most - seen)];
        self.held.extend_from_slice(fits);
        if !self.needle.is_empty() && !self.found {
            // A match can begin in what was there before.
            let from = seen.saturating_sub(self.needle.len() - 1);
            self.found = self.held[from..].windows(self.needle.len()).any(|window| window == self.needle);
        }
    }

    pub(crate) const fn found(&self) -> bool {
        self.found
    }

    pub(crate) fn is_full(&self) -> bool {
        self.held.len() >= self.most
    }

    pub(crate) fn held(&self) -> &[u8] {
        &self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            text in proptest::collection::vec(0_u8..3, 0..60),
            needle in proptest::collection::vec(0_u8..3, 0..5),
            most in 0_usize..80,
            piece in 1_usize..7,
        ) {
            let whole = &text[..text.len().min(most)];
            let expected = needle.is_empty() || whole.windows(needle.len()).any(|window| window == needle);
            let mut search = Search::new(&needle, most);
            text.chunks(piece).for_each(|chunk| search.push(chunk));
            prop_assert_eq!(search.found(), expected);
            prop_assert_eq!(search.held(), whole);
        }
    }
}
