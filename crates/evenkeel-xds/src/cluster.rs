use prost::Message;

use crate::proto::Cluster as Proto;
use crate::{Assignment, InvalidResource, wire};

/// What a `Cluster` says about where its endpoints are. Nothing else of it is read: how to balance, check and break is
/// this program's own to say.
///
/// Source: `envoy/config/cluster/v3/cluster.proto`,
/// <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto>.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Where its endpoints are.
    pub members: Members,
}

/// Where the endpoints of a cluster are.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Members {
    /// In the EDS resource of this name, on the same stream: `eds_cluster_config.service_name`, or the cluster's own
    /// name if that is empty.
    Eds(String),
    /// In the cluster itself: type `STATIC`.
    Inline(Assignment),
    /// Where they cannot be followed from here (DNS, the original destination, another control plane), in words.
    Elsewhere(String),
}

impl Cluster {
    /// Reads an encoded `Cluster`.
    ///
    /// # Errors
    ///
    /// [`InvalidResource`] with the place.
    pub fn read(bytes: &[u8]) -> Result<Self, InvalidResource> {
        wire::check_cluster(bytes).map_err(InvalidResource::whole)?;
        let message = Proto::decode(bytes)
            .map_err(|error| InvalidResource::whole(format!("cannot be read: {error}")))?;
        if message.name.is_empty() {
            return Err(InvalidResource::at("name", "is empty"));
        }
        let members = members(&message).map_err(|error| error.of(&message.name))?;
        Ok(Self { name: message.name, members })
    }
}

fn members(message: &Proto) -> Result<Members, InvalidResource> {
    let elsewhere = |why: &str| Ok(Members::Elsewhere(why.to_owned()));
    if message.cluster_type.is_some() {
        return elsewhere("the cluster has a cluster_type, whose endpoints are not in EDS");
    }
    match message.kind {
        STATIC => {
            let name = message.name.clone();
            let Some(mut inner) = message.load_assignment.clone() else {
                let none = crate::proto::ClusterLoadAssignment { cluster_name: name, ..Default::default() };
                return Ok(Members::Inline(Assignment::of(&none)?));
            };
            inner.cluster_name = name;
            Assignment::of(&inner).map(Members::Inline)
        }
        EDS => {
            let at = "eds_cluster_config";
            let config = message.eds_cluster_config.as_ref();
            let config =
                config.ok_or_else(|| InvalidResource::at(at, "is missing in a cluster of type EDS"))?;
            let source = config.eds_config.as_ref();
            let source = source.ok_or_else(|| InvalidResource::at(at, "has no eds_config"))?;
            if source.ads.is_none() && source.own.is_none() {
                return elsewhere("the endpoints of the cluster come neither by `ads` nor by `self`");
            }
            let named = !config.service_name.is_empty();
            Ok(Members::Eds(if named { config.service_name.clone() } else { message.name.clone() }))
        }
        1 => elsewhere("the cluster is of type STRICT_DNS: its endpoints are names"),
        2 => elsewhere("the cluster is of type LOGICAL_DNS: its endpoint is a name"),
        4 => elsewhere("the cluster is of type ORIGINAL_DST: it has no endpoints of its own"),
        other => Err(InvalidResource::at("type", format!("is {other}, which is not known"))),
    }
}

const STATIC: i32 = 0;
const EDS: i32 = 3;
