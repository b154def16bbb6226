/// What was asked for: the path cut at its slashes, each part decoded.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: Vec<String>,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

impl<'a> Asked<'a> {
    /// `None` if the path does not decode to text.
    pub(crate) fn new(
        method: &'a str,
        path_and_query: &str,
        headers: &'a [(&'a str, &'a str)],
        body: &'a [u8],
    ) -> Option<Self> {
        let end = path_and_query.find(['?', '#']).unwrap_or(path_and_query.len());
        let path = path_and_query[..end].strip_prefix('/')?;
        // Cut before it is decoded: the id of an endpoint may hold a slash.
        let path = path.split('/').map(decoded).collect::<Option<Vec<_>>>()?;
        Some(Self { method, path, headers, body })
    }

    /// The only field of this name; `Err` if there are several.
    pub(crate) fn header(&self, name: &str) -> Result<Option<&'a str>, ()> {
        let mut values = self.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (first, None) => Ok(first.map(|(_, value)| value.trim())),
            _ => Err(()),
        }
    }
}

fn decoded(part: &str) -> Option<String> {
    let mut bytes = part.bytes();
    let mut decoded = Vec::with_capacity(part.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => digit(bytes.next()?)? * 16 + digit(bytes.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

fn digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cut_and_then_decoded() {
        let path = |text| Asked::new("GET", text, &[], b"").map(|asked| asked.path);
        assert_eq!(path("/"), Some(vec![String::new()]));
        assert_eq!(path("/a/unix:%2Frun%2Fb?c=%zz"), Some(vec!["a".into(), "unix:/run/b".into()]));
        for bad in ["", "a", "/%", "/%4", "/%zz", "/%ff"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_field_that_comes_twice_is_nobody() {
        let headers = [("Host", " a "), ("x", "1"), ("X", "2")];
        let asked = Asked::new("GET", "/", &headers, b"").expect("a path");
        assert_eq!(
            (asked.header("host"), asked.header("x"), asked.header("y")),
            (Ok(Some("a")), Err(()), Ok(None))
        );
    }
}
