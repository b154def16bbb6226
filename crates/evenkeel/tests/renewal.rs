//! Policy, subset and endpoints that change by one swap.

use evenkeel::{
    ApplyError, Cluster, Endpoint, LabelSubsetConfig, Labels, PickError, PolicyConfig, Renewal, Request,
    SubsetConfig,
};

fn labels(version: &str) -> Labels {
    Labels::new([("version", version)]).expect("one label")
}

fn endpoint(version: &str) -> Endpoint {
    let id = format!("e-{version}").parse().expect("a valid id");
    Endpoint::new(id, "10.0.0.1:80".parse().expect("an address")).with_labels(labels(version))
}

fn subset(version: &str) -> Option<SubsetConfig> {
    Some(SubsetConfig::Label(LabelSubsetConfig::new(labels(version))))
}

#[test]
fn a_cluster_that_was_told_nothing_learns_all_of_it() {
    let cluster = Cluster::<()>::builder("users").build().expect("valid settings");
    let renewal = Renewal::default().policy(PolicyConfig::round_robin()).subset(subset("1"), None);
    let applied = cluster.renew_with(renewal.clone(), |_| ()).expect("it fits");
    assert!(applied.policy_changed && applied.subset_changed);
    // A policy and a subset are no news about the endpoints.
    assert!(matches!(cluster.pick(&Request::new()).err(), Some(PickError::NotKnown(_))));
    let applied = cluster.renew_with(renewal.endpoints(vec![endpoint("1"), endpoint("2")]), |_| ());
    assert_eq!(applied.expect("it fits").added.len(), 2);
    assert_eq!((cluster.len(), cluster.subset().len()), (2, 1));
    assert!(cluster.pick(&Request::new()).is_ok());
}

#[test]
fn one_generation_takes_all_of_it_and_nothing_is_no_generation() {
    let cluster = Cluster::<()>::builder("users").build().expect("valid settings");
    let first = Renewal::default().subset(subset("1"), None).endpoints(vec![endpoint("1")]);
    let before = cluster.renew_with(first, |_| ()).expect("it fits").generation;
    let second = Renewal::default()
        .policy(PolicyConfig::round_robin())
        .subset(subset("2"), None)
        .endpoints(vec![endpoint("2")]);
    let applied = cluster.renew_with(second, |_| ()).expect("it fits");
    assert_eq!((applied.generation, cluster.generation()), (before + 1, before + 1));
    assert!(cluster.pick(&Request::new()).is_ok());
    assert_eq!(cluster.report().policy, "round_robin");
    let nothing = cluster.renew_with(Renewal::default(), |_| ()).expect("nothing to refuse");
    assert!(nothing.is_noop());
    assert_eq!(nothing.generation, before + 1);
    let all = cluster.renew_with(Renewal::default().subset(None, None), |_| ()).expect("it fits");
    assert_eq!((all.generation, cluster.subset().len()), (before + 2, 1));
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let cluster = Cluster::<()>::builder("users").build().expect("valid settings");
    cluster.apply([endpoint("1")]).expect("a valid set");
    let before = cluster.report();
    let twice = Renewal::default()
        .policy(PolicyConfig::round_robin())
        .subset(subset("2"), None)
        .endpoints(vec![endpoint("2"), endpoint("2")]);
    let error = cluster.renew_with(twice, |_| ()).expect_err("an id stands there twice");
    assert!(matches!(error, ApplyError::DuplicateId { .. }), "{error}");
    let empty = Renewal::default().policy(PolicyConfig::round_robin()).endpoints(Vec::new());
    assert_eq!(cluster.renew_with(empty, |_| ()).err(), Some(ApplyError::EmptyWithoutProof));
    let bad = Renewal::default()
        .subset(Some(SubsetConfig::Label(LabelSubsetConfig::new(Labels::default()))), None)
        .endpoints(vec![endpoint("2")]);
    assert!(matches!(cluster.renew_with(bad, |_| ()).err(), Some(ApplyError::Subset(_))));
    assert_eq!(cluster.report(), before);
}
