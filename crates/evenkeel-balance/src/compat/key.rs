use crate::Caller;
use crate::hash::xxh64;

/// What Envoy and gRPC take for the hash of a request: xxHash64 of its key, the hash itself if the caller had only that,
/// or else a draw.
pub(super) fn request_hash(caller: &mut dyn Caller) -> u64 {
    if let Some(key) = caller.key_bytes() {
        return xxh64(key, 0);
    }
    match caller.key() {
        Some(hash) => hash,
        None => caller.draw(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Script;

    #[test]
    fn the_key_itself_comes_first_and_a_draw_last() {
        let hash = |mut caller: Script<_>| request_hash(&mut caller);
        let mut draws = [9_u64].into_iter();
        let draws = || draws.next().unwrap_or(0);
        assert_eq!(hash(Script::new(draws)), 9);
        let seeded = || Script::seeded(1);
        assert_eq!(request_hash(&mut seeded().with_key(7)), 7);
        assert_eq!(request_hash(&mut seeded().with_key_bytes(b"a")), xxh64(b"a", 0));
    }
}
