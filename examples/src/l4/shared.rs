use std::sync::Arc;

use evenkeel_config::Running;
use parking_lot::RwLock;

use super::backend::{Backend, Backends};
use super::counters::Counters;
use super::settings::Settings;

/// What all threads share.
pub(crate) struct Shared {
    pub(crate) running: Arc<Running<Arc<Backend>>>,
    pub(crate) backends: Arc<Backends>,
    pub(crate) counters: Counters,
    settings: RwLock<Arc<Settings>>,
}

impl Shared {
    pub(crate) fn new(
        running: Running<Arc<Backend>>,
        backends: Arc<Backends>,
        settings: Arc<Settings>,
    ) -> Self {
        let running = Arc::new(running);
        Self { running, backends, counters: Counters::default(), settings: RwLock::new(settings) }
    }

    /// Those in force now; a connection keeps those with which it began.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read())
    }

    /// Whether these are still in force.
    pub(crate) fn is_in_force(&self, settings: &Arc<Settings>) -> bool {
        Arc::ptr_eq(&self.settings.read(), settings)
    }

    pub(crate) fn set_settings(&self, settings: Arc<Settings>) {
        *self.settings.write() = settings;
    }
}
