/// How a backup group takes over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum BackupMode {
    /// HAProxy: as soon as no primary is usable, the first usable backup takes everything, in the order of the
    /// configuration.
    #[default]
    First,
    /// HAProxy with `option allbackups`: all usable backups share.
    All,
    /// nginx: as `All`, and a retry that has tried every primary goes on with the backups, as if nothing had been tried
    /// yet.
    Nginx,
}

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum BackupGroup {
    /// The primaries.
    Primaries,
    /// The first usable backup.
    FirstBackup,
    /// The backups.
    Backups {
        /// Whether what this request has tried is forgotten.
        forget_tried: bool,
    },
    /// Nobody.
    None,
}

/// What is left of both groups for a request: usable and, for nginx, not tried by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backup {
    /// Primaries.
    pub primaries: u32,
    /// Backups.
    pub backups: u32,
}

impl Backup {
    /// Who serves. No share spills: one usable primary takes everything.
    #[must_use]
    pub const fn group(self, mode: BackupMode) -> BackupGroup {
        match (self, mode) {
            (Self { primaries: 1.., .. }, _) => BackupGroup::Primaries,
            (Self { backups: 0, .. }, _) => BackupGroup::None,
            (_, BackupMode::First) => BackupGroup::FirstBackup,
            (_, BackupMode::All) => BackupGroup::Backups { forget_tried: false },
            (_, BackupMode::Nginx) => BackupGroup::Backups { forget_tried: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case() {
        use BackupGroup::{Backups, FirstBackup, None, Primaries};
        for (primaries, backups, first, all, nginx) in [
            (0, 0, None, None, None),
            (1, 0, Primaries, Primaries, Primaries),
            (1, 1, Primaries, Primaries, Primaries),
            (0, 2, FirstBackup, Backups { forget_tried: false }, Backups { forget_tried: true }),
        ] {
            let left = Backup { primaries, backups };
            let found = [BackupMode::First, BackupMode::All, BackupMode::Nginx].map(|mode| left.group(mode));
            assert_eq!(found, [first, all, nginx]);
        }
    }
}
