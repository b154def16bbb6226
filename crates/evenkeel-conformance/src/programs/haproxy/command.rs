use evenkeel_balance::compat::haproxy::{Admin, Backend};

use super::directives::Section;

/// Obeys a line of the admin socket: commands between semicolons.
///
/// HAProxy refuses some, and then goes on as before: so does this. A command that is not known here is an error.
pub(super) fn obey(line: &str, section: &Section, backend: &mut Backend) -> Result<(), String> {
    line.split(';').try_for_each(|command| obey_one(command, section, backend))
}

fn obey_one(command: &str, section: &Section, backend: &mut Backend) -> Result<(), String> {
    let unknown = || format!("command {command:?}");
    let server = |target: &str| {
        let name = target.split_once('/').map_or(target, |(_, server)| server);
        section.names.iter().position(|known| known == name).ok_or_else(unknown)
    };
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["set", "weight", target, weight, ..] | ["set", "server", target, "weight", weight, ..] => {
            let server = server(target)?;
            set_weight(backend, server, weight);
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
            let server = server(target)?;
            if let Ok(most) = most.parse() {
                backend.set_max_connections(server, Some(most).filter(|&most| most > 0));
            }
        }
        // Picks do not depend on addresses, and nothing is checked.
        ["set", "server", _, "addr" | "fqdn" | "check-port" | "check-addr", ..]
        | ["enable" | "disable", "health" | "agent", _]
        | [] => {}
        _ => return Err(unknown()),
    }
    Ok(())
}

/// Sets a weight, or a part of the configured one. What HAProxy refuses changes nothing.
fn set_weight(backend: &mut Backend, server: usize, weight: &str) {
    let _ = match weight.strip_suffix('%') {
        Some(percent) => percent.parse().map(|percent| backend.set_weight_percent(server, percent)),
        None => weight.parse().map(|weight| backend.set_weight(server, weight)),
    };
}
