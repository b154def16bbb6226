use smallvec::SmallVec;

/// What a request has tried: endpoints by a number of the caller's choice, and their tiers. Exact; four of each allocate nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    endpoints: SmallVec<[u64; 4]>,
    tiers: SmallVec<[u32; 4]>,
}

impl Tried {
    /// Adds an endpoint and its tier.
    pub fn add(&mut self, endpoint: u64, tier: u32) {
        self.endpoints.push(endpoint);
        self.tiers.push(tier);
    }

    /// Whether the endpoint was tried.
    #[must_use]
    pub fn endpoint(&self, endpoint: u64) -> bool {
        self.endpoints.contains(&endpoint)
    }

    /// Whether the tier was tried in one of the attempts before the last `ignored` ones.
    #[must_use]
    pub fn tier(&self, tier: u32, ignored: usize) -> bool {
        self.tiers[..self.tiers.len().saturating_sub(ignored)].contains(&tier)
    }

    /// How many attempts there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether there was none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }
}
