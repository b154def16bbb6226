/// Where the key of a request is found: what stands for its user.
///
/// In a file `"source"`, `{ header = "x-user" }` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
#[non_exhaustive]
pub enum KeySource {
    /// The first value of this header field; case does not count in the name.
    Header(String),
    /// The first cookie of this name.
    Cookie(String),
    /// The first query parameter of this name, not decoded.
    Query(String),
    /// The address of the client, without its port.
    Source,
    /// The path, as it was matched.
    Path,
    /// The host, as the client wrote it.
    Host,
}
