//! The least proxy that pingora can be, for `benches/end_to_end/run`: `pingora_front [--retry] LISTEN BACKEND...`, one
//! thread, round robin. With `--retry` an answer of 503 is tried twice more, at the servers whose turn it then is.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::background::background_service;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::ResponseHeader;
use pingora_load_balancing::LoadBalancer;
use pingora_load_balancing::selection::RoundRobin;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Front {
    balancer: Arc<LoadBalancer<RoundRobin>>,
    attempts: usize,
}

#[async_trait]
impl ProxyHttp for Front {
    /// The attempts so far.
    type CTX = usize;

    fn new_ctx(&self) -> usize {
        0
    }

    async fn upstream_peer(
        &self,
        _: &mut Session,
        attempts: &mut usize,
    ) -> pingora_core::Result<Box<HttpPeer>> {
        *attempts += 1;
        let backend = self.balancer.select(b"", 256);
        let backend =
            backend.ok_or_else(|| pingora_core::Error::new(pingora_core::ErrorType::ConnectNoRoute))?;
        let mut peer = HttpPeer::new(backend, false, String::new());
        peer.options.idle_timeout = Some(Duration::from_secs(60));
        Ok(Box::new(peer))
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        answer: &mut ResponseHeader,
        attempts: &mut usize,
    ) -> pingora_core::Result<()> {
        if answer.status == 503 && *attempts < self.attempts {
            let mut error = pingora_core::Error::new_up(pingora_core::ErrorType::HTTPStatus(503));
            error.set_retry(true);
            return Err(error);
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1).peekable();
    let attempts = if arguments.next_if(|first| first == "--retry").is_some() { 3 } else { 1 };
    let listen = arguments.next().ok_or("usage: pingora_front LISTEN BACKEND...")?;
    let backends: Vec<String> = arguments.collect();
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 128, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let balancer = LoadBalancer::try_from_iter(backends)?;
    let background = background_service("balancer", balancer);
    let mut proxy =
        http_proxy_service(&server.configuration, Front { balancer: background.task(), attempts });
    proxy.add_tcp(&listen);
    server.add_service(proxy);
    server.add_service(background);
    server.run_forever()
}
