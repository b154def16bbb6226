use std::collections::BTreeMap;
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
        let names = |routes: &[evenkeel::router::RouteConfig]| -> Vec<String> {
            routes.iter().map(|route| route.name.clone()).collect()
        };
        let by_name = |config: &Config| -> BTreeMap<String, usize> {
            config.http.routes.iter().enumerate().map(|(i, route)| (route.name.clone(), i)).collect()
        };
        let known = by_name(old);
        let changed = |i: usize, j: usize| old.http.routes.get(i) != new.http.routes.get(j);
        self.list("http", "routes", &names(&old.http.routes), &names(&new.http.routes), &known, &changed);
        let stream_names = |config: &Config| -> Vec<String> {
            config.stream.routes.iter().map(|route| route.name.clone()).collect()
        };
        let known = stream_names(old).into_iter().enumerate().map(|(i, name)| (name, i)).collect();
        let changed = |i: usize, j: usize| old.stream.routes.get(i) != new.stream.routes.get(j);
        self.list("stream", "routes", &stream_names(old), &stream_names(new), &known, &changed);
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

    fn list(
        &mut self,
        what: &str,
        of: &str,
        old: &[String],
        new: &[String],
        known: &BTreeMap<String, usize>,
        is_changed: &dyn Fn(usize, usize) -> bool,
    ) {
        let (mut added, mut changed, mut order) = (Vec::new(), Vec::new(), Vec::new());
        for (j, name) in new.iter().enumerate() {
            match known.get(name) {
                None => added.push(name.as_str()),
                Some(&i) => {
                    order.push(i);
                    if is_changed(i, j) {
                        changed.push(name.as_str());
                    }
                }
            }
        }
        let stays: std::collections::BTreeSet<&str> = new.iter().map(String::as_str).collect();
        let removed: Vec<&str> =
            old.iter().map(String::as_str).filter(|name| !stays.contains(name)).collect();
        for (names, how) in [(&added, "added"), (&removed, "removed"), (&changed, "changed")] {
            if !names.is_empty() {
                self.add(what, format!("{} {of} {how}: {}", names.len(), some_of(names)));
            }
        }
        if !order.is_sorted() {
            self.add(what, format!("the order of {of} changed"));
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
