/// What is wrong with a text that should name something; each kind of name makes its own error of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFault {
    /// There is nothing.
    Empty,
    /// It is longer than allowed.
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// It holds a control character, which would spoil logs and headers.
    ControlCharacter {
        /// Where it stands, in bytes from the start.
        at: usize,
    },
}

/// Checks a text that names something: 1 to `max` bytes without control characters. For newtypes of names, of which
/// [`EndpointId`](crate::EndpointId) is one.
///
/// # Errors
///
/// [`NameFault`].
pub fn check_name(text: &str, max: usize) -> Result<(), NameFault> {
    if text.is_empty() {
        return Err(NameFault::Empty);
    }
    if text.len() > max {
        return Err(NameFault::TooLong { len: text.len() });
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, _)) => Err(NameFault::ControlCharacter { at }),
        None => Ok(()),
    }
}
