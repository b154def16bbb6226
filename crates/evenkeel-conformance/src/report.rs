use std::fmt;
use std::path::PathBuf;

use crate::Tally;

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// Which file, below the folder that was asked for.
    pub file: PathBuf,
    /// The program of its `meta` line; empty if it could not be read.
    pub program: String,
    /// The algorithm of its `meta` line; empty if it could not be read.
    pub algorithm: String,
    /// How it went.
    pub verdict: Verdict,
}

/// How the replay of one file went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Replayed, answer by answer.
    Exact(Tally),
    /// Measurements, which a replay meets within a band: counted apart. `None` if this file is not replayed at all.
    Banded(Option<Tally>),
    /// Not replayed: this is why.
    Failed(String),
}

/// What became of all files below a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// File by file, in order of the path.
    pub files: Vec<FileReport>,
}

impl Report {
    /// Whether each file was replayed, and each answer that has to agree agrees.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.files.iter().all(|file| match &file.verdict {
            Verdict::Exact(tally) => tally.passed == tally.total && tally.total > 0,
            Verdict::Banded(_) => true,
            Verdict::Failed(_) => false,
        })
    }

    /// Answers that agree, and answers in all, over the files that have to agree.
    #[must_use]
    pub fn exact(&self) -> (u64, u64) {
        self.files.iter().fold((0, 0), |(passed, total), file| match &file.verdict {
            Verdict::Exact(tally) => (passed + tally.passed, total + tally.total),
            Verdict::Banded(_) | Verdict::Failed(_) => (passed, total),
        })
    }
}

impl fmt::Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.program.is_empty() {
            "unknown".to_owned()
        } else {
            format!("{}/{}", self.program, self.algorithm)
        };
        write!(f, "{name} {} ", self.file.display())?;
        match &self.verdict {
            Verdict::Exact(tally) => write_tally(f, tally),
            Verdict::Banded(Some(tally)) => {
                write!(f, "banded ")?;
                write_tally(f, tally)
            }
            Verdict::Banded(None) => writeln!(f, "banded, not replayed"),
            Verdict::Failed(why) => writeln!(f, "FAILED\n    {why}"),
        }
    }
}

fn write_tally(f: &mut fmt::Formatter<'_>, tally: &Tally) -> fmt::Result {
    writeln!(f, "{}/{}", tally.passed, tally.total)?;
    tally.mismatches.iter().try_for_each(|mismatch| writeln!(f, "    {mismatch}"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.iter().try_for_each(|file| write!(f, "{file}"))?;
        let count = |is: fn(&Verdict) -> bool| self.files.iter().filter(|file| is(&file.verdict)).count();
        let (passed, total) = self.exact();
        writeln!(
            f,
            "total {passed}/{total} in {} files, {} files banded, {} files failed",
            count(|verdict| matches!(verdict, Verdict::Exact(_))),
            count(|verdict| matches!(verdict, Verdict::Banded(_))),
            count(|verdict| matches!(verdict, Verdict::Failed(_))),
        )
    }
}
