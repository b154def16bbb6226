/// The name that was meant, if one of those allowed is near enough: at most a third of its letters away, and at most three.
pub(crate) fn nearest<'n>(given: &str, allowed: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // Long texts are no slips of the finger, and comparing them costs the product of their lengths.
    if given.len() > 64 {
        return None;
    }
    let given = given.to_ascii_lowercase().replace('-', "_");
    let near = |name: &str| {
        let distance = strsim::damerau_levenshtein(&given, &name.to_ascii_lowercase().replace('-', "_"));
        let prefix = given.len() >= 3 && name.starts_with(&given);
        let limit = (given.chars().count() / 3).clamp(1, 3);
        if prefix { Some(distance.min(1)) } else { (distance <= limit).then_some(distance) }
    };
    let close = allowed.into_iter().filter(|name| name.len() <= 64);
    let mut best: Option<(usize, &str)> = None;
    for name in close {
        if let Some(distance) = near(name)
            && best.is_none_or(|(least, _)| distance < least)
        {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let names = ["least_request", "round_robin", "random", "ring_hash"];
        for (given, meant) in [
            ("least_requests", Some("least_request")),
            ("lest_request", Some("least_request")),
            ("least-request", Some("least_request")),
            ("RoundRobin", Some("round_robin")),
            ("randmo", Some("random")),
            ("ring", Some("ring_hash")),
            ("weighted", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, names), meant, "{given}");
        }
    }
}
