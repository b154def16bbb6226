//! Who looks up the service: each client, or a proxy for all of them? Both at once, over one registry and one fleet that
//! moves: `cargo run --release -p evenkeel-examples --bin discovery`.

mod fleet;
mod instance;
mod ledger;
mod load;
mod proxy;
mod resolver;
mod story;
mod table;
mod upstream;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// Compare clients that follow the registry by themselves with clients that know a proxy only.
///
/// Both send to the same instances on loopback, which register, drain, crash and come back. At the end a table tells what
/// it cost, and the exit code is 1 if a request was lost or a change was not honoured in time.
#[derive(Clone, Copy, Debug, clap::Parser)]
#[command(name = "discovery", version, max_term_width = 100)]
pub(crate) struct Options {
    /// How many clients there are of each kind, 1 to 32
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub(crate) clients: u32,

    /// Requests a second of each client, 1 to 500, sent on schedule
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) rate: u32,
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all went as promised.
fn run(options: Options) -> Result<bool, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(async {
        let told = tokio::time::timeout(LONGEST, story::tell(options)).await;
        told.unwrap_or_else(|_| Err("the story did not end in time".into()))
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

/// Half as long again as the story takes.
const LONGEST: Duration = Duration::from_secs(13);
