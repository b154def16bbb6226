//! What must hold after a step.

use crate::fact::Fact;

/// One comparison of a fact with what was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expectation {
    text: String,
    name: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Holds(bool),
    Compare(Comparison, Fact),
    Near { value: f64, tolerance: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// The longer ones first, so that `<=` is not read as `<`.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("!=", Comparison::Unequal),
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::More),
];

impl Expectation {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (name, test) = split(text)?;
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(format!("{text:?} is no expectation: write a fact, or fact=value"));
        }
        Ok(Self { text: text.to_owned(), name: name.to_owned(), test })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// # Errors
    ///
    /// What was expected, and what is.
    pub(crate) fn check(&self, mut look: impl FnMut(&str) -> Option<Fact>) -> Result<(), String> {
        let Some(actual) = look(&self.name) else {
            return Err(format!("{}: there is no fact {:?}", self.text, self.name));
        };
        let holds = match self.other_fact(&actual).and_then(&mut look) {
            Some(other @ (Fact::Number(_) | Fact::None)) => self.is_so(&actual, &other),
            _ => self.holds(&actual),
        };
        match holds {
            Some(true) => Ok(()),
            Some(false) => Err(format!("expected {}, but it is {actual}", self.text)),
            None => Err(format!("{}: cannot be compared, it is {actual}", self.text)),
        }
    }

    /// A number that is compared with a word is compared with another fact.
    fn other_fact(&self, actual: &Fact) -> Option<&str> {
        match (&self.test, actual) {
            (Test::Compare(_, Fact::Text(word)), Fact::Number(_)) => Some(word),
            _ => None,
        }
    }

    fn is_so(&self, actual: &Fact, other: &Fact) -> Option<bool> {
        let Test::Compare(comparison, _) = self.test else { return None };
        compare(comparison, actual, other)
    }

    /// `None` where the two are not of one kind.
    fn holds(&self, actual: &Fact) -> Option<bool> {
        match (&self.test, actual) {
            (Test::Holds(wanted), Fact::Is(holds)) => Some(wanted == holds),
            (Test::Holds(_), _) => None,
            (Test::Near { value, tolerance }, Fact::Number(actual)) => {
                Some((actual - value).abs() <= *tolerance)
            }
            (Test::Near { .. }, Fact::None) => Some(false),
            (Test::Near { .. }, _) => None,
            (Test::Compare(comparison, wanted), actual) => compare(*comparison, actual, wanted),
        }
    }
}

fn split(text: &str) -> Result<(&str, Test), String> {
    if let Some(name) = text.strip_prefix('!') {
        return Ok((name.trim(), Test::Holds(false)));
    }
    let Some(at) = text.find(['=', '!', '<', '>', '~']) else { return Ok((text, Test::Holds(true))) };
    let (name, rest) = text.split_at(at);
    if let Some(near) = rest.strip_prefix('~') {
        return Ok((
            name.trim(),
            near_test(near.trim()).ok_or_else(|| format!("{text:?}: ~ needs a number"))?,
        ));
    }
    let (sign, comparison) = COMPARISONS
        .into_iter()
        .find(|(sign, _)| rest.starts_with(sign))
        .ok_or_else(|| format!("{text:?} is no comparison: use =, !=, <, <=, >, >= or ~"))?;
    let value = rest[sign.len()..].trim();
    if value.is_empty() {
        return Err(format!("{text:?}: there is nothing after {sign}"));
    }
    Ok((name.trim(), Test::Compare(comparison, Fact::read(value))))
}

fn near_test(text: &str) -> Option<Test> {
    let (value, tolerance) = text.split_once("+-").map_or((text, None), |(value, by)| (value, Some(by)));
    let number = |text: &str| match Fact::read(text.trim()) {
        Fact::Number(number) => Some(number),
        _ => None,
    };
    let value = number(value)?;
    let tolerance = match tolerance {
        Some(tolerance) => number(tolerance)?,
        None => value.abs() / 1000.0,
    };
    Some(Test::Near { value, tolerance })
}

fn compare(comparison: Comparison, actual: &Fact, wanted: &Fact) -> Option<bool> {
    use Comparison::{AtLeast, AtMost, Equal, Less, More, Unequal};
    if let (Fact::Number(actual), Fact::Number(wanted)) = (actual, wanted) {
        let same = (actual - wanted).abs() <= wanted.abs() * EXACT;
        return Some(match comparison {
            Equal => same,
            Unequal => !same,
            Less => actual < wanted && !same,
            AtMost => actual < wanted || same,
            More => actual > wanted && !same,
            AtLeast => actual > wanted || same,
        });
    }
    let same = match (actual, wanted) {
        (Fact::Is(holds), Fact::Text(text)) => match text.as_str() {
            "true" => *holds,
            "false" => !*holds,
            _ => return None,
        },
        (Fact::None, Fact::None) => true,
        (Fact::None, _) | (_, Fact::None) => false,
        (Fact::Text(actual), Fact::Text(wanted)) => spelt(actual) == spelt(wanted),
        _ => return None,
    };
    match comparison {
        Equal => Some(same),
        Unequal => Some(!same),
        _ => None,
    }
}

/// `half_open` however it is written: `half-open`, `HalfOpen`, `HALF_OPEN`.
pub(crate) fn spelt(word: &str) -> String {
    let mut spelt = String::with_capacity(word.len());
    let mut after_small = false;
    for letter in word.chars() {
        if after_small && letter.is_ascii_uppercase() {
            spelt.push('_');
        }
        after_small = letter.is_ascii_lowercase();
        spelt.push(if letter == '-' { '_' } else { letter.to_ascii_lowercase() });
    }
    spelt
}

/// Numbers pass through decimal text and `f64`; below this they are the same one.
const EXACT: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, fact: Fact) -> bool {
        let mut fact = Some(fact);
        Expectation::parse(text).expect("reads").check(|_| fact.take()).is_ok()
    }

    #[test]
    fn comparisons() {
        assert!(check("n=3", Fact::Number(3.0)) && !check("n=3", Fact::Number(4.0)));
        assert!(check("n!=3", Fact::Number(4.0)) && !check("n!=3", Fact::Number(3.0)));
        assert!(check("n<=3", Fact::Number(3.0)) && !check("n<3", Fact::Number(3.0)));
        assert!(check("n>=3", Fact::Number(3.0)) && !check("n>3", Fact::Number(3.0)));
        assert!(check("t=5.25s", Fact::Number(5.25)) && check("r=60%", Fact::Number(0.6)));
        assert!(check("r~0.6+-0.05", Fact::Number(0.64)) && !check("r~0.6+-0.05", Fact::Number(0.66)));
        assert!(check("r~1000", Fact::Number(1000.9)) && !check("r~1000", Fact::Number(1001.1)));
        assert!(check("t=none", Fact::None) && !check("t=none", Fact::Number(1.0)));
        assert!(check("t!=none", Fact::Number(1.0)) && !check("t=1", Fact::None));
        assert!(check("state=open", Fact::Text("open".into())));
        assert!(!check("state=open", Fact::Text("closed".into())));
        for half_open in ["half_open", "half-open", "HalfOpen", "HALF_OPEN", "Half-Open"] {
            assert!(check(&format!("state={half_open}"), Fact::Text("half_open".into())), "{half_open}");
            assert!(!check(&format!("state={half_open}"), Fact::Text("open".into())), "{half_open}");
        }
        assert!(check("open", Fact::Is(true)) && check("!open", Fact::Is(false)));
        assert!(!check("open", Fact::Is(false)) && !check("!open", Fact::Is(true)));
        assert!(check("open=true", Fact::Is(true)) && check("open=false", Fact::Is(false)));
    }

    #[test]
    fn numbers_are_compared_with_other_facts() {
        let look = |name: &str| match name {
            "a" => Some(Fact::Number(1.0)),
            "b.c" => Some(Fact::Number(2.0)),
            "nothing" => Some(Fact::None),
            "open" => Some(Fact::Is(true)),
            _ => None,
        };
        let check = |text: &str| Expectation::parse(text).expect("reads").check(look).is_ok();
        assert!(check("a<b.c") && check("b.c>a") && check("a!=b.c") && check("a=a") && check("a!=nothing"));
        assert!(!check("a>b.c") && !check("a=b.c") && !check("a=nothing"));
        assert!(!check("a=other") && !check("a=open") && !check("open=a"), "of another kind, or not there");
    }

    #[test]
    fn what_cannot_be_compared_fails() {
        assert!(!check("open", Fact::Number(1.0)));
        assert!(!check("n<open", Fact::Text("a".into())));
        assert!(!check("n=3", Fact::Text("3 apples".into())));
        assert!(Expectation::parse("n=3").expect("reads").check(|_| None).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "=3", "n=", "two words", "n~open", "!"] {
            assert!(Expectation::parse(text).is_err(), "{text:?}");
        }
    }
}
