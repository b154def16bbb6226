//! The programs whose answers can be replayed.

use std::fmt;

use thiserror::Error;

use crate::{Case, Tally, Vector};

mod converted;
pub mod envoy;
pub mod grpc;
pub mod haproxy;
pub mod nginx;
pub mod pingora;
mod template;
pub mod traefik;

/// A program whose answers can be replayed.
#[derive(Clone, Copy)]
pub struct Program {
    /// Its name in the `meta` line.
    pub name: &'static str,
    /// Replays a file of it.
    pub replay: fn(&Vector) -> Result<Tally, UnknownFile>,
}

/// All of them. A new program is entered here and nowhere else.
pub const PROGRAMS: &[Program] = &[
    Program { name: "envoy", replay: envoy::replay },
    Program { name: "grpc", replay: grpc::replay },
    Program { name: "haproxy", replay: haproxy::replay },
    Program { name: "nginx", replay: nginx::replay },
    Program { name: "pingora", replay: pingora::replay },
    Program { name: "traefik", replay: traefik::replay },
];

/// A file of which nobody here knows how to replay it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("do not know how to replay {program}: {what}")]
pub struct UnknownFile {
    /// The program of the `meta` line.
    pub program: String,
    /// What is not known: the program itself, its algorithm, a configuration.
    pub what: String,
}

impl UnknownFile {
    /// This file, for this reason.
    #[must_use]
    pub fn new(vector: &Vector, what: impl fmt::Display) -> Self {
        Self { program: vector.program().to_owned(), what: what.to_string() }
    }

    /// A file whose algorithm is not known.
    #[must_use]
    pub fn algorithm(vector: &Vector) -> Self {
        Self::new(vector, format_args!("algorithm {:?}", vector.algorithm()))
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Replays a file on the mode of its program.
///
/// # Errors
///
/// [`UnknownFile`], if the program, the algorithm or the format of the cases is not known.
pub fn replay(vector: &Vector) -> Result<Tally, UnknownFile> {
    match PROGRAMS.iter().find(|program| program.name == vector.program()) {
        Some(program) => (program.replay)(vector),
        None => Err(UnknownFile::new(vector, "the program")),
    }
}

/// Replays case by case. One that cannot be replayed, or has no answer in it, counts as an answer that differs; if that is so
/// for all of them, the file is unknown.
pub(crate) fn each_case(
    vector: &Vector,
    mut replay: impl FnMut(&Case, &mut Tally) -> Result<(), String>,
) -> Result<Tally, UnknownFile> {
    let mut tally = Tally::default();
    let mut first = None;
    let mut unknown = 0;
    for case in &vector.cases {
        let before = tally.total;
        let replayed = replay(case, &mut tally);
        let replayed = replayed.and_then(|()| {
            // What was passed over must not look like success.
            if tally.total > before { Ok(()) } else { Err("no answer in it".to_owned()) }
        });
        if let Err(why) = replayed {
            let why = format!("{}: {why}", case.id());
            first.get_or_insert_with(|| why.clone());
            tally.fail(why);
            unknown += 1;
        }
    }
    match first {
        Some(why) if unknown == vector.cases.len() => Err(UnknownFile::new(vector, why)),
        _ => Ok(tally),
    }
}
