use std::error::Error;

use evenkeel::{Outcome, Pick};

use crate::judge::{Judge, Judgement};

/// Until when a request is in flight, and what its answer means.
pub trait Track<T, Res> {
    /// The answer with whatever keeps the request in flight.
    type Response;

    /// What the answer means, as far as it is there.
    fn judge(&self, answer: &Res) -> Judgement;

    /// What an error means.
    fn judge_error(&self, error: &(dyn Error + 'static)) -> Judgement;

    /// Hands the pick over to the answer, or ends it. `outcome` is what was judged.
    fn track(&self, pick: Pick<T>, answer: Res, outcome: Option<Outcome>) -> Self::Response;
}

/// The request ends when its answer is there.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnResponse<J>(pub J);

impl<T, Res, J: Judge<Res>> Track<T, Res> for OnResponse<J> {
    type Response = Res;

    #[inline]
    fn judge(&self, answer: &Res) -> Judgement {
        self.0.answer(answer)
    }

    fn judge_error(&self, error: &(dyn Error + 'static)) -> Judgement {
        self.0.error(error)
    }

    #[inline]
    fn track(&self, pick: Pick<T>, answer: Res, outcome: Option<Outcome>) -> Res {
        if let Some(outcome) = outcome {
            pick.finish(outcome);
        }
        answer
    }
}
