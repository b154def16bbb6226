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

#[cfg(test)]
mod tests {
    use super::*;

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
