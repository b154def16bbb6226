/// The key of `balance url_param NAME`: the value of a parameter in the query of a request's target, up to the next `&`.
///
/// It may be empty. `None` means that there is no key: HAProxy then takes the servers in turn.
///
/// ```
/// use evenkeel_balance::compat::haproxy::url_param;
/// assert_eq!(url_param(b"/x?a=1&user=ann&z=2", b"user"), Some(&b"ann"[..]));
/// assert_eq!(url_param(b"/x?a=1", b"user"), None);
/// ```
#[must_use]
pub fn url_param<'a>(target: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let query = target.iter().position(|&byte| byte == b'?')? + 1;
    let mut parameters = target[query..].split(|&byte| byte == b'&');
    parameters.find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_at_the_next_parameter() {
        for (target, value) in [
            ("/x?key=a", Some("a")),
            ("/x?key=a=b?c#d&key=e", Some("a=b?c#d")),
            ("/x?monkey=a&key=b", Some("b")),
            ("/x?keyhole=a&key=", Some("")),
            ("/x?key&keys=1", None),
            ("/key=a", None),
        ] {
            assert_eq!(url_param(target.as_bytes(), b"key"), value.map(str::as_bytes), "{target}");
        }
    }
}
