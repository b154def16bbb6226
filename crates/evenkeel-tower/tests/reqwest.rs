//! reqwest, with an endpoint for each request.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod support {
    pub(crate) mod server;
}

use evenkeel::{Cluster, Live};
use evenkeel_tower::http::{OnBody, StatusJudge};
use evenkeel_tower::{BalanceLayer, BoxError};
use http_body_util::BodyExt;
use reqwest::{Client, Method, Request, Response, Url};
use support::server::{Script, Server, cluster_of};
use tower::{Service, ServiceBuilder, ServiceExt};

/// Host and port of the URL become the endpoint's.
fn aim(endpoint: &Live<()>, request: &mut Request) -> Result<(), BoxError> {
    let address = Url::parse(&format!("http://{}", endpoint.address()))?;
    let url = request.url_mut();
    url.set_host(address.host_str())?;
    url.set_port(address.port()).map_err(|()| "this URL has no port")?;
    Ok(())
}

fn in_flight(cluster: &Cluster<()>) -> usize {
    cluster.endpoints().iter().map(evenkeel::Handle::in_flight).sum()
}

#[tokio::test]
async fn an_endpoint_for_each_request() {
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Server::start(Script::default()).await);
    }
    let cluster = cluster_of(&servers);
    let mut client = ServiceBuilder::new()
        .layer(BalanceLayer::new(cluster.clone(), aim).tracked_by(OnBody(StatusJudge::default())))
        .map_response(http::Response::<reqwest::Body>::from)
        .service(Client::new());
    for _ in 0..9 {
        let request = Request::new(Method::GET, "http://users/a?b=c".parse().unwrap());
        let answer = client.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!((answer.status().as_u16(), in_flight(&cluster)), (200, 1));
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        assert_eq!(in_flight(&cluster), 0);
    }
    assert_eq!(servers.iter().map(Server::served).collect::<Vec<_>>(), [3, 3, 3]);
    assert_eq!(servers[0].last().1, "/a?b=c");
}

#[tokio::test]
async fn without_bodies_it_is_simpler() {
    let servers = [Server::start(Script::default()).await];
    let cluster = cluster_of(&servers);
    let client = ServiceBuilder::new().layer(BalanceLayer::new(cluster.clone(), aim)).service(Client::new());
    let request = Request::new(Method::GET, "http://users/".parse().unwrap());
    let answer: Response = client.oneshot(request).await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "hello");
    assert_eq!(in_flight(&cluster), 0);
}
