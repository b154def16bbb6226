//! Sorting words that are uniform in their upper bits: a distribution by those bits, then a few swaps.

/// Sorts the words of `from`, whose first `used` bits are equal, into `to`, which has as many. Takes a quarter of a
/// comparison sort where the bits after those are uniform, as those of hashes are, and no longer than one where they are
/// not.
pub(crate) fn sort_part(to: &mut [u64], from: &[u64], used: u32) {
    let place = |word: u64| (word << used >> (u64::BITS - PLACES)) as usize;
    let mut ends = [0_u32; 1 << PLACES];
    for &word in from {
        ends[place(word)] += 1;
    }
    let (mut sum, mut most) = (0, 0);
    for end in &mut ends {
        most = most.max(*end);
        sum += std::mem::replace(end, sum);
    }
    for &word in from {
        let end = &mut ends[place(word)];
        to[*end as usize] = word;
        *end += 1;
    }
    if most > MANY {
        to.sort_unstable();
    } else {
        insert(to);
    }
}

/// Insertion sort: one comparison a word where hardly any is out of place.
fn insert(words: &mut [u64]) {
    for at in 1..words.len() {
        let word = words[at];
        let mut to = at;
        while to > 0 && words[to - 1] > word {
            words[to] = words[to - 1];
            to -= 1;
        }
        words[to] = word;
    }
}

/// Bits of the distribution: about a word a place for parts of a thousand, which fit the innermost cache.
const PLACES: u32 = 10;

/// So many words in one place mean that the bits are not uniform.
const MANY: u32 = 24;

#[cfg(test)]
mod tests {
    use evenkeel_types::{RandomSource, SplitMix64};

    use super::*;

    #[test]
    fn sorts_as_the_standard_does() {
        for (len, used, mask) in [(0, 1, !0), (5, 3, !0), (1000, 11, !0), (9000, 1, 0xffff), (700, 9, 0)] {
            let mut source = SplitMix64::new(len as u64);
            let words: Vec<u64> = (0..len).map(|_| (source.next_u64() & mask) >> used).collect();
            let (mut ours, mut standard) = (vec![0; len], words.clone());
            sort_part(&mut ours, &words, used);
            standard.sort_unstable();
            assert!(ours == standard, "{len} words under {mask:x}");
        }
    }
}
