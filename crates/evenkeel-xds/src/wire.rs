//! What an encoded message holds, counted before it is decoded. Two bytes can be an empty entry, which takes hundreds
//! when it is decoded: an answer within its bound in bytes could fill the memory.

/// The longest list of any kind in an answer.
const MAX_ITEMS: usize = 1_000_000;

/// The most endpoints of an assignment, and the most groups: ten times what a mirror takes by default.
pub(crate) const MAX_ENDPOINTS: usize = 100_000;

/// Whether an encoded answer, of either variant, has lists of a decent length. If not, this is why.
pub(crate) fn check_answer(bytes: &[u8]) -> Result<(), String> {
    bound("entries", Fields(bytes).count(), MAX_ITEMS)
}

/// The same of an encoded `ClusterLoadAssignment`.
pub(crate) fn check_assignment(bytes: &[u8]) -> Result<(), String> {
    check_assignment_at(&[], bytes)
}

/// The same of an encoded `Cluster`, which can have an assignment in it.
pub(crate) fn check_cluster(bytes: &[u8]) -> Result<(), String> {
    check_assignment_at(&[33], bytes)
}

fn check_assignment_at(at: &[u32], bytes: &[u8]) -> Result<(), String> {
    let of = |path: &[u32]| count(bytes, &[at, path].concat());
    bound("endpoints.lb_endpoints", of(&[2, 2]), MAX_ENDPOINTS)?;
    bound("endpoints", of(&[2]), MAX_ENDPOINTS)?;
    bound("additional_addresses", of(&[2, 2, 1, 4]), MAX_ITEMS)?;
    bound("metadata", of(&[2, 2, 3, 1]).saturating_add(of(&[2, 2, 3, 1, 2, 1])), MAX_ITEMS)?;
    bound("policy.drop_overloads", of(&[4, 2]), MAX_ITEMS)
}

fn bound(what: &str, count: usize, most: usize) -> Result<(), String> {
    if count <= most { Ok(()) } else { Err(format!("has {count} {what}: at most {most} are taken")) }
}

/// How many fields lie at a path of field numbers.
fn count(bytes: &[u8], path: &[u32]) -> usize {
    let Some((first, rest)) = path.split_first() else { return 1 };
    let fields = Fields(bytes).filter(|(number, _)| number == first);
    fields.map(|(_, inner)| count(inner, rest)).fold(0, usize::saturating_add)
}

/// The fields that have a length, by number. It ends where the message cannot be read, which is for the decoder to tell.
/// Fields in groups, which nobody has sent for twenty years, count as if they were outside.
///
/// Source: <https://protobuf.dev/programming-guides/encoding/>.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let key = self.varint()?;
            let length = match key & 7 {
                0 => {
                    self.varint()?;
                    continue;
                }
                1 => 8,
                2 => usize::try_from(self.varint()?).ok()?,
                3 | 4 => continue,
                5 => 4,
                _ => return None,
            };
            let (field, rest) = self.0.split_at_checked(length)?;
            self.0 = rest;
            if key & 7 == 2 {
                return Some((u32::try_from(key >> 3).ok()?, field));
            }
        }
    }
}

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for at in 0..10 {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::proto::{
        AdditionalAddress, ClusterLoadAssignment, HostEndpoint, LbEndpoint, LocalityLbEndpoints,
    };

    #[test]
    fn counts_what_the_decoder_would_find() {
        let described = HostEndpoint {
            additional_addresses: vec![AdditionalAddress::default(); 5],
            ..Default::default()
        };
        let entry = LbEndpoint { endpoint: Some(described), health_status: 3, ..Default::default() };
        let group = LocalityLbEndpoints { lb_endpoints: vec![entry; 3], priority: 300, ..Default::default() };
        let whole =
            ClusterLoadAssignment { cluster_name: "a".into(), endpoints: vec![group; 2], policy: None };
        let bytes = whole.encode_to_vec();
        assert_eq!([&[2][..], &[2, 2], &[2, 2, 1, 4], &[9]].map(|path| count(&bytes, path)), [2, 6, 30, 0]);
        // It never reads beyond the end, and no cut is a fault of its own.
        for end in 0..bytes.len() {
            assert!(count(&bytes[..end], &[2, 2]) <= 6);
        }
        for junk in [&[0xff; 20][..], &[0x12, 0xff], &[0x0b, 0x0c, 0x12, 0], &[7]] {
            assert!(count(junk, &[2]) <= 1);
        }
    }
}
