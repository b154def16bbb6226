use crate::hash::xxh64;

/// The hash of the values of `request_hash_header`, or `None` if it is absent: gRPC then draws a random one. Several
/// values are joined by commas first (gRFC A76).
#[must_use]
pub fn request_hash<T: AsRef<[u8]>>(values: &[T]) -> Option<u64> {
    match values {
        [] => None,
        [value] => Some(xxh64(value.as_ref(), 0)),
        values => {
            let values: Vec<&[u8]> = values.iter().map(AsRef::as_ref).collect();
            Some(xxh64(&values.join(&b','), 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_joined() {
        assert_eq!(request_hash::<&[u8]>(&[]), None);
        assert_eq!(request_hash(&["a"]), Some(xxh64(b"a", 0)));
        assert_eq!(request_hash(&["a", "", "b"]), Some(xxh64(b"a,,b", 0)));
    }
}
