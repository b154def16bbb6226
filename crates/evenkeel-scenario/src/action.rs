//! What happens in a step.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::time::duration;

/// A verb with its arguments, repeated so many times.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    verb: String,
    words: Vec<String>,
    /// How many of them, from the first on, somebody asked for.
    asked: Cell<usize>,
    named: BTreeMap<String, (String, Cell<bool>)>,
    count: u32,
    /// The count as it was written.
    times: Option<String>,
}

impl Action {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let verb = words.next().ok_or("there is nothing between two commas")?;
        let verb = verb.to_ascii_lowercase().replace('-', "_");
        let mut action = Self {
            verb,
            words: Vec::new(),
            asked: Cell::new(0),
            named: BTreeMap::new(),
            count: 1,
            times: None,
        };
        for word in words {
            action.word(word)?;
        }
        Ok(action)
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        if let Some(count) = word.strip_prefix('x').filter(|digits| is_number(digits)) {
            self.count = count.parse().map_err(|_| format!("{word:?} is too often"))?;
            // Only the last one is a count.
            self.words.extend(self.times.replace(word.to_owned()));
        } else if let Some((key, value)) = word.split_once('=') {
            if key.is_empty() || value.is_empty() {
                return Err(format!("{word:?}: write key=value"));
            }
            let again = self.named.insert(key.to_owned(), (value.to_owned(), Cell::new(false)));
            if again.is_some() {
                return Err(format!("{key} is given twice"));
            }
        } else {
            self.words.push(word.to_owned());
        }
        Ok(())
    }

    /// Nobody has asked for anything yet: it happens anew.
    pub(crate) fn anew(&self) -> &Self {
        self.asked.set(0);
        self.named.values().for_each(|(_, asked)| asked.set(false));
        self
    }

    /// The first argument, if it is `x` and a number, and if there is no other the count.
    pub(crate) fn word_of_name(&self) -> Option<&str> {
        let first = self.words.first().or(self.times.as_ref())?;
        first.strip_prefix('x').filter(|digits| is_number(digits)).map(|_| first.as_str())
    }

    /// What was taken for a count is a name, if there is no other.
    pub(crate) fn count_is_a_name(&mut self) {
        if self.words.is_empty() {
            self.words.extend(self.times.take());
            self.count = 1;
        }
    }

    /// What happens.
    #[must_use]
    pub fn verb(&self) -> &str {
        &self.verb
    }

    /// How many times; 1 where nothing is said.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The bare arguments.
    #[must_use]
    pub fn words(&self) -> &[String] {
        self.asked.set(self.words.len());
        &self.words
    }

    /// The bare argument at this place, from 0.
    #[must_use]
    pub fn bare(&self, place: usize) -> Option<&str> {
        self.asked.set(self.asked.get().max(place.saturating_add(1)));
        self.words.get(place).map(String::as_str)
    }

    /// The bare argument at this place, which must be there.
    ///
    /// # Errors
    ///
    /// A sentence that says what is missing.
    pub fn name(&self, place: usize) -> Result<&str, String> {
        self.bare(place).ok_or_else(|| format!("{} needs {} names", self.verb, place + 1))
    }

    /// The argument `key=…` as text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        let (value, asked) = self.named.get(key)?;
        asked.set(true);
        Some(value)
    }

    /// The argument `key=…` as a number; `50%` is 0.5.
    ///
    /// # Errors
    ///
    /// It is there and no number.
    pub fn number(&self, key: &str) -> Result<Option<f64>, String> {
        let read = |text| self.read_number(text).map_err(|error| format!("{key}: {error}"));
        self.text(key).map(read).transpose()
    }

    fn read_number(&self, text: &str) -> Result<f64, String> {
        let (digits, scale) = text.strip_suffix('%').map_or((text, 1.0), |percent| (percent, 0.01));
        let number = digits.parse::<f64>().ok().filter(|number| number.is_finite());
        number.map(|number| number * scale).ok_or_else(|| format!("{} {text}: a number is needed", self.verb))
    }

    /// The argument `key=…` as a duration.
    ///
    /// # Errors
    ///
    /// It is there and no duration.
    pub fn duration(&self, key: &str) -> Result<Option<Duration>, String> {
        self.text(key).map(|text| duration(text).map_err(|error| format!("{key}: {error}"))).transpose()
    }

    /// The bare argument at this place as a number, as [`number`](Self::number) reads it.
    ///
    /// # Errors
    ///
    /// It is there and no number.
    pub fn bare_number(&self, place: usize) -> Result<Option<f64>, String> {
        self.bare(place).map(|text| self.read_number(text)).transpose()
    }

    /// The bare argument at this place as a duration.
    ///
    /// # Errors
    ///
    /// It is there and no duration.
    pub fn bare_duration(&self, place: usize) -> Result<Option<Duration>, String> {
        let read = |text| duration(text).map_err(|error| format!("{}: {error}", self.verb));
        self.bare(place).map(read).transpose()
    }

    /// The arguments `key=…` that nobody has asked for, as settings: whole numbers, numbers, ratios such as
    /// `50%`, `true`, `false`, and text.
    pub fn settings(&self) -> impl Iterator<Item = (&str, toml::Value)> {
        self.named.iter().filter(|(_, (_, asked))| !asked.replace(true)).map(|(key, (text, _))| {
            let whole = text.parse().map(toml::Value::Integer).ok();
            let number = || self.read_number(text).map(toml::Value::Float).ok();
            let switch = || text.parse().map(toml::Value::Boolean).ok();
            let value = whole.or_else(number).or_else(switch);
            (key.as_str(), value.unwrap_or_else(|| toml::Value::String(text.clone())))
        })
    }

    /// Refuses arguments that nobody asked for, bare ones and named ones: who wrote them meant something by them. To be called
    /// last.
    ///
    /// # Errors
    ///
    /// The arguments.
    pub fn no_more(&self) -> Result<(), String> {
        let mut unknown =
            self.named.iter().filter(|(_, (_, asked))| !asked.get()).map(|(key, _)| key.as_str());
        let surplus = || self.words.get(self.asked.get()).map(String::as_str);
        match unknown.next().or_else(surplus) {
            None => Ok(()),
            Some(word) => Err(format!("{} knows no argument {word}", self.verb)),
        }
    }

    /// The error for a verb that the machine does not know.
    #[must_use]
    pub fn unknown(&self) -> String {
        format!("there is no verb {:?}", self.verb)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.verb)?;
        self.words.iter().try_for_each(|word| write!(f, " {word}"))?;
        self.named.iter().try_for_each(|(key, (value, _))| write!(f, " {key}={value}"))
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read() {
        let action = Action::parse("fail a x3 after=5ms share=50%").expect("reads");
        assert_eq!((action.verb(), action.count(), action.bare(0)), ("fail", 3, Some("a")));
        assert_eq!(action.duration("after"), Ok(Some(Duration::from_millis(5))));
        assert!(action.no_more().is_err(), "share was not asked for");
        assert_eq!((action.bare_number(1), action.bare_duration(1)), (Ok(None), Ok(None)));
        assert!(action.bare_number(0).is_err() && action.bare_duration(0).is_err());
        assert_eq!(action.number("share"), Ok(Some(0.5)));
        assert_eq!(action.no_more(), Ok(()));
        assert_eq!(action.number("other"), Ok(None));
    }

    #[test]
    fn words_that_nobody_asked_for_are_refused() {
        let action = Action::parse("fail a b").expect("reads");
        assert!(action.no_more().is_err());
        assert_eq!(action.bare(0), Some("a"));
        assert_eq!(action.no_more(), Err("fail knows no argument b".to_owned()));
        assert_eq!(action.words().len(), 2);
        assert_eq!(action.no_more(), Ok(()));
    }

    #[test]
    fn the_last_count_is_the_count() {
        let action = Action::parse("acquire x2 x3").expect("reads");
        assert_eq!((action.count(), action.bare(0), action.bare(1)), (3, Some("x2"), None));
    }

    #[test]
    fn what_nobody_asked_for_are_settings() {
        let action = Action::parse("reload a=1 b=0.5 c=true d=5s e=taken").expect("reads");
        assert_eq!(action.text("e"), Some("taken"));
        let settings: Vec<String> = action.settings().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(settings, ["a=1", "b=0.5", "c=true", "d=\"5s\""]);
        assert_eq!(action.no_more(), Ok(()));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "fail =3", "fail a=", "fail a=1 a=2", "fail x99999999999"] {
            assert!(Action::parse(text).is_err(), "{text:?}");
        }
    }
}
