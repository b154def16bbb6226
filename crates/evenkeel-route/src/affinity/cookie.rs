use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use evenkeel_types::{EndpointId, Ratio};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

use crate::matching::{any_cookie, is_token};

/// A signed cookie that names an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct CookieConfig {
    /// Its name. Default `evenkeel`.
    pub name: String,
    /// The keys: the first signs, all are accepted. To rotate, put a new one in front, and take the last one out after `ttl`.
    /// Equal on every proxy, or each forgets the users of the others. Default none, which is refused: a key of our own choice
    /// would be no secret.
    pub keys: Vec<CookieKey>,
    /// How long it is good from the time of issue, 1 s to 400 days. Default 1 h: stickiness is for caches and sessions, and a
    /// day-old one only keeps load from moving to new endpoints.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub ttl: Duration,
    /// When a user who comes back gets it anew. Default after half of `ttl`: whoever comes at least that often is never sent
    /// elsewhere in the middle of a session, and most answers carry no cookie.
    pub renew: Renewal,
    /// The attribute `Path`. Default `/`.
    pub path: String,
    /// Whether it is sent over TLS alone. Default yes.
    pub secure: bool,
    /// The attribute `SameSite`. Default lax, as browsers do.
    pub same_site: SameSite,
}

impl Default for CookieConfig {
    fn default() -> Self {
        Self {
            name: "evenkeel".into(),
            keys: Vec::new(),
            ttl: Duration::from_secs(3600),
            renew: Renewal::default(),
            path: "/".into(),
            secure: true,
            same_site: SameSite::default(),
        }
    }
}

/// When a cookie that is still good is issued anew, so that its time begins again.
///
/// In a file `{ after = 0.5 }` or `"never"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Renewal {
    /// With the first answer after this share of its time, below 1. 0 is with every answer.
    After(Ratio),
    /// Never: a session ends that long after it began, whatever its user does. HAProxy's `maxlife`.
    Never,
}

impl Default for Renewal {
    fn default() -> Self {
        Self::After(Ratio::HALF)
    }
}

/// A key that signs cookies. Its secret is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct CookieKey {
    /// Its number, which cookies carry.
    pub id: u8,
    /// The secret, at least 16 bytes.
    pub secret: String,
}

impl std::fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CookieKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The attribute `SameSite`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum SameSite {
    /// `Lax`.
    #[default]
    Lax,
    /// `Strict`.
    Strict,
    /// `None`, which needs `secure`.
    None,
}

/// Issues and reads cookies.
///
/// A value is `1.KEY.EXPIRY.ENDPOINT.SIGNATURE`: the version, the number of the key, seconds since 1970 in decimal, the
/// endpoint's id in base64, and HMAC-SHA256 over all of that and the cookie's name. It names the stable id of an endpoint, never
/// its place or address, so it survives restarts, new weights and other proxies; and it shows the id to the client.
///
/// What was forged, cut off or is too old is as good as no cookie, and is counted.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_route::affinity::{CookieConfig, CookieKey, NoCookie, StickyCookie};
///
/// let keys = vec![CookieKey { id: 1, secret: "a secret of the fleet".into() }];
/// let cookie = StickyCookie::new(&CookieConfig { keys, ..CookieConfig::default() })?;
/// let today = Duration::from_secs(1_800_000_000);
///
/// let value = cookie.value(&"users-1".parse()?, today);
/// let home = cookie.read(&value, today)?;
/// assert_eq!((home.endpoint.as_str(), home.is_due), ("users-1", false));
/// assert_eq!(cookie.read(&value[..value.len() - 1], today), Err(NoCookie::Forged));
/// assert_eq!(cookie.read(&value, today + Duration::from_secs(3600)), Err(NoCookie::Expired));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct StickyCookie {
    config: CookieConfig,
    macs: Vec<(u8, Signer)>,
    forged: AtomicU64,
    malformed: AtomicU64,
    expired: AtomicU64,
}

#[derive(Clone)]
struct Signer(Hmac<Sha256>);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

/// What a good cookie tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Where the user is.
    pub endpoint: EndpointId,
    /// Whether the answer should issue it anew: see [`CookieConfig::renew`].
    pub is_due: bool,
}

/// Why there is no endpoint in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum NoCookie {
    /// No cookie of this name.
    #[error("no cookie")]
    Missing,
    /// Not one of ours, or cut off.
    #[error("malformed cookie")]
    Malformed,
    /// The signature is not that of any key.
    #[error("forged cookie, or one of a key that is gone")]
    Forged,
    /// Too old, or from further in the future than any cookie could be.
    #[error("expired cookie")]
    Expired,
}

/// How many cookies were as good as none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct StickyCounts {
    /// Not ours, or cut off.
    pub malformed: u64,
    /// With a wrong signature.
    pub forged: u64,
    /// Too old.
    pub expired: u64,
}

impl StickyCookie {
    /// Cookies with these settings.
    ///
    /// # Errors
    ///
    /// [`CookieError`] if a setting makes no sense.
    pub fn new(config: &CookieConfig) -> Result<Self, CookieError> {
        check(config)?;
        let signer = |key: &CookieKey| {
            let mut mac = Hmac::<Sha256>::new_from_slice(key.secret.as_bytes()).ok()?;
            mac.update(config.name.as_bytes());
            mac.update(b"=");
            Some((key.id, Signer(mac)))
        };
        let count = AtomicU64::default;
        Ok(Self {
            config: config.clone(),
            macs: config.keys.iter().filter_map(signer).collect(),
            forged: count(),
            malformed: count(),
            expired: count(),
        })
    }

    /// The value for an endpoint, issued at `unix`, the time since 1970.
    #[must_use]
    pub fn value(&self, endpoint: &EndpointId, unix: Duration) -> String {
        let expiry = unix.saturating_add(self.config.ttl).as_secs();
        let id = URL_SAFE_NO_PAD.encode(endpoint.as_str());
        let Some((key, signer)) = self.macs.first() else { return String::new() };
        let signed = format!("1.{key}.{expiry}.{id}");
        let mut mac = signer.0.clone();
        mac.update(signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        format!("{signed}.{signature}")
    }

    /// The header field `Set-Cookie` for an endpoint.
    #[must_use]
    pub fn set_cookie(&self, endpoint: &EndpointId, unix: Duration) -> String {
        let CookieConfig { name, ttl, path, secure, same_site, .. } = &self.config;
        let same_site = match same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
            SameSite::None => "None",
        };
        let value = self.value(endpoint, unix);
        let secure = if *secure { "; Secure" } else { "" };
        format!(
            "{name}={value}; Path={path}; Max-Age={}; HttpOnly{secure}; SameSite={same_site}",
            ttl.as_secs()
        )
    }

    /// The endpoint that a header field `Cookie` names.
    ///
    /// # Errors
    ///
    /// [`NoCookie`] says why none.
    pub fn read_field(&self, field: &[u8], unix: Duration) -> Result<Remembered, NoCookie> {
        let found = std::cell::RefCell::new(Err(NoCookie::Missing));
        any_cookie(field, &self.config.name, |value| {
            let text = std::str::from_utf8(value).unwrap_or("");
            let read = self.read(text, unix);
            let is_good = read.is_ok();
            *found.borrow_mut() = read;
            is_good
        });
        found.into_inner()
    }

    /// The endpoint that a value names. Signatures are compared in constant time.
    ///
    /// # Errors
    ///
    /// [`NoCookie`] says why none, and is counted.
    pub fn read(&self, value: &str, unix: Duration) -> Result<Remembered, NoCookie> {
        self.judge(value, unix).inspect_err(|why| {
            let count = match why {
                NoCookie::Missing => return,
                NoCookie::Malformed => &self.malformed,
                NoCookie::Forged => &self.forged,
                NoCookie::Expired => &self.expired,
            };
            count.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn judge(&self, value: &str, unix: Duration) -> Result<Remembered, NoCookie> {
        if value.len() > LONGEST {
            return Err(NoCookie::Malformed);
        }
        let (signed, signature) = value.rsplit_once('.').ok_or(NoCookie::Malformed)?;
        let mut parts = signed.split('.');
        let mut next = || parts.next().ok_or(NoCookie::Malformed);
        let (version, key, expiry, id) = (next()?, next()?, next()?, next()?);
        if version != "1" || parts.next().is_some() {
            return Err(NoCookie::Malformed);
        }
        let key: u8 = key.parse().map_err(|_| NoCookie::Malformed)?;
        let expiry: u64 = expiry.parse().map_err(|_| NoCookie::Malformed)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| NoCookie::Forged)?;
        let (_, signer) = self.macs.iter().find(|(id, _)| *id == key).ok_or(NoCookie::Forged)?;
        let mut mac = signer.0.clone();
        mac.update(signed.as_bytes());
        mac.verify_slice(&signature).map_err(|_| NoCookie::Forged)?;
        let now = unix.as_secs();
        if now >= expiry || expiry - now > FURTHEST.as_secs() {
            return Err(NoCookie::Expired);
        }
        let id = URL_SAFE_NO_PAD.decode(id).ok().and_then(|id| String::from_utf8(id).ok());
        let endpoint = id.and_then(|id| EndpointId::new(id).ok()).ok_or(NoCookie::Malformed)?;
        Ok(Remembered { endpoint, is_due: self.is_due(Duration::from_secs(expiry).saturating_sub(unix)) })
    }

    /// Whether so little is left of its time.
    fn is_due(&self, left: Duration) -> bool {
        let Renewal::After(share) = self.config.renew else { return false };
        let kept = u128::from(Ratio::ONE.parts_per_million() - share.parts_per_million());
        let whole = u128::from(Ratio::ONE.parts_per_million());
        left.as_nanos() * whole <= self.config.ttl.as_nanos() * kept
    }

    /// How many cookies were as good as none.
    #[must_use]
    pub fn counts(&self) -> StickyCounts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        StickyCounts { malformed: of(&self.malformed), forged: of(&self.forged), expired: of(&self.expired) }
    }
}

/// Settings of a cookie that make no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CookieError {
    /// No name of a cookie.
    #[error("name is {0:?}: not a name of a cookie")]
    Name(String),
    /// Nothing to sign with.
    #[error("keys is empty: give at least one secret, the same on every proxy")]
    NoKeys,
    /// A secret that can be guessed.
    #[error("keys[{0}].secret is shorter than 16 bytes")]
    ShortSecret(usize),
    /// Two keys of one number.
    #[error("keys[{0}].id is there a second time")]
    SameId(usize),
    /// A time that is too short or too long.
    #[error("ttl is {0:?}: allowed are 1s to 400 days")]
    Ttl(Duration),
    /// It would be gone before.
    #[error("renew.after is 1: the cookie is gone by then; give less, or \"never\"")]
    Renew,
    /// A path that would end the attribute.
    #[error("path is {0:?}: it begins with a slash and holds neither semicolons nor control characters")]
    Path(String),
    /// Browsers refuse it.
    #[error("same_site is none without secure: browsers refuse such a cookie")]
    InsecureNone,
}

fn check(config: &CookieConfig) -> Result<(), CookieError> {
    if !is_token(&config.name) || config.name.len() > 64 {
        return Err(CookieError::Name(config.name.clone()));
    }
    if config.keys.is_empty() {
        return Err(CookieError::NoKeys);
    }
    for (i, key) in config.keys.iter().enumerate() {
        if key.secret.len() < 16 {
            return Err(CookieError::ShortSecret(i));
        }
        if config.keys[..i].iter().any(|other| other.id == key.id) {
            return Err(CookieError::SameId(i));
        }
    }
    if config.ttl < Duration::from_secs(1) || config.ttl > FURTHEST {
        return Err(CookieError::Ttl(config.ttl));
    }
    if config.renew == Renewal::After(Ratio::ONE) {
        return Err(CookieError::Renew);
    }
    let spoils = |c: char| c.is_control() || c == ';' || !c.is_ascii();
    if !config.path.starts_with('/') || config.path.contains(spoils) {
        return Err(CookieError::Path(config.path.clone()));
    }
    if config.same_site == SameSite::None && !config.secure {
        return Err(CookieError::InsecureNone);
    }
    Ok(())
}

/// The longest id in base64, and all the rest.
const LONGEST: usize = 512;
/// As long as browsers keep any cookie.
const FURTHEST: Duration = Duration::from_secs(400 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(ids: &[u8]) -> StickyCookie {
        let key = |&id: &u8| CookieKey { id, secret: format!("the secret of number {id}") };
        StickyCookie::new(&CookieConfig { keys: ids.iter().map(key).collect(), ..CookieConfig::default() })
            .unwrap()
    }

    fn at(secs: u64) -> Duration {
        Duration::from_secs(1_800_000_000 + secs)
    }

    #[test]
    fn keys_rotate() {
        let id: EndpointId = "a/b é".parse().unwrap();
        let (old, both, new) = (cookie(&[1]), cookie(&[2, 1]), cookie(&[2]));
        let value = old.value(&id, at(0));
        assert_eq!(both.read(&value, at(1)).map(|home| home.endpoint), Ok(id.clone()));
        assert_eq!(new.read(&value, at(1)), Err(NoCookie::Forged));
        assert_eq!(new.read(&both.value(&id, at(0)), at(1)).map(|home| home.endpoint), Ok(id));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let cookie = cookie(&[1]);
        let value = cookie.value(&"users-1".parse().unwrap(), at(0));
        for i in 0..value.len() {
            let mut bytes = value.clone().into_bytes();
            bytes[i] = if bytes[i] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(cookie.read(&changed, at(1)).is_err(), "{changed}");
            assert!(cookie.read(&value[..i], at(1)).is_err());
        }
        let counts = cookie.counts();
        assert_eq!(counts.malformed + counts.forged, 2 * value.len() as u64);
        assert_eq!(cookie.read(&"1.".repeat(10_000), at(1)), Err(NoCookie::Malformed));
    }

    #[test]
    fn a_cookie_is_due_after_its_share_of_the_time() {
        let issued = cookie(&[1]);
        let value = issued.value(&"users-1".parse().unwrap(), at(0));
        let is_due = |renew: Renewal, secs: u64| {
            let config = CookieConfig { renew, ..issued.config.clone() };
            StickyCookie::new(&config).unwrap().read(&value, at(secs)).unwrap().is_due
        };
        let after = |percent: u32| Renewal::After(Ratio::percent(percent).unwrap());
        for (renew, secs, expected) in [
            (Renewal::default(), 1799, false),
            (Renewal::default(), 1800, true),
            (Renewal::default(), 3599, true),
            (after(0), 0, true),
            (after(10), 359, false),
            (after(10), 360, true),
            (after(99), 3563, false),
            (after(99), 3564, true),
            (Renewal::Never, 3599, false),
        ] {
            assert_eq!(is_due(renew, secs), expected, "{renew:?} after {secs} s");
        }
        // Proxies on which more or less time was set: what is left counts.
        let longer = CookieConfig { ttl: Duration::from_secs(86_400), ..issued.config.clone() };
        assert!(StickyCookie::new(&longer).unwrap().read(&value, at(0)).unwrap().is_due);
        let shorter = CookieConfig { ttl: Duration::from_secs(60), ..issued.config.clone() };
        assert!(!StickyCookie::new(&shorter).unwrap().read(&value, at(0)).unwrap().is_due);
        let longest = CookieConfig { ttl: FURTHEST, ..issued.config.clone() };
        assert!(StickyCookie::new(&longest).unwrap().read(&value, at(0)).unwrap().is_due, "no overflow");
    }

    #[test]
    fn a_cookie_of_another_name_is_no_good() {
        let one = cookie(&[1]);
        let mut config = one.config.clone();
        config.name = "other".into();
        let other = StickyCookie::new(&config).unwrap();
        let value = one.value(&"a".parse().unwrap(), at(0));
        assert_eq!(other.read(&value, at(0)), Err(NoCookie::Forged));
    }

    #[test]
    fn fields_are_read_and_written() {
        let cookie = cookie(&[1]);
        let id: EndpointId = "users-1".parse().unwrap();
        let set = cookie.set_cookie(&id, at(0));
        assert!(set.ends_with("; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax"), "{set}");
        let pair = set.split(';').next().unwrap();
        let read = cookie.read_field(format!("a=b; evenkeel=zzz; {pair}").as_bytes(), at(5));
        assert_eq!(read, Ok(Remembered { endpoint: id, is_due: false }));
        assert_eq!(cookie.read_field(b"a=b", at(5)), Err(NoCookie::Missing));
        assert_eq!(cookie.read_field(b"evenkeel=\xff", at(5)), Err(NoCookie::Malformed));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |change: fn(&mut CookieConfig)| {
            let mut config = cookie(&[1]).config;
            change(&mut config);
            StickyCookie::new(&config).unwrap_err()
        };
        assert_eq!(StickyCookie::new(&CookieConfig::default()).unwrap_err(), CookieError::NoKeys);
        assert_eq!(refused(|config| config.keys[0].secret = "short".into()), CookieError::ShortSecret(0));
        assert_eq!(refused(|config| config.keys.push(config.keys[0].clone())), CookieError::SameId(1));
        assert_eq!(refused(|config| config.ttl = Duration::ZERO), CookieError::Ttl(Duration::ZERO));
        assert_eq!(refused(|config| config.renew = Renewal::After(Ratio::ONE)), CookieError::Renew);
        assert_eq!(
            refused(|config| config.path = "/; Domain=x".into()),
            CookieError::Path("/; Domain=x".into())
        );
        let insecure =
            |config: &mut CookieConfig| (config.secure, config.same_site) = (false, SameSite::None);
        assert_eq!(refused(insecure), CookieError::InsecureNone);
        assert!(!format!("{:?}", cookie(&[1])).contains("secret of"), "secrets are not printed");
    }
}
