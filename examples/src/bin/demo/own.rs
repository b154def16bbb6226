//! The same proxy in front of the user's own servers.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::{Clock, Endpoint};
use tokio::net::TcpListener;

use crate::checker::Check;
use crate::display::{Showing, Title};
use crate::options::Options;
use crate::screen::Screen;
use crate::world::{Settings, World};

/// Serves on `listen` until Ctrl-C.
pub(crate) async fn run(options: &Options, listen: SocketAddr) -> Result<(), Box<dyn Error>> {
    let settings =
        Settings { policy: options.policy.clone(), seed: options.seed, open_for: Duration::from_secs(5) };
    let world = Arc::new(World::new(settings)?);
    for address in &options.backend {
        let endpoint =
            Endpoint::at(address.clone()).map_err(|error| format!("--backend {address}: {error}"))?;
        if world.registry.lease(&world.service, endpoint.id()).is_some() {
            return Err(format!("--backend {address}: given twice").into());
        }
        // Without a time to live: these do not register themselves, they are there because the user says so.
        let _ = world.registry.register(world.clock.now(), &world.service, endpoint, None)?;
    }
    let listener = TcpListener::bind(listen).await.map_err(|error| format!("--listen {listen}: {error}"))?;
    let target = listener.local_addr()?;
    let checking = world.check(Check { path: options.check.parse()?, fails_from: 500 });
    let (stop, serving) = world.serve(listener);
    let admin = options.admin.map(|at| world.administer(at)).transpose()?;
    let mut screen = Screen::new();
    let mut words = vec![format!("listening on http://{target}")];
    words.extend(admin.as_ref().map(|admin| format!("status page on http://{}", admin.address())));
    screen.update(&words, &[]);
    let showing = Showing::start(Arc::clone(&world), screen, Title::proxy(options));

    tokio::signal::ctrl_c().await?;
    let _ = stop.send(true);
    serving.await?;
    checking.abort();
    showing.end().await;
    Ok(())
}
