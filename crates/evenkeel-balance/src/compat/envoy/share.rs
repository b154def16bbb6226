use thiserror::Error;

/// One host and its part of all traffic, as Envoy normalises weights before it builds a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The position of the host.
    pub host: u32,
    /// Its part of one.
    pub share: f64,
}

/// A host and its weight; weight zero takes no part.
pub type Weighted = (u32, u32);

/// One locality: its weight, and those of its hosts that may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalityHosts {
    /// The weight of the locality.
    pub weight: u32,
    /// Its usable hosts, in order.
    pub hosts: Vec<Weighted>,
}

/// Shares without regard to localities: weight by sum of weights, in the order of the hosts.
///
/// # Errors
///
/// [`WeightsTooLarge`], if the weights add up to more than `u32::MAX`.
pub fn shares(hosts: &[Weighted]) -> Result<Vec<Share>, WeightsTooLarge> {
    let mut shares = Vec::with_capacity(hosts.len());
    append(&mut shares, hosts, 1.0)?;
    Ok(shares)
}

/// Shares under locality weights: that of the locality, divided among its hosts by weight.
///
/// A locality of weight zero gets nothing. One without usable hosts keeps its part of the sum all the same, so the shares
/// then add up to less than one: that is Envoy's arithmetic, and the size of its ring shows it. Give the localities in
/// the order of their names (region, zone, sub-zone): that is the order in which Envoy builds.
///
/// # Errors
///
/// [`WeightsTooLarge`], if the weights of the localities, or of the hosts of one, add up to more than `u32::MAX`.
pub fn shares_by_locality(localities: &[LocalityHosts]) -> Result<Vec<Share>, WeightsTooLarge> {
    let sum = sum_of(localities.iter().map(|locality| locality.weight))?;
    let mut shares = Vec::new();
    for locality in localities.iter().filter(|locality| locality.weight > 0) {
        append(&mut shares, &locality.hosts, f64::from(locality.weight) / f64::from(sum))?;
    }
    Ok(shares)
}

fn append(shares: &mut Vec<Share>, hosts: &[Weighted], part: f64) -> Result<(), WeightsTooLarge> {
    let sum = f64::from(sum_of(hosts.iter().map(|&(_, weight)| weight))?);
    let usable = hosts.iter().filter(|&&(_, weight)| weight > 0);
    shares.extend(usable.map(|&(host, weight)| Share { host, share: f64::from(weight) * part / sum }));
    Ok(())
}

fn sum_of(weights: impl Iterator<Item = u32>) -> Result<u32, WeightsTooLarge> {
    let sum: u128 = weights.map(u128::from).sum();
    u32::try_from(sum).map_err(|_| WeightsTooLarge { sum })
}

/// The smallest share, at most one: what the least of the hosts gets.
pub(crate) fn smallest(shares: &[Share]) -> f64 {
    shares.iter().fold(1.0, |least, share| if share.share < least { share.share } else { least })
}

/// The largest share.
pub(crate) fn largest(shares: &[Share]) -> f64 {
    shares.iter().fold(0.0, |most, share| if share.share > most { share.share } else { most })
}

/// The weights add up to more than 32 bits hold: scale them down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("weights add up to {sum}: allowed is at most 4294967295")]
pub struct WeightsTooLarge {
    /// What they add up to.
    pub sum: u128,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_parts_of_their_sum() {
        let shares = shares(&[(0, 1), (1, 0), (2, 3)]).unwrap();
        assert_eq!(shares, [Share { host: 0, share: 0.25 }, Share { host: 2, share: 0.75 }]);
        assert_eq!(super::shares(&[]), Ok(Vec::new()));
        assert!(super::shares(&[(0, u32::MAX)]).is_ok());
        assert_eq!(super::shares(&[(0, u32::MAX), (1, 1)]), Err(WeightsTooLarge { sum: 1 << 32 }));
    }

    #[test]
    fn an_empty_locality_keeps_its_part_and_one_of_weight_zero_gets_none() {
        let locality = |weight, hosts: &[Weighted]| LocalityHosts { weight, hosts: hosts.to_vec() };
        let shares =
            shares_by_locality(&[locality(1, &[]), locality(3, &[(1, 1), (2, 1)]), locality(0, &[(0, 9)])]);
        let shares = shares.unwrap();
        assert_eq!(shares, [Share { host: 1, share: 0.375 }, Share { host: 2, share: 0.375 }]);
        assert_eq!(shares_by_locality(&[locality(0, &[(0, 1)])]), Ok(Vec::new()));
        let heavy = [locality(u32::MAX, &[]), locality(1, &[])];
        assert_eq!(shares_by_locality(&heavy), Err(WeightsTooLarge { sum: 1 << 32 }));
        let inside = [locality(1, &[(0, u32::MAX), (1, u32::MAX)])];
        assert!(shares_by_locality(&inside).is_err());
    }
}
