//! HAProxy's syntax: a directive on a line, words with quotes and escapes, comments. There is no kept crate for it that tells
//! where things stand, so this is our own.
//!
//! Source: HAProxy's configuration manual, sections 2.2 and 2.3.

use crate::cursor::Cursor;
use crate::error::{ConvertError, Problem};
use crate::files::{Files, Text};
use crate::place::Place;
use crate::word::{Word, joined};

/// A line with its words, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) words: Vec<Word>,
    /// The first variable of the environment on it.
    pub(crate) variable: Option<String>,
}

impl Line {
    pub(crate) fn text(&self) -> String {
        joined(&self.words)
    }

    pub(crate) fn place(&self) -> &Place {
        &self.words[0].place
    }

    pub(crate) fn texts(&self) -> Vec<&str> {
        self.words.iter().map(|word| word.text.as_str()).collect()
    }
}

/// A section: its first line, and what follows until the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) head: Line,
    pub(crate) lines: Vec<Line>,
}

impl Section {
    pub(crate) fn kind(&self) -> &str {
        &self.head.words[0].text
    }

    pub(crate) fn name(&self) -> Option<&Word> {
        self.head.words.get(1).filter(|word| !word.is("from"))
    }

    /// That there is nothing on the first line but a name and `from` with the name of defaults.
    pub(crate) fn check_head(&self) -> Result<(), ConvertError> {
        let mut rest = &self.head.words[1..];
        if self.name().is_some() {
            rest = &rest[1..];
        }
        match rest {
            [] => Ok(()),
            [from, _] if from.is("from") => Ok(()),
            [word, ..] => {
                let expected = "a name comes after it, and perhaps `from` with the name of defaults";
                Err(ConvertError::unexpected(&word.place, joined(rest), expected))
            }
        }
    }

    /// The defaults that it names.
    pub(crate) fn from(&self) -> Option<&Word> {
        let from = self.head.words.iter().position(|word| word.is("from"))?;
        self.head.words.get(from + 1)
    }
}

/// The sections of a file; lines before the first one are an error.
pub(crate) fn parse(files: &mut Files, text: &Text) -> Result<Vec<Section>, ConvertError> {
    let mut cursor = Cursor::new(&text.name, &text.text);
    let mut sections: Vec<Section> = Vec::new();
    while let Some(line) = next(files, &mut cursor)? {
        if SECTIONS.contains(&line.words[0].text.as_str()) {
            sections.push(Section { head: line, lines: Vec::new() });
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(line);
        } else {
            let expected = "a section comes first: global, defaults, frontend, backend or listen";
            return Err(ConvertError::unexpected(line.place(), line.text(), expected));
        }
    }
    Ok(sections)
}

/// The words that begin a section.
const SECTIONS: [&str; 18] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "peers",
    "mailers",
    "resolvers",
    "userlist",
    "program",
    "cache",
    "ring",
    "http-errors",
    "fcgi-app",
    "log-forward",
    "crt-store",
    "traces",
    "log-profile",
];

fn next(files: &mut Files, cursor: &mut Cursor<'_>) -> Result<Option<Line>, ConvertError> {
    loop {
        cursor.skip_while(|c| c.is_ascii_whitespace());
        match cursor.peek() {
            None => return Ok(None),
            Some('#') => cursor.skip_while(|c| c != '\n'),
            Some(_) => break,
        }
    }
    let mut line = Line { words: Vec::new(), variable: None };
    loop {
        cursor.skip_while(|c| c == ' ' || c == '\t' || c == '\r');
        match cursor.peek() {
            None | Some('\n') => break,
            Some('#') => {
                cursor.skip_while(|c| c != '\n');
                break;
            }
            Some(_) => {
                let word = word(cursor, &mut line.variable)?;
                files.count_word(&word.place)?;
                line.words.push(word);
            }
        }
        if line.words.len() > MOST_WORDS {
            let problem = Problem::TooMany { what: "words on a line", limit: MOST_WORDS as u64 };
            return Err(ConvertError::new(&cursor.place(), problem));
        }
    }
    Ok(Some(line))
}

/// HAProxy itself takes 64.
const MOST_WORDS: usize = 4096;

fn word(cursor: &mut Cursor<'_>, variable: &mut Option<String>) -> Result<Word, ConvertError> {
    let place = cursor.place();
    let mut text = String::new();
    while let Some(c) = cursor.peek() {
        if c.is_ascii_whitespace() || c == '#' {
            break;
        }
        cursor.bump();
        match c {
            '\'' => single(cursor, &mut text, &place)?,
            '"' => double(cursor, &mut text, &place, variable)?,
            '\\' => match cursor.bump() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some(c @ (' ' | '#' | '\\' | '\'' | '"')) => text.push(c),
                Some(c) => text.extend(['\\', c]),
                None => text.push('\\'),
            },
            c => text.push(c),
        }
    }
    Ok(Word { text, place })
}

fn single(cursor: &mut Cursor<'_>, text: &mut String, start: &Place) -> Result<(), ConvertError> {
    loop {
        match cursor.bump() {
            Some('\'') => return Ok(()),
            None | Some('\n') => return Err(unclosed(cursor, start)),
            Some(c) => text.push(c),
        }
    }
}

fn double(
    cursor: &mut Cursor<'_>,
    text: &mut String,
    start: &Place,
    variable: &mut Option<String>,
) -> Result<(), ConvertError> {
    loop {
        match cursor.bump() {
            Some('"') => return Ok(()),
            None | Some('\n') => return Err(unclosed(cursor, start)),
            Some('\\') => match cursor.bump() {
                Some(c @ ('"' | '\\' | '$' | '\'' | ' ' | '#')) => text.push(c),
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some(c) => text.extend(['\\', c]),
                None => return Err(unclosed(cursor, start)),
            },
            Some('$') => {
                let name: String = std::iter::from_fn(|| {
                    let c = cursor.peek().filter(|c| c.is_ascii_alphanumeric() || "_{}[*].".contains(*c))?;
                    cursor.bump()?;
                    Some(c)
                })
                .collect();
                variable.get_or_insert_with(|| format!("${name}"));
                text.push('$');
                text.push_str(&name);
            }
            Some(c) => text.push(c),
        }
    }
}

fn unclosed(cursor: &Cursor<'_>, start: &Place) -> ConvertError {
    let open = format!("the quote of line {}, column {}", start.line, start.column);
    ConvertError::new(&cursor.place(), Problem::Ends { open, needs: "another quote on the same line" })
}
