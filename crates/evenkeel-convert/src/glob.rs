//! `*`, `?` and `[a-z]` in the parts of a path, as `glob(3)` has them: hidden files are only found by name.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) enum GlobError {
    TooMany,
    Outside,
}

/// Whether a text has wildcards.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The files below `root` that an absolute pattern names, at most `most`. Folders that cannot be read hold none.
pub(crate) fn find(
    pattern: &Path,
    root: &Path,
    most: u32,
    found: &mut Vec<PathBuf>,
) -> Result<(), GlobError> {
    let mut folders = vec![PathBuf::new()];
    let mut parts = pattern.components().peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        let text = part.as_os_str().to_string_lossy().into_owned();
        let mut next = Vec::new();
        for folder in folders {
            if !is_pattern(&text) {
                next.push(folder.join(&text));
                continue;
            }
            // Nothing outside the root is listed: names there are nobody's business.
            if !folder.canonicalize().is_ok_and(|folder| folder.starts_with(root)) {
                return if folder.exists() { Err(GlobError::Outside) } else { Ok(()) };
            }
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if matches(text.as_bytes(), name.as_bytes()) {
                    next.push(folder.join(name));
                }
                if next.len() > most as usize {
                    return Err(GlobError::TooMany);
                }
            }
        }
        if is_last {
            found.extend(next.into_iter().filter(|path| path.exists()));
            return Ok(());
        }
        folders = next;
    }
    Ok(())
}

/// Whether a name fits a pattern. O(length × length), without recursion.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut at, mut place, mut star) = (0, 0, None);
    while place < name.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, place));
            at += 1;
        } else if let Some(after) = one(pattern, at, name[place]) {
            (at, place) = (after, place + 1);
        } else if let Some((star_at, taken)) = star {
            star = Some((star_at, taken + 1));
            (at, place) = (star_at + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// Where the pattern goes on if its next part takes this byte.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match *pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => {
            let end = at + 2 + pattern.get(at + 2..)?.iter().position(|&byte| byte == b']')?;
            let set = &pattern[at + 1..end];
            let (is_inverted, set) = match set.split_first() {
                Some((b'!' | b'^', rest)) => (true, rest),
                _ => (false, set),
            };
            let mut holds = false;
            let mut i = 0;
            while i < set.len() {
                if i + 2 < set.len() && set[i + 1] == b'-' {
                    holds |= (set[i]..=set[i + 2]).contains(&byte);
                    i += 3;
                } else {
                    holds |= set[i] == byte;
                    i += 1;
                }
            }
            (holds != is_inverted).then_some(end + 1)
        }
        literal => (literal == byte).then_some(at + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("*.conf", ".a.conf", false),
            (".*", ".a", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[0-9]*-x", "17-x", true),
            ("[!0-9]*", "17", false),
            ("*a*b*", "xaxxbx", true),
            ("*", "", true),
            ("[", "[", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
