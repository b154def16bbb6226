/// Copies requests, so that they can be sent more than once.
pub trait Copies<Req> {
    /// A copy, or `None` if there cannot be one: then only what was not sent can be sent again.
    fn copy(&self, request: &Req) -> Option<Req>;

    /// Whether doing it twice does no harm. If not, it is sent again only if no endpoint has seen it, and never hedged.
    fn may_repeat(&self, request: &Req) -> bool;
}

/// Copies by `Clone`. All requests may be done twice: whoever takes this says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cloned;

impl<Req: Clone> Copies<Req> for Cloned {
    fn copy(&self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }

    fn may_repeat(&self, _: &Req) -> bool {
        true
    }
}

/// Copies by a function; what it copies may be done twice.
#[derive(Clone, Copy, Debug)]
pub struct CopyBy<F>(pub F);

impl<Req, F: Fn(&Req) -> Option<Req>> Copies<Req> for CopyBy<F> {
    fn copy(&self, request: &Req) -> Option<Req> {
        (self.0)(request)
    }

    fn may_repeat(&self, _: &Req) -> bool {
        true
    }
}
