use std::path::{Path, PathBuf};
use std::{fs, io};

use thiserror::Error;

use crate::programs;
use crate::report::{FileReport, Report, Verdict};
use crate::vector::Vector;

/// Why there is nothing to report.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NothingToRun {
    /// The folder, or one below it, could not be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is no vector file below the folder: a wrong path must not look like success.
    #[error("{}: no *.jsonl file below it", .0.display())]
    Empty(PathBuf),
}

/// Replays every vector file below a folder, or the file itself if `dir` is one.
///
/// # Errors
///
/// [`NothingToRun`], if the folder cannot be read or there is no such file. What is wrong with one file is in its report.
pub fn run(dir: &Path) -> Result<Report, NothingToRun> {
    let files = files_below(dir)?;
    if files.is_empty() {
        return Err(NothingToRun::Empty(dir.to_owned()));
    }
    Ok(Report { files: files.iter().map(|file| replay_file(dir, file)).collect() })
}

/// Every file below a folder whose name says that it is JSON, sorted by path: `*.jsonl`, and what may have been meant to be one.
///
/// # Errors
///
/// [`NothingToRun::Io`], if a folder cannot be read.
pub fn files_below(dir: &Path) -> Result<Vec<PathBuf>, NothingToRun> {
    let mut files = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let fail = |error| NothingToRun::Io { path: path.clone(), error };
        if fs::metadata(&path).map_err(fail)?.is_dir() {
            for entry in fs::read_dir(&path).map_err(fail)? {
                left.push(entry.map_err(fail)?.path());
            }
        } else if is_json(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Also `X.JSONL`, `x.json`, `x.ndjson` and `x.jsonl.gz`: passed over, they would look like success.
fn is_json(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    name.split('.').skip(1).any(|part| ["jsonl", "json", "ndjson"].contains(&part))
}

fn replay_file(dir: &Path, path: &Path) -> FileReport {
    let below = path.strip_prefix(dir).ok().filter(|below| !below.as_os_str().is_empty());
    let file = below.unwrap_or(path).to_owned();
    let vector = match Vector::read(path) {
        Ok(vector) => vector,
        Err(why) => {
            let verdict = Verdict::Failed(why.to_string());
            return FileReport { file, program: String::new(), algorithm: String::new(), verdict };
        }
    };
    let verdict = match programs::replay(&vector) {
        Ok(tally) if vector.is_measurement() => Verdict::Banded(Some(tally)),
        Err(_) if vector.is_measurement() => Verdict::Banded(None),
        Ok(tally) if tally.total == 0 => Verdict::Failed("no answer in it".to_owned()),
        Ok(tally) => Verdict::Exact(tally),
        Err(unknown) => Verdict::Failed(unknown.to_string()),
    };
    FileReport {
        file,
        program: vector.program().to_owned(),
        algorithm: vector.algorithm().to_owned(),
        verdict,
    }
}
