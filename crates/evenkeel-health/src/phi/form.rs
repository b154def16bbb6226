//! From an absence to a number.

/// How likely a heartbeat is still to come after so long, as a power of ten.
///
/// `phi` is `-log10` of the probability that the next heartbeat comes even later than now: at 1 one absence in ten
/// lasts so long, at 8 one in a hundred million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum PhiForm {
    /// Intervals are normally distributed, as Akka assumes: right for heartbeats by a timer. The default.
    ///
    /// With `y = (elapsed - mean - pause) / deviation` and the logistic approximation of the normal distribution,
    /// `phi = log10(1 + exp(y (1.5976 + 0.070566 y^2)))`, which is Akka's `-log10(e / (1 + e))` in a form that neither
    /// overflows nor loses its digits.
    #[default]
    Normal,
    /// Intervals are exponentially distributed, as Cassandra assumes: right for heartbeats that come with gossip.
    ///
    /// `phi = (elapsed - pause) / (mean ln 10) = 0.4343 (elapsed - pause) / mean`. chitchat leaves the factor out: its
    /// threshold 8 is 3.47 here, and 8 here is 18.4 there.
    Exponential,
}

impl PhiForm {
    /// All in seconds; `deviation` and `mean` above zero.
    pub(super) fn phi(self, elapsed: f64, mean: f64, deviation: f64, pause: f64) -> f64 {
        match self {
            Self::Normal => {
                let y = (elapsed - mean - pause) / deviation;
                ln_one_plus_exp(y * (1.5976 + 0.070566 * y * y)) / std::f64::consts::LN_10
            }
            Self::Exponential => (elapsed - pause).max(0.0) / (mean * std::f64::consts::LN_10),
        }
    }
}

/// `ln(1 + e^x)` without overflow.
fn ln_one_plus_exp(x: f64) -> f64 {
    if x > 0.0 { x + libm::log1p(libm::exp(-x)) } else { libm::log1p(libm::exp(x)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Akka's own form, where it can be computed.
    fn akka(elapsed: f64, mean: f64, deviation: f64) -> f64 {
        let y = (elapsed - mean) / deviation;
        let e = libm::exp(-y * (1.5976 + 0.070566 * y * y));
        if elapsed > mean { -libm::log10(e / (1.0 + e)) } else { -libm::log10(1.0 - 1.0 / (1.0 + e)) }
    }

    #[test]
    fn it_is_the_form_of_akka() {
        for elapsed in 0..400 {
            let elapsed = f64::from(elapsed) / 100.0;
            let (ours, theirs) = (PhiForm::Normal.phi(elapsed, 1.0, 0.3, 0.0), akka(elapsed, 1.0, 0.3));
            assert!((ours - theirs).abs() <= 1e-6 * theirs.max(1e-6) + 1e-9, "{elapsed}: {ours}, {theirs}");
        }
        // The values of Akka's own test, "use good enough cumulative distribution function": the distribution at these
        // points is that of the normal distribution.
        for (y, cdf) in
            [(0.0, 0.5), (0.6, 0.7257), (1.5, 0.9332), (2.0, 0.97725), (2.5, 0.99379), (3.5, 0.99977)]
        {
            let phi = PhiForm::Normal.phi(y, 0.0, 1.0, 0.0);
            assert!((1.0 - libm::pow(10.0, -phi) - cdf).abs() < 0.001, "{y}: {phi}");
        }
    }

    #[test]
    fn a_very_long_absence_is_a_number() {
        for form in [PhiForm::Normal, PhiForm::Exponential] {
            let phi = form.phi(1e9, 1.0, 0.001, 0.0);
            assert!(phi.is_finite() && phi > 1e6, "{phi}");
            assert!(form.phi(0.0, 1.0, 1e-9, 1e9).abs() < 1e-9);
        }
        assert!((PhiForm::Exponential.phi(18.42, 1.0, 1.0, 0.0) - 8.0).abs() < 0.001);
    }
}
