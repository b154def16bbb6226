//! How do I retry a request on another endpoint?
//!
//! Remember in `Tried` where it went, and exclude that from the next pick. What was tried is never returned: when every
//! usable endpoint was tried, the pick fails and says so.

use std::error::Error;

use evenkeel::{Address, Cluster, Endpoint, HttpStatus, Outcome, PickError, Request, Tried};

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("users").seed(3).build()?;
    cluster.apply((1..=3).map(|number| endpoint(number).expect("a valid address")))?;

    println!("a request that two of three endpoints cannot serve:");
    println!("  answer: {:?}\n", request(&cluster, |address| address.port() == Some(8002))?);

    println!("a request that nobody can serve:");
    match request(&cluster, |_| false) {
        Err(error @ PickError::AllTried { .. }) => println!("  given up: {error}\n"),
        other => println!("  unexpected: {other:?}\n"),
    }

    println!("the same, when a tried endpoint is better than none:");
    let mut tried = Tried::default();
    for number in 1..=4 {
        let pick = cluster.pick(&Request::new().preferring_others(&tried))?;
        println!("  try {number} at {}", pick.endpoint().address());
        tried.add(&pick);
    }
    Ok(())
}

/// Sends a request until somebody answers it with a good status.
fn request(cluster: &Cluster<()>, works: impl Fn(Address) -> bool) -> Result<HttpStatus, PickError> {
    let mut tried = Tried::default();
    loop {
        let pick = cluster.pick(&Request::new().excluding(&tried))?;
        let address = pick.endpoint().address();
        let status = HttpStatus(if works(address.clone()) { 200 } else { 500 });
        println!("  try {} at {address}: status {}", tried.len() + 1, status.0);
        tried.add(&pick);
        pick.finish(Outcome::from(&status));
        if status.0 == 200 {
            return Ok(status);
        }
    }
}

fn endpoint(number: u16) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::at(format!("127.0.0.1:{}", 8000 + number).parse()?)?)
}
