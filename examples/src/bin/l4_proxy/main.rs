//! A layer 4 load balancer: `cargo run --release -p evenkeel-examples --bin l4_proxy -- examples/config/l4.toml`.

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
    let names: Vec<String> = loaded.config().listeners.iter().map(|listener| listener.name.clone()).collect();
    // Before anybody can be told that it runs.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = runtime.block_on(async {
        Ok::<_, std::io::Error>((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    })?;
    let proxy = Proxy::start(loaded)?;
    for name in names {
        if let Some(address) = proxy.address(&name) {
            println!("listener {name} at {address}");
        }
    }
    if let Some(address) = proxy.admin() {
        println!("admin at http://{address}");
    }
    let watching = proxy.watch(&options.config, Duration::from_millis(500), |result| match result {
        Ok(diff) => println!("reloaded: {}", diff.to_string().replace('\n', "; ")),
        Err(error) => println!("not reloaded: {error}"),
    })?;
    runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    drop(watching);
    println!("draining {} connections", proxy.connections());
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
        println!("stopped, {} connections cut off", stopped.cut);
    }
    Ok(())
}
