//! Many threads that ask for something at once.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::action::Action;

/// So many threads, each of which asks so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    threads: u32,
    each: u32,
    together: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crowded {
    /// How many were granted.
    pub granted: u64,
    /// How many were refused.
    pub refused: u64,
    /// How many were held at once, at most.
    pub most: u64,
}

impl Crowd {
    /// Reads `parallel` and `together`, with `threads=` and `each=`; `None` for other verbs.
    ///
    /// # Errors
    ///
    /// A number is missing, or is not from 1 to 1000 threads and to ten million requests in all.
    pub fn read(action: &Action) -> Result<Option<Self>, String> {
        let together = match action.verb() {
            "parallel" => false,
            "together" => true,
            _ => return Ok(None),
        };
        let whole = |key: &str, most: u32| match action.number(key)? {
            Some(number) if number.fract() == 0.0 && number >= 1.0 && number <= f64::from(most) => {
                Ok(number as u32)
            }
            Some(number) => Err(format!("{key}={number}: allowed are 1 to {most}")),
            None => Err(format!("{} needs {key}=", action.verb())),
        };
        let threads = whole("threads", MOST_THREADS)?;
        Ok(Some(Self { threads, each: whole("each", MOST_IN_ALL / threads)?, together }))
    }

    /// Lets them all ask and, what was granted, end; `end` hears the number of the request in its thread. In `parallel` each thread goes on as fast as
    /// it can; `together` nobody ends a request before everybody has asked, and nobody asks again before all have ended.
    pub fn run<P>(self, ask: impl Fn() -> Option<P> + Sync, end: impl Fn(P, u32) + Sync) -> Crowded {
        let (granted, present, most) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let all = Barrier::new(self.threads as usize);
        let wait = || {
            if self.together {
                all.wait();
            }
        };
        let work = || {
            for number in 0..self.each {
                let held = ask();
                if held.is_some() {
                    granted.fetch_add(1, Ordering::Relaxed);
                    let now = present.fetch_add(1, Ordering::AcqRel) + 1;
                    most.fetch_max(now, Ordering::AcqRel);
                }
                wait();
                if let Some(held) = held {
                    present.fetch_sub(1, Ordering::AcqRel);
                    end(held, number);
                }
                wait();
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(work);
            }
        });
        let granted = granted.into_inner();
        let asked = u64::from(self.threads) * u64::from(self.each);
        Crowded { granted, refused: asked - granted, most: most.into_inner() }
    }
}

const MOST_THREADS: u32 = 1_000;
const MOST_IN_ALL: u32 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Crowd>, String> {
        Crowd::read(&Action::parse(text).expect("reads"))
    }

    #[test]
    fn together_all_ask_before_any_ends() {
        let crowd = read("together threads=4 each=5").expect("reads").expect("is one");
        let left = AtomicU64::new(3);
        let take = |left: u64| left.checked_sub(1);
        let ask = || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).ok();
        let told = crowd.run(ask, |_, _| {
            left.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(told, Crowded { granted: 15, refused: 5, most: 3 });
    }

    #[test]
    fn in_parallel_none_is_lost() {
        let crowd = read("parallel threads=3 each=1000").expect("reads").expect("is one");
        let sum = AtomicU64::new(0);
        let told = crowd.run(
            || Some(()),
            |(), number| {
                sum.fetch_add(u64::from(number), Ordering::Relaxed);
            },
        );
        assert_eq!((told.granted, told.refused, sum.into_inner()), (3_000, 0, 3 * 499_500));
        assert!((1..=3).contains(&told.most));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["parallel", "parallel threads=2", "together threads=0 each=1", "parallel threads=1001 each=1"]
        {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(
            read("parallel threads=10 each=1000001").is_err() && read("parallel threads=1.5 each=1").is_err()
        );
        assert_eq!(read("acquire"), Ok(None));
    }
}
