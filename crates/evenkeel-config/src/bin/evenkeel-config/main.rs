//! Checks configurations, prints their schema, and explains where a request or a connection would go.
//!
//! Exit codes: 0, all is well; 1, the configuration is wrong, or with `--strict` has warnings; 2, the call itself is wrong;
//! 3, `explain` and `explain-connection`: no route takes it, a rate limit refuses it, or nothing can serve it.

mod explain;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use evenkeel_config::{Loaded, schema};
use explain::{Asked, AskedConnection};

/// Checks configurations of evenkeel, prints their schema, and explains where a request or a connection would go.
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
        source: Option<IpAddr>,
        /// The listener where it comes in. Default: the one with protocol http, if there is only one.
        #[arg(long, value_name = "NAME")]
        listener: Option<String>,
    },
    /// Says where a connection would go by `stream.routes`, and why. Discovery is not asked: endpoints are those of the file.
    ExplainConnection {
        /// The file.
        file: PathBuf,
        /// The listener where it comes in. Default: the one whose protocol is not http, if there is only one.
        #[arg(long, value_name = "NAME")]
        listener: Option<String>,
        /// The client, such as 10.0.0.7:40000.
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:40000")]
        source: SocketAddr,
        /// Where it was going, such as 192.0.2.1:443.
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:443")]
        destination: SocketAddr,
        /// The server name of its TLS handshake.
        #[arg(long, value_name = "NAME", default_value = "")]
        sni: String,
        /// A protocol that it offers, such as h2; may be given several times.
        #[arg(long, value_name = "PROTOCOL")]
        alpn: Vec<String>,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().act {
        Act::Check { file, strict } => check(&file, strict),
        Act::Schema => {
            println!("{:#}", schema());
            ExitCode::SUCCESS
        }
        Act::Explain { file, method, host, path, headers, source, listener } => {
            let mut pairs = Vec::new();
            for header in &headers {
                let Some((name, value)) = header.split_once(':') else {
                    eprintln!("header {header:?}: write name: value");
                    return ExitCode::from(2);
                };
                pairs.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
            explain::request(&file, &Asked { method, host, path, headers: pairs, source, listener })
        }
        Act::ExplainConnection { file, listener, source, destination, sni, alpn } => {
            explain::connection(&file, &AskedConnection { listener, source, destination, sni, alpn })
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
