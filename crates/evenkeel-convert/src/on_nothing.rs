use evenkeel_route::retry::RetryOn;

/// No reason to try again: where the readers begin that add one after the other.
pub(crate) fn on_nothing() -> RetryOn {
    RetryOn {
        statuses: Vec::new(),
        grpc_codes: Vec::new(),
        connect_failed: false,
        refused: false,
        reset: false,
        timed_out: false,
    }
}
