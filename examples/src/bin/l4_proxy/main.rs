//! A layer 4 load balancer: `cargo run --release -p evenkeel-examples --bin l4_proxy -- examples/config/l4.toml`.

use std::fmt::Arguments;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use evenkeel_config::Loaded;
use evenkeel_examples::l4::{Proxy, ProxyError};
use tokio::signal::unix::{SignalKind, signal};

/// Balances TCP, TLS by server name, and UDP.
#[derive(Debug, Parser)]
struct Options {
    /// The configuration; it is followed while the proxy runs.
    config: PathBuf,
    /// Only say whether the configuration is right.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    evenkeel_examples::allow_all_descriptors();
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<(), ProxyError> {
    let loaded = Loaded::load(&options.config)?;
    for warning in loaded.check()? {
        eprintln!("warning: {warning}");
    }
    if options.check {
        return Proxy::check(&loaded);
    }
    // Before anybody can be told that it runs.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = runtime.block_on(async {
        Ok::<_, std::io::Error>((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    })?;
    let (proxy, watching) =
        Proxy::follow(&options.config, Duration::from_millis(500), |result| match result {
            Ok(diff) => say(format_args!("reloaded: {}", diff.to_string().replace('\n', "; "))),
            Err(error) => say(format_args!("not reloaded: {error}")),
        })?;
    for (name, address) in proxy.listeners() {
        say(format_args!("listener {name} at {address}"));
    }
    if let Some(address) = proxy.admin() {
        say(format_args!("admin at http://{address}"));
    }
    runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    drop(watching);
    say(format_args!("draining {} connections", proxy.connections()));
    let stopping = std::thread::spawn(move || proxy.stop());
    runtime.block_on(async {
        while !stopping.is_finished() {
            tokio::select! {
                // Whoever says it twice means at once.
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    });
    if stopping.is_finished()
        && let Ok(stopped) = stopping.join()
    {
        say(format_args!("stopped, {} connections cut off", stopped.cut));
    }
    Ok(())
}

/// Whether anybody reads it or not.
fn say(line: Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
