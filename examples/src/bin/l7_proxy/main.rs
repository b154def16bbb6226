//! A layer 7 proxy: `l7_proxy CONFIG`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use evenkeel_config::Loaded;
use evenkeel_examples::l7::Proxy;
use evenkeel_examples::l7::live::Live;
use tokio::signal::unix::{SignalKind, signal};

/// A request makes and drops a dozen small things on one thread, and glibc's allocator is slow at those above a kilobyte.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A layer 7 proxy. SIGTERM and SIGINT drain it; a changed configuration file is taken over while it runs.
#[derive(Parser)]
struct Options {
    /// The configuration: TOML, YAML or JSON.
    config: PathBuf,
    /// Only says what is wrong with the configuration.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    evenkeel_examples::allow_all_descriptors();
    let options = Options::parse();
    let result = if options.check { check(&options) } else { serve(&options) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn check(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let loaded = Loaded::load(&options.config)?;
    for warning in loaded.check()? {
        eprintln!("{warning}");
    }
    Live::new(loaded.program()?, loaded.config(), None)?;
    Ok(())
}

fn serve(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anything is told to the outside, so that no signal is missed.
    let _within = runtime.enter();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let proxy = Proxy::start_file(&options.config, |told| eprintln!("{told}"))?;
    for warning in proxy.warnings() {
        eprintln!("{warning}");
    }
    eprintln!("serving");
    runtime.block_on(async {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            () = proxy.draining() => {}
        }
    });
    eprintln!("draining");
    match proxy.drain() {
        0 => eprintln!("ended"),
        cut => eprintln!("ended, {cut} connections had to be cut"),
    }
    Ok(())
}
