//! Configurations in which words were changed: read or refused with a place, never a panic; and what was read can be written in every
//! dialect without one, and in ours it is the same when it is read again.
#![allow(clippy::panic, clippy::unwrap_used)]

use evenkeel_convert::{Dialect, Options, Setup, read, write};
use proptest::prelude::*;

const SAMPLES: [(Dialect, &str); 4] = [
    (Dialect::Nginx, include_str!("data/nginx/all_words.conf")),
    (Dialect::Haproxy, include_str!("data/haproxy/all_words.cfg")),
    (Dialect::Haproxy, include_str!("data/haproxy/shop.cfg")),
    (Dialect::Envoy, include_str!("data/envoy/shop.yaml")),
];

/// What people and their tools put where something else belongs.
const ODD: [&str; 40] = [
    "",
    "0",
    "-1",
    "1",
    "255",
    "256",
    "257",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "18446744073709551616",
    "1e400",
    "0.5",
    "NaN",
    "100%",
    "101%",
    "0s",
    "1us",
    "999999999999d",
    "$x",
    "${x}",
    "\"$x\"",
    "%[src]",
    "*",
    "~",
    "!",
    "(",
    ")",
    "a(b",
    "é",
    "\u{202e}",
    "[::1]:80",
    "[::1",
    ":80",
    "unix:",
    "a b",
    "\"",
    "{",
    "if",
];

/// The text with one change of its words: one is put in the place of another, left out, doubled, or swapped with its neighbour.
fn mutated(text: &str, at: usize, kind: u8, odd: usize) -> String {
    let starts: Vec<usize> =
        text.split_whitespace().map(|word| word.as_ptr() as usize - text.as_ptr() as usize).collect();
    let start = starts[at % starts.len()];
    let end = text[start..].find(char::is_whitespace).map_or(text.len(), |length| start + length);
    let (before, word, after) = (&text[..start], &text[start..end], &text[end..]);
    match kind {
        0 => format!("{before}{}{after}", ODD[odd]),
        // The sign at its end stays, so that blocks and directives still end.
        1 => {
            let sign = word.strip_suffix([';', ',', ':']).map_or("", |rest| &word[rest.len()..]);
            format!("{before}{}{sign}{after}", ODD[odd])
        }
        2 => format!("{before}{after}"),
        3 => format!("{before}{word} {word}{after}"),
        4 => format!("{before}{word}{}{after}", ODD[odd]),
        _ => {
            let next = after.split_whitespace().next().unwrap_or("");
            format!("{before}{next} {word}{}", after.replacen(next, "", 1))
        }
    }
}

/// The text that was changed, if what came of it is not sound.
fn check(from: Dialect, text: &str) -> Result<(), TestCaseError> {
    let options = Options { cookie_secret: Some("sixteen bytes or more".to_owned()), ..Options::default() };
    let lines = text.lines().count() as u32 + 1;
    match read(from, text, "f", &options) {
        Err(error) => {
            let place = &error.place;
            prop_assert!(
                &*place.file == "f" && (1..=lines).contains(&place.line) && place.column > 0,
                "{error}\n{text}"
            );
        }
        Ok(found) => {
            let toml =
                found.setup.to_toml().map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            let again = Setup::from_toml(&toml, "again")
                .map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(again.to_toml().unwrap(), toml, "{}", text);
            // What names something that is not there is written so, and may be refused.
            for to in Dialect::ALL {
                let _ = read(to, &write(to, &found.setup).text, "written", &options);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn changed_words_are_read_or_refused(at in any::<usize>(), kind in 0_u8..6, odd in 0..ODD.len(), sample in 0..SAMPLES.len()) {
        let (from, text) = SAMPLES[sample];
        check(from, &mutated(text, at, kind, odd))?;
    }
}
