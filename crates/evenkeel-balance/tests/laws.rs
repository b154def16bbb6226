//! Every built-in policy passes every law.

use evenkeel_balance::laws::{Shares, check};
use evenkeel_balance::{
    BuiltIn, Caller, Choices, Event, LeastRequestConfig, Policy, PolicyConfig, Random, RoundRobin, View,
    Wants,
};

fn run(config: &PolicyConfig, shares: Shares) {
    check(&format!("{config:?}"), shares, &|members| {
        Box::new(BuiltIn::new(config, members).expect("a valid policy"))
    });
}

#[test]
fn round_robin() {
    run(&PolicyConfig::round_robin(), Shares::Weighted);
}

#[test]
fn smooth_weighted_round_robin() {
    run(&PolicyConfig::smooth_weighted_round_robin(), Shares::Weighted);
}

#[test]
fn random() {
    run(&PolicyConfig::random(), Shares::Weighted);
}

#[test]
fn weighted_random() {
    run(&PolicyConfig::weighted_random(), Shares::Weighted);
}

#[test]
fn least_request() {
    run(&PolicyConfig::least_request(), Shares::Weighted);
}

#[test]
fn least_request_of_five_and_of_all() {
    for choices in [Choices::Draw(5), Choices::Draw(32), Choices::All] {
        run(
            &PolicyConfig::LeastRequest(LeastRequestConfig { choices, ..LeastRequestConfig::default() }),
            Shares::Weighted,
        );
    }
}

#[test]
fn the_plain_forms_ignore_weights_when_used_by_themselves() {
    check("RoundRobin", Shares::Uniform, &|_| Box::new(RoundRobin));
    check("Random", Shares::Uniform, &|_| Box::new(Random));
}

/// Policies that break a law each: the suite must notice.
mod broken {
    use super::*;

    #[derive(Debug)]
    struct Broken(fn(&dyn View, &mut dyn Caller) -> Option<usize>);

    impl Policy for Broken {
        fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
            (self.0)(view, caller)
        }
    }

    fn suite(shares: Shares, pick: fn(&dyn View, &mut dyn Caller) -> Option<usize>) {
        check("broken", shares, &|_| Box::new(Broken(pick)));
    }

    #[test]
    #[should_panic(expected = "usable, never of weight zero")]
    fn ignores_the_mask() {
        suite(Shares::Other, |view, _| {
            let admitted = (0..view.mask().len()).find(|&p| view.admits(p));
            admitted.filter(|_| view.mask().iter().any(|p| view.admits(p)))
        });
    }

    #[test]
    #[should_panic(expected = "not excluded")]
    fn ignores_exclusions() {
        suite(Shares::Other, |view, _| view.mask().iter().any(|p| view.admits(p)).then(|| view.mask().at(0)));
    }

    #[test]
    #[should_panic(expected = "none iff nothing is open")]
    fn gives_up_early() {
        suite(Shares::Other, |view, caller| {
            let position = caller.turn(view.mask().len() as u32) as usize;
            view.is_open(position).then_some(position)
        });
    }

    #[test]
    #[should_panic(expected = "fair")]
    fn steps_over_to_the_neighbour() {
        suite(Shares::Uniform, |view, caller| {
            let len = view.mask().len();
            let start = caller.turn(len as u32) as usize;
            (0..len).map(|step| (start + step) % len).find(|&p| view.is_open(p)).filter(|_| len > 0)
        });
    }

    #[test]
    #[should_panic(expected = "weight zero gets nothing")]
    fn gives_the_first_of_many_something_whatever_its_weight() {
        suite(Shares::Other, |view, _| {
            if view.mask().len() == 9 && view.weight(0) == 0 {
                return view.mask().iter().next().map(|_| 0);
            }
            view.mask().iter().find(|&p| view.admits(p))
        });
    }

    /// Right while all are usable, also for those of unequal weight: only where a half is out it forgets the weights.
    #[test]
    #[should_panic(expected = "fair")]
    fn forgets_the_weights_where_a_half_is_out() {
        suite(Shares::Weighted, |view, caller| {
            let half_is_out = view.mask().len() == 2 * view.mask().usable() && view.admits_all();
            let weight = |p: usize| if half_is_out { 1 } else { u64::from(view.weight(p)) };
            let open = || view.mask().iter().filter(|&p| view.admits(p));
            let total: u64 = open().map(weight).sum();
            let mut left = caller.draw().checked_rem(total)?;
            open().find(|&p| {
                let is_met = left < weight(p);
                left = left.saturating_sub(weight(p));
                is_met
            })
        });
    }

    /// An idle list that does not hear of every second endpoint's releases.
    #[derive(Debug, Default)]
    struct Forgetful(std::sync::Mutex<Vec<u64>>);

    impl Policy for Forgetful {
        fn pick(&self, view: &dyn View, _: &mut dyn Caller) -> Option<usize> {
            let busy = self.0.lock().expect("no panic under the lock");
            let open = || view.mask().iter().filter(|&p| view.admits(p));
            open().find(|&p| !busy.contains(&(p as u64))).or_else(|| open().next())
        }

        fn wants(&self) -> Wants {
            Wants::EVENTS
        }

        fn on_event(&self, event: Event) {
            let mut busy = self.0.lock().expect("no panic under the lock");
            match event {
                Event::Picked(token) => busy.push(token),
                Event::Released(token) if token % 2 == 0 => busy.retain(|&other| other != token),
                _ => {}
            }
        }
    }

    #[test]
    #[should_panic(expected = "nobody starves")]
    fn forgets_who_is_idle_again() {
        check("forgetful", Shares::Uniform, &|_| Box::new(Forgetful::default()));
    }
}
