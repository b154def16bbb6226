use std::time::Duration;

use evenkeel_types::Timestamp;

/// Something that happened to an endpoint, named by its [`Members::token`](crate::Members::token), since positions change
/// with updates.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A request was sent there.
    Picked(u64),
    /// A request that was sent there has ended.
    Released(u64),
    /// A request that was sent there has failed.
    Failed(u64),
    /// It became usable.
    Up(u64),
    /// It became unusable.
    Down(u64),
    /// How a request went that was sent there.
    Observed(u64, Observation),
    /// What it says of its own load.
    Reported(u64, LoadReport),
}

/// How one request went, as a policy that reads latency hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// From the pick to the verdict. For [`Observed::Censored`] from the pick to the moment it was dropped: a floor.
    pub latency: Duration,
    /// The verdict.
    pub kind: Observed,
    /// The requests in flight there at the verdict, this one among them. Exact for policies that ask for
    /// [`Wants::LOADS`](crate::Wants::LOADS); else counts may be striped over threads, and this is one stripe.
    pub in_flight: u32,
    /// When the verdict came.
    pub at: Timestamp,
}

/// The verdict on one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Observed {
    /// The endpoint answered as it should.
    Success,
    /// The endpoint did not do its job.
    Failure,
    /// The endpoint asked for less.
    Overload,
    /// Nothing is said about the endpoint.
    Neutral,
    /// The request was dropped without a verdict: a timeout of the caller's, or a caller that lost interest.
    Censored,
}

/// What an endpoint says of its own load: the fields of an ORCA report (`xds.data.orca.v3.OrcaLoadReport`) that decide, and what
/// [`C3`](crate::C3) asks for beside them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadReport {
    /// Queries a second that it serves, over all its clients.
    pub queries_per_second: f64,
    /// Failed ones among them.
    pub errors_per_second: f64,
    /// How busy it is: 1 is its full capacity, above is overload.
    pub utilisation: f64,
    /// The requests that wait there or are being served, over all its clients; none if it does not say.
    pub queue: Option<u32>,
    /// What serving a request takes there without the wait; none if it does not say.
    pub service_time: Option<Duration>,
    /// When the report came.
    pub at: Timestamp,
}

impl LoadReport {
    /// A report of these figures, without a time yet.
    #[must_use]
    pub const fn new(queries_per_second: f64, errors_per_second: f64, utilisation: f64) -> Self {
        let at = Timestamp::ORIGIN;
        Self { queries_per_second, errors_per_second, utilisation, queue: None, service_time: None, at }
    }

    /// The same with the requests that are there.
    #[must_use]
    pub const fn with_queue(self, queue: u32) -> Self {
        Self { queue: Some(queue), ..self }
    }

    /// The same with the time that serving a request takes, without the wait.
    #[must_use]
    pub const fn with_service_time(self, service_time: Duration) -> Self {
        Self { service_time: Some(service_time), ..self }
    }
}
