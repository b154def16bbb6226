//! What a source may add to its word.

use evenkeel_types::Timestamp;
use thiserror::Error;

/// Until when a word of a source holds, who said it and why. All of it is optional.
///
/// ```
/// use evenkeel_health::Note;
/// use evenkeel_types::Timestamp;
///
/// let note = Note::expiring(Timestamp::from_secs(600)).by("alice")?.because("kernel update")?;
/// assert!(Note::default().by("x".repeat(65)).is_err());
/// # Ok::<(), evenkeel_health::NoteError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    pub(crate) until: Option<Timestamp>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) by: Option<Box<str>>,
    pub(crate) reason: Option<Box<str>>,
}

impl Note {
    /// The word ends by itself at this moment, inclusive: the source then says nothing again.
    ///
    /// For overrides with a time limit, such as a drain for ten minutes.
    #[must_use]
    pub fn expiring(at: Timestamp) -> Self {
        Self { expires: Some(at), ..Self::default() }
    }

    /// The source means to take its word back at this moment. Told in reports; it is the source that acts.
    ///
    /// For words of machines with deadlines of their own: an open breaker, an ejection, a drain.
    #[must_use]
    pub fn until(at: Timestamp) -> Self {
        Self { until: Some(at), ..Self::default() }
    }

    /// Who said so: a person, a program. At most 64 bytes, without control characters.
    ///
    /// # Errors
    ///
    /// [`NoteError`] if the text is too long or would garble a log.
    pub fn by(mut self, owner: impl Into<Box<str>>) -> Result<Self, NoteError> {
        self.by = Some(checked("by", owner.into(), 64)?);
        Ok(self)
    }

    /// Why. At most 200 bytes, without control characters.
    ///
    /// # Errors
    ///
    /// As [`by`](Self::by).
    pub fn because(mut self, reason: impl Into<Box<str>>) -> Result<Self, NoteError> {
        self.reason = Some(checked("reason", reason.into(), 200)?);
        Ok(self)
    }
}

/// A text of a note cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoteError {
    /// It is too long to be kept for every endpoint. Shorten it, or give a link.
    #[error("{field} has {length} bytes: allowed are {most}")]
    TooLong {
        /// `by` or `reason`.
        field: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        most: usize,
    },
    /// It has a line break or another control character, which would garble reports and logs.
    #[error("{field} {text:?} has a control character: allowed is plain text in one line")]
    Control {
        /// `by` or `reason`.
        field: &'static str,
        /// The text.
        text: Box<str>,
    },
}

fn checked(field: &'static str, text: Box<str>, most: usize) -> Result<Box<str>, NoteError> {
    if text.len() > most {
        return Err(NoteError::TooLong { field, length: text.len(), most });
    }
    if text.chars().any(char::is_control) {
        return Err(NoteError::Control { field, text });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_plain() {
        assert!(Note::default().by("a".repeat(64)).is_ok());
        assert_eq!(
            Note::default().by("a".repeat(65)),
            Err(NoteError::TooLong { field: "by", length: 65, most: 64 })
        );
        assert!(Note::default().because("a".repeat(201)).is_err());
        assert!(matches!(Note::default().because("a\nb"), Err(NoteError::Control { field: "reason", .. })));
        assert!(Note::default().because("müde").is_ok());
    }
}
