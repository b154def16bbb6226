//! `evenkeel-conformance DIR`: replays every vector file below DIR.
//!
//! Prints a line for each file, `program/algorithm file passed/total`, the first answers that differ below it, and a
//! total. Exits with 0 if all agree, 1 if any answer differs, any file is unknown or unreadable, or none was found, and 2
//! if it was not told where to look.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use evenkeel_conformance::run;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let [dir] = arguments.as_slice() else {
        eprintln!("usage: evenkeel-conformance DIR");
        return ExitCode::from(2);
    };
    match run(Path::new(dir)) {
        Ok(report) => {
            print!("{report}");
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(nothing) => {
            eprintln!("{nothing}");
            ExitCode::FAILURE
        }
    }
}
