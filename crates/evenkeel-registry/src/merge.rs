/// How the sources of one service become one set.
///
/// Sources are asked in order: the registry's own leases first (`local`), then feeds by
/// [`preference`](crate::MirrorConfig::preference) and name. A source that is over its
/// [`max_stale`](crate::MirrorConfig::max_stale) takes no part. Where two sources that take part list the same id, the
/// earlier one describes it, so that the order of their events decides nothing.
///
/// | | `Union` | `Prefer` | `FallBack` |
/// |---|---|---|---|
/// | first source Live | all sets | its set | its set |
/// | first Stale | all sets | the next Live one, else the first that is Stale | its set |
/// | first Absent, by proof or after a hold | all sets | nobody (`local` excepted) | the next with endpoints |
/// | first Pending | all sets | the next | the next |
///
/// `Prefer` is for two views of one fleet, of which the fresher counts: a store and its replica. `FallBack` is for a
/// second fleet or a static list that is used only when the first has nobody left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Merge {
    /// All of them. The default: it neither hides a source nor flaps between two (hashicorp/consul-k8s#3291).
    #[default]
    Union,
    /// The first fresh one; absence counts as fresh.
    Prefer,
    /// The first that has endpoints, however old.
    FallBack,
}
