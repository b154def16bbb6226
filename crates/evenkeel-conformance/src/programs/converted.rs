//! What the readers of `evenkeel-convert` make of the configuration of a case: the picks are of what they give, so a wrong reader
//! fails the vectors. What a cluster of evenkeel cannot say, they have to report.

use evenkeel::ClusterConfig;
use evenkeel_convert::{Conversion, Dialect, KeyRule, Options, Verdict, read};

/// The cluster of a case, called [`NAME`], its key and what the reader said of it.
pub(super) struct Converted(Conversion);

/// What the cluster is called in every source text.
pub(super) const NAME: &str = "case";

impl Converted {
    pub(super) fn read(dialect: Dialect, text: &str) -> Result<Self, String> {
        let conversion = read(dialect, text, NAME, &Options::default()).map_err(|error| error.to_string())?;
        match conversion.setup.cluster(NAME) {
            Some(_) => Ok(Self(conversion)),
            None => Err(format!("evenkeel-convert reads no cluster: {}", conversion.report)),
        }
    }

    pub(super) fn cluster(&self) -> Result<&ClusterConfig, String> {
        self.0.setup.cluster(NAME).ok_or_else(|| "evenkeel-convert reads no cluster".to_owned())
    }

    /// What the policy of the cluster goes by.
    pub(super) fn rule(&self) -> Option<&KeyRule> {
        self.0.setup.keys.get(NAME)
    }

    pub(super) const fn conversion(&self) -> &Conversion {
        &self.0
    }

    /// Whether the reader said that something becomes another thing, or nothing.
    pub(super) fn is_told(&self, subject: &str) -> bool {
        let findings = &self.0.report.findings;
        findings.iter().any(|it| it.verdict != Verdict::Taken && it.subject.contains(subject))
    }

    /// An error, unless the reader said it.
    pub(super) fn must_tell(&self, subject: &str) -> Result<(), String> {
        if self.is_told(subject) {
            return Ok(());
        }
        Err(format!("evenkeel-convert loses {subject:?}, and does not say so: {}", self.0.report))
    }
}
