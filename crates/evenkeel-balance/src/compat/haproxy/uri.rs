use std::borrow::Cow;

/// The key of `balance uri`: what of a request's target is hashed.
///
/// ```
/// use evenkeel_balance::compat::haproxy::UriKey;
/// let key = UriKey { depth: Some(1), ..UriKey::default() };
/// assert_eq!(key.of(b"/static/site.css?v=2"), b"/static");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct UriKey {
    /// `len`: only so many bytes count; all unless set. HAProxy refuses 0, and it means "all" here.
    pub len: Option<u32>,
    /// `depth`: the key ends before the slash after so many of them, the first one of the path included; no end unless set.
    pub depth: Option<u32>,
    /// `whole`: the query counts too.
    pub is_whole: bool,
    /// `path-only`: scheme and authority of an absolute target do not count.
    pub is_path_only: bool,
}

impl UriKey {
    /// The key of a target, which is always there, though it may be empty.
    #[must_use]
    pub fn of(self, target: &[u8]) -> &[u8] {
        let uri = if self.is_path_only { path(target) } else { target };
        let uri = match self.len {
            None | Some(0) => uri,
            Some(len) => &uri[..uri.len().min(len as usize)],
        };
        let mut slashes = 0_u64;
        let end = uri.iter().position(|&byte| match byte {
            b'/' => {
                slashes += 1;
                self.depth.is_some_and(|depth| slashes == u64::from(depth) + 1)
            }
            b'?' => !self.is_whole,
            _ => false,
        });
        &uri[..end.unwrap_or(uri.len())]
    }
}

/// The path of a target, with its query: all of it in origin form, what follows the authority in absolute form, else
/// nothing.
fn path(target: &[u8]) -> &[u8] {
    if target.first() == Some(&b'/') {
        return target;
    }
    let Some(scheme) = target.windows(3).position(|bytes| bytes == b"://") else { return &[] };
    let after = &target[scheme + 3..];
    after.iter().position(|&byte| byte == b'/').map_or(&[], |slash| &after[slash..])
}

/// The target as HAProxy hands it on: an absolute one loses the port that its scheme has anyway (80 and `http`, 443 and
/// `https`). Every other target stays as it is.
///
/// ```
/// use evenkeel_balance::compat::haproxy::normalized_target;
/// assert_eq!(normalized_target(b"http://example.org:80/a").as_ref(), b"http://example.org/a");
/// ```
#[must_use]
pub fn normalized_target(target: &[u8]) -> Cow<'_, [u8]> {
    without_default_port(target).map_or(Cow::Borrowed(target), Cow::Owned)
}

fn without_default_port(target: &[u8]) -> Option<Vec<u8>> {
    let scheme = target.windows(3).position(|bytes| bytes == b"://")?;
    let port: &[u8] = match &target[..scheme] {
        name if name.eq_ignore_ascii_case(b"http") => b":80",
        name if name.eq_ignore_ascii_case(b"https") => b":443",
        _ => return None,
    };
    let start = scheme + 3;
    let length = target[start..].iter().position(|byte| b"/?#".contains(byte));
    let end = length.map_or(target.len(), |length| start + length);
    let kept = target[..end].strip_suffix(port).filter(|kept| kept.len() > start)?;
    Some([kept, &target[end..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_the_scheme_goes() {
        for (target, handed_on) in [
            ("http://h.example:80/a:80?b:80", "http://h.example/a:80?b:80"),
            ("HTTP://h:80/", "HTTP://h/"),
            ("https://h:443/a", "https://h/a"),
            ("http://[::1]:80/", "http://[::1]/"),
            ("http://h:443/a", "http://h:443/a"),
            ("https://h:80/a", "https://h:80/a"),
            ("http://h:8080/a", "http://h:8080/a"),
            ("ftp://h:80/a", "ftp://h:80/a"),
            ("/a://h:80", "/a://h:80"),
            ("/a:80", "/a:80"),
            ("*", "*"),
        ] {
            assert_eq!(normalized_target(target.as_bytes()), handed_on.as_bytes(), "{target}");
        }
    }

    #[test]
    fn targets_are_cut() {
        let plain = UriKey::default();
        let len = |len| UriKey { len: Some(len), ..plain };
        let depth = |depth| UriKey { depth: Some(depth), ..plain };
        let whole = UriKey { is_whole: true, ..plain };
        let path_only = UriKey { is_path_only: true, ..plain };
        for (key, target, cut) in [
            (plain, "/a/b?c=/d", "/a/b"),
            (plain, "http://h/a?b", "http://h/a"),
            (plain, "*", "*"),
            (whole, "/a/b?c=/d", "/a/b?c=/d"),
            (len(3), "/a/b?c", "/a/"),
            (len(99), "/a/b?c", "/a/b"),
            (depth(0), "/a/b", ""),
            (depth(1), "/a/b", "/a"),
            (depth(2), "/a/b?c", "/a/b"),
            (depth(2), "/a/b/", "/a/b"),
            (UriKey { len: Some(4), ..depth(1) }, "/ab/c", "/ab"),
            (UriKey { len: Some(2), ..depth(1) }, "/ab/c", "/a"),
            (UriKey { is_whole: true, ..depth(2) }, "/a?b/c/d", "/a?b/c"),
            (path_only, "/a?b", "/a"),
            (path_only, "http://h:80/a?b", "/a"),
            (path_only, "http://h", ""),
            (path_only, "*", ""),
        ] {
            assert_eq!(key.of(target.as_bytes()), cut.as_bytes(), "{key:?} {target}");
        }
    }
}
