//! What is wrong with a configuration whose form is right.

mod clusters;
mod discovery;
mod faults;
mod listeners;
mod routes;

pub(crate) use faults::Faults;
#[cfg(any(feature = "kube", feature = "xds"))]
pub(crate) use faults::foreign;
pub(crate) use routes::{http_error, stream_error};

use std::time::Duration;

use evenkeel::Cluster;

use crate::document::Path;
use crate::error::{ConfigErrors, Problem, Warning};
use crate::loaded::Loaded;

/// Everything, with a trial of each cluster and of the routers.
pub(crate) fn check(loaded: &Loaded) -> Result<Vec<Warning>, ConfigErrors> {
    let mut faults = Faults::new(loaded);
    let clusters = check_parts(loaded, &mut faults);
    if faults.is_empty() {
        routes::try_out(&loaded.config, clusters, &mut faults);
    }
    faults.end()
}

/// All but the tables of routes, which whoever starts or reloads compiles anyway.
pub(crate) fn check_parts(loaded: &Loaded, faults: &mut Faults<'_>) -> Vec<Cluster<()>> {
    let config = &loaded.config;
    if !config.include.is_empty() {
        let text = "was not followed: load the configuration from its file";
        faults.error(&Path::from("include"), Problem::invalid(text));
    }
    if !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(&config.tick) {
        let text = format!("is {:?}: allowed are 1ms to 1m", config.tick);
        faults.error(&Path::from("tick"), Problem::Invalid(text));
    }
    listeners::check(config, faults);
    routes::check(config, faults);
    clusters::check(config, faults)
}
