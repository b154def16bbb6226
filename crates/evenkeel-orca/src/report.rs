use std::collections::BTreeMap;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use evenkeel_balance::LoadReport;

use crate::{HEADER, HEADER_BIN, MOST_BYTES, OrcaError, json, text, wire};

/// What an endpoint says of its load: `xds.data.orca.v3.OrcaLoadReport`, every number finite and not negative.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct OrcaReport {
    /// How busy the processors are: 1 is all of what it has been given, above is overload.
    pub cpu_utilization: f64,
    /// How full the memory is, at most 1.
    pub mem_utilization: f64,
    /// How busy it is by a measure of its own: 1 is its full capacity, above is overload. 0 if it has none.
    pub application_utilization: f64,
    /// Queries a second that it serves.
    pub rps_fractional: f64,
    /// Failed ones among them.
    pub eps: f64,
    /// What this request took, by measures of its own.
    pub request_cost: BTreeMap<String, f64>,
    /// How busy further resources are, at most 1 each.
    pub utilization: BTreeMap<String, f64>,
    /// Anything else.
    pub named_metrics: BTreeMap<String, f64>,
}

impl OrcaReport {
    /// Reads the value of a header: [`HEADER`] in the forms `TEXT`, `JSON` and `BIN`, [`HEADER_BIN`] in base64, with or without
    /// padding. The name may be written in any case. O(length).
    ///
    /// # Errors
    ///
    /// [`OrcaError`], which names the metric if it is about one. Nothing of a report with an error counts.
    pub fn parse(name: &str, value: &[u8]) -> Result<Self, OrcaError> {
        if value.len() > MOST_BYTES {
            return Err(OrcaError::TooLong { bytes: value.len() });
        }
        let report = if name.eq_ignore_ascii_case(HEADER_BIN) {
            binary(value)?
        } else if !name.eq_ignore_ascii_case(HEADER) {
            return Err(OrcaError::Header { name: name.to_owned() });
        } else if let Some(value) = value.strip_prefix(b"TEXT ") {
            text::read(value)?
        } else if let Some(value) = value.strip_prefix(b"JSON ") {
            json::read(value)?
        } else if let Some(value) = value.strip_prefix(b"BIN ") {
            binary(value)?
        } else {
            return Err(OrcaError::Form);
        };
        report.checked()
    }

    /// What evenkeel's policies ask for: the queries and failures a second, and how busy it is, which is
    /// [`application_utilization`](Self::application_utilization) if that is above zero, else
    /// [`cpu_utilization`](Self::cpu_utilization). Source: gRPC's proposals A58 and A64.
    ///
    /// For a policy that reads the queue too ([`LoadReport::queue`]) take it from whatever
    /// [`named_metrics`](Self::named_metrics) your servers tell it by, and add it with [`LoadReport::with_queue`].
    #[must_use]
    pub const fn load_report(&self) -> LoadReport {
        let own = self.application_utilization;
        let utilisation = if own > 0.0 { own } else { self.cpu_utilization };
        LoadReport::new(self.rps_fractional, self.eps, utilisation)
    }

    fn checked(self) -> Result<Self, OrcaError> {
        let singles = [
            ("cpu_utilization", self.cpu_utilization),
            ("mem_utilization", self.mem_utilization),
            ("application_utilization", self.application_utilization),
            ("rps_fractional", self.rps_fractional),
            ("eps", self.eps),
        ];
        let maps = [
            ("request_cost", &self.request_cost),
            ("utilization", &self.utilization),
            ("named_metrics", &self.named_metrics),
        ];
        let wrong = |value: f64| !(value.is_finite() && value >= 0.0);
        let why = "it must be a finite number, 0 or more";
        if let Some((metric, _)) = singles.into_iter().find(|&(_, value)| wrong(value)) {
            return Err(OrcaError::Metric { metric: metric.to_owned(), why });
        }
        for (map, metrics) in maps {
            // What servers name themselves may be below zero: nothing here is computed from it.
            if let Some((name, _)) = metrics.iter().find(|&(_, &value)| !value.is_finite()) {
                let why = "it must be a finite number";
                return Err(OrcaError::Metric { metric: format!("{map}.{name}"), why });
            }
        }
        Ok(self)
    }
}

fn binary(value: &[u8]) -> Result<OrcaReport, OrcaError> {
    let bytes =
        BASE64.decode(value.trim_ascii()).map_err(|error| OrcaError::Base64 { why: error.to_string() })?;
    wire::read(&bytes)
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: &str) -> Result<OrcaReport, OrcaError> {
        OrcaReport::parse(HEADER, format!("TEXT {value}").as_bytes())
    }

    #[test]
    fn all_forms_say_the_same() {
        let expected = OrcaReport {
            cpu_utilization: 0.7,
            application_utilization: 0.8,
            mem_utilization: 0.1,
            rps_fractional: 1000.5,
            eps: 2.0,
            named_metrics: [("foo".to_owned(), -3.0)].into(),
            utilization: [("disk".to_owned(), 0.25)].into(),
            request_cost: [("rows".to_owned(), 12.0)].into(),
        };
        let bytes = wire::bytes(&expected);
        let padded = base64::engine::general_purpose::STANDARD.encode(&bytes);
        let bare = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&bytes);
        for (name, value) in [
            (
                HEADER,
                "TEXT cpu_utilization=0.7, application_utilization=0.8,mem_utilization=0.1,rps_fractional=1000.5,eps=2,\
                 named_metrics.foo=-3,utilization.disk=0.25,request_cost.rows=12"
                    .to_owned(),
            ),
            (
                "Endpoint-Load-Metrics",
                r#"JSON {"cpu_utilization":0.7,"applicationUtilization":0.8,"mem_utilization":0.1,"rpsFractional":1000.5,
                   "eps":2,"named_metrics":{"foo":-3},"utilization":{"disk":0.25},"requestCost":{"rows":12},"new":[1]}"#
                    .to_owned(),
            ),
            (HEADER, format!("BIN {padded}")),
            (HEADER_BIN, padded),
            (HEADER_BIN, bare),
        ] {
            assert_eq!(OrcaReport::parse(name, value.as_bytes()).as_ref(), Ok(&expected), "{name}: {value}");
        }
    }

    #[test]
    fn a_measure_of_its_own_goes_before_the_processors() {
        let load = |value| text(value).unwrap().load_report();
        assert_eq!(
            load("cpu_utilization=0.3,application_utilization=0.9,rps_fractional=5,eps=1").utilisation,
            0.9
        );
        assert_eq!(load("cpu_utilization=0.3,application_utilization=0").utilisation, 0.3);
        assert_eq!(load("rps_fractional=5,eps=1").queries_per_second, 5.0);
        assert_eq!(load("rps_fractional=5,eps=1").errors_per_second, 1.0);
        // The field that came before `rps_fractional`, in whole queries.
        for value in [
            "rps=7",
            "rps=7,rps_fractional=0",
            "rps_fractional=0,rps=7",
            "rps_fractional=7,rps=3",
            "rps=3,rps_fractional=7",
        ] {
            assert_eq!(load(value).queries_per_second, 7.0, "{value}");
        }
        for value in ["JSON {\"rps\":\"7\"}", "JSON {\"rps\":7}"] {
            assert_eq!(OrcaReport::parse(HEADER, value.as_bytes()).unwrap().rps_fractional, 7.0);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, value, words) in [
            ("x-load", "TEXT eps=1", "x-load has no load report"),
            (HEADER, "eps=1", "begins with"),
            (HEADER, "TEXT", "begins with"),
            (HEADER, "TEXT eps", "metric \"eps\" of the load report: its value is missing"),
            (HEADER, "TEXT eps=1,,rps=1", "metric \"\" of the load report: its value is missing"),
            (HEADER, "TEXT =1", "metric \"\" of the load report: it has no name"),
            (HEADER, "TEXT eps=one", "metric \"eps\" of the load report: its value is no number"),
            (HEADER, "TEXT eps=1,eps=2", "metric \"eps\" of the load report: it is said twice"),
            (
                HEADER,
                "TEXT utilization.a=1,utilization.a=1",
                "\"utilization.a\" of the load report: it is said twice",
            ),
            (HEADER, "TEXT named_metrics.=1", "\"named_metrics.\" of the load report: it has no name"),
            (HEADER, "TEXT speed=1", "metric \"speed\" of the load report: there is no such metric"),
            (
                HEADER,
                "TEXT eps=-1",
                "metric \"eps\" of the load report: it must be a finite number, 0 or more",
            ),
            (HEADER, "TEXT cpu_utilization=nan", "\"cpu_utilization\" of the load report: it must be"),
            (HEADER, "TEXT named_metrics.a=inf", "\"named_metrics.a\" of the load report: it must be"),
            (HEADER, "JSON {\"eps\":\"much\"}", "not the JSON of an OrcaLoadReport"),
            (HEADER, "JSON {\"eps\":1", "not the JSON of an OrcaLoadReport"),
            (HEADER, "JSON []", "not the JSON of an OrcaLoadReport"),
            (HEADER, "BIN ***", "no base64"),
            (HEADER_BIN, "AAAA", "no xds.data.orca.v3.OrcaLoadReport"),
        ] {
            let error = OrcaReport::parse(name, value.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{value}: {error}");
        }
        let long = vec![b' '; MOST_BYTES + 1];
        assert_eq!(OrcaReport::parse(HEADER, &long), Err(OrcaError::TooLong { bytes: MOST_BYTES + 1 }));
        assert!(OrcaReport::parse(HEADER, b"TEXT \xff=1").is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_read_is_finite(
            form in prop::sample::select(vec!["", "TEXT ", "JSON ", "BIN "]),
            value in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let value = [form.as_bytes(), &value].concat();
            for name in [HEADER, HEADER_BIN] {
                if let Ok(report) = OrcaReport::parse(name, &value) {
                    prop_assert!(report.load_report().utilisation.is_finite());
                }
            }
        }

        #[test]
        fn what_is_written_as_a_message_is_read(
            cpu in 0.0..10.0, queries in 0.0..1e6, metric in -1e9..1e9, name in "[a-z.]{0,8}",
        ) {
            let report = OrcaReport {
                cpu_utilization: cpu,
                rps_fractional: queries,
                named_metrics: [(name, metric)].into(),
                ..OrcaReport::default()
            };
            let value = base64::engine::general_purpose::STANDARD.encode(wire::bytes(&report));
            prop_assert_eq!(OrcaReport::parse(HEADER_BIN, value.as_bytes()), Ok(report));
        }
    }
}
