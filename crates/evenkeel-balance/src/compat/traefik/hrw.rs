use std::fmt::Write;
use std::hash::Hasher;
use std::net::IpAddr;

use fnv::FnvHasher;

/// Traefik's strategy `hrw`: weighted rendezvous of the client's address and the server's URL.
///
/// **Idea.** The FNV-1a of the client's address and the server's URL, one text after the other, as a fraction u of 2^64
/// gives the score weight ÷ −ln u; the highest wins. **Cost.** O(n) a pick. **When.** Clients must go where a Traefik sends
/// them. **When not.** There are many servers, or clients share an address. **Source.** Traefik 3.7,
/// `pkg/server/service/loadbalancer/hrw`; Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
/// 1998; reproduced from recorded answers.
///
/// ```
/// use evenkeel_balance::compat::traefik::Hrw;
///
/// let hrw = Hrw::new([("http://10.0.0.1:8080", 1), ("http://10.0.0.2:8080", 1)]);
/// let client = "23.114.169.160".parse().expect("an address");
/// let first = hrw.pick(client, |_| true).expect("a server is usable");
/// assert_ne!(hrw.pick(client, |server| server != first), Some(first));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Hrw {
    servers: Vec<(Box<str>, f64)>,
}

impl Hrw {
    /// The servers 0, 1, … of these URLs and weights. Those of weight zero are never picked.
    pub fn new<'a>(servers: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        Self { servers: servers.into_iter().map(|(url, weight)| (url.into(), weight.into())).collect() }
    }

    /// The usable server of the highest score, or `None` if none is usable or all of those score nothing.
    pub fn pick(&self, client: IpAddr, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let mut hash = FnvText(FnvHasher::default());
        // Go writes an IPv4 address as one also where it came as IPv6. A hash cannot fail to be written to.
        let _ = write!(hash, "{}", client.to_canonical());
        self.best(&hash, usable)
    }

    /// The same for any text in the place of the address.
    pub(super) fn pick_by(&self, text: &[u8], usable: impl Fn(usize) -> bool) -> Option<usize> {
        let mut hash = FnvText(FnvHasher::default());
        hash.0.write(text);
        self.best(&hash, usable)
    }

    fn best(&self, client: &FnvText, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best = None;
        let mut highest = 0.0;
        for (server, (url, weight)) in self.servers.iter().enumerate() {
            if !usable(server) {
                continue;
            }
            let mut hasher = FnvHasher::with_key(client.0.finish());
            hasher.write(url.as_bytes());
            let score = score(hasher.finish(), *weight);
            if score > highest {
                (best, highest) = (Some(server), score);
            }
        }
        best
    }
}

fn score(hash: u64, weight: f64) -> f64 {
    let fraction = hash as f64 / TWO_POW_64;
    1.0 / -libm::log(fraction) * weight
}

const TWO_POW_64: f64 = 18_446_744_073_709_551_616.0;

struct FnvText(FnvHasher);

impl Write for FnvText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::fnv1a;

    #[test]
    fn the_hash_is_that_of_both_texts() {
        let mut hash = FnvText(FnvHasher::default());
        write!(hash, "10.0.0.9").unwrap();
        let mut carried_on = FnvHasher::with_key(hash.0.finish());
        carried_on.write(b"http://a");
        assert_eq!(carried_on.finish(), fnv1a(b"10.0.0.9http://a"));
    }

    #[test]
    fn an_address_in_another_form_is_the_same_client() {
        let urls: Vec<String> = (0..50).map(|n| format!("http://10.0.0.{n}:80")).collect();
        let hrw = Hrw::new(urls.iter().map(|url| (url.as_str(), 1)));
        let pick = |client: &str| hrw.pick(client.parse().unwrap(), |_| true);
        assert_eq!(pick("2001:db8:0:0::1"), pick("2001:db8::1"));
        assert_eq!(pick("::ffff:10.1.2.3"), pick("10.1.2.3"));
    }

    #[test]
    fn without_weight_or_use_nobody_is_picked() {
        let hrw = Hrw::new([("http://a", 0), ("http://b", 3)]);
        let client = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(hrw.pick(client, |_| true), Some(1));
        assert_eq!(hrw.pick(client, |server| server == 0), None);
        assert_eq!(hrw.pick(client, |_| false), None);
        assert_eq!(Hrw::default().pick(client, |_| true), None);
    }

    #[test]
    fn the_extremes_of_the_hash_score_nothing() {
        assert_eq!(score(0, 5.0), 0.0);
        assert!(score(u64::MAX, 5.0) < 0.0, "as there: minus infinity");
        assert!(score(1 << 63, 2.0) > score(1 << 63, 1.0));
    }
}
