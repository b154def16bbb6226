use std::fmt;

use smol_str::SmolStr;
use thiserror::Error;

/// How far a source has told its story: an opaque position, compared for equality and nothing else.
///
/// Positions of different stores have no common order: etcd's is a 64-bit number, Consul's index may fall
/// (hashicorp/consul#7939), Kubernetes' `resourceVersion` and xDS's version are opaque strings, DNS has none. So a
/// revision is a token under an *incarnation*, which names the life of the source in which the token means something: a
/// cluster id, a session id, the number of a stream. A new incarnation makes every position of the old one worthless,
/// and the mirror asks for a full set.
///
/// An adapter that can order its tokens and sees one fall opens a new incarnation. Consumers never look at revisions:
/// they see the generation of snapshots, which the registry counts itself.
///
/// ```
/// use evenkeel_registry::Revision;
/// let (list, watch) = (Revision::new(7, 100)?, Revision::new(7, 101)?);
/// assert!(list.same_incarnation(&watch) && list != watch);
/// # Ok::<(), evenkeel_registry::InvalidRevision>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "RevisionForm"))]
pub struct Revision {
    incarnation: SmolStr,
    token: SmolStr,
}

impl Revision {
    /// The longest incarnation or token, in bytes. Positions of real stores have less than a hundred.
    pub const MAX_LEN: usize = 1024;

    /// The position `token` in the life `incarnation` of a source.
    ///
    /// # Errors
    ///
    /// [`InvalidRevision`] if either is longer than 1024 bytes as text.
    pub fn new(incarnation: impl fmt::Display, token: impl fmt::Display) -> Result<Self, InvalidRevision> {
        Self::of(smol_str::format_smolstr!("{incarnation}"), smol_str::format_smolstr!("{token}"))
    }

    /// The life of the source in which the token means something.
    #[must_use]
    pub fn incarnation(&self) -> &str {
        &self.incarnation
    }

    /// The position.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Whether both belong to the same life of the source.
    #[must_use]
    pub fn same_incarnation(&self, other: &Self) -> bool {
        self.incarnation == other.incarnation
    }

    fn of(incarnation: SmolStr, token: SmolStr) -> Result<Self, InvalidRevision> {
        let len = incarnation.len().max(token.len());
        if len > Self::MAX_LEN { Err(InvalidRevision { len }) } else { Ok(Self { incarnation, token }) }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.token, self.incarnation)
    }
}

/// A position too long to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("revision of {len} bytes is too long: incarnation and token may have 1024 each")]
pub struct InvalidRevision {
    /// The longer of the two, in bytes.
    pub len: usize,
}

#[cfg(feature = "serde")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RevisionForm {
    incarnation: SmolStr,
    token: SmolStr,
}

#[cfg(feature = "serde")]
impl TryFrom<RevisionForm> for Revision {
    type Error = InvalidRevision;

    fn try_from(form: RevisionForm) -> Result<Self, InvalidRevision> {
        Self::of(form.incarnation, form.token)
    }
}
