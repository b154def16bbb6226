//! How an [`Endpoint`] is written: one flat table, defaults left out.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use smol_str::SmolStr;

use crate::{Address, Announced, Endpoint, EndpointId, Labels, Locality, Priority, Timestamp, Weight};

/// One endpoint: who it is, where it listens, and what it should get.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Form {
    id: EndpointId,
    address: Address,
    #[serde(default, skip_serializing_if = "is_default")]
    incarnation: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    further_addresses: Vec<Address>,
    #[serde(default, skip_serializing_if = "is_default")]
    weight: Weight,
    #[serde(default, skip_serializing_if = "is_default")]
    priority: Priority,
    #[serde(default, skip_serializing_if = "is_default")]
    announced: Announced,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hostname: Option<SmolStr>,
    #[serde(default, skip_serializing_if = "Locality::is_empty")]
    locality: Locality,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = Form {
            id: self.id().clone(),
            address: self.address().clone(),
            incarnation: self.incarnation(),
            further_addresses: self.addresses().skip(1).cloned().collect(),
            weight: self.weight(),
            priority: self.priority(),
            announced: self.announced(),
            hostname: self.hostname().map(SmolStr::new),
            locality: self.locality().cloned().unwrap_or_default(),
            labels: self.labels().cloned().unwrap_or_default(),
            expires: self.expires(),
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = Form::deserialize(deserializer)?;
        Endpoint::new(form.id, form.address)
            .with_incarnation(form.incarnation)
            .with_weight(form.weight)
            .with_priority(form.priority)
            .with_announced(form.announced)
            .with_hostname(form.hostname.as_deref().unwrap_or_default())
            .with_locality(form.locality)
            .with_labels(form.labels)
            .with_expiry(form.expires)
            .with_further_addresses(form.further_addresses)
            .map_err(de::Error::custom)
    }
}

fn is_default<V: Default + PartialEq>(value: &V) -> bool {
    *value == V::default()
}
