use evenkeel::Live;
use tower_service::Service;

use crate::error::BoxError;

/// How a request gets from the endpoint that was picked to a service that takes it.
pub trait Via<T, Req> {
    /// The service.
    type Service: Service<Req>;

    /// A service for one request. Called for each, so it should be cheap: the clone of something that is shared.
    fn service(&self, endpoint: &Live<T>) -> Self::Service;

    /// Addresses the request to the endpoint, if its service does not know by itself.
    ///
    /// # Errors
    ///
    /// If the endpoint cannot be addressed so; the request fails with it.
    fn aim(&self, endpoint: &Live<T>, request: &mut Req) -> Result<(), BoxError>;
}

/// Each endpoint has a service of its own, as its payload, and a clone of it takes the request.
///
/// Services that are costly to clone, or cannot be, go behind a [`Pool`](crate::Pool).
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnService;

impl<T, Req> Via<T, Req> for OwnService
where
    T: Service<Req> + Clone,
{
    type Service = T;

    #[inline]
    fn service(&self, endpoint: &Live<T>) -> T {
        endpoint.payload().clone()
    }

    #[inline]
    fn aim(&self, _: &Live<T>, _: &mut Req) -> Result<(), BoxError> {
        Ok(())
    }
}

/// One service takes the requests for all endpoints, after `aim` has addressed them: a client with a pool of its own, such
/// as those of hyper-util and reqwest.
#[derive(Clone, Copy, Debug)]
pub struct OneService<S, A> {
    service: S,
    aim: A,
}

impl<S, A> OneService<S, A> {
    pub(crate) const fn new(service: S, aim: A) -> Self {
        Self { service, aim }
    }
}

impl<T, Req, S, A> Via<T, Req> for OneService<S, A>
where
    S: Service<Req> + Clone,
    A: Aim<T, Req>,
{
    type Service = S;

    #[inline]
    fn service(&self, _: &Live<T>) -> S {
        self.service.clone()
    }

    #[inline]
    fn aim(&self, endpoint: &Live<T>, request: &mut Req) -> Result<(), BoxError> {
        self.aim.aim(endpoint, request)
    }
}

/// Addresses a request to an endpoint. Functions `Fn(&Live<T>, &mut Req) -> Result<(), BoxError>` do.
pub trait Aim<T, Req> {
    /// Addresses it.
    ///
    /// # Errors
    ///
    /// If the endpoint cannot be addressed so.
    fn aim(&self, endpoint: &Live<T>, request: &mut Req) -> Result<(), BoxError>;
}

impl<T, Req, F> Aim<T, Req> for F
where
    F: Fn(&Live<T>, &mut Req) -> Result<(), BoxError>,
{
    fn aim(&self, endpoint: &Live<T>, request: &mut Req) -> Result<(), BoxError> {
        self(endpoint, request)
    }
}
