//! Parsers take any text: they never panic, and what they accept they write back as it was meant.

use evenkeel_types::{Address, EndpointId, Labels, Ratio};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_an_address_or_an_error(
        text in "\\PC{0,40}|[0-9.:\\[\\]a-fx%]{0,30}|unix:.{0,20}|.{0,30}:[0-9]{0,6}",
    ) {
        if let Ok(address) = text.parse::<Address>() {
            prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
        }
    }

    #[test]
    fn any_text_is_an_id_or_an_error(text in "(?s).{0,300}") {
        if let Ok(id) = EndpointId::new(&text) {
            prop_assert_eq!(id.as_str(), &text);
        }
    }

    #[test]
    fn labels_hold_what_they_were_given(pairs in prop::collection::btree_map("[a-z.]{0,8}", ".{0,80}", 0..70)) {
        match Labels::new(&pairs) {
            Ok(labels) => prop_assert!(labels.iter().eq(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())))),
            Err(_) => {
                let bytes: usize = pairs.iter().map(|(k, v)| k.len() + v.len()).sum();
                prop_assert!(pairs.len() > 64 || pairs.contains_key("") || bytes > 4096);
            }
        }
    }

    #[test]
    fn a_ratio_is_within_its_bounds_or_an_error(value in any::<f64>()) {
        match Ratio::new(value) {
            Ok(ratio) => prop_assert!((ratio.as_f64() - value).abs() <= 1e-6),
            Err(_) => prop_assert!(!(0.0..=1.0).contains(&value)),
        }
    }
}
