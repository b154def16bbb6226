//! Reading a file whole, with a bound, and knowing whether it is another one.

use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use evenkeel_registry::TroubleKind;

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    length: u64,
    modified: Option<SystemTime>,
    /// Device, number and time of change of the inode.
    inode: (u64, u64, i64, i64),
}

/// Why there is nothing to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) kind: TroubleKind,
    pub(crate) text: String,
}

pub(crate) fn signature(path: &Path) -> Result<Signature, Unread> {
    let found = fs::metadata(path).map_err(|error| unread(path, &error))?;
    if found.is_file() {
        Ok(signature_of(&found))
    } else {
        Err(Unread { kind: TroubleKind::Malformed, text: format!("{}: not a file", path.display()) })
    }
}

/// The content, and what it was when it was read; `None` if it changed meanwhile.
pub(crate) fn read(path: &Path, max_bytes: usize) -> Result<Option<(Vec<u8>, Signature)>, Unread> {
    let before = signature(path)?;
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX);
    let too_large = |length: u64| Unread {
        kind: TroubleKind::TooLarge,
        text: format!("{}: {length} bytes or more, above max_bytes, {limit}", path.display()),
    };
    if before.length > limit {
        return Err(too_large(before.length));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| unread(path, &error))?;
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| unread(path, &error))?;
    if bytes.len() > max_bytes {
        return Err(too_large(limit.saturating_add(1)));
    }
    Ok((signature(path)? == before).then_some((bytes, before)))
}

fn unread(path: &Path, error: &io::Error) -> Unread {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => TroubleKind::Denied,
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => TroubleKind::Unreachable,
        _ => TroubleKind::Server,
    };
    Unread { kind, text: format!("{}: {error}", path.display()) }
}

#[cfg(unix)]
fn signature_of(found: &Metadata) -> Signature {
    use std::os::unix::fs::MetadataExt;
    let inode = (found.dev(), found.ino(), found.ctime(), found.ctime_nsec());
    Signature { length: found.len(), modified: found.modified().ok(), inode }
}

#[cfg(not(unix))]
fn signature_of(found: &Metadata) -> Signature {
    Signature { length: found.len(), modified: found.modified().ok(), inode: (0, 0, 0, 0) }
}

/// Which directory a path leads to now; `None` if to none.
#[cfg(unix)]
pub(crate) fn directory(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().filter(Metadata::is_dir).map(|found| (found.dev(), found.ino()))
}

/// Which directory a path leads to now; `None` if to none.
#[cfg(not(unix))]
pub(crate) fn directory(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().filter(Metadata::is_dir).map(|_| (0, 0))
}
