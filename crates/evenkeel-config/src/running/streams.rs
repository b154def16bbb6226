//! Streams to control planes, which several clusters share.

#[cfg(feature = "xds")]
use std::sync::{Arc, Weak};

#[cfg(feature = "xds")]
use evenkeel_xds::{Xds, XdsConfig, XdsError, XdsHandle};
#[cfg(feature = "xds")]
use parking_lot::Mutex;

/// The streams that run. One ends with the last source that follows something on it.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    #[cfg(feature = "xds")]
    xds: Mutex<Vec<(XdsConfig, Weak<XdsHandle>)>>,
}

impl Streams {
    /// The stream of these settings, begun if there is none.
    #[cfg(feature = "xds")]
    pub(crate) fn xds(&self, config: &XdsConfig) -> Result<Arc<XdsHandle>, XdsError> {
        let mut known = self.xds.lock();
        known.retain(|(_, stream)| stream.strong_count() > 0);
        let same = known.iter().filter(|(of, _)| of == config);
        let running = same.filter_map(|(_, stream)| stream.upgrade()).find(|stream| stream.is_running());
        if let Some(running) = running {
            return Ok(running);
        }
        let stream = Arc::new(Xds::start(config.clone())?);
        known.push((config.clone(), Arc::downgrade(&stream)));
        Ok(stream)
    }
}
