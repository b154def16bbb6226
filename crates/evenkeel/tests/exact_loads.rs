//! Policies that keep an order by load, in a cluster: what they are told by picks, drops and updates is enough.

use evenkeel::{AdminState, Cluster, Endpoint, EndpointId, Pick, PolicyConfig, Request};

fn endpoint(number: usize) -> Endpoint {
    let address = format!("10.0.{}.{}:80", number / 256, number % 256);
    Endpoint::new(
        format!("node-{number}").parse().expect("a valid world"),
        address.parse().expect("a valid world"),
    )
}

fn id(number: usize) -> EndpointId {
    format!("node-{number}").parse().expect("a valid world")
}

fn cluster(policy: PolicyConfig, count: usize) -> Cluster<()> {
    let cluster = Cluster::builder("exact").policy(policy).seed(1).build().expect("a valid world");
    cluster.apply((0..count).map(endpoint)).expect("a valid world");
    cluster
}

fn pick(cluster: &Cluster<()>) -> Pick<()> {
    cluster.pick(&Request::new()).expect("a valid world")
}

/// On both sides of the limit between a scan and an order.
#[test]
fn the_one_that_was_released_is_the_next() {
    for policy in [
        PolicyConfig::least_connections(),
        PolicyConfig::shortest_expected_delay(),
        PolicyConfig::join_idle_queue(),
    ] {
        for count in [20, 300] {
            let cluster = cluster(policy.clone(), count);
            let mut held: Vec<Pick<()>> = (0..count).map(|_| pick(&cluster)).collect();
            assert!(
                (0..count).all(|number| cluster.in_flight(&id(number)) == Some(1)),
                "{policy:?}: one each"
            );
            for step in 0..2 * count {
                let released = held.swap_remove(step * 7 % count).endpoint().id();
                held.push(pick(&cluster));
                assert_eq!(held.last().unwrap().endpoint().id(), released, "{policy:?} {count} step {step}");
            }
        }
    }
}

#[test]
fn what_is_in_flight_is_known_after_an_update_and_after_an_outage() {
    for count in [20, 300] {
        let cluster = cluster(PolicyConfig::least_connections(), count);
        let mut held: Vec<Pick<()>> = (0..2 * count).map(|_| pick(&cluster)).collect();
        // A newcomer is idle until it has what the others have; a leaver takes its requests with it.
        cluster.upsert(endpoint(count)).unwrap();
        cluster.remove(&id(0)).unwrap();
        let more: Vec<EndpointId> = (0..2).map(|_| pick(&cluster)).map(|pick| pick.endpoint().id()).collect();
        assert_eq!(more, [id(count), id(count)], "{count}");
        let newcomers = [pick(&cluster), pick(&cluster)];
        // One goes out with two in flight, loses both, and comes back idle.
        let one = cluster.endpoint(&id(7)).unwrap();
        one.set_admin(AdminState::Maintenance);
        assert_ne!(pick(&cluster).endpoint().id(), id(7));
        held.retain(|pick| pick.endpoint().id() != id(7));
        one.set_admin(AdminState::Ready);
        assert_eq!(pick(&cluster).endpoint().id(), id(7));
        drop(newcomers);
    }
}
