//! Replays HAProxy.
//!
//! A case is a backend section in HAProxy's own words. What is replayed follows from its directives and from the form of
//! its answers, not from the name of the file.

mod command;
mod directives;
mod expression;
mod key;
mod replay;

use crate::{Tally, UnknownFile, Vector};
use directives::Section;
use key::Keys;

/// Replays a file of HAProxy.
///
/// # Errors
///
/// [`UnknownFile`], if a case has directives, commands or answers of an unknown kind.
pub fn replay(vector: &Vector) -> Result<Tally, UnknownFile> {
    let mut tally = Tally::default();
    for case in &vector.cases {
        let unknown = |what: String| UnknownFile::new(vector, format_args!("case {}: {what}", case.id()));
        let section = Section::read(case).map_err(unknown)?;
        let keys = Keys::of(vector, &section).map_err(unknown)?;
        replay::case(vector, case, &section, &keys, &mut tally).map_err(unknown)?;
    }
    Ok(tally)
}
