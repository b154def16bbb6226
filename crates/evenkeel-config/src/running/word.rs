//! What a check says to an endpoint, and how that is taken back.

use evenkeel::{CheckState, Handle};
use evenkeel_health::AdminState;
use evenkeel_probe::Advice;
use parking_lot::Mutex;

/// What an endpoint was told by its agent, so that nothing is said twice, which would overrule an operator who spoke in between,
/// and that it can be taken back.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<Words>);

#[derive(Clone, Copy, Debug, Default)]
struct Words {
    admin: Option<AdminState>,
    weight: bool,
    ended: bool,
}

impl Heard {
    /// For a check that takes the place of this one: the endpoint was told the same.
    pub(crate) fn taken_over(&self) -> Self {
        let words = *self.0.lock();
        Self(Mutex::new(Words { ended: false, ..words }))
    }

    /// The endpoint is one of another cluster, which was told nothing.
    pub(crate) fn forget(&self) {
        let mut words = self.0.lock();
        *words = Words { ended: words.ended, ..Words::default() };
    }

    /// No check says anything from now on.
    pub(crate) fn end(&self) {
        self.0.lock().ended = true;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.lock().ended
    }

    /// As if there had been no check. An administrative state stays if somebody else has changed it since.
    pub(crate) fn take_back<T>(&self, handle: &Handle<T>) {
        let words = *self.0.lock();
        let _ = handle.set_check(CheckState::Unknown);
        if words.weight {
            handle.set_reported(1.0);
        }
        if words.admin.is_some_and(|said| said == handle.status().admin()) {
            let _ = handle.set_admin(AdminState::Ready);
        }
    }
}

/// Says a verdict, and what an agent wishes: its weight as a factor, its state as the operator's word, as in HAProxy.
pub(crate) fn tell<T>(handle: &Handle<T>, state: CheckState, advice: Advice, heard: &Heard) {
    let _ = handle.set_check(state);
    if let Some(percent) = advice.weight_percent {
        heard.0.lock().weight = true;
        handle.set_reported(f64::from(percent.min(100)) / 100.0);
    }
    let Some(admin) = advice.admin else { return };
    let before = heard.0.lock().admin.replace(admin);
    if before != Some(admin) && (before.is_some() || admin != AdminState::Ready) {
        let _ = handle.set_admin(admin);
    }
}
