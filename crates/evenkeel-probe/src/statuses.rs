use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A set of HTTP statuses, written `200`, `200-299` or `200-299, 404`.
///
/// ```
/// use evenkeel_probe::Statuses;
/// let statuses: Statuses = "200-299, 404".parse()?;
/// assert!(statuses.contains(204) && statuses.contains(404) && !statuses.contains(500));
/// assert!("2xx".parse::<Statuses>().is_err());
/// # Ok::<(), evenkeel_probe::InvalidStatuses>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Form", into = "String")
)]
pub struct Statuses {
    /// First and last of each range; sorted, and merged where they touch.
    ranges: Vec<(u16, u16)>,
}

impl Statuses {
    /// No status at all.
    pub const NONE: Self = Self { ranges: Vec::new() };

    /// All 2xx.
    #[must_use]
    pub fn success() -> Self {
        Self { ranges: vec![(200, 299)] }
    }

    /// Those from `first` to `last`, both included.
    ///
    /// # Errors
    ///
    /// [`InvalidStatuses::Range`] unless `100 <= first <= last <= 599`.
    pub fn range(first: u16, last: u16) -> Result<Self, InvalidStatuses> {
        if first < LOWEST || first > last || last > HIGHEST {
            return Err(InvalidStatuses::Range { first, last });
        }
        Ok(Self { ranges: vec![(first, last)] })
    }

    /// Whether `status` is one of them. O(log n).
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        let after = self.ranges.partition_point(|&(first, _)| first <= status);
        after.checked_sub(1).is_some_and(|at| status <= self.ranges[at].1)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    fn of(mut parts: Vec<(u16, u16)>) -> Self {
        parts.sort_unstable();
        let mut ranges: Vec<(u16, u16)> = Vec::with_capacity(parts.len());
        for (first, last) in parts {
            match ranges.last_mut() {
                Some(open) if first <= open.1 + 1 => open.1 = open.1.max(last),
                _ => ranges.push((first, last)),
            }
        }
        Self { ranges }
    }
}

impl FromStr for Statuses {
    type Err = InvalidStatuses;

    /// An empty text is no status.
    fn from_str(text: &str) -> Result<Self, InvalidStatuses> {
        let number = |text: &str| text.trim().parse().map_err(|_| InvalidStatuses::Form);
        let mut parts = Vec::new();
        for part in text.split(',').filter(|_| !text.trim().is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            parts.extend(Self::range(number(first)?, number(last)?)?.ranges);
        }
        Ok(Self::of(parts))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

impl From<Statuses> for String {
    fn from(statuses: Statuses) -> Self {
        statuses.to_string()
    }
}

/// The statuses are not written as `200-299, 404`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidStatuses {
    /// A part is neither a number nor two numbers with a dash.
    #[error("statuses are written as 200-299, 404")]
    Form,
    /// A range is empty, or has numbers that are no statuses.
    #[error("statuses {first}-{last}: allowed are ranges within 100-599, the lower number first")]
    Range {
        /// Where it begins.
        first: u16,
        /// Where it ends.
        last: u16,
    },
}

const LOWEST: u16 = 100;
const HIGHEST: u16 = 599;

#[cfg(feature = "serde")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Form {
    One(u16),
    Text(String),
    Many(Vec<Form>),
}

#[cfg(feature = "serde")]
impl TryFrom<Form> for Statuses {
    type Error = InvalidStatuses;

    fn try_from(form: Form) -> Result<Self, InvalidStatuses> {
        match form {
            Form::One(status) => Self::range(status, status),
            Form::Text(text) => text.parse(),
            Form::Many(forms) => {
                let mut parts = Vec::new();
                for form in forms {
                    parts.extend(Self::try_from(form)?.ranges);
                }
                Ok(Self::of(parts))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_merge_and_bad_ones_are_named() {
        let read = |text: &str| text.parse::<Statuses>().map(|statuses| statuses.to_string());
        assert_eq!(read("404,200-204,205-299 , 250").as_deref(), Ok("200-299, 404"));
        assert_eq!(read(" ").as_deref(), Ok(""));
        assert_eq!(read("2xx"), Err(InvalidStatuses::Form));
        assert_eq!(read("200,"), Err(InvalidStatuses::Form));
        assert_eq!(read("-200"), Err(InvalidStatuses::Form));
        assert_eq!(read("299-200"), Err(InvalidStatuses::Range { first: 299, last: 200 }));
        assert_eq!(read("99"), Err(InvalidStatuses::Range { first: 99, last: 99 }));
        assert_eq!(read("500-600"), Err(InvalidStatuses::Range { first: 500, last: 600 }));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_file_holds_numbers_texts_or_lists() {
        let read = |text: &str| serde_json::from_str::<Statuses>(text).map(|statuses| statuses.to_string());
        assert_eq!(read("200").unwrap(), "200");
        assert_eq!(read(r#"[204, "200-203", 404]"#).unwrap(), "200-204, 404");
        assert!(read("42").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-0-9, x]{0,30}") {
            if let Ok(statuses) = text.parse::<Statuses>() {
                prop_assert_eq!(statuses.to_string().parse::<Statuses>(), Ok(statuses));
            }
        }

        #[test]
        fn it_holds_what_its_parts_hold(parts in proptest::collection::vec((100_u16..600, 0_u16..60), 0..6)) {
            let parts: Vec<_> = parts.into_iter().map(|(first, more)| (first, (first + more).min(599))).collect();
            let statuses = Statuses::of(parts.clone());
            for status in 0..=700 {
                let expected = parts.iter().any(|&(first, last)| (first..=last).contains(&status));
                prop_assert_eq!(statuses.contains(status), expected);
            }
        }
    }
}
