use std::sync::Arc;

use super::{GrpcConfig, GrpcPolicy, RingHash, RoundRobin, RoundRobinSettings, StaticStride};
use crate::compat::envoy::Weighted;
use crate::compat::host_text::host_text;
use crate::compat::key::request_hash;
use crate::compat::turns_of_usable::{Rules, TurnsOfUsable};
use crate::{BuiltIn, Caller, Event, InvalidPolicy, Members, Policy, PolicySettings, View, Wants, scan};

/// A cluster that picks as a channel of gRPC C-core does; see the [module](super).
#[derive(Debug)]
pub struct Grpc {
    config: GrpcConfig,
    weights: Arc<[u32]>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Ring(RingHash),
    Turns(RoundRobinSettings, TurnsOfUsable<Turns>),
}

#[derive(Clone, Debug)]
enum Turns {
    Even(RoundRobin),
    Stride { stride: StaticStride, usable: Vec<u32>, next: u32 },
}

impl PolicySettings for GrpcConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Grpc::new(self.clone(), members).map(BuiltIn::dynamic)
    }
}

impl Grpc {
    /// The policy for these members.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`], if ring sizes are out of range, or the weights on a ring add up to more than `u32::MAX`.
    pub fn new(config: GrpcConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let weights: Arc<[u32]> = members.weights().into();
        let form = match config.policy {
            GrpcPolicy::RingHash(settings) => {
                let texts: Vec<String> =
                    (0..weights.len()).map(|position| host_text(&members.endpoint(position))).collect();
                let endpoints: Vec<Weighted> = (0..).zip(weights.iter().copied()).collect();
                let ring = RingHash::new(&endpoints, |position| &texts[position as usize], settings.sizes()?)
                    .map_err(|error| InvalidPolicy::members("grpc", error.to_string()))?;
                Form::Ring(ring)
            }
            GrpcPolicy::RoundRobin(settings) | GrpcPolicy::WeightedRoundRobin(settings) => {
                Form::Turns(settings, TurnsOfUsable::new(None))
            }
        };
        Ok(Self { config, weights, form })
    }
}

impl Policy for Grpc {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        match &self.form {
            Form::Ring(ring) => {
                let hash = request_hash(caller);
                let picked = ring.pick(hash, |position| view.is_open(position as usize));
                // A ring with fewer points than endpoints holds not all of them.
                picked.map(|position| position as usize).or_else(|| scan::uniform(view, caller))
            }
            Form::Turns(_, turns) => turns.pick(self, view, caller),
        }
    }

    fn wants(&self) -> Wants {
        match &self.form {
            Form::Ring(_) => Wants::KEY,
            Form::Turns(..) => Wants::EVENTS | Wants::SEQUENCE,
        }
    }

    fn on_event(&self, event: Event) {
        if let (Event::Up(_) | Event::Down(_), Form::Turns(_, turns)) = (event, &self.form) {
            turns.has_changed();
        }
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        Ok(Some(Arc::new(Self::new(self.config.clone(), members)?)))
    }
}

impl Rules<Turns> for Grpc {
    fn make(&self, usable: &[u32], _: Option<&Turns>, _: &dyn View, caller: &mut dyn Caller) -> Turns {
        let start = match &self.form {
            Form::Turns(settings, _) => settings.start,
            Form::Ring(_) => None,
        };
        let start = start.unwrap_or_else(|| caller.draw() as u32);
        let weight =
            |&position: &u32| self.weights.get(position as usize).map_or(1.0, |&weight| weight as f32);
        let stride = match self.config.policy {
            GrpcPolicy::WeightedRoundRobin(_) => {
                StaticStride::new(&usable.iter().map(weight).collect::<Vec<f32>>())
            }
            _ => None,
        };
        match stride {
            Some(stride) => Turns::Stride { stride, usable: usable.to_vec(), next: start },
            None => Turns::Even(RoundRobin::new(usable.to_vec(), start.into())),
        }
    }

    fn next(&self, turns: &mut Turns, _: &dyn View, _: &mut dyn Caller) -> Option<u32> {
        match turns {
            Turns::Even(turns) => turns.pick(),
            Turns::Stride { stride, usable, next } => {
                let place = stride.pick(|| {
                    let number = *next;
                    *next = next.wrapping_add(1);
                    number
                });
                usable.get(place).copied()
            }
        }
    }
}
