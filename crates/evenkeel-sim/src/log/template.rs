//! Lines that were written by a template: text, and between it the values of variables.
//!
//! nginx, HAProxy and Envoy write their logs so, each with signs of its own. A value ends where the text that follows it
//! begins for the first time: the programs escape quotes in values, or their own formats could not be read either. Two
//! variables without text between them are refused, since nobody could tell where one ends.

use super::parser::Wrong;
use crate::error::Invalid;

/// A template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
    names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    /// The value of the variable with this number.
    Value(usize),
    /// Headers in braces and a space, or nothing at all: HAProxy's `%hr` and `%hs`.
    Braces,
}

impl Template {
    /// `$name` and `${name}`: nginx, `log_format`.
    ///
    /// # Errors
    ///
    /// [`Invalid`] names the setting.
    pub(crate) fn nginx(setting: &str, text: &str) -> Result<Self, Invalid> {
        let mut template = Maker::new(setting, text);
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            template.text(before);
            let (name, left) = match after.strip_prefix('{') {
                Some(braced) => braced.split_once('}').ok_or_else(|| template.wrong("a } for each ${"))?,
                None => split_name(after, |c| c.is_ascii_alphanumeric() || c == '_'),
            };
            template.value(name)?;
            rest = left;
        }
        template.text(rest);
        template.finish()
    }

    /// `%name`, `%{flags}name`, `%[expression]`, `%%`: HAProxy, `log-format`.
    ///
    /// # Errors
    ///
    /// [`Invalid`] names the setting.
    pub(crate) fn haproxy(setting: &str, text: &str) -> Result<Self, Invalid> {
        let mut template = Maker::new(setting, text);
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            template.text(before);
            if let Some(left) = after.strip_prefix('%') {
                template.text("%");
                rest = left;
                continue;
            }
            let (flags, after) = match after.strip_prefix('{') {
                Some(braced) => braced.split_once('}').ok_or_else(|| template.wrong("a } for each %{"))?,
                None => ("", after),
            };
            let (name, left) = match after.strip_prefix('[') {
                Some(bracketed) => {
                    bracketed.split_once(']').ok_or_else(|| template.wrong("a ] for each %["))?
                }
                None => split_name(after, |c| c.is_ascii_alphanumeric() || c == '_'),
            };
            if matches!(name, "hr" | "hs") {
                template.braces();
                // The space behind is there only where the headers are.
                rest = left.strip_prefix(' ').unwrap_or(left);
                continue;
            }
            let is_quoted = flags.split(',').any(|flag| flag.trim() == "+Q");
            let quote = if is_quoted { "\"" } else { "" };
            template.text(quote);
            template.value(name)?;
            template.text(quote);
            rest = left;
        }
        template.text(rest);
        template.finish()
    }

    /// `%NAME%`, `%NAME(ARGUMENTS)%`, `%NAME(ARGUMENTS):LENGTH%`, `%%`: Envoy, format strings of access logs.
    ///
    /// # Errors
    ///
    /// [`Invalid`] names the setting.
    pub(crate) fn envoy(setting: &str, text: &str) -> Result<Self, Invalid> {
        let mut template = Maker::new(setting, text);
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            template.text(before);
            if let Some(left) = after.strip_prefix('%') {
                template.text("%");
                rest = left;
                continue;
            }
            let (name, left) = split_name(after, |c| c.is_ascii_alphanumeric() || c == '_');
            let missing = || template.wrong("a second % behind each name");
            // Arguments may contain percent signs: %START_TIME(%s.%3f)%.
            let (arguments, left) = match left.strip_prefix('(') {
                Some(left) => {
                    let end = left.find(')').ok_or_else(|| template.wrong("a ) for each ("))?;
                    (&after[name.len()..name.len() + end + 2], &left[end + 1..])
                }
                None => ("", left),
            };
            let (length, left) = left.split_once('%').ok_or_else(missing)?;
            if !(length.is_empty() || length.starts_with(':')) {
                return Err(missing());
            }
            template.value(&format!("{name}{arguments}"))?;
            rest = left;
        }
        // A format ends with the end of the line, which is gone by now.
        template.text(rest.strip_suffix('\n').unwrap_or(rest));
        template.finish()
    }

    /// The variables, by number.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Tells the value of each variable, by number. Linear in the line.
    pub(crate) fn read<'a>(
        &self,
        line: &'a [u8],
        mut found: impl FnMut(usize, &'a [u8]),
    ) -> Result<(), Wrong> {
        let mut rest = line;
        let mut pieces = self.pieces.iter().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Text(text) => {
                    rest = rest.strip_prefix(text.as_slice()).ok_or_else(|| Wrong::text(text, "", rest))?;
                }
                Piece::Braces => {
                    if let Some(inside) = rest.strip_prefix(b"{") {
                        let end = find(inside, b"}").ok_or_else(|| Wrong::text(b"}", "headers", inside))?;
                        rest = &inside[end + 1..];
                        rest = rest.strip_prefix(b" ").unwrap_or(rest);
                    }
                }
                Piece::Value(number) => {
                    let end = match pieces.peek() {
                        Some(Piece::Text(text)) => {
                            let name = self.names.get(*number).map_or("", String::as_str);
                            let absent = || Wrong::text(text, name, rest);
                            let mut end = find(rest, text).ok_or_else(absent)?;
                            while name.starts_with(LISTS) && goes_on(&rest[..end], &rest[end..]) {
                                end += 1 + find(&rest[end + 1..], text).ok_or_else(absent)?;
                            }
                            end
                        }
                        _ => rest.len(),
                    };
                    found(*number, &rest[..end]);
                    rest = &rest[end..];
                }
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(Wrong::MoreText { found: Wrong::cut(rest) }) }
    }
}

/// Whether a list of nginx's has not ended here: `0.1, 0.2 : 0.3` has the spaces that stand between variables too.
fn goes_on(value: &[u8], after: &[u8]) -> bool {
    value.ends_with(b",") || value.ends_with(b" :") || after.starts_with(b" : ")
}

/// Variables that hold a value for each server that was tried.
const LISTS: &str = "upstream_";

/// The position of the first occurrence.
fn find(line: &[u8], text: &[u8]) -> Option<usize> {
    let (&first, others) = text.split_first()?;
    let mut from = 0;
    loop {
        let at = from + line.get(from..)?.iter().position(|&byte| byte == first)?;
        if line[at + 1..].starts_with(others) {
            return Some(at);
        }
        from = at + 1;
    }
}

fn split_name(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

struct Maker<'a> {
    setting: &'a str,
    whole: &'a str,
    made: Template,
}

impl<'a> Maker<'a> {
    fn new(setting: &'a str, whole: &'a str) -> Self {
        Self { setting, whole, made: Template { pieces: Vec::new(), names: Vec::new() } }
    }

    fn wrong(&self, allowed: &str) -> Invalid {
        Invalid::new(self.setting, format_args!("{:?}", self.whole), format_args!("it needs {allowed}"))
    }

    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.made.pieces.last_mut() {
            Some(Piece::Text(before)) => before.extend_from_slice(text.as_bytes()),
            _ => self.made.pieces.push(Piece::Text(text.as_bytes().to_vec())),
        }
    }

    fn value(&mut self, name: &str) -> Result<(), Invalid> {
        if name.is_empty() {
            return Err(self.wrong("a name behind each sign of a variable"));
        }
        if matches!(self.made.pieces.last(), Some(Piece::Value(_))) {
            return Err(self.wrong(&format!("text before {name:?}, so that it can be seen where it begins")));
        }
        self.made.pieces.push(Piece::Value(self.made.names.len()));
        self.made.names.push(name.to_owned());
        Ok(())
    }

    fn braces(&mut self) {
        self.made.pieces.push(Piece::Braces);
    }

    fn finish(self) -> Result<Template, Invalid> {
        if self.made.names.is_empty() { Err(self.wrong("variables")) } else { Ok(self.made) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(template: &Template, line: &str) -> Result<Vec<String>, String> {
        let mut values = Vec::new();
        let read = template.read(line.as_bytes(), |number, value| {
            assert_eq!(number, values.len(), "in order");
            values.push(String::from_utf8_lossy(value).into_owned());
        });
        read.map(|()| values).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn each_dialect_has_its_signs() {
        let nginx = Template::nginx("f", r#"$remote_addr "${request}" 5$ $status"#).unwrap_err();
        assert!(nginx.allowed.contains("a name"), "{nginx}");
        let nginx = Template::nginx("f", r#"$remote_addr "${request}" $status"#).unwrap();
        assert_eq!(values(&nginx, r#"::1 "GET / HTTP/1.1" 200"#).unwrap(), ["::1", "GET / HTTP/1.1", "200"]);
        let haproxy = Template::haproxy("f", "%ci 5%% %[src,lower] %hr %hs %{+Q}r %{+X,+Q}s").unwrap();
        for headers in ["", "{a|b} ", "{a} {} "] {
            let line = format!(r#"::1 5% x {headers}"GET / HTTP/1.1" "s1""#);
            assert_eq!(values(&haproxy, &line).unwrap(), ["::1", "x", "GET / HTTP/1.1", "s1"], "{line}");
        }
        let envoy =
            Template::envoy("f", "[%START_TIME(%s.%3f)%] 5%% %REQ(:PATH?X):10% %DURATION%\n").unwrap();
        assert_eq!(envoy.names(), ["START_TIME(%s.%3f)", "REQ(:PATH?X)", "DURATION"]);
        assert_eq!(values(&envoy, "[1.5] 5% / 7").unwrap(), ["1.5", "/", "7"]);
    }

    #[test]
    fn what_cannot_be_read_back_is_refused() {
        for (made, says) in [
            (Template::nginx("f", "$a$b"), "text before \"b\""),
            (Template::nginx("f", "${a"), "a } for each ${"),
            (Template::nginx("f", "text"), "variables"),
            (Template::haproxy("f", "%a%b"), "text before \"b\""),
            (Template::haproxy("f", "%[a"), "a ] for each %["),
            (Template::haproxy("f", "%{+Q"), "a } for each %{"),
            (Template::envoy("f", "%A"), "a second %"),
            (Template::envoy("f", "%A(%"), "a ) for each ("),
            (Template::envoy("f", "%A b%"), "a second %"),
        ] {
            let told = made.unwrap_err();
            assert!(told.to_string().contains(says) && told.field == "f", "{told}");
        }
    }

    #[test]
    fn lines_of_another_kind_say_where_they_differ() {
        let template = Template::nginx("f", "$a [$b] $c.").unwrap();
        assert_eq!(values(&template, "1 2").unwrap_err(), r#"no " [" behind a, in "1 2""#);
        assert_eq!(values(&template, "1 [2] 3").unwrap_err(), r#"no "." behind c, in "3""#);
        assert_eq!(values(&template, "1 [2] 3. 4").unwrap_err(), r#"more text than the format has: " 4""#);
        let braces = Template::haproxy("f", "%a %hr %b").unwrap();
        assert_eq!(values(&braces, "1 {x 2").unwrap_err(), r#"no "}" behind headers, in "x 2""#);
    }

    proptest! {
        /// Whatever values without the separator are written, the same are read.
        #[test]
        fn what_is_written_is_read(written in prop::collection::vec("[a-z \"]{0,8}", 1..6)) {
            let names: Vec<String> = (0..written.len()).map(|number| format!("$v{number}")).collect();
            let template = Template::nginx("f", &names.join(" | ")).unwrap();
            prop_assert_eq!(values(&template, &written.join(" | ")), Ok(written));
        }

        #[test]
        fn nothing_panics(text in "[$%{}()\\[\\]a-z: ]{0,24}", line in any::<Vec<u8>>()) {
            let made = [Template::nginx("f", &text), Template::haproxy("f", &text), Template::envoy("f", &text)];
            for template in made.into_iter().flatten() {
                let mut total = 0;
                let _ = template.read(&line, |_, value| total += value.len());
                prop_assert!(total <= line.len());
            }
        }
    }
}
