//! Every policy that compares loads passes every law.

use evenkeel_balance::laws::{Shares, check};
use evenkeel_balance::{BuiltIn, Choices, LeastRequestConfig, PolicyConfig, ShortestExpectedDelayConfig};

fn run(config: &PolicyConfig, shares: Shares) {
    check(&format!("{config:?}"), shares, &|members| {
        Box::new(BuiltIn::new(config, members).expect("a valid policy"))
    });
}

#[test]
fn least_connections() {
    run(&PolicyConfig::least_connections(), Shares::Weighted);
}

/// An idle set goes to its fastest: shares are not its business.
#[test]
fn shortest_expected_delay() {
    for never_queue in [false, true] {
        let config = ShortestExpectedDelayConfig { never_queue };
        run(&PolicyConfig::ShortestExpectedDelay(config), Shares::Other);
    }
}

#[test]
fn join_idle_queue() {
    run(&PolicyConfig::join_idle_queue(), Shares::Weighted);
}

#[test]
fn least_request_with_a_bias() {
    for (bias, shares) in [(0.0, Shares::Weighted), (0.5, Shares::Weighted), (3.0, Shares::Weighted)] {
        for choices in [Choices::Draw(2), Choices::All] {
            // Without load nothing counts but weights, whatever the bias.
            let config = PolicyConfig::LeastRequest(LeastRequestConfig { choices, bias });
            if bias > 0.0 {
                run(&config, shares);
            }
        }
    }
}
