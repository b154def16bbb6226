//! nginx's syntax: directives that end in a semicolon or hold a block, words with quotes and escapes, comments, includes.
//! There is no kept crate for it that tells where things stand, so this is our own.
//!
//! Source: <https://nginx.org/en/docs/beginners_guide.html#conf_structure>, and how nginx 1.22 takes odd cases.

use crate::cursor::Cursor;
use crate::error::{ConvertError, Problem};
use crate::files::{Files, Text};
use crate::place::Place;
use crate::word::{Word, joined};

/// A directive with its words, and its block if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) name: Word,
    pub(crate) args: Vec<Word>,
    pub(crate) block: Option<Vec<Directive>>,
}

impl Directive {
    pub(crate) fn text(&self) -> String {
        joined(std::iter::once(&self.name).chain(&self.args))
    }

    pub(crate) const fn place(&self) -> &Place {
        &self.name.place
    }

    /// The directives inside, none if it has no block.
    pub(crate) fn inside(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }

    /// That nothing comes after its name.
    pub(crate) fn bare(&self) -> Result<(), ConvertError> {
        match self.args.first() {
            None => Ok(()),
            Some(word) => {
                Err(ConvertError::unexpected(&word.place, self.text(), "nothing comes after its name"))
            }
        }
    }

    /// Its only argument.
    pub(crate) fn only(&self) -> Result<&Word, ConvertError> {
        match self.args.as_slice() {
            [only] => Ok(only),
            other => Err(ConvertError::unexpected(
                self.place(),
                format!("{} with {} arguments", self.name.text, other.len()),
                "it takes one",
            )),
        }
    }
}

/// The directives of a file, with those of what it includes in their places.
pub(crate) fn parse(files: &mut Files, text: &Text) -> Result<Vec<Directive>, ConvertError> {
    parse_file(files, text, 0, 0)
}

fn parse_file(
    files: &mut Files,
    text: &Text,
    depth: u32,
    nesting: u32,
) -> Result<Vec<Directive>, ConvertError> {
    let mut cursor = Cursor::new(&text.name, &text.text);
    // Directives whose block is open, each with what came before it at its own level.
    let mut open: Vec<(Directive, Vec<Directive>)> = Vec::new();
    let mut here: Vec<Directive> = Vec::new();
    let mut words: Vec<Word> = Vec::new();
    loop {
        let token = next(&mut cursor)?;
        match token {
            Token::Word(word) => {
                files.count_word(&word.place)?;
                words.push(word);
            }
            Token::Semicolon(place) => {
                let Some(directive) = directive(&mut words, None) else {
                    return Err(ConvertError::unexpected(&place, "\";\"", "a directive comes before it"));
                };
                if directive.name.is("include") {
                    let level = nesting + open.len() as u32;
                    here.extend(include(files, &directive, depth, level)?);
                } else {
                    here.push(directive);
                }
            }
            Token::Open(place) => {
                let Some(mut directive) = directive(&mut words, Some(Vec::new())) else {
                    return Err(ConvertError::unexpected(
                        &place,
                        "\"{\"",
                        "the name of a block comes before it",
                    ));
                };
                if nesting + open.len() as u32 >= files.limits.nesting {
                    let limit = files.limits.nesting.into();
                    return Err(ConvertError::new(&place, Problem::TooMany { what: "nested blocks", limit }));
                }
                if directive.name.text.ends_with("_by_lua_block") {
                    skip_code(&mut cursor, &directive)?;
                    directive.block = None;
                    here.push(directive);
                } else {
                    open.push((directive, std::mem::take(&mut here)));
                }
            }
            Token::Close(place) => {
                if let Some(word) = words.first() {
                    return Err(ConvertError::new(&place, ends(&format!("{:?}", word.text), "\";\"")));
                }
                let Some((mut directive, before)) = open.pop() else {
                    return Err(ConvertError::unexpected(&place, "\"}\"", "no block is open"));
                };
                directive.block = Some(std::mem::replace(&mut here, before));
                here.push(directive);
            }
            Token::End(place) => {
                if let Some(word) = words.first() {
                    let open = format!("{:?} of line {}", word.text, word.place.line);
                    return Err(ConvertError::new(&place, ends(&open, "\";\" or \"{\"")));
                }
                if let Some((directive, _)) = open.last() {
                    let open = format!("the block {:?} of line {}", directive.text(), directive.place().line);
                    return Err(ConvertError::new(&place, ends(&open, "\"}\"")));
                }
                return Ok(here);
            }
        }
    }
}

fn include(
    files: &mut Files,
    directive: &Directive,
    depth: u32,
    nesting: u32,
) -> Result<Vec<Directive>, ConvertError> {
    let pattern = directive.only()?;
    if pattern.text.contains('$') {
        return Err(ConvertError::unexpected(
            &pattern.place,
            pattern.text.clone(),
            "a file name without variables: nginx expands none here either",
        ));
    }
    if depth >= files.limits.include_depth {
        let limit = files.limits.include_depth.into();
        return Err(ConvertError::new(
            &pattern.place,
            Problem::TooMany { what: "files that include each other", limit },
        ));
    }
    let mut all = Vec::new();
    for text in files.include(&pattern.text, &pattern.place)? {
        all.extend(parse_file(files, &text, depth + 1, nesting)?);
    }
    Ok(all)
}

fn directive(words: &mut Vec<Word>, block: Option<Vec<Directive>>) -> Option<Directive> {
    let mut words = std::mem::take(words).into_iter();
    Some(Directive { name: words.next()?, args: words.collect(), block })
}

fn ends(open: &str, needs: &'static str) -> Problem {
    Problem::Ends { open: crate::error::shortened(open), needs }
}

enum Token {
    Word(Word),
    Semicolon(Place),
    Open(Place),
    Close(Place),
    End(Place),
}

fn next(cursor: &mut Cursor<'_>) -> Result<Token, ConvertError> {
    loop {
        cursor.skip_while(|c| c.is_ascii_whitespace());
        if cursor.peek() != Some('#') {
            break;
        }
        cursor.skip_while(|c| c != '\n');
    }
    let place = cursor.place();
    match cursor.peek() {
        None => return Ok(Token::End(place)),
        Some(sign @ (';' | '{' | '}')) => {
            cursor.bump();
            return Ok(match sign {
                ';' => Token::Semicolon(place),
                '{' => Token::Open(place),
                _ => Token::Close(place),
            });
        }
        Some(quote @ ('"' | '\'')) => {
            cursor.bump();
            let text = quoted(cursor, quote, &place)?;
            if cursor.peek().is_some_and(|c| !c.is_ascii_whitespace() && !";{)".contains(c)) {
                let found = format!("{:?} right after a quote", cursor.peek().unwrap_or(' '));
                return Err(ConvertError::unexpected(
                    &cursor.place(),
                    found,
                    "white space, \";\", \"{\" or \")\"",
                ));
            }
            return Ok(Token::Word(Word { text, place }));
        }
        Some(_) => {}
    }
    let mut text = String::new();
    while let Some(c) = cursor.peek() {
        if c.is_ascii_whitespace() || c == ';' || c == '{' && !text.ends_with('$') {
            break;
        }
        cursor.bump();
        match c {
            '\\' => escaped(cursor, &mut text),
            '{' => {
                // `${name}`
                text.push(c);
                while let Some(c) = cursor.peek().filter(|c| c.is_alphanumeric() || *c == '_') {
                    text.push(c);
                    cursor.bump();
                }
                if cursor.peek() == Some('}') {
                    text.push('}');
                    cursor.bump();
                }
            }
            c => text.push(c),
        }
    }
    Ok(Token::Word(Word { text, place }))
}

fn quoted(cursor: &mut Cursor<'_>, quote: char, start: &Place) -> Result<String, ConvertError> {
    let mut text = String::new();
    while let Some(c) = cursor.bump() {
        match c {
            c if c == quote => return Ok(text),
            '\\' => escaped(cursor, &mut text),
            c => text.push(c),
        }
    }
    let open = format!("the quote of line {}", start.line);
    Err(ConvertError::new(&cursor.place(), ends(&open, "another quote")))
}

/// What stands behind a backslash: a few signs are meant, before all others the backslash stays.
fn escaped(cursor: &mut Cursor<'_>, text: &mut String) {
    match cursor.bump() {
        Some(c @ ('"' | '\'' | '\\' | ' ' | ';' | '{' | '}' | '#')) => {
            if " ;{}#".contains(c) {
                // nginx keeps the backslash here too, and takes the sign as part of the word.
                text.push('\\');
            }
            text.push(c);
        }
        Some('t') => text.push('\t'),
        Some('r') => text.push('\r'),
        Some('n') => text.push('\n'),
        Some(c) => text.extend(['\\', c]),
        None => text.push('\\'),
    }
}

/// Over a block of Lua, to its closing brace.
fn skip_code(cursor: &mut Cursor<'_>, directive: &Directive) -> Result<(), ConvertError> {
    let mut depth = 1_u64;
    while let Some(c) = cursor.bump() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(());
        }
    }
    Err(ConvertError::new(&cursor.place(), ends(&format!("the block {:?}", directive.text()), "\"}\"")))
}
