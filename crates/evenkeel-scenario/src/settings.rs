//! Other settings for a machine, named by their paths: `half_open.successes_needed=2`, `rules.0.ratio.window.count.size=20`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::action::Action;

impl Action {
    /// The settings with what this action says of them: its arguments `path=value` that nobody has asked for. `short` has
    /// paths that have a shorter name too. What is not named stays. `off` is the word `off` where the settings know it, and
    /// else takes the entry away, a rule of a list too; what stands after the last of a list is a new one.
    ///
    /// # Errors
    ///
    /// There is no such setting, or no such value of it.
    pub fn changed<C>(&self, config: &C, short: &[(&str, &str)]) -> Result<C, String>
    where
        C: Clone + Serialize + DeserializeOwned,
    {
        let long = |name: &str| short.iter().find(|(short, _)| *short == name).map(|(_, path)| *path);
        let changes: Vec<Change> = self
            .settings()
            .map(|(name, value)| Change { path: long(name).unwrap_or(name).to_owned(), value })
            .collect();
        if changes.is_empty() {
            return Ok(config.clone());
        }
        let settings = Value::try_from(config).map_err(|error| error.to_string())?;
        let word = with(&settings, &changes, Off::Word);
        if changes.iter().any(Change::is_off) {
            word.or_else(|_| with(&settings, &changes, Off::Gone))
        } else {
            word
        }
    }
}

struct Change {
    path: String,
    value: Value,
}

impl Change {
    fn is_off(&self) -> bool {
        self.value.as_str() == Some("off")
    }
}

/// What `off` means.
#[derive(Clone, Copy, PartialEq)]
enum Off {
    /// A value as others.
    Word,
    /// There is no such entry any more.
    Gone,
}

fn with<C: DeserializeOwned>(settings: &Value, changes: &[Change], off: Off) -> Result<C, String> {
    let mut settings = settings.clone();
    for Change { path, value } in changes {
        set(&mut settings, path, value.clone(), off).map_err(|error| format!("{path}: {error}"))?;
    }
    // A setting by its other name stands beside itself: what was said last counts.
    for _ in changes {
        match settings.clone().try_into::<C>() {
            Ok(config) => return Ok(config),
            Err(error) if !drop_twin(&mut settings, changes, &error.to_string()) => {
                return Err(error.to_string());
            }
            Err(_) => {}
        }
    }
    settings.try_into().map_err(|error: toml::de::Error| error.to_string())
}

fn set(settings: &mut Value, path: &str, value: Value, off: Off) -> Result<(), String> {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let is_off = rest.is_none() && value.as_str() == Some("off");
    // An item of a list is never a word.
    let goes = is_off && (off == Off::Gone || settings.is_array());
    match settings {
        Value::Table(table) if goes => drop(table.remove(key)),
        Value::Table(table) => match rest {
            None => drop(table.insert(key.to_owned(), value)),
            Some(rest) => set(table.entry(key).or_insert_with(empty), rest, value, off)?,
        },
        Value::Array(items) => {
            let index: usize = key.parse().map_err(|_| format!("{key:?} is no place in a list"))?;
            if index == items.len() && !goes {
                items.push(empty());
            }
            let item = items.get_mut(index).ok_or_else(|| format!("there is nothing at {index}"))?;
            match rest {
                None if goes => drop(items.remove(index)),
                None => *item = value,
                Some(rest) => set(item, rest, value, off)?,
            }
        }
        // What was a word, as off, may become a table.
        plain if plain.is_str() => {
            *plain = empty();
            set(plain, path, value, off)?;
        }
        _ => return Err(format!("{key:?} is no part of a plain value")),
    }
    Ok(())
}

/// If a field is there by two of its names, the one goes that the changes do not say. Whether one went.
fn drop_twin(settings: &mut Value, changes: &[Change], error: &str) -> bool {
    let Some(twin) = error.split("duplicate field `").nth(1).and_then(|rest| rest.split('`').next()) else {
        return false;
    };
    changes.iter().any(|Change { path, .. }| {
        let (parents, name) =
            path.rsplit_once('.').map_or(("", path.as_str()), |(parents, name)| (parents, name));
        let of_twin = if parents.is_empty() { twin.to_owned() } else { format!("{parents}.{twin}") };
        if name == twin || changes.iter().any(|change| change.path == of_twin) {
            return false;
        }
        let mut place = Some(&mut *settings);
        for key in parents.split('.').filter(|key| !key.is_empty()) {
            place = place.and_then(|value| match key.parse::<usize>() {
                Ok(index) if value.is_array() => value.get_mut(index),
                _ => value.get_mut(key),
            });
        }
        let table = place.and_then(Value::as_table_mut);
        table.is_some_and(|table| table.contains_key(name) && table.remove(twin).is_some())
    })
}

fn empty() -> Value {
    Value::Table(Table::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[serde(alias = "window")]
        slow_start_window: String,
        share: f64,
        rest: Option<Rest>,
        rules: Vec<Rest>,
    }

    #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Rest {
        n: u32,
    }

    fn check(change: &str) -> Result<Settings, String> {
        let (rest, rules) = (Some(Rest { n: 1 }), vec![Rest { n: 2 }, Rest { n: 3 }]);
        let settings = Settings { slow_start_window: "1s".into(), share: 1.0, rest, rules };
        let action = Action::parse(&format!("set {change}")).expect("reads");
        let changed = action.changed(&settings, &[("m", "rest.n")]);
        assert_eq!(action.no_more(), Ok(()), "all were asked for");
        changed
    }

    #[test]
    fn settings_change_by_their_paths() {
        assert_eq!(check("share=2").map(|settings| settings.share), Ok(2.0));
        assert_eq!(check("share=25%").map(|settings| settings.share), Ok(0.25));
        assert_eq!(check("m=7").map(|settings| settings.rest), Ok(Some(Rest { n: 7 })));
        assert_eq!(check("rest.n=8").map(|settings| settings.rest), Ok(Some(Rest { n: 8 })));
        assert_eq!(check("rest=off").map(|settings| settings.rest), Ok(None));
        assert_eq!(check("rules.0=off").map(|settings| settings.rules), Ok(vec![Rest { n: 3 }]));
        assert_eq!(check("rules.0=off rules.0.n=5").map(|settings| settings.rules), Ok(vec![Rest { n: 5 }]));
        assert_eq!(check("rules.2.n=4").map(|settings| settings.rules.len()), Ok(3));
    }

    #[test]
    fn a_setting_has_its_other_names() {
        assert_eq!(check("window=5s").map(|settings| settings.slow_start_window), Ok("5s".into()));
        assert_eq!(check("slow_start_window=6s").map(|settings| settings.slow_start_window), Ok("6s".into()));
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        for text in ["other=1", "share=much", "share.n=1", "rules.9.n=1", "rules.n=1", "rest.m=1"] {
            assert!(check(text).is_err(), "{text}");
        }
        // By both names at once nobody knows which is meant.
        assert!(check("window=5s slow_start_window=6s").is_err());
    }
}
