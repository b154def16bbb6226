//! The conformance suite of the registry, in both variants.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use evenkeel_registry::conformance::{Done, Limits, Refusal, StoreUnderTest, Verdict, run};
use evenkeel_registry::{Feed, MirrorConfig, Saved, Watch};
use evenkeel_types::{Address, Endpoint, EndpointId};
use evenkeel_xds::{Follow, Variant, Xds, XdsHandle};

use crate::hub::{Hub, KEEPALIVE, config};
use crate::server::ControlPlane;
use crate::support::proto::{AdditionalAddress, LbEndpoint};
use crate::support::{assignment, encoded, group, lb_endpoint};

struct Store {
    plane: ControlPlane,
    variant: Variant,
    entries: BTreeMap<EndpointId, LbEndpoint>,
    kept: BTreeMap<EndpointId, LbEndpoint>,
    version: u64,
    hub: Hub,
    feed: Feed,
    xds: XdsHandle,
}

impl Store {
    fn new(variant: Variant) -> Self {
        let plane = ControlPlane::start();
        let hub = Hub::new();
        let feed = hub.feed("users", MirrorConfig::default());
        let xds = Xds::start(config(&plane, variant)).unwrap();
        xds.follow(Follow::Endpoints("users".to_owned()), feed.clone()).unwrap();
        let entries = BTreeMap::new();
        Self { plane, variant, kept: entries.clone(), entries, version: 0, hub, feed, xds }
    }

    fn push(&mut self) {
        self.version += 1;
        let endpoints = self.entries.values().cloned().collect();
        let message = encoded(&assignment("users", vec![group(endpoints)]));
        self.plane.set_endpoints(&self.version.to_string(), [("users".to_owned(), message)].into());
    }

    fn restart_with(&mut self, entries: BTreeMap<EndpointId, LbEndpoint>) {
        self.entries = entries;
        self.plane.kill();
        let endpoints = self.entries.values().cloned().collect();
        let message = encoded(&assignment("users", vec![group(endpoints)]));
        // An older version: it has no order for the client.
        self.plane.endpoints = ("0".to_owned(), [("users".to_owned(), message)].into());
        self.plane.revive();
    }
}

fn entry(endpoint: &Endpoint) -> LbEndpoint {
    let Address::Socket(address) = endpoint.address() else { panic!("{endpoint:?}") };
    let weight = Some(endpoint.weight().get());
    LbEndpoint {
        load_balancing_weight: weight,
        ..lb_endpoint(&address.ip().to_string(), u32::from(address.port()))
    }
}

impl StoreUnderTest for Store {
    fn wait(&mut self, time: Duration) {
        sleep(time);
        self.hub.tick();
    }

    fn put(&mut self, endpoint: &Endpoint) -> Done {
        self.entries.insert(endpoint.id().clone(), entry(endpoint));
        self.push();
        Ok(())
    }

    fn remove(&mut self, id: &EndpointId) -> Done {
        self.entries.remove(id);
        self.push();
        Ok(())
    }

    fn put_many(&mut self, endpoints: &[Endpoint]) -> Done {
        self.entries.extend(endpoints.iter().map(|endpoint| (endpoint.id().clone(), entry(endpoint))));
        self.push();
        Ok(())
    }

    fn put_malformed(&mut self) -> Done {
        // Allowed by xDS, and more than an endpoint can have here.
        let mut many = lb_endpoint("10.66.0.0", 1);
        let further = (1..20).map(|n| lb_endpoint(&format!("10.66.0.{n}"), 1).endpoint.unwrap().address);
        let further = further.map(|address| AdditionalAddress { address }).collect();
        many.endpoint.as_mut().unwrap().additional_addresses = further;
        self.entries.insert("malformed".parse().unwrap(), many);
        self.push();
        Ok(())
    }

    fn stop(&mut self) -> Done {
        self.plane.signal("STOP");
        Ok(())
    }

    fn go_on(&mut self) -> Done {
        self.plane.signal("CONT");
        Ok(())
    }

    fn checkpoint(&mut self) -> Done {
        self.kept.clone_from(&self.entries);
        Ok(())
    }

    fn restart_older(&mut self) -> Done {
        self.restart_with(self.kept.clone());
        Ok(())
    }

    fn restart_empty(&mut self) -> Done {
        self.restart_with(BTreeMap::new());
        Ok(())
    }

    fn save(&mut self) -> Result<Saved, Refusal> {
        self.feed.save(SystemTime::now()).ok_or(Refusal::Failed("nothing to save".to_owned()))
    }

    fn restart_adapter(&mut self, saved: &Saved) -> Result<Watch, Refusal> {
        self.xds.stop();
        self.hub = Hub::new();
        self.feed = self.hub.feed("users", MirrorConfig::default());
        self.feed.load(saved, SystemTime::now()).unwrap();
        self.xds = Xds::start(config(&self.plane, self.variant)).unwrap();
        self.xds.follow(Follow::Endpoints("users".to_owned()), self.feed.clone()).unwrap();
        Ok(self.hub.watch("users"))
    }

    fn shown(&self, endpoint: &Endpoint) -> Endpoint {
        Endpoint::at(endpoint.address().clone()).unwrap().with_weight(endpoint.weight())
    }

    fn limits(&self) -> Limits {
        Limits { stale: KEEPALIVE * 2 + Duration::from_millis(500), ..Limits::default() }
    }
}

fn conformance(variant: Variant) {
    let mut store = Store::new(variant);
    let watch = store.hub.watch("users");
    let report = run(&mut store, watch);
    println!("xds: {variant:?}\n{report}");
    assert!(report.is_ok(), "{report}");
    let skipped: Vec<_> =
        report.cases.iter().filter(|(_, v)| *v != Verdict::Passed).map(|(name, _)| *name).collect();
    assert_eq!(skipped, ["crash_of_a_registrant", "drain_before_leaving", "compaction"], "{report}");
}

#[test]
fn conformance_state_of_the_world() {
    conformance(Variant::StateOfTheWorld);
}

#[test]
fn conformance_delta() {
    conformance(Variant::Delta);
}
