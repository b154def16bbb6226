//! Settings by their paths, as `reload` has them: `half_open.successes_needed=2`, `rules.0.ratio.window.count.size=20`.

use evenkeel_breaker::BreakerConfig;
use toml::{Table, Value};

/// The settings with others at these paths. `off` takes an entry away, a rule too; the rule after the last is a new one.
pub(crate) fn with<'a>(
    config: &BreakerConfig,
    changes: impl Iterator<Item = (&'a str, Value)>,
) -> Result<BreakerConfig, String> {
    let mut changes = changes.peekable();
    if changes.peek().is_none() {
        return Ok(config.clone());
    }
    let mut table = Value::try_from(config).map_err(|error| error.to_string())?;
    for (path, value) in changes {
        set(&mut table, path, value).map_err(|error| format!("{path}: {error}"))?;
    }
    table.try_into().map_err(|error: toml::de::Error| error.to_string())
}

fn set(settings: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let off = rest.is_none() && value.as_str() == Some("off");
    match settings {
        Value::Table(table) if off => drop(table.remove(key)),
        Value::Table(table) => match rest {
            None => drop(table.insert(key.to_owned(), value)),
            Some(rest) => set(table.entry(key).or_insert_with(empty), rest, value)?,
        },
        Value::Array(items) => {
            let index: usize = key.parse().map_err(|_| format!("{key:?} is no place in a list"))?;
            if index == items.len() && !off {
                items.push(empty());
            }
            let item = items.get_mut(index).ok_or_else(|| format!("there is nothing at {index}"))?;
            match rest {
                None if off => drop(items.remove(index)),
                None => *item = value,
                Some(rest) => set(item, rest, value)?,
            }
        }
        _ => return Err(format!("{key:?} is no part of a plain value")),
    }
    Ok(())
}

fn empty() -> Value {
    Value::Table(Table::new())
}
