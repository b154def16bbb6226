//! The hash of a name, the same on every platform and for ever: users' places depend on it.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

pub(crate) fn text_hash(text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}
