//! A report as one file of HTML: no script, no font, no picture from elsewhere, so that it can be mailed and kept.
//!
//! Plots are SVG in the page, drawn here: their colours are variables of the style sheet, which is what lets one file suit
//! light and dark screens. Every plot has a title and a description for readers who do not see it, and every number that
//! matters stands in a table too. The size is bounded: lines have at most 240 points, heat maps 120 × 48 cells, and of the
//! policies of a case the first eight are drawn.

mod curves;
mod endpoints;
mod page;
mod plot;
mod tables;

pub use page::render;

/// Text, as it may stand in HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A number in three digits or so.
fn short(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "–".to_owned(),
        0.0 => "0".to_owned(),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        size if size >= 0.00095 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

/// Milliseconds with the unit that suits them.
fn latency(millis: f64) -> String {
    if millis >= 1000.0 {
        format!("{} s", trimmed(millis / 1000.0))
    } else if millis >= 1.0 {
        format!("{} ms", trimmed(millis))
    } else {
        format!("{} µs", trimmed(millis * 1000.0))
    }
}

fn trimmed(value: f64) -> String {
    let text = short(value);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Policies that are drawn.
const DRAWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (123.4, "123"),
            (12.34, "12.3"),
            (1.234, "1.23"),
            (0.1234, "0.123"),
            (0.00001, "1.0e-5"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!([latency(0.25), latency(20.0), latency(1500.0)], ["250 µs", "20 ms", "1.5 s"]);
    }
}
