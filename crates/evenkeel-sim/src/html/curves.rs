//! Distributions of latency: all of it, and the tail.

use super::plot::{Axis, Plot, legend};
use super::{DRAWN, latency};
use crate::replay::Measured;
use crate::report::{CaseReport, PolicyReport};

/// A distribution at the quantiles that are drawn: the mean over seeds, the least and the most.
struct Curve {
    class: String,
    name: String,
    points: Vec<Point>,
}

#[derive(Clone, Copy)]
struct Point {
    quantile: f64,
    mean: f64,
    low: f64,
    high: f64,
}

/// Both plots of a case.
pub(super) fn draw(case: &CaseReport, id: &str, measured: Option<&Measured>) -> String {
    let mut curves: Vec<Curve> = Vec::new();
    if let Some(measured) = measured {
        let points = quantiles(measured.requests).map(|quantile| {
            let mean = at(&measured.distribution, quantile);
            Point { quantile, mean, low: f64::NAN, high: f64::NAN }
        });
        curves.push(Curve {
            class: "line own".to_owned(),
            name: "measured".to_owned(),
            points: points.collect(),
        });
    }
    curves.extend(case.policies.iter().take(DRAWN).enumerate().map(|(number, policy)| Curve {
        class: format!("line c{number}"),
        name: policy.policy.clone(),
        points: points(policy),
    }));
    let all = || curves.iter().flat_map(|curve| &curve.points).map(|point| point.mean);
    let finite = || all().filter(|value| value.is_finite() && *value > 0.0);
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(0.0, f64::max));
    if high == 0.0 {
        return "<p>No request was answered, so there is no latency to draw.</p>".to_owned();
    }
    let rarest = curves.iter().flat_map(|curve| curve.points.last()).map(|last| 1.0 - last.quantile);
    let rarest = rarest.fold(0.1, f64::min).max(1e-7);
    let names = || legend(curves.iter().map(|curve| (curve.class.clone(), curve.name.as_str())));
    let said = told(&curves);
    let x = ("latency", &|at: f64| latency(at) as String as _);
    let x: (&str, &dyn Fn(f64) -> String) = (x.0, x.1);
    let mut whole = Plot::new(
        &format!("{id}-cdf"),
        "Latency: share of requests that took no longer",
        &said,
        Axis::log(low, high),
        Axis::linear(0.0, 1.0),
    );
    whole.axes(x, ("share of requests", &|share| format!("{:.0} %", share * 100.0)));
    let mut tail = Plot::new(
        &format!("{id}-tail"),
        "The tail: share of requests that took longer",
        &said,
        Axis::log(low, high),
        Axis::log(rarest, 1.0),
    );
    tail.axes(x, ("share that took longer", &|share| format!("{} %", super::trimmed(share * 100.0))));
    // Bands first, so that they do not lie over lines.
    for (number, curve) in curves.iter().enumerate() {
        let class = curve.class.strip_prefix("line ").unwrap_or_default();
        if curve.points.iter().any(|point| point.low.is_finite() && point.high > point.low) {
            tail.body_band(class, curve, number);
        }
    }
    for curve in &curves {
        whole.line(&curve.class, curve.points.iter().map(|point| (point.mean, point.quantile)));
        tail.line(&curve.class, curve.points.iter().map(|point| (point.mean, 1.0 - point.quantile)));
    }
    whole.finish(&names()) + &tail.finish(&names())
}

impl Plot {
    /// Between the seeds: to the left the fastest, to the right the slowest at each share.
    fn body_band(&mut self, class: &str, curve: &Curve, _number: usize) {
        let mut outline: Vec<(f64, f64)> =
            curve.points.iter().map(|point| (point.low, 1.0 - point.quantile)).collect();
        outline.extend(curve.points.iter().rev().map(|point| (point.high, 1.0 - point.quantile)));
        self.line(&format!("band {class}"), outline);
    }
}

fn points(policy: &PolicyReport) -> Vec<Point> {
    let requests = policy.runs.iter().map(|run| run.requests).max().unwrap_or(0);
    let known = |quantile: f64| {
        let values = policy.runs.iter().filter(|run| !run.distribution.is_empty());
        let values: Vec<f64> = values.map(|run| at(&run.distribution, quantile)).collect();
        Point {
            quantile,
            mean: values.iter().sum::<f64>() / values.len() as f64,
            low: values.iter().copied().fold(f64::INFINITY, f64::min),
            high: values.iter().copied().fold(0.0, f64::max),
        }
    };
    quantiles(requests).map(known).collect()
}

/// Hundredths, then ever closer to one, as long as some ten requests lie above.
fn quantiles(requests: u64) -> impl Iterator<Item = f64> {
    let closest = 1.0 - 10.0 / requests.max(100) as f64;
    let tail = (1..=100).map(|step| 1.0 - libm::pow(10.0, -2.0 - f64::from(step) / 20.0));
    let body = (1..=99).map(|percent| f64::from(percent) / 100.0);
    body.chain(tail).take_while(move |&quantile| quantile <= closest)
}

/// The latency at a quantile; linear between points that are known.
fn at(distribution: &[[f64; 2]], quantile: f64) -> f64 {
    let next = distribution.partition_point(|&[_, share]| share < quantile);
    let Some(&[high, above]) = distribution.get(next).or(distribution.last()) else { return f64::NAN };
    let Some(&[low, below]) = next.checked_sub(1).and_then(|before| distribution.get(before)) else {
        return high;
    };
    if above > below {
        low + (high - low) * ((quantile - below) / (above - below)).clamp(0.0, 1.0)
    } else {
        high
    }
}

/// The same in words.
fn told(curves: &[Curve]) -> String {
    let median = |curve: &Curve| {
        let wanted = |quantile: f64| {
            let point = curve
                .points
                .iter()
                .min_by(|a, b| (a.quantile - quantile).abs().total_cmp(&(b.quantile - quantile).abs()));
            point.map_or_else(|| "unknown".to_owned(), |point| latency(point.mean))
        };
        format!("{}: median {}, 99 % within {}", curve.name, wanted(0.5), wanted(0.99))
    };
    curves.iter().map(median).collect::<Vec<_>>().join("; ") + "."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_what_is_known() {
        let known = [[1.0, 0.0], [2.0, 0.5], [4.0, 1.0]];
        for (quantile, latency) in [(0.0, 1.0), (0.25, 1.5), (0.5, 2.0), (0.75, 3.0), (1.0, 4.0)] {
            assert_eq!(at(&known, quantile), latency, "{quantile}");
        }
        assert!(at(&[], 0.5).is_nan());
        assert_eq!(at(&[[3.0, 1.0]], 0.5), 3.0);
        assert!(quantiles(u64::MAX).count() < 240);
        assert!(quantiles(1000).last().unwrap() <= 0.99);
    }
}
