use thiserror::Error;

use super::round_robin::weight_of;
use super::{Edf, Weighted};

/// Settings of Envoy's `LEAST_REQUEST`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct LeastRequestSettings {
    /// How many hosts are drawn while weights are equal: 2, Envoy's default, and at least that.
    pub choice_count: u32,
    /// How strongly requests in flight lower a weight, while weights differ: 1, Envoy's default. 0 ignores them.
    pub active_request_bias: f64,
}

impl Default for LeastRequestSettings {
    fn default() -> Self {
        Self { choice_count: 2, active_request_bias: 1.0 }
    }
}

impl LeastRequestSettings {
    /// Whether these settings are possible.
    ///
    /// # Errors
    ///
    /// [`InvalidLeastRequest`], if `choice_count` is below two or above 1024, or the bias is negative or no number.
    pub fn check(self) -> Result<(), InvalidLeastRequest> {
        if !(2..=MOST_CHOICES).contains(&self.choice_count) {
            return Err(InvalidLeastRequest::Choices { choices: self.choice_count });
        }
        if !(self.active_request_bias >= 0.0 && self.active_request_bias.is_finite()) {
            return Err(InvalidLeastRequest::Bias);
        }
        Ok(())
    }
}

/// More draws for one pick than any set needs.
const MOST_CHOICES: u32 = 1024;

/// The settings are not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidLeastRequest {
    /// Too few or too many hosts to compare.
    #[error("{choices} is out of range: allowed are 2 to 1024")]
    Choices {
        /// What was asked for.
        choices: u32,
    },
    /// The bias is negative, infinite or no number.
    #[error("the bias must be a number of at least 0")]
    Bias,
}

/// Envoy's `LEAST_REQUEST`: while weights are equal the less loaded of a few draws, with replacement; otherwise a schedule
/// by [deadlines](Edf) in which a host's weight is divided by its requests in flight.
#[derive(Clone, Debug)]
pub struct LeastRequest {
    settings: LeastRequestSettings,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Draws(Vec<u32>),
    Schedule { edf: Edf, weights: Vec<Weighted> },
}

impl LeastRequest {
    /// The machine of these hosts; weight zero takes no part. `active` tells the requests in flight of a host now, `start`
    /// the number of picks that count as done, if weights differ.
    ///
    /// # Errors
    ///
    /// [`InvalidLeastRequest`]; see [`LeastRequestSettings::check`].
    pub fn new(
        settings: LeastRequestSettings,
        hosts: &[Weighted],
        start: u64,
        active: impl Fn(u32) -> u64,
    ) -> Result<Self, InvalidLeastRequest> {
        settings.check()?;
        let mut weights: Vec<Weighted> = hosts.iter().copied().filter(|&(_, weight)| weight > 0).collect();
        if weights.windows(2).all(|pair| pair[0].1 == pair[1].1) {
            let hosts = weights.into_iter().map(|(host, _)| host).collect();
            return Ok(Self { settings, form: Form::Draws(hosts) });
        }
        let now = |&(host, weight): &Weighted| (host, lowered(weight, active(host), settings));
        let edf = Edf::after_picks(weights.iter().map(now), start as u32);
        weights.sort_unstable();
        Ok(Self { settings, form: Form::Schedule { edf, weights } })
    }

    /// A host. `draw` gives 64 random bits.
    pub fn pick(&mut self, active: impl Fn(u32) -> u64, mut draw: impl FnMut() -> u64) -> Option<u32> {
        match &mut self.form {
            Form::Draws(hosts) => {
                let count = u64::try_from(hosts.len()).ok().filter(|&count| count > 0)?;
                let mut drawn = || hosts[(draw() % count) as usize];
                let mut best = drawn();
                for _ in 1..self.settings.choice_count {
                    let other = drawn();
                    if active(other) < active(best) {
                        best = other;
                    }
                }
                Some(best)
            }
            Form::Schedule { edf, weights } => {
                edf.pick(|host| lowered(weight_of(weights, host), active(host), self.settings))
            }
        }
    }
}

/// The weight over (requests in flight + 1) to the power of the bias.
fn lowered(weight: u32, active: u64, settings: LeastRequestSettings) -> f64 {
    let (weight, active) = (f64::from(weight), active.saturating_add(1) as f64);
    match settings.active_request_bias {
        1.0 => weight / active,
        0.0 => weight,
        bias => weight / libm::pow(active, bias),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(weights: &[u32], bias: f64) -> LeastRequest {
        let hosts: Vec<Weighted> = (0..).zip(weights.iter().copied()).collect();
        let settings = LeastRequestSettings { active_request_bias: bias, ..Default::default() };
        LeastRequest::new(settings, &hosts, 0, |_| 0).unwrap()
    }

    #[test]
    fn of_equal_hosts_the_first_drawn_stays_unless_another_has_less() {
        let mut machine = machine(&[1, 1, 1], 1.0);
        for (draws, picked) in [([0, 1], 1), ([1, 0], 1), ([2, 2], 2), ([1, 2], 1), ([3, 4], 1)] {
            let mut draws = draws.into_iter();
            let active = |host| [5, 2, 2][host as usize];
            assert_eq!(machine.pick(active, || draws.next().unwrap()), Some(picked));
        }
    }

    #[test]
    fn requests_in_flight_lower_a_weight() {
        let shares = |bias, active: [u64; 2]| {
            let mut machine = machine(&[2, 1], bias);
            (0..900).filter(|_| machine.pick(|host| active[host as usize], || 0) == Some(0)).count()
        };
        assert!(shares(1.0, [0, 0]).abs_diff(600) <= 1);
        assert!(shares(0.0, [9, 0]).abs_diff(600) <= 1, "without bias nobody looks");
        assert!(shares(1.0, [3, 0]).abs_diff(300) <= 2, "2 / 4 against 1");
        assert!(shares(2.0, [1, 0]).abs_diff(300) <= 2, "2 / 2² against 1");
        assert!(shares(1.0, [u64::MAX, 0]) <= 1, "the largest count does not overflow");
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for choices in [0, 1, 1025] {
            let settings = LeastRequestSettings { choice_count: choices, ..Default::default() };
            assert_eq!(settings.check(), Err(InvalidLeastRequest::Choices { choices }));
        }
        for bias in [-1.0, f64::NAN, f64::INFINITY] {
            let settings = LeastRequestSettings { active_request_bias: bias, ..Default::default() };
            assert_eq!(settings.check(), Err(InvalidLeastRequest::Bias));
        }
        assert!(
            LeastRequest::new(LeastRequestSettings::default(), &[], 0, |_| 0)
                .unwrap()
                .pick(|_| 0, || 0)
                .is_none()
        );
    }
}
