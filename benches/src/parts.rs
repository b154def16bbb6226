//! Clusters with the parts that can be switched on besides the policy.

use std::time::Duration;

use evenkeel::{
    BreakerConfig, Clock, Cluster, LedgerConfig, LimitConfig, OutlierConfig, PolicyConfig, Ratio, Rule,
    SlowStartConfig, Window,
};

use crate::world::{Weights, endpoints};

/// What a cluster of this name has besides its policy.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// What its rows are called.
    pub name: &'static str,
    breaker: bool,
    outlier: bool,
    limit: bool,
    budget: bool,
    slow_start: bool,
}

const NONE: Parts =
    Parts { name: "p2c", breaker: false, outlier: false, limit: false, budget: false, slow_start: false };

/// Two choices alone, with each part by itself, and with all of them.
pub const PARTS: [Parts; 8] = [
    NONE,
    Parts { name: "p2c+breaker", breaker: true, ..NONE },
    Parts { name: "p2c+outlier", outlier: true, ..NONE },
    Parts { name: "p2c+limit", limit: true, ..NONE },
    Parts { name: "p2c+budget", budget: true, ..NONE },
    Parts { name: "p2c+slow_start", slow_start: true, ..NONE },
    Parts { name: "all", breaker: true, outlier: true, limit: true, budget: true, slow_start: false },
    Parts {
        name: "all+slow_start",
        breaker: true,
        outlier: true,
        limit: true,
        budget: true,
        slow_start: true,
    },
];

impl Parts {
    /// `n` endpoints under two choices.
    #[must_use]
    pub fn cluster(&self, n: usize, clock: impl Clock + 'static) -> Cluster<()> {
        let mut builder =
            Cluster::<()>::builder("bench").policy(PolicyConfig::least_request()).seed(42).clock(clock);
        if self.breaker {
            builder = builder.breaker(window_breaker());
        }
        if self.outlier {
            builder = builder.outlier(OutlierConfig::default());
        }
        if self.limit {
            builder = builder.endpoint_limit(LimitConfig::fixed(1000));
        }
        if self.budget {
            builder = builder.budget(LedgerConfig::default());
        }
        if self.slow_start {
            builder = builder.slow_start(SlowStartConfig::default());
        }
        let cluster = builder.build().expect("a valid cluster");
        cluster.apply(endpoints(n, Weights::Equal)).expect("valid endpoints");
        cluster
    }
}

/// A ratio over a window of time: half of 20 or more in the last second.
#[must_use]
pub fn window_breaker() -> BreakerConfig {
    let window = Window::Time { span: Duration::from_secs(1), buckets: 10 };
    let rule = Rule::Ratio { failures: Ratio::HALF, min_requests: 20, window };
    BreakerConfig { rules: vec![rule], ..BreakerConfig::default() }
}
