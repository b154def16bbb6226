/// A word, in quotes if it holds one of these signs or anything that is no plain letter; `escaped` are the signs that need a backslash
/// there.
pub(crate) fn quoted(text: &str, special: &[u8], escaped: &[char]) -> String {
    let is_plain =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !special.contains(&byte));
    if is_plain {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            c if escaped.contains(&c) => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
