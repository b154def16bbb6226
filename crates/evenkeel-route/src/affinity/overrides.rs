/// The endpoint that a list of them (a header field, say) names for the attempt of this number, 0 first.
///
/// The list is separated by commas: the first entry for the first attempt, the next ones for retries, as Envoy's
/// `override_host`. What lies beyond it, an empty entry and an entry that is not UTF-8 name nobody. At most
/// [`MAX_OVERRIDES`] entries are looked at, however long the text.
///
/// ```
/// use evenkeel_route::affinity::override_at;
/// assert_eq!(override_at(b"10.0.0.1:80, 10.0.0.2:80", 1), Some("10.0.0.2:80"));
/// assert_eq!(override_at(b"10.0.0.1:80", 1), None);
/// ```
#[must_use]
pub fn override_at(list: &[u8], attempt: u32) -> Option<&str> {
    let at = usize::try_from(attempt).ok().filter(|&at| at < MAX_OVERRIDES)?;
    let entry = list.split(|&byte| byte == b',').nth(at)?.trim_ascii();
    std::str::from_utf8(entry).ok().filter(|entry| !entry.is_empty())
}

/// How many entries of a list count.
pub const MAX_OVERRIDES: usize = 64;
