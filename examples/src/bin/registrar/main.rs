//! A service that announces itself: not before its own health says ready, and out of the way before it stops.
//! `cargo run -p evenkeel-examples --bin registrar`.

mod announcement;
mod audience;
mod embedded;
mod gate;
mod options;
mod service;
mod story;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::options::Options;

fn main() -> ExitCode {
    let told = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = told.map_err(Into::into).and_then(|runtime| {
        let result = runtime.block_on(story::tell(&Options::parse()));
        runtime.shutdown_timeout(Duration::from_millis(200));
        result
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
