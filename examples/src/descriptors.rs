use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows this process as many descriptors as its parent permits: the usual soft limit of 1,024 is for programs that use
/// `select(2)`, and a proxy needs two for each connection. Best effort: what is refused stays as it was.
pub fn allow_all_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}
