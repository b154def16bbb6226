use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::Config;

/// What a reload changed, in words. Nothing, if the configuration was the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Diff {
    /// Each change; clusters first, in the order of the new configuration.
    pub changes: Vec<Difference>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// What changed: `cluster users`, `http`, `listener web`.
    pub what: String,
    /// How: `added`, `policy changed, in place`.
    pub how: String,
}

impl Diff {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(crate) fn add(&mut self, what: impl Into<String>, how: impl Into<String>) {
        self.changes.push(Difference { what: what.into(), how: how.into() });
    }

    /// All but the clusters.
    pub(crate) fn rest(&mut self, old: &Config, new: &Config) {
        let (a, b) = (&old.http.routes, &new.http.routes);
        self.list("http", a, b, |route| &route.name);
        let (a, b) = (&old.stream.routes, &new.stream.routes);
        self.list("stream", a, b, |route| &route.name);
        let (a, b) = (&old.http, &new.http);
        let settings = [
            ("fallbacks", a.fallbacks != b.fallbacks),
            ("key", a.key != b.key),
            ("hash_seed", a.hash_seed != b.hash_seed),
            ("path", a.path != b.path),
            ("limits", a.limits != b.limits),
        ];
        self.settings("http", &settings);
        let (a, b) = (&old.stream, &new.stream);
        let settings = [
            ("precedence", a.precedence != b.precedence),
            ("fallbacks", a.fallbacks != b.fallbacks),
            ("hash_seed", a.hash_seed != b.hash_seed),
            ("max_rules", a.max_rules != b.max_rules),
        ];
        self.settings("stream", &settings);
        self.listeners(old, new);
        let settings = [
            ("admin", old.admin != new.admin),
            ("prober", old.prober != new.prober),
            ("tick", old.tick != new.tick),
            ("program", old.program != new.program),
        ];
        for (what, _) in settings.iter().filter(|(_, changed)| *changed) {
            self.add(*what, "changed");
        }
    }

    fn settings(&mut self, what: &str, settings: &[(&str, bool)]) {
        for (setting, _) in settings.iter().filter(|(_, changed)| *changed) {
            self.add(what, format!("{setting} changed"));
        }
    }

    fn listeners(&mut self, old: &Config, new: &Config) {
        let known: BTreeMap<&str, _> = old.listeners.iter().map(|one| (one.name.as_str(), one)).collect();
        for listener in &new.listeners {
            match known.get(listener.name.as_str()) {
                None => self.add(format!("listener {}", listener.name), "added"),
                Some(before) if *before != listener => {
                    self.add(format!("listener {}", listener.name), "changed");
                }
                Some(_) => {}
            }
        }
        for listener in &old.listeners {
            if !new.listeners.iter().any(|other| other.name == listener.name) {
                self.add(format!("listener {}", listener.name), "removed");
            }
        }
    }

    /// Routes that were added, removed, changed or stand in another order.
    fn list<R: PartialEq>(&mut self, what: &str, old: &[R], new: &[R], name: impl Fn(&R) -> &str) {
        let (mut added, mut removed, mut changed, mut order) = (vec![], vec![], vec![], vec![]);
        let same_names = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| name(a) == name(b));
        if same_names {
            let differ = old.iter().zip(new).filter(|(a, b)| a != b);
            changed.extend(differ.map(|(_, route)| name(route)));
        } else {
            let known: BTreeMap<&str, usize> =
                old.iter().enumerate().map(|(i, route)| (name(route), i)).collect();
            for route in new {
                match known.get(name(route)) {
                    None => added.push(name(route)),
                    Some(&i) => {
                        order.push(i);
                        if old[i] != *route {
                            changed.push(name(route));
                        }
                    }
                }
            }
            let stays: BTreeSet<&str> = new.iter().map(&name).collect();
            removed.extend(old.iter().map(&name).filter(|name| !stays.contains(name)));
        }
        for (names, how) in [(&added, "added"), (&removed, "removed"), (&changed, "changed")] {
            if !names.is_empty() {
                self.add(what, format!("{} routes {how}: {}", names.len(), some_of(names)));
            }
        }
        if !order.is_sorted() {
            self.add(what, "the order of routes changed");
        }
    }
}

fn some_of(names: &[&str]) -> String {
    let shown: Vec<&str> = names.iter().copied().take(SHOWN).collect();
    let more = if names.len() > SHOWN { ", …" } else { "" };
    shown.join(", ") + more
}

const SHOWN: usize = 10;

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changed");
        }
        for (i, change) in self.changes.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{change}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.how)
    }
}
