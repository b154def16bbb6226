//! Every policy of the latency family passes every law.

use evenkeel_balance::laws::{Shares, check};
use evenkeel_balance::{
    BuiltIn, C3Config, Choices, LeastLatencyConfig, LeastTimeConfig, PeakEwmaConfig, PolicyConfig,
    PrequalConfig,
};

/// Nothing has been observed, so all latencies are equal and the shares must be the weights.
fn run(config: &PolicyConfig) {
    check(&format!("{config:?}"), Shares::Weighted, &|members| {
        Box::new(BuiltIn::new(config, members).expect("a valid policy"))
    });
}

#[test]
fn peak_ewma() {
    run(&PolicyConfig::peak_ewma());
    for choices in [Choices::Draw(5), Choices::All] {
        run(&PolicyConfig::PeakEwma(PeakEwmaConfig { choices, ..PeakEwmaConfig::default() }));
    }
}

#[test]
fn least_latency() {
    run(&PolicyConfig::least_latency());
    for (scan_up_to, choices) in [(0, 2), (0, 5), (4, 2)] {
        let config = LeastLatencyConfig { scan_up_to, choices, ..LeastLatencyConfig::default() };
        run(&PolicyConfig::LeastLatency(config));
    }
}

#[test]
fn least_time() {
    run(&PolicyConfig::least_time());
    for choices in [Choices::Draw(2), Choices::Draw(5)] {
        run(&PolicyConfig::LeastTime(LeastTimeConfig { choices, ..LeastTimeConfig::default() }));
    }
}

#[test]
fn c3() {
    run(&PolicyConfig::c3());
    for choices in [Choices::Draw(2), Choices::All] {
        run(&PolicyConfig::C3(C3Config { choices, clients: 100, ..C3Config::default() }));
    }
}

#[test]
fn prequal() {
    run(&PolicyConfig::prequal());
    for choices in [Choices::Draw(2), Choices::All] {
        run(&PolicyConfig::Prequal(PrequalConfig { choices, ..PrequalConfig::default() }));
    }
}

#[test]
fn client_side_weighted_round_robin() {
    run(&PolicyConfig::client_side_weighted_round_robin());
}
