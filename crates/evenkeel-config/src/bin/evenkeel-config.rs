//! Checks configurations, prints their schema, and explains where a request would go.
//!
//! Exit codes: 0, all is well; 1, the configuration is wrong, or with `--strict` has warnings; 2, the call itself is wrong;
//! 3, `explain`: no route takes the request, or nothing can serve it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use evenkeel::route::matching::Request;
use evenkeel::router::Incoming;
use evenkeel_config::{Loaded, Running, schema};

/// Checks configurations of evenkeel, prints their schema, and explains where a request would go.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Says what is wrong with a file, and what is probably not meant.
    Check {
        /// The file: .toml, .yaml, .yml or .json.
        file: PathBuf,
        /// Warnings fail too.
        #[arg(long)]
        strict: bool,
    },
    /// Prints the JSON Schema of configurations.
    Schema,
    /// Says where a request would go, and why. Discovery is not asked: endpoints are those of the file.
    Explain {
        /// The file.
        file: PathBuf,
        /// Such as GET.
        method: String,
        /// Such as example.com.
        host: String,
        /// Such as /users/42?page=2.
        path: String,
        /// A header field, as `name: value`; may be given several times.
        #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
        headers: Vec<String>,
        /// The address of the client.
        #[arg(long, value_name = "ADDRESS")]
        source: Option<std::net::IpAddr>,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().act {
        Act::Check { file, strict } => check(&file, strict),
        Act::Schema => {
            println!("{:#}", schema());
            ExitCode::SUCCESS
        }
        Act::Explain { file, method, host, path, headers, source } => {
            let mut pairs = Vec::new();
            for header in &headers {
                let Some((name, value)) = header.split_once(':') else {
                    eprintln!("header {header:?}: write name: value");
                    return ExitCode::from(2);
                };
                pairs.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
            explain(&file, &method, &host, &path, &pairs, source)
        }
    }
}

fn check(file: &PathBuf, strict: bool) -> ExitCode {
    let checked = Loaded::load(file).and_then(|loaded| loaded.check().map(|warnings| (loaded, warnings)));
    let (loaded, warnings) = match checked {
        Ok(checked) => checked,
        Err(errors) => {
            for error in errors.all() {
                eprintln!("error: {error}");
            }
            return ExitCode::from(1);
        }
    };
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    let config = loaded.config();
    println!(
        "{}: {} listeners, {} routes, {} stream routes, {} clusters, {} warnings",
        file.display(),
        config.listeners.len(),
        config.http.routes.len(),
        config.stream.routes.len(),
        config.clusters.len(),
        warnings.len()
    );
    if strict && !warnings.is_empty() { ExitCode::from(1) } else { ExitCode::SUCCESS }
}

fn explain(
    file: &PathBuf,
    method: &str,
    host: &str,
    path: &str,
    headers: &[(String, String)],
    source: Option<std::net::IpAddr>,
) -> ExitCode {
    let running = Loaded::load(file).and_then(|loaded| {
        loaded.check()?;
        // Nothing is asked and nothing is checked: what the file says is all there is.
        let mut config = loaded.into_config();
        for cluster in &mut config.clusters {
            cluster.discovery.clear();
            cluster.merge = None;
            cluster.check = None;
        }
        config.prober = Default::default();
        Running::<()>::start(config)
    });
    let running = match running {
        Ok(running) => running,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(1);
        }
    };
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let request = Request::new(method, host, path).with_headers(headers.as_slice());
    let mut incoming = Incoming::new(request);
    if let Some(source) = source {
        incoming = incoming.from_address(source);
    }
    match running.router().explain(&incoming) {
        Ok(trail) => {
            println!("{trail}");
            if trail.route.is_some() { ExitCode::SUCCESS } else { ExitCode::from(3) }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
    }
}
