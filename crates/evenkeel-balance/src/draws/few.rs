//! A few distinct endpoints drawn at random, or all of them, and the best of these.

use std::cmp::Ordering;

use evenkeel_types::{RandomSource, SplitMix64, below};

use crate::built_in::are_equal;
use crate::draws::weighted_random;
use crate::{AliasTable, Caller, InvalidPolicy, View, scan};

/// How many endpoints are compared. Written as a number from 2 to 32, or `"all"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choices {
    /// Every usable one, O(n) a pick: with equal weights the exact minimum; with unequal ones the least by cost ÷ weight,
    /// unless an endpoint drawn by weight is within one request of it.
    All,
    /// This many distinct ones, drawn at random; 2 to 32.
    Draw(u32),
}

#[cfg(feature = "serde")]
impl serde::Serialize for Choices {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Draw(choices) => serializer.serialize_u32(*choices),
        }
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Choices {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl serde::de::Visitor<'_> for Form {
            type Value = Choices;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`choices` as a number from 2 to 32, or \"all\"")
            }

            fn visit_u64<E: serde::de::Error>(self, choices: u64) -> Result<Choices, E> {
                u32::try_from(choices)
                    .map(Choices::Draw)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(choices), &self))
            }

            fn visit_i64<E: serde::de::Error>(self, choices: i64) -> Result<Choices, E> {
                u32::try_from(choices)
                    .map(Choices::Draw)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(choices), &self))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Choices, E> {
                if text == "all" {
                    Ok(Choices::All)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Choices {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Choices".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "How many endpoints are compared: a number from 2 to 32, or \"all\".",
            "anyOf": [{ "type": "integer", "minimum": 2, "maximum": 32 }, { "const": "all" }]
        })
    }
}

impl Default for Choices {
    /// Two: the first extra choice brings almost everything (Mitzenmacher 2001), a third costs a cache line more.
    fn default() -> Self {
        Self::Draw(2)
    }
}

/// What makes one of two endpoints the better one.
pub(crate) trait Contest {
    /// What is known of an endpoint, read once.
    type Candidate: Copy;

    /// Whether [`second_wins`](Self::second_wins) is true for the lesser one alone: then two that are all there are need no other
    /// comparison.
    const COMPARES_TWO_EXACTLY: bool = false;

    /// Reads what is known of a position.
    fn enter<V: View + ?Sized>(&self, view: &V, position: usize) -> Self::Candidate;

    /// Whether the second of two of equal weight is better than the first, which was drawn at random and keeps a tie.
    #[inline(always)]
    fn second_wins<V: View + ?Sized>(&self, view: &V, first: usize, second: usize) -> bool {
        self.replaces(self.enter(view, second), self.enter(view, first))
    }

    /// Whether `candidate` is so much better that it replaces `best`, which was drawn by weight. At equal cost and little
    /// load it must not: the draws by weight make the shares.
    fn replaces(&self, candidate: Self::Candidate, best: Self::Candidate) -> bool;

    /// The better one is the lesser.
    fn compare(&self, one: Self::Candidate, other: Self::Candidate) -> Ordering;
}

/// How the candidates of a contest are found, for given weights.
///
/// The first is drawn by weight, the others too, all distinct; so with equal costs the shares are the weights. If one
/// weight is so large that its endpoint takes all draws, another candidate is drawn uniformly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Few {
    choices: Choices,
    /// Present when weights differ.
    weighted: Option<Weighted>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Weighted {
    table: AliasTable,
    greatest: u32,
}

impl Weighted {
    fn of(weights: &[u32]) -> Option<Self> {
        (!are_equal(weights)).then(|| Self {
            table: AliasTable::new(weights),
            greatest: weights.iter().copied().max().unwrap_or(0),
        })
    }
}

impl Few {
    /// For these weights. O(n).
    pub(crate) fn new(
        policy: &'static str,
        choices: Choices,
        weights: &[u32],
    ) -> Result<Self, InvalidPolicy> {
        if let Choices::Draw(choices) = choices
            && !(2..=MOST_CHOICES).contains(&choices)
        {
            let problem = format!("{choices} is out of range: allowed are 2 to 32, or \"all\"");
            return Err(InvalidPolicy::setting(policy, "choices", problem));
        }
        Ok(Self { choices, weighted: Weighted::of(weights) })
    }

    /// The same for other weights. O(n).
    pub(crate) fn for_weights(&self, weights: &[u32]) -> Self {
        Self { choices: self.choices, weighted: Weighted::of(weights) }
    }

    /// A position, or `None` if none is open.
    #[inline(always)]
    pub(crate) fn choose<V: View + ?Sized, C: Caller + ?Sized, T: Contest>(
        &self,
        view: &V,
        caller: &mut C,
        contest: &T,
    ) -> Option<usize> {
        self.first(view, caller, contest).or_else(|| self.again(view, caller, contest))
    }

    /// The better of two of equal weight if both are open, and the only one if there is one.
    #[inline(always)]
    pub(crate) fn first<V: View + ?Sized, C: Caller + ?Sized, T: Contest>(
        &self,
        view: &V,
        caller: &mut C,
        contest: &T,
    ) -> Option<usize> {
        if self.choices != Choices::Draw(2) || self.weighted.is_some() {
            return None;
        }
        match view.usable() {
            0 => None,
            1 => the_only_one(view),
            2 if !T::COMPARES_TWO_EXACTLY => None,
            usable => better_of_two(view, caller, contest, usable),
        }
    }

    /// What [`first`](Self::first) leaves: others of the same choices, or fewer than there are choices.
    #[inline(always)]
    pub(crate) fn again<V: View + ?Sized, C: Caller + ?Sized, T: Contest>(
        &self,
        view: &V,
        caller: &mut C,
        contest: &T,
    ) -> Option<usize> {
        let weighted = self.weighted.as_ref();
        match self.choices {
            Choices::Draw(choices) if view.mask().usable() > choices as usize => {
                choose_of_some(view, caller, contest, choices, weighted)
            }
            _ => choose_of_all(view, caller, contest, weighted),
        }
    }
}

/// The one that is usable, if it is open: there is nothing to draw and nothing to compare.
#[inline(always)]
fn the_only_one<V: View + ?Sized>(view: &V) -> Option<usize> {
    let position = view.mask().at(0);
    view.is_open(position).then_some(position)
}

/// Two distinct ones of equal weight: the case that must cost nothing.
#[inline(always)]
fn better_of_two<V: View + ?Sized, C: Caller + ?Sized, T: Contest>(
    view: &V,
    caller: &mut C,
    contest: &T,
    usable: usize,
) -> Option<usize> {
    let better = |first, second| if contest.second_wins(view, first, second) { second } else { first };
    let draw = caller.draw();
    let first = below(scan::upper(draw), usable as u32);
    let second = below(scan::lower(draw), usable as u32 - 1);
    let second = second + u32::from(second >= first);
    if usable == view.mask().len() && view.admits_all() {
        return Some(better(first as usize, second as usize));
    }
    let (first, second) = (view.mask().at(first as usize), view.mask().at(second as usize));
    (view.is_open(first) && view.is_open(second)).then(|| better(first, second))
}

/// Up to `choices` distinct open ones; with exclusions or races fewer may be met, then the best of those counts.
#[inline(never)]
fn choose_of_some<V: View + ?Sized, C: Caller + ?Sized, T: Contest>(
    view: &V,
    caller: &mut C,
    contest: &T,
    choices: u32,
    weighted: Option<&Weighted>,
) -> Option<usize> {
    let mut seen = [usize::MAX; MOST_CHOICES as usize];
    let mut met = 0;
    let mut best = Best::none(contest);
    for _ in 0..choices as usize + scan::DRAWS {
        let position = sample(view, caller, weighted);
        if !view.is_open(position) || seen[..met].contains(&position) {
            continue;
        }
        seen[met] = position;
        met += 1;
        best.meet(view, position);
        if met == choices as usize {
            return best.position();
        }
    }
    // One heavy endpoint can take every weighted draw: whoever has met too few meets others without regard to weight, so
    // that there is always something to be compared with.
    for _ in 0..scan::DRAWS {
        let usable = view.mask().usable();
        let position = scan::usable_at(view, below(scan::upper(caller.draw()), usable as u32), usable);
        if usable > 0 && view.is_open(position) && !seen[..met].contains(&position) {
            best.meet(view, position);
            break;
        }
    }
    best.position().or_else(|| choose_of_all(view, caller, contest, weighted))
}

/// All open ones. With equal weights the best, ties told apart at random; with unequal ones the best by cost ÷ weight,
/// unless one drawn by weight holds its own against it, so that idle shares are the weights.
#[inline(never)]
fn choose_of_all<V: View + ?Sized, C: Caller + ?Sized, T: Contest>(
    view: &V,
    caller: &mut C,
    contest: &T,
    weighted: Option<&Weighted>,
) -> Option<usize> {
    let mut ties = SplitMix64::new(caller.draw());
    let mut least: Option<(usize, T::Candidate)> = None;
    let mut equals = 0;
    for position in view.mask().iter().filter(|&position| view.admits(position)) {
        let candidate = contest.enter(view, position);
        let order = least.map_or(Ordering::Less, |(_, least)| contest.compare(candidate, least));
        equals = match order {
            Ordering::Less => 1,
            Ordering::Equal => equals + 1,
            Ordering::Greater => equals,
        };
        let is_chosen = match order {
            Ordering::Less => true,
            // Reservoir sampling: the k-th equal replaces with probability 1 / k.
            Ordering::Equal => below(scan::upper(ties.next_u64()), equals) == 0,
            Ordering::Greater => false,
        };
        if is_chosen {
            least = Some((position, candidate));
        }
    }
    let (least, Some(weighted)) = (least?, weighted) else { return least.map(|(position, _)| position) };
    let drawn = weighted_random::again(view, caller, weighted.greatest, |draw| weighted.table.at(draw))?;
    let replaced = contest.replaces(least.1, contest.enter(view, drawn));
    Some(if replaced { least.0 } else { drawn })
}

#[inline]
fn sample<V: View + ?Sized, C: Caller + ?Sized>(
    view: &V,
    caller: &mut C,
    weighted: Option<&Weighted>,
) -> usize {
    let draw = caller.draw();
    let usable = view.mask().usable();
    match weighted {
        // While most are usable the table is the quickest exact draw.
        Some(weighted) if usable * 2 >= view.mask().len() => weighted.table.at(draw),
        Some(weighted) => {
            weighted_random::again(view, caller, weighted.greatest, |draw| weighted.table.at(draw))
                .unwrap_or(usize::MAX)
        }
        None => scan::usable_at(view, below(scan::upper(draw), usable as u32), usable),
    }
}

/// The best candidate met so far.
struct Best<'a, T: Contest> {
    contest: &'a T,
    holder: Option<(usize, T::Candidate)>,
}

impl<'a, T: Contest> Best<'a, T> {
    const fn none(contest: &'a T) -> Self {
        Self { contest, holder: None }
    }

    #[inline]
    fn meet<V: View + ?Sized>(&mut self, view: &V, position: usize) {
        let candidate = self.contest.enter(view, position);
        if self.holder.is_none_or(|(_, best)| self.contest.replaces(candidate, best)) {
            self.holder = Some((position, candidate));
        }
    }

    fn position(&self) -> Option<usize> {
        self.holder.map(|(position, _)| position)
    }
}

/// The most draws that are compared: above it a full scan is the honest choice.
const MOST_CHOICES: u32 = 32;
