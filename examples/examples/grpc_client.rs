//! How do I balance the calls of a gRPC client?
//!
//! Put a cluster of tonic channels under the generated client. The verdict of a call is its `grpc-status`, which comes in the trailers: a
//! server whose HTTP is fine and whose calls fail is found out.

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::Duration;

use evenkeel::{BreakerConfig, Cluster, Endpoint, PolicyConfig, Rule};
use evenkeel_tower::{Balance, grpc};
use tokio::net::TcpListener;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server, Uri};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = [serve(true).await?, serve(false).await?, serve(true).await?];
    let breaker = BreakerConfig {
        rules: vec![Rule::Consecutive { failures: 2 }],
        open_for: Duration::from_secs(60),
        ..BreakerConfig::default()
    };
    let cluster =
        Cluster::builder("greeters").policy(PolicyConfig::round_robin()).breaker(breaker).build()?;
    // A channel for each endpoint, made when that comes and dropped when it leaves.
    cluster.apply_with(servers, connect)?;

    let mut client = HealthClient::new(grpc::Channel::new(Balance::new(cluster.clone()).grpc()));
    let (mut served, mut failed) = (0, 0);
    for _ in 0..60 {
        match client.check(HealthCheckRequest::default()).await {
            Ok(_) => served += 1,
            Err(status) => {
                println!("a call failed: {}", status.message());
                failed += 1;
            }
        }
    }
    println!("{served} calls were served, {failed} failed before its breaker opened");
    for endpoint in cluster.report().endpoints {
        println!("  {}: {}", endpoint.id, endpoint.status);
    }
    assert_eq!((served, failed), (58, 2), "two failures in a row open the breaker");
    assert_eq!(cluster.usable(), 2);
    Ok(())
}

fn connect(endpoint: &Endpoint) -> Channel {
    let authority = endpoint.address().to_string();
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query("/").build();
    Channel::builder(uri.expect("an address is an authority")).connect_lazy()
}

/// A real server, which answers calls or refuses each of them.
async fn serve(works: bool) -> Result<Endpoint, Box<dyn Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let endpoint = Endpoint::at(listener.local_addr()?.into())?;
    let (_, service) = tonic_health::server::health_reporter();
    let gate = move |request: Request<()>| {
        if works { Ok(request) } else { Err(Status::unavailable("the disk is full")) }
    };
    let service = InterceptedService::new(service, gate);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
    Ok(endpoint)
}
