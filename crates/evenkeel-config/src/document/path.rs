use std::fmt;

/// A step from a table or list to what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// Where a value stands in the tree, such as `clusters[2].breaker.open_for`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(pub(crate) Vec<Step>);

impl Path {
    pub(crate) fn key(&self, key: &str) -> Self {
        let mut longer = self.clone();
        longer.0.push(Step::Key(key.to_owned()));
        longer
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        let mut longer = self.clone();
        longer.0.push(Step::Index(index));
        longer
    }

    /// This path and what a text such as `rules[1].headers[0].test` leads to.
    pub(crate) fn join(&self, text: &str) -> Self {
        let mut longer = self.clone();
        for part in text.split('.').filter(|part| !part.is_empty()) {
            let mut pieces = part.split('[');
            if let Some(key) = pieces.next().filter(|key| !key.is_empty()) {
                longer.0.push(Step::Key(key.to_owned()));
            }
            for index in pieces {
                if let Ok(index) = index.trim_end_matches(']').parse() {
                    longer.0.push(Step::Index(index));
                }
            }
        }
        longer
    }
}

impl From<&str> for Path {
    fn from(text: &str) -> Self {
        Self::default().join(text)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if i > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(&bare(key))?;
                }
            }
        }
        Ok(())
    }
}

/// A key as it stands in a path: in quotes if it is no plain word.
pub(crate) fn bare(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !key.is_empty() && key.chars().all(plain) {
        key.to_owned()
    } else {
        format!("{:?}", key.chars().take(100).collect::<String>())
    }
}
