use crate::place::Place;

/// A word of a configuration file, without its quotes and escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) place: Place,
}

impl Word {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.text == text
    }
}

/// Words as one text, for messages.
pub(crate) fn joined<'a>(words: impl IntoIterator<Item = &'a Word>) -> String {
    let mut text = String::new();
    for word in words {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&word.text);
        if text.len() > LONGEST {
            break;
        }
    }
    text
}

/// More is not shown.
const LONGEST: usize = 200;
