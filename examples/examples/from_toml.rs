//! How do I configure a cluster in a file?
//!
//! `ClusterConfig::from_toml` reads all that can be written down. What is misspelt or out of range is an error that
//! names the line or the setting.

use std::error::Error;

use evenkeel::{Cluster, ClusterConfig, Outcome, Request};

const FILE: &str = r#"
name = "users"
policy = { type = "least_request", choices = 2 }
seed = 7                                # left out, each process has its own
health = { rise = 2, fall = 3 }

[breaker]
open_for = "5s"
rules = [{ consecutive = { failures = 2 } }]

[[endpoints]]
id = "users-1"
address = "10.0.0.1:8080"
weight = 3

[[endpoints]]
id = "users-2"
address = "10.0.0.2:8080"
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let cluster: Cluster<()> = Cluster::from_config(ClusterConfig::from_toml(FILE)?)?;
    println!("{}\n", cluster.explain(&Request::new()));

    println!("two failures in a row at each, and nobody is left:");
    let refused = loop {
        match cluster.pick(&Request::new()) {
            Ok(pick) => pick.finish(Outcome::failure()),
            Err(error) => break error,
        }
    };
    println!("  {refused}\n");

    println!("what a mistake looks like:");
    for (right, wrong) in
        [("least_request", "fastest"), ("fall = 3", "fal = 3"), ("choices = 2", "choices = 99")]
    {
        let mistake = ClusterConfig::from_toml(&FILE.replace(right, wrong))
            .map_err(|error| error.to_string())
            .and_then(|config| Cluster::<()>::from_config(config).map_err(|error| error.to_string()));
        println!("{}\n", mistake.err().unwrap_or_default());
    }
    Ok(())
}
