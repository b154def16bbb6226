//! Lines of a file without comments, and which of them belong to a field.

/// A line that says something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// From 1.
    pub(crate) number: usize,
    pub(crate) indented: bool,
    /// Trimmed on both sides.
    pub(crate) text: &'a str,
}

/// The lines of a file that are neither empty nor comments.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.trim_start_matches('\u{feff}').lines().enumerate().filter_map(|(index, line)| {
        let said = without_comment(line);
        let text = said.trim();
        let indented = said.starts_with([' ', '\t']);
        (!text.is_empty()).then_some(Line { number: index + 1, indented, text })
    })
}

/// A `#` within quotes is no comment, nor is one in a title or in what it was learnt from: issues have numbers.
fn without_comment(line: &str) -> &str {
    let field = line.split_once(':').map(|(field, _)| field.trim_end().to_ascii_lowercase());
    if field.is_some_and(|field| NAMES.contains(&field.as_str())) {
        return line;
    }
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted => return &line[..at],
            _ => {}
        }
    }
    line
}

const NAMES: [&str; 2] = ["scenario", "from"];
