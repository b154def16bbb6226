//! Watch evenkeel balance, steer around trouble and recover: `cargo run --release -p evenkeel-examples --bin demo`.

mod backend;
mod checker;
mod checks;
mod demo;
mod display;
mod fleet;
mod headers;
mod journal;
mod load;
mod meter;
mod options;
mod own;
mod passing;
mod phases;
mod pool;
mod proxy;
mod screen;
mod stage;
mod story;
mod summary;
mod table;
mod world;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use crate::options::Options;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all went as promised.
fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        match options.listen {
            Some(listen) => own::run(options, listen).await.map(|()| true),
            None => {
                tokio::select! {
                    kept = demo::run(options) => kept,
                    _ = tokio::signal::ctrl_c() => Err("interrupted before the end of the story".into()),
                }
            }
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result
}
