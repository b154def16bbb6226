//! Draws the plots of `docs/algorithms.md`.
//!
//! ```text
//! plots            writes docs/plots/*.svg
//! plots --check    fails if one of them is not what would be written
//! ```
//!
//! Every plot comes from the real policies, fixed seeds and a virtual clock: the same program draws the same picture.

mod balance;
mod fleet;
mod order;
mod picture;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

/// A plot: its file, and what draws it.
type Plot = (&'static str, fn() -> Result<String, Box<dyn Error>>);

const PLOTS: [Plot; 4] = [
    ("order.svg", order::draw),
    ("concurrency.svg", fleet::draw_concurrency),
    ("slow_endpoint.svg", fleet::draw_slow_endpoint),
    ("hash_balance.svg", balance::draw),
];

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let result = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => write(),
        ["--check"] => check(),
        _ => Err("usage: plots [--check]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plots")
}

fn write() -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder())?;
    for (name, draw) in PLOTS {
        fs::write(folder().join(name), draw()?)?;
        println!("docs/plots/{name}");
    }
    Ok(())
}

fn check() -> Result<(), Box<dyn Error>> {
    for (name, draw) in PLOTS {
        if fs::read_to_string(folder().join(name)).unwrap_or_default() != draw()? {
            return Err(format!(
                "docs/plots/{name} is out of date: run `cargo run -p evenkeel-examples --bin plots`"
            )
            .into());
        }
    }
    println!("{} plots are as drawn", PLOTS.len());
    Ok(())
}
