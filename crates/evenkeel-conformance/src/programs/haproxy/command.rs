use evenkeel_balance::compat::haproxy::{Admin, Backend};

use super::directives::{Section, number};

/// Obeys a command of the admin socket.
///
/// HAProxy refuses some, and then goes on as before: so does this. A command that is not known here is an error.
pub(super) fn obey(command: &str, section: &Section, backend: &mut Backend) -> Result<(), String> {
    let unknown = || format!("command {command:?}");
    let server = |target: &str| {
        let name = target.split_once('/').map_or(target, |(_, server)| server);
        section.names.iter().position(|known| known == name).ok_or_else(unknown)
    };
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["set", "weight", target, weight] | ["set", "server", target, "weight", weight] => {
            let server = server(target)?;
            // Refused weights change nothing.
            let _ = match weight.strip_suffix('%') {
                Some(percent) => backend.set_weight_percent(server, number(percent)?),
                None => backend.set_weight(server, number(weight)?),
            };
        }
        ["set", "server", target, "state", state] => {
            let admin = match *state {
                "ready" => Admin::Ready,
                "drain" => Admin::Drain,
                "maint" => Admin::Maintenance,
                _ => return Err(unknown()),
            };
            backend.set_admin(server(target)?, admin);
        }
        ["disable", "server", target] => backend.set_admin(server(target)?, Admin::Maintenance),
        ["enable", "server", target] => backend.set_admin(server(target)?, Admin::Ready),
        ["set", "server", target, "health", health] => {
            let is_up = match *health {
                "up" => true,
                "stopping" | "down" => false,
                _ => return Err(unknown()),
            };
            backend.set_up(server(target)?, is_up);
        }
        ["set", "maxconn", "server", target, most] => {
            backend.set_max_connections(server(target)?, Some(number(most)?).filter(|&most| most > 0));
        }
        _ => return Err(unknown()),
    }
    Ok(())
}
