use bitflags::bitflags;
use smol_str::SmolStr;
use thiserror::Error;

use crate::{Address, Announced, EndpointId, Labels, Locality, Priority, Timestamp, Weight};

/// One instance that can serve requests, as a source describes it, with the caller's own payload `T`.
///
/// The *identity* is the [`EndpointId`] together with the incarnation. As long as both stay, everything that evenkeel
/// learnt about the endpoint (calls in flight, latency, health, breaker) and the payload stay too, whatever else the
/// source changes. A source that knows that the process behind the name is a new one raises the incarnation.
///
/// ```
/// use evenkeel_types::{Endpoint, Priority, Weight};
/// let backup = Endpoint::new("db-2".parse()?, "10.0.0.2:5432".parse()?)
///     .with_weight(Weight::new(2))
///     .with_priority(Priority::new(1)?)
///     .with_payload("replica");
/// assert_eq!(*backup.payload(), "replica");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint<T = ()> {
    id: EndpointId,
    incarnation: u64,
    address: Address,
    weight: Weight,
    priority: Priority,
    announced: Announced,
    // Seldom present, so kept out of line: an endpoint without them is small.
    details: Option<Box<Details>>,
    payload: T,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
struct Details {
    further_addresses: Vec<Address>,
    hostname: Option<SmolStr>,
    locality: Locality,
    labels: Labels,
    expires: Option<Timestamp>,
}

impl Endpoint {
    /// The most addresses of one endpoint.
    pub const MAX_ADDRESSES: usize = 8;

    /// An endpoint of weight 1 in the first tier, with nothing known about its health.
    #[must_use]
    pub const fn new(id: EndpointId, address: Address) -> Self {
        Self {
            id,
            incarnation: 0,
            address,
            weight: Weight::ONE,
            priority: Priority::HIGHEST,
            announced: Announced::Unknown,
            details: None,
            payload: (),
        }
    }

    /// An endpoint whose only name is its address, as with DNS and plain lists.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpoint::Id`] if the address as text is longer than an id may be (a Unix path above 250 bytes).
    pub fn at(address: Address) -> Result<Self, InvalidEndpoint> {
        let id = EndpointId::new(address.to_string()).map_err(InvalidEndpoint::Id)?;
        Ok(Self::new(id, address))
    }
}

impl<T> Endpoint<T> {
    /// The same with another weight; zero drains.
    #[must_use]
    pub const fn with_weight(mut self, weight: Weight) -> Self {
        self.weight = weight;
        self
    }

    /// The same in another failover tier.
    #[must_use]
    pub const fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The same with what its source says about its health.
    #[must_use]
    pub const fn with_announced(mut self, announced: Announced) -> Self {
        self.announced = announced;
        self
    }

    /// The same as another incarnation: a new process under the old name, with nothing learnt about it yet.
    #[must_use]
    pub const fn with_incarnation(mut self, incarnation: u64) -> Self {
        self.incarnation = incarnation;
        self
    }

    /// The same at another address.
    #[must_use]
    pub fn with_address(mut self, address: Address) -> Self {
        self.address = address;
        self
    }

    /// The same with further addresses of the same process, in the order of preference after the first.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpoint::TooManyAddresses`] above eight in all, [`InvalidEndpoint::DuplicateAddress`] if two are equal.
    pub fn with_further_addresses(mut self, further: Vec<Address>) -> Result<Self, InvalidEndpoint> {
        if further.len() >= Endpoint::MAX_ADDRESSES {
            return Err(InvalidEndpoint::TooManyAddresses { count: further.len() + 1 });
        }
        let known = |i: usize| further[i] == self.address || further[..i].contains(&further[i]);
        if let Some(i) = (0..further.len()).find(|&i| known(i)) {
            return Err(InvalidEndpoint::DuplicateAddress(further[i].clone()));
        }
        self.details_mut().further_addresses = further;
        Ok(self.tidied())
    }

    /// The same with a name for SNI and `Host`; it is never resolved.
    #[must_use]
    pub fn with_hostname(mut self, hostname: &str) -> Self {
        self.details_mut().hostname = (!hostname.is_empty()).then(|| hostname.into());
        self.tidied()
    }

    /// The same at another place.
    #[must_use]
    pub fn with_locality(mut self, locality: Locality) -> Self {
        self.details_mut().locality = locality;
        self.tidied()
    }

    /// The same with other labels.
    #[must_use]
    pub fn with_labels(mut self, labels: Labels) -> Self {
        self.details_mut().labels = labels;
        self.tidied()
    }

    /// The same with the time at which its source would let it expire: information, not a removal order.
    #[must_use]
    pub fn with_expiry(mut self, expires: Option<Timestamp>) -> Self {
        self.details_mut().expires = expires;
        self.tidied()
    }

    /// The same with a payload.
    #[must_use]
    pub fn with_payload<U>(self, payload: U) -> Endpoint<U> {
        self.split().0.attach(payload)
    }

    /// The description without the payload, and the payload.
    #[must_use]
    pub fn split(self) -> (Endpoint, T) {
        let Self { id, incarnation, address, weight, priority, announced, details, payload } = self;
        (Endpoint { id, incarnation, address, weight, priority, announced, details, payload: () }, payload)
    }

    /// The name.
    #[must_use]
    pub const fn id(&self) -> &EndpointId {
        &self.id
    }

    /// Which process under that name this is; 0 unless the source says otherwise.
    #[must_use]
    pub const fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The preferred address.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// All addresses, the preferred one first.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        std::iter::once(&self.address).chain(self.details.iter().flat_map(|d| &d.further_addresses))
    }

    /// The weight.
    #[must_use]
    pub const fn weight(&self) -> Weight {
        self.weight
    }

    /// The failover tier.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        self.priority
    }

    /// What its source says about its health.
    #[must_use]
    pub const fn announced(&self) -> Announced {
        self.announced
    }

    /// The place, if anything is known about it.
    #[must_use]
    pub fn locality(&self) -> Option<&Locality> {
        self.details.as_ref().map(|d| &d.locality).filter(|l| !l.is_empty())
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels()?.get(key)
    }

    /// The labels, if there are any.
    #[must_use]
    pub fn labels(&self) -> Option<&Labels> {
        self.details.as_ref().map(|d| &d.labels).filter(|l| !l.is_empty())
    }

    /// The name for SNI and `Host`, if there is one.
    #[must_use]
    pub fn hostname(&self) -> Option<&str> {
        self.details.as_ref()?.hostname.as_deref()
    }

    /// When its source would let it expire, if it says so.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.details.as_ref()?.expires
    }

    /// The caller's payload.
    #[must_use]
    pub const fn payload(&self) -> &T {
        &self.payload
    }

    /// In what this description differs from another of the same endpoint; the payload is not compared.
    #[must_use]
    pub fn difference<U>(&self, other: &Endpoint<U>) -> Difference {
        let mut difference = Difference::empty();
        difference.set(Difference::INCARNATION, self.incarnation != other.incarnation);
        difference.set(Difference::ADDRESSES, !self.addresses().eq(other.addresses()));
        difference.set(Difference::WEIGHT, self.weight != other.weight);
        difference.set(Difference::PRIORITY, self.priority != other.priority);
        difference.set(Difference::ANNOUNCED, self.announced != other.announced);
        difference.set(Difference::LOCALITY, self.locality() != other.locality());
        difference.set(Difference::LABELS, self.labels() != other.labels());
        difference.set(Difference::HOSTNAME, self.hostname() != other.hostname());
        difference.set(Difference::EXPIRY, self.expires() != other.expires());
        difference
    }

    fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    /// Drops empty details, so that equal descriptions compare equal and stay small.
    fn tidied(mut self) -> Self {
        if self.details.as_deref() == Some(&Details::default()) {
            self.details = None;
        }
        self
    }
}

impl Endpoint {
    fn attach<U>(self, payload: U) -> Endpoint<U> {
        let Self { id, incarnation, address, weight, priority, announced, details, payload: () } = self;
        Endpoint { id, incarnation, address, weight, priority, announced, details, payload }
    }
}

bitflags! {
    /// What differs between two descriptions of one endpoint, so that consumers rebuild only what they must.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Difference: u16 {
        /// It is another process: nothing learnt carries over.
        const INCARNATION = 1;
        /// The addresses or their order.
        const ADDRESSES = 1 << 1;
        /// The weight: tables must be rebuilt.
        const WEIGHT = 1 << 2;
        /// The failover tier: tables must be rebuilt.
        const PRIORITY = 1 << 3;
        /// What the source says about its health.
        const ANNOUNCED = 1 << 4;
        /// The place.
        const LOCALITY = 1 << 5;
        /// The labels.
        const LABELS = 1 << 6;
        /// The name for SNI and `Host`.
        const HOSTNAME = 1 << 7;
        /// The time of expiry.
        const EXPIRY = 1 << 8;
    }
}

/// The description of an endpoint is out of bounds.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidEndpoint {
    /// The address cannot serve as an id: give the endpoint a name.
    #[error("address cannot serve as an endpoint id: {0}")]
    Id(crate::InvalidEndpointId),
    /// More than eight addresses.
    #[error("endpoint has {count} addresses: at most 8 are allowed")]
    TooManyAddresses {
        /// How many there are.
        count: usize,
    },
    /// The same address twice.
    #[error("endpoint has the address {0} twice")]
    DuplicateAddress(Address),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Endpoint {
        Endpoint::new("a".parse().unwrap(), "10.0.0.1:80".parse().unwrap())
    }

    #[test]
    fn an_endpoint_without_details_is_small() {
        assert!(size_of::<Endpoint>() <= 80, "{}", size_of::<Endpoint>());
    }

    #[test]
    fn differences_are_named() {
        let before = sample();
        let after = sample().with_weight(Weight::new(2)).with_hostname("a.example");
        assert_eq!(before.difference(&after), Difference::WEIGHT | Difference::HOSTNAME);
        assert_eq!(after.difference(&after), Difference::empty());
    }

    #[test]
    fn taking_details_away_leaves_the_original() {
        assert_eq!(sample().with_hostname("x").with_hostname(""), sample());
        assert_eq!(sample().with_labels(Labels::default()), sample());
    }

    #[test]
    fn addresses_are_bounded_and_distinct() {
        let same = vec!["10.0.0.1:80".parse().unwrap()];
        assert!(matches!(sample().with_further_addresses(same), Err(InvalidEndpoint::DuplicateAddress(_))));
        let many = (0..8).map(|i| format!("10.0.1.{i}:80").parse().unwrap()).collect();
        assert_eq!(
            sample().with_further_addresses(many),
            Err(InvalidEndpoint::TooManyAddresses { count: 9 })
        );
        let two = sample().with_further_addresses(vec!["[fd00::1]:80".parse().unwrap()]).unwrap();
        assert_eq!(two.addresses().count(), 2);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn json_is_what_a_person_would_write() {
        let endpoint: Endpoint = serde_json::from_str(
            r#"{"id":"a","address":"10.0.0.1:80","weight":3,"labels":{"stage":"canary"}}"#,
        )
        .unwrap();
        assert_eq!((endpoint.weight(), endpoint.label("stage")), (Weight::new(3), Some("canary")));
        let error = serde_json::from_str::<Endpoint>(r#"{"id":"a","address":"10.0.0.1:80","wieght":3}"#);
        assert!(error.unwrap_err().to_string().contains("wieght"));
        let back: Endpoint = serde_json::from_str(&serde_json::to_string(&endpoint).unwrap()).unwrap();
        assert_eq!(back, endpoint);
    }
}
