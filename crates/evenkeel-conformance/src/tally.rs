use std::fmt::Display;

/// How many answers of one file were reproduced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers that agree.
    pub passed: u64,
    /// Answers in all.
    pub total: u64,
    /// What the first few that differ are about.
    pub mismatches: Vec<String>,
}

impl Tally {
    /// Counts one answer; `about` names it if it differs.
    #[allow(clippy::needless_pass_by_value, reason = "answers are small, and some are made for the call")]
    pub fn check<A: PartialEq + Display>(&mut self, ours: A, theirs: A, about: impl FnOnce() -> String) {
        self.total += 1;
        if ours == theirs {
            self.passed += 1;
        } else if self.mismatches.len() < MISMATCHES {
            self.mismatches.push(format!("{}: ours {ours}, theirs {theirs}", about()));
        }
    }

    /// Counts an answer that could not be replayed at all.
    pub fn fail(&mut self, why: String) {
        self.total += 1;
        if self.mismatches.len() < MISMATCHES {
            self.mismatches.push(why);
        }
    }
}

/// So many mismatches of a file are told.
const MISMATCHES: usize = 5;
