//! The policies over tables of hashes pass every law: without a key, and with keys that are drawn.

use evenkeel_balance::laws::{Shares, check};
use evenkeel_balance::{
    AnchorConfig, BuiltIn, Caller, Event, InvalidPolicy, Members, Policy, PolicyConfig, View, Wants,
};

/// Gives every request a key, and an address, of its own: so that shares are those of the table.
#[derive(Debug)]
struct Keyed(BuiltIn);

struct WithKey<'a>(&'a mut dyn Caller);

impl Caller for WithKey<'_> {
    fn draw(&mut self) -> u64 {
        self.0.draw()
    }

    fn turn(&mut self, length: u32) -> u32 {
        self.0.turn(length)
    }

    fn key(&mut self) -> Option<u64> {
        Some(self.0.draw())
    }

    fn source(&mut self) -> Option<std::net::IpAddr> {
        let bits = u128::from(self.0.draw()) << 64 | u128::from(self.0.draw());
        Some(std::net::Ipv6Addr::from_bits(bits).into())
    }
}

impl Policy for Keyed {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.0.pick(view, &mut WithKey(caller))
    }

    fn wants(&self) -> Wants {
        self.0.wants()
    }

    fn on_event(&self, event: Event) {
        self.0.on_event(event);
    }
}

fn run(config: &PolicyConfig, shares: Shares) {
    let build = |members: &dyn Members| -> Result<BuiltIn, InvalidPolicy> { BuiltIn::new(config, members) };
    check(&format!("{config:?}"), Shares::Weighted, &|members| Box::new(build(members).expect("valid")));
    check(&format!("{config:?} keyed"), shares, &|members| Box::new(Keyed(build(members).expect("valid"))));
}

#[test]
fn modulo() {
    run(&PolicyConfig::modulo(), Shares::Weighted);
}

#[test]
fn ip_hash() {
    run(&PolicyConfig::ip_hash(), Shares::Weighted);
}

#[test]
fn jump() {
    run(&PolicyConfig::jump(), Shares::Weighted);
}

#[test]
fn rendezvous() {
    run(&PolicyConfig::rendezvous(), Shares::Weighted);
}

/// Its shares are those of its points, which stray further than draws do: the test of the policy bounds them.
#[test]
fn multi_probe() {
    run(&PolicyConfig::multi_probe(), Shares::Other);
}

#[test]
fn anchor() {
    run(&PolicyConfig::anchor(), Shares::Weighted);
    run(&PolicyConfig::Anchor(AnchorConfig { headroom: 64, ..AnchorConfig::default() }), Shares::Weighted);
}
