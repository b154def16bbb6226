use evenkeel_balance::compat::haproxy::{BackendConfig, Balance, Function, HashType, Method, Server};
use evenkeel_convert::KeyRule;
use serde_json::Value;

use crate::Case;

/// A backend section as the case gives it.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) config: BackendConfig,
    pub(super) servers: Vec<Server>,
    pub(super) names: Vec<String>,
    /// What follows the name of the algorithm on the line `balance`.
    pub(super) arguments: Vec<String>,
    /// What is hashed, if the reader knows it.
    pub(super) rule: Option<KeyRule>,
}

impl Section {
    pub(super) fn read(case: &Case) -> Result<Self, String> {
        let lines = case.0["config"].as_array().ok_or("`config` is no list of directives")?;
        let mut section = Self {
            config: BackendConfig::default(),
            servers: Vec::new(),
            names: Vec::new(),
            arguments: Vec::new(),
            rule: None,
        };
        let mut defaults: Vec<&str> = Vec::new();
        for line in lines {
            let line = line.as_str().ok_or("a directive is no text")?;
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["balance", algorithm, rest @ ..] => section.balance(algorithm, rest)?,
                ["hash-type", rest @ ..] => section.config.hash_type = hash_type(rest)?,
                ["hash-balance-factor", factor] => {
                    section.config.hash_balance_factor = Some(number(factor)?).filter(|&factor| factor > 0);
                }
                ["option", "allbackups"] => section.config.uses_all_backups = true,
                ["no", "option", "allbackups"] => section.config.uses_all_backups = false,
                ["default-server", rest @ ..] => defaults.extend(rest),
                ["server", name, _address, rest @ ..] => {
                    let words: Vec<&str> = defaults.iter().chain(rest).copied().collect();
                    section.servers.push(server(&words)?);
                    section.names.push((*name).to_owned());
                }
                // What changes no pick when requests come one by one and no check runs.
                [
                    "mode" | "timeout" | "option" | "no" | "http-reuse" | "retries" | "fullconn" | "id"
                    | "backend",
                    ..,
                ]
                | [] => {}
                _ => return Err(format!("directive {line:?}")),
            }
        }
        if section.servers.is_empty() {
            section.servers_of(case)?;
        }
        if section.servers.len() == case.servers().len() {
            let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
            section.convert(&lines)?;
            return Ok(section);
        }
        Err(format!("{} servers in `config`, {} in `servers`", section.servers.len(), case.servers().len()))
    }

    fn balance(&mut self, algorithm: &str, rest: &[&str]) -> Result<(), String> {
        let (name, argument) = match algorithm.split_once('(') {
            Some((name, argument)) => (name, argument.strip_suffix(')')),
            None => (algorithm, None),
        };
        self.config.balance = match name {
            "roundrobin" => Balance::RoundRobin,
            "static-rr" => Balance::StaticRr,
            "leastconn" => Balance::LeastConn,
            "first" => Balance::First,
            "source" => Balance::Source,
            "uri" => Balance::Uri,
            "url_param" => Balance::UrlParam,
            "hdr" => Balance::Hdr,
            "hash" => Balance::Hash,
            _ => return Err(format!("balance {algorithm}")),
        };
        self.arguments = argument.into_iter().chain(rest.iter().copied()).map(str::to_owned).collect();
        Ok(())
    }

    /// Servers by their objects, for a case whose directives leave them out.
    fn servers_of(&mut self, case: &Case) -> Result<(), String> {
        for (index, value) in case.servers().iter().enumerate() {
            let is_set = |mark: &str| value[mark].as_bool().unwrap_or(false);
            let count = |field: &str| value[field].as_u64().and_then(|count| u32::try_from(count).ok());
            self.servers.push(Server {
                weight: Case::weight(value),
                id: count("id"),
                is_backup: is_set("backup"),
                is_disabled: is_set("disabled"),
                max_connections: count("maxconn").filter(|&most| most > 0),
            });
            let name = value["name"].as_str().map_or_else(|| format!("s{}", index + 1), str::to_owned);
            self.names.push(name);
        }
        if case.0["servers"] == Value::Null { Err("no servers".to_owned()) } else { Ok(()) }
    }
}

fn server(words: &[&str]) -> Result<Server, String> {
    let mut server = Server::default();
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        let mut value = || words.next().copied().ok_or(format!("server: {word} without a value"));
        match word {
            "weight" => server.weight = number(value()?)?,
            "id" => server.id = Some(number(value()?)?),
            "maxconn" => server.max_connections = Some(number(value()?)?).filter(|&most| most > 0),
            "backup" => server.is_backup = true,
            "no-backup" => server.is_backup = false,
            "disabled" => server.is_disabled = true,
            "enabled" => server.is_disabled = false,
            // What changes no pick.
            "no-check" | "check" => {}
            "cookie" | "inter" | "fall" | "rise" | "maxqueue" => drop(value()?),
            _ => return Err(format!("server option {word:?}")),
        }
    }
    Ok(server)
}

fn hash_type(words: &[&str]) -> Result<HashType, String> {
    let unknown = || format!("hash-type {}", words.join(" "));
    let [method, rest @ ..] = words else { return Err(unknown()) };
    let method = match *method {
        "map-based" => Method::MapBased,
        "consistent" => Method::Consistent,
        _ => return Err(unknown()),
    };
    let (function, modifier) = match rest {
        [] => return Ok(HashType::bare(method)),
        [function] => (function, None),
        [function, modifier] => (function, Some(*modifier)),
        _ => return Err(unknown()),
    };
    let function = match *function {
        "sdbm" => Function::Sdbm,
        "djb2" => Function::Djb2,
        "wt6" => Function::Wt6,
        "crc32" => Function::Crc32,
        "none" => Function::None,
        _ => return Err(unknown()),
    };
    match modifier {
        None => Ok(HashType { method, function, avalanche: false }),
        Some("avalanche") => Ok(HashType { method, function, avalanche: true }),
        Some(_) => Err(unknown()),
    }
}

pub(super) fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn section(lines: &[&str], servers: usize) -> Result<Section, String> {
        Section::read(&Case(json!({"config": lines, "servers": vec![json!({}); servers]})))
    }

    #[test]
    fn directives_are_read() {
        let lines = [
            "balance hdr(X-Key) use_domain_only",
            "hash-type consistent",
            "option allbackups",
            "hash-balance-factor 150",
            "default-server weight 7 maxconn 3",
            "server a 10.0.0.1:80 id 9 backup disabled",
            "server b 10.0.0.2:80 weight 0 maxconn 0 enabled",
        ];
        let section = section(&lines, 2).unwrap();
        assert_eq!(section.config.balance, Balance::Hdr);
        assert_eq!(section.config.hash_type, HashType::bare(Method::Consistent));
        assert_eq!(section.config.hash_balance_factor, Some(150));
        assert!(section.config.uses_all_backups);
        assert_eq!(section.arguments, ["X-Key", "use_domain_only"]);
        let [a, b] = section.servers.as_slice() else { unreachable!("there are two") };
        assert_eq!(
            (a.weight, a.id, a.is_backup, a.is_disabled, a.max_connections),
            (7, Some(9), true, true, Some(3))
        );
        assert_eq!(
            (b.weight, b.id, b.is_backup, b.is_disabled, b.max_connections),
            (0, None, false, false, None)
        );
    }

    #[test]
    fn what_is_not_known_is_said() {
        for lines in [
            vec!["balance random"],
            vec!["hash-type consistent md5"],
            vec!["server a 10.0.0.1:80 weight x"],
            vec!["server a 10.0.0.1:80 slowstart 10"],
            vec!["stick-table type ip"],
            vec!["server a 10.0.0.1:80", "server b 10.0.0.1:80"],
        ] {
            assert!(section(&lines, 1).is_err(), "{lines:?}");
        }
    }
}
