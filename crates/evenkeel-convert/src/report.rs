use std::fmt;

use crate::place::Place;

/// What became of each line: as text by `Display`, for machines by serde.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// In the order in which they were met.
    pub findings: Vec<Finding>,
}

/// What became of a directive, a parameter or a field.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// Where it was written. None, if it comes from an evenkeel configuration that has no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What was written.
    pub subject: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Where it went, in what it differs, or what to do instead.
    pub detail: String,
}

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It means the same there.
    Taken,
    /// It is there, and means something else in the end: the detail says what.
    Differs,
    /// It is not there: the detail says what to do.
    NoEquivalent,
}

impl Verdict {
    /// For people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Differs => "differs",
            Self::NoEquivalent => "no equivalent",
        }
    }
}

impl Report {
    /// How many findings have this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// The worst verdict: taken, if there is none.
    #[must_use]
    pub fn worst(&self) -> Verdict {
        self.findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Taken)
    }

    /// The counts, in words.
    #[must_use]
    pub fn summary(&self) -> String {
        let [taken, differ, none] =
            [Verdict::Taken, Verdict::Differs, Verdict::NoEquivalent].map(|verdict| self.count(verdict));
        format!("{taken} taken, {differ} differ, {none} without equivalent")
    }

    pub(crate) fn add(
        &mut self,
        place: Option<&Place>,
        subject: impl Into<String>,
        verdict: Verdict,
        detail: impl Into<String>,
    ) {
        // One finding is one line.
        let subject = subject.into().replace(|c: char| c.is_control(), " ");
        let (place, subject, detail) = (place.cloned(), crate::error::shortened(&subject), detail.into());
        self.findings.push(Finding { place, subject, verdict, detail });
    }

    pub(crate) fn taken(&mut self, place: &Place, subject: impl Into<String>, detail: impl Into<String>) {
        self.add(Some(place), subject, Verdict::Taken, detail);
    }

    pub(crate) fn differs(&mut self, place: &Place, subject: impl Into<String>, detail: impl Into<String>) {
        self.add(Some(place), subject, Verdict::Differs, detail);
    }

    pub(crate) fn none(&mut self, place: &Place, subject: impl Into<String>, detail: impl Into<String>) {
        self.add(Some(place), subject, Verdict::NoEquivalent, detail);
    }
}

/// Whoever writes a configuration, and tells what becomes of ours: findings without a place.
pub(crate) trait Tells {
    fn report(&mut self) -> &mut Report;

    fn none(&mut self, subject: impl Into<String>, detail: &str) {
        self.report().add(None, subject, Verdict::NoEquivalent, detail);
    }

    fn differs(&mut self, subject: impl Into<String>, detail: &str) {
        self.report().add(None, subject, Verdict::Differs, detail);
    }

    fn taken(&mut self, subject: impl Into<String>, detail: &str) {
        self.report().add(None, subject, Verdict::Taken, detail);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        f.write_str(&self.summary())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: {}", self.verdict.words(), self.subject)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}
