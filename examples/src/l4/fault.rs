use std::io;

use evenkeel::Outcome;
use evenkeel_types::Origin;
use rustix::io::Errno;

/// What a failed attempt to reach an endpoint says of it: nothing, if it never left this machine. A proxy without descriptors
/// would otherwise open the breakers of all endpoints, one after the other.
pub(crate) fn verdict(error: &io::Error) -> Outcome {
    let is_ours = Errno::from_io_error(error).is_some_and(|error| OURS.contains(&error));
    let outcome = if is_ours { Outcome::neutral() } else { Outcome::failure() };
    outcome.with_origin(Origin::Local)
}

/// No descriptors, no memory, no free port, a rule of our own firewall.
const OURS: [Errno; 6] =
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL, Errno::PERM];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_no_failure_of_the_endpoint() {
        for error in OURS {
            let outcome = verdict(&error.into());
            assert_eq!(outcome, Outcome::neutral().with_origin(Origin::Local), "{error}");
        }
        for error in [Errno::CONNREFUSED, Errno::CONNRESET, Errno::TIMEDOUT, Errno::HOSTUNREACH] {
            let outcome = verdict(&error.into());
            assert_eq!(outcome, Outcome::failure().with_origin(Origin::Local), "{error}");
        }
        // Resolving tells of no error of the system.
        assert_eq!(verdict(&io::ErrorKind::NotFound.into()), Outcome::failure().with_origin(Origin::Local));
    }
}
