/// How much is read: what is beyond it is an error, before memory is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The bytes of all files together. Default 32 MiB: the largest configurations that people show have some.
    pub bytes: u64,
    /// Files, the first one included. Default 1000.
    pub files: u32,
    /// How deep files include each other. Default 16.
    pub include_depth: u32,
    /// How deep blocks, lists and tables nest. Default 64.
    pub nesting: u32,
    /// Words, or values of YAML and JSON after aliases were followed. Default 2,000,000.
    pub words: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 32 << 20, files: 1000, include_depth: 16, nesting: 64, words: 2_000_000 }
    }
}
