//! What a file says and only the next process does. A reload tells it, instead of calling it done.

use std::path::PathBuf;

use evenkeel_config::{AdminConfig, Config, Diff, Difference, ListenerConfig};

use super::error::StartError;
use super::listener::Listener;
use super::settings::ProxySettings;

/// What of a file waits for the next process.
#[derive(Debug, Default)]
pub struct Waiting {
    changes: Vec<Difference>,
    /// Listeners of which nothing was taken over, though they are not as before.
    untouched: Vec<String>,
}

/// What was read at the start only.
pub struct Started {
    workers: usize,
    access_log: Option<PathBuf>,
    handover: Option<PathBuf>,
    admin_open: bool,
    admin: Option<AdminConfig>,
    listeners: Vec<ListenerConfig>,
}

impl Started {
    /// With these settings.
    pub fn new(config: &Config, settings: &ProxySettings) -> Self {
        Self {
            workers: settings.workers,
            access_log: settings.access_log.clone(),
            handover: settings.handover.clone(),
            admin_open: settings.admin_open,
            admin: config.admin.clone(),
            listeners: config.listeners.clone(),
        }
    }

    /// What of other settings waits for the next process, where `in_force` is what listeners were told so far.
    ///
    /// # Errors
    ///
    /// What the next process could not begin with: it would be found out when it is too late.
    pub fn waiting(
        &self,
        config: &Config,
        settings: &ProxySettings,
        in_force: &[&ListenerConfig],
    ) -> Result<Waiting, StartError> {
        let mut waiting = Waiting::default();
        let changes = &mut waiting.changes;
        let mut wait = |what: &str, how: &str| {
            let how = format!("{how}, takes effect with the next process");
            changes.push(Difference { what: what.to_owned(), how });
        };
        for listener in &config.listeners {
            let what = format!("listener {}", listener.name);
            Listener::address(listener)?;
            let Some(before) = self.listeners.iter().find(|before| before.name == listener.name) else {
                Listener::new(listener, None)?;
                wait(&what, "added");
                waiting.untouched.push(what);
                continue;
            };
            if before.address != listener.address {
                wait(&what, "address changed");
            }
            if before.limits.max_connections != listener.limits.max_connections {
                wait(&what, "limits.max_connections changed");
            }
            if in_force.iter().any(|now| is_same_but_for_the_socket(now, listener)) {
                waiting.untouched.push(what);
            }
        }
        for before in &self.listeners {
            if !config.listeners.iter().any(|listener| listener.name == before.name) {
                wait(&format!("listener {}", before.name), "removed");
            }
        }
        for (what, is_changed) in [
            ("admin", self.admin != config.admin),
            ("program.workers", self.workers != settings.workers),
            ("program.access_log", self.access_log != settings.access_log),
            ("program.handover", self.handover != settings.handover),
            ("program.admin_open", self.admin_open != settings.admin_open),
        ] {
            if is_changed {
                wait(what, "changed");
            }
        }
        Ok(waiting)
    }
}

fn is_same_but_for_the_socket(one: &ListenerConfig, other: &ListenerConfig) -> bool {
    let mut one = one.clone();
    one.address = other.address.clone();
    one.limits.max_connections = other.limits.max_connections;
    one == *other
}

/// Tells what waits, in the place of what only seems to have been done.
pub fn tell(diff: &mut Diff, waiting: Waiting) {
    let Waiting { changes, untouched } = waiting;
    diff.changes.retain(|one| {
        let is_of_listener = one.what.starts_with("listener ");
        let is_done = !is_of_listener || (one.how == "changed" && !untouched.contains(&one.what));
        is_done && one.what != "admin"
    });
    diff.changes.extend(changes);
}

#[cfg(test)]
mod tests {
    use evenkeel_config::{Loaded, Syntax};

    use super::*;

    const BEFORE: &str = "program.workers = 1\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:1\"\n";

    /// What a reload from `BEFORE` to this tells, where `Running` tells `said`.
    fn told(after: &str, said: &[(&str, &str)]) -> Vec<String> {
        let (before, after) =
            (Loaded::parse(BEFORE, Syntax::Toml).unwrap(), Loaded::parse(after, Syntax::Toml).unwrap());
        let started = Started::new(before.config(), &before.program().unwrap());
        let in_force: Vec<_> = before.config().listeners.iter().collect();
        let waiting = started.waiting(after.config(), &after.program().unwrap(), &in_force).unwrap();
        let mut diff = Diff::default();
        let said = said.iter().map(|(what, how)| Difference { what: (*what).into(), how: (*how).into() });
        diff.changes.extend(said);
        tell(&mut diff, waiting);
        diff.changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_not_done_is_not_called_done() {
        let cluster = ("cluster all", "policy changed");
        assert_eq!(told(BEFORE, &[cluster]), ["cluster all: policy changed"]);
        let (next, web) = ("takes effect with the next process", ("listener web", "changed"));
        assert_eq!(
            told(&BEFORE.replace(":1\"", ":2\""), &[cluster, web]),
            ["cluster all: policy changed".to_owned(), format!("listener web: address changed, {next}")]
        );
        let both = BEFORE.to_owned() + "limits = { max_connections = 7, body_bytes = 9 }\n";
        assert_eq!(
            told(&both, &[web]),
            [
                "listener web: changed".to_owned(),
                format!("listener web: limits.max_connections changed, {next}")
            ]
        );
        let other = BEFORE.replace("web", "other").replace("workers = 1", "workers = 2");
        let other = other + "[admin]\naddress = \"127.0.0.1:9\"\n";
        let said = [
            ("listener other", "added"),
            ("listener web", "removed"),
            ("admin", "changed"),
            ("program", "changed"),
        ];
        assert_eq!(
            told(&other, &said),
            [
                "program: changed".to_owned(),
                format!("listener other: added, {next}"),
                format!("listener web: removed, {next}"),
                format!("admin: changed, {next}"),
                format!("program.workers: changed, {next}"),
            ]
        );
    }

    #[test]
    fn what_the_next_process_could_not_open_is_refused_now() {
        let before = Loaded::parse(BEFORE, Syntax::Toml).unwrap();
        let started = Started::new(before.config(), &before.program().unwrap());
        for wrong in [
            BEFORE.replace("127.0.0.1:1", "unix:/tmp/socket"),
            BEFORE.to_owned()
                + "[[listeners]]\nname = \"b\"\naddress = \"127.0.0.1:2\"\nprotocol = \"tcp\"\n",
        ] {
            let after = Loaded::parse(&wrong, Syntax::Toml).unwrap();
            assert!(started.waiting(after.config(), &after.program().unwrap(), &[]).is_err(), "{wrong}");
        }
    }
}
