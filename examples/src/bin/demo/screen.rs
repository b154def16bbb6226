use std::io::{self, IsTerminal, Write};

use crate::table::{Line, Tone};

/// Where lines are printed: on a terminal with a table at the bottom that is drawn anew in place, else line by line.
#[derive(Debug)]
pub(crate) struct Screen {
    live: bool,
    coloured: bool,
    /// How many lines of the table stand on the terminal.
    drawn: usize,
}

impl Screen {
    /// Standard output.
    pub(crate) fn new() -> Self {
        let live = io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { live, coloured: live && std::env::var_os("NO_COLOR").is_none(), drawn: 0 }
    }

    /// Whether a table can be drawn in place.
    pub(crate) const fn is_live(&self) -> bool {
        self.live
    }

    /// Prints lines that stay, above the table, and the table below them.
    ///
    /// One write, so that nothing flickers. A line that is too long for the terminal is cut, not wrapped: a wrapped one
    /// would make the way back to the top longer than known.
    pub(crate) fn update(&mut self, news: &[String], table: &[Line]) {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A\r\x1b[J", self.drawn));
        }
        for line in news {
            text.push_str(line);
            text.push('\n');
        }
        if self.live && !table.is_empty() {
            text.push_str("\x1b[?7l");
            for line in table {
                text.push_str(&self.paint(line));
                text.push('\n');
            }
            text.push_str("\x1b[?7h");
        }
        self.drawn = if self.live { table.len() } else { 0 };
        // Nobody is there to be told if standard output is closed.
        let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    }

    /// Lets the table that was drawn last stay.
    pub(crate) const fn settle(&mut self) {
        self.drawn = 0;
    }

    fn paint(&self, line: &Line) -> String {
        let code = match line.tone {
            _ if !self.coloured => return line.text.clone(),
            Tone::Plain => return line.text.clone(),
            Tone::Heading => "1",
            Tone::Warning => "33",
            Tone::Out => "31",
            Tone::Faint => "2",
        };
        format!("\x1b[{code}m{}\x1b[0m", line.text)
    }
}
