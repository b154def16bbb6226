use std::collections::{BTreeMap, BTreeSet};

use super::acl::declare;
use super::backend::{self, Server, Target};
use super::frontend::Frontend;
use super::lexer::{Line, Section, parse};
use super::settings::Settings;
use crate::conversion::{Conversion, Options};
use crate::dialect::Dialect;
use crate::error::{ConvertError, Problem};
use crate::files::{Files, Text};
use crate::place::Place;

/// Reads a configuration of HAProxy.
pub(crate) fn read(files: &mut Files, text: &Text, options: &Options) -> Result<Conversion, ConvertError> {
    if let Some(other) = Dialect::guess(&text.text).filter(|&guess| guess != Dialect::Haproxy) {
        let problem = Problem::Dialect { looks_like: other, wanted: Dialect::Haproxy };
        return Err(ConvertError::new(&Place::start(&text.name), problem));
    }
    let sections = parse(files, text)?;
    let mut reader = Reader::new(options);
    let mut conversion = Conversion::default();
    for section in &sections {
        reader.section(section, &mut conversion)?;
    }
    for frontend in std::mem::take(&mut reader.frontends) {
        frontend.finish(&reader.targets, &mut conversion)?;
    }
    conversion.setup.check(&Place::start(&text.name))?;
    Ok(conversion)
}

struct Reader<'a> {
    options: &'a Options,
    /// The last defaults, and those with names.
    defaults: Settings,
    named: BTreeMap<String, Settings>,
    targets: BTreeMap<String, Target>,
    frontends: Vec<Frontend>,
    seen: BTreeMap<(String, String), Place>,
}

impl<'a> Reader<'a> {
    fn new(options: &'a Options) -> Self {
        Self {
            options,
            defaults: Settings::default(),
            named: BTreeMap::new(),
            targets: BTreeMap::new(),
            frontends: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    fn section(&mut self, section: &Section, conversion: &mut Conversion) -> Result<(), ConvertError> {
        let kind = section.kind();
        if !["defaults", "frontend", "backend", "listen"].contains(&kind) {
            let detail = match kind {
                "global" => "the process is your server's",
                "resolvers" => "names are followed by evenkeel-dns",
                "peers" => {
                    "tables are the memory of one process: use cookies where several proxies must agree"
                }
                _ => "evenkeel has no such part",
            };
            conversion.report.none(section.head.place(), section.head.text(), detail);
            for line in &section.lines {
                conversion.report.none(line.place(), line.text(), detail);
            }
            return Ok(());
        }
        section.check_head()?;
        let mut settings = match section.from() {
            None => self.defaults.clone(),
            Some(name) => self.named.get(&name.text).cloned().ok_or_else(|| {
                ConvertError::unexpected(
                    &name.place,
                    name.text.clone(),
                    "no defaults of this name come before it",
                )
            })?,
        };
        if kind == "defaults" {
            if section.from().is_none() {
                settings = Settings::default();
            }
            for line in self.lines(section, conversion) {
                if !settings.take(line, &mut conversion.report)? {
                    proxys_own(line, conversion);
                }
            }
            conversion.report.taken(
                section.head.place(),
                section.head.text(),
                "taken for the sections that follow",
            );
            if let Some(name) = section.name() {
                self.named.insert(name.text.clone(), settings.clone());
            }
            self.defaults = settings;
            return Ok(());
        }
        let Some(name) = section.name() else {
            return Err(ConvertError::unexpected(section.head.place(), kind, "a name comes after it"));
        };
        let sides: &[&str] = if kind == "listen" { &["frontend", "backend"] } else { &[kind] };
        for side in sides {
            let key = ((*side).to_owned(), name.text.clone());
            if let Some(first) = self.seen.insert(key, section.head.place().clone()) {
                let problem = Problem::Twice { what: format!("{side} {}", name.text), first };
                return Err(ConvertError::new(section.head.place(), problem));
            }
        }
        self.proxy(section, &name.text, settings, conversion)
    }

    fn proxy(
        &mut self,
        section: &Section,
        name: &str,
        settings: Settings,
        conversion: &mut Conversion,
    ) -> Result<(), ConvertError> {
        let (kind, place) = (section.kind(), section.head.place());
        let mut frontend = Frontend::new(name, place, settings);
        let mut servers: Vec<Server> = Vec::new();
        let lines = self.lines(section, conversion);
        let asked = asked(&lines);
        for line in lines {
            let first = line.words[0].text.as_str();
            match first {
                "acl" => match declare(line, &mut frontend.acls)? {
                    None if kind == "backend" => conversion.report.none(
                        line.place(),
                        line.text(),
                        "conditions of a backend belong to its lines, which are told one by one",
                    ),
                    None if line.words.get(1).is_some_and(|name| !asked.contains(name.text.as_str())) => {
                        let detail = "no line that becomes a route asks for it";
                        conversion.report.none(line.place(), line.text(), detail);
                    }
                    None => conversion.report.taken(
                        line.place(),
                        line.text(),
                        "the matches of routes that use it",
                    ),
                    Some(why) => conversion.report.none(
                        line.place(),
                        line.text(),
                        format!("{why} is not known: write a route that says it"),
                    ),
                },
                "server" if kind != "frontend" => {
                    servers.push(backend::server(line, &frontend.settings, conversion)?);
                }
                "server-template" => conversion.report.none(
                    line.place(),
                    line.text(),
                    "as many servers as a name has addresses: follow it with evenkeel-dns",
                ),
                _ if kind != "backend" && frontend.take(line, conversion)? => {}
                _ if frontend.settings.take(line, &mut conversion.report)? => {}
                _ => proxys_own(line, conversion),
            }
        }
        if kind != "frontend" {
            let target =
                backend::finish(name, place, &frontend.settings, &servers, self.options, conversion)?;
            if kind == "listen" && !servers.is_empty() {
                frontend.settings.default_backend.get_or_insert_with(|| name.to_owned());
                // They would be made twice, by the route and by the target.
                frontend.settings.request_headers.clear();
                frontend.settings.response_headers.clear();
            }
            self.targets.insert(name.to_owned(), target);
        }
        if kind != "backend" {
            self.frontends.push(frontend);
        }
        Ok(())
    }

    /// The lines without those that hang on the environment or on conditions of the preprocessor.
    fn lines<'s>(&self, section: &'s Section, conversion: &mut Conversion) -> Vec<&'s Line> {
        let mut depth = 0_u32;
        let mut all = Vec::new();
        for line in &section.lines {
            let first = line.words[0].text.as_str();
            if first.starts_with('.') {
                match first {
                    ".if" => depth += 1,
                    ".endif" => depth = depth.saturating_sub(1),
                    _ => {}
                }
                conversion.report.none(
                    line.place(),
                    line.text(),
                    "conditions of the preprocessor are not followed: write what holds",
                );
            } else if depth > 0 {
                conversion.report.none(
                    line.place(),
                    line.text(),
                    "it hangs on a condition that is not followed",
                );
            } else if let Some(variable) = &line.variable {
                let detail =
                    format!("{variable} is of the environment, which is not looked at: write its value");
                conversion.report.none(line.place(), line.text(), detail);
            } else {
                all.push(line);
            }
        }
        all
    }
}

/// The words of the conditions of lines that can become routes: among them are the names of acls that are asked for.
fn asked<'l>(lines: &[&'l Line]) -> BTreeSet<&'l str> {
    let mut words = BTreeSet::new();
    for line in lines {
        let texts = line.texts();
        let is_route = matches!(
            texts.as_slice(),
            ["use_backend" | "redirect", ..]
                | ["http-request", "redirect" | "deny" | "return" | "tarpit", ..]
        );
        let condition = texts.iter().skip_while(|word| **word != "if").skip(1);
        words.extend(condition.filter(|_| is_route).map(|word| word.trim_start_matches('!')));
    }
    words
}

fn proxys_own(line: &Line, conversion: &mut Conversion) {
    let texts = line.texts();
    let detail = match texts.as_slice() {
        ["log" | "log-format" | "log-tag" | "capture", ..]
        | [
            "option",
            "httplog" | "tcplog" | "dontlognull" | "dontlog-normal" | "log-health-checks" | "logasap",
            ..,
        ] => "logs are your server's; evenkeel-metrics has those of clusters",
        ["option", "forwardfor" | "originalto", ..] => "add the header where you send the request",
        [
            "option",
            "http-server-close" | "http-keep-alive" | "httpclose" | "forceclose" | "prefer-last-server",
            ..,
        ]
        | ["http-reuse", ..] => "connections are your client's",
        ["http-request" | "http-response" | "http-after-response", ..] => {
            "requests are changed by headers of the route alone: do the rest where you send them"
        }
        ["tcp-request" | "tcp-response", ..] => "who may connect is your server's business",
        ["errorfile" | "errorfiles" | "errorloc" | "errorloc302" | "errorloc303", ..] => {
            "answers are your server's"
        }
        ["stats" | "monitor-uri" | "monitor", ..] => "see Cluster::report and evenkeel-metrics",
        ["maxconn" | "rate-limit" | "fullconn" | "backlog", ..] => {
            "bound the listener in your server, or the cluster with limit"
        }
        ["compression" | "filter", ..] => "evenkeel touches no body",
        ["use-server" | "force-persist" | "ignore-persist", ..] => {
            "write a route with an affinity of its own"
        }
        ["load-server-state-from-file" | "server-state-file-name", ..] => "health is checked anew",
        _ => "evenkeel has nothing that does this",
    };
    conversion.report.none(line.place(), line.text(), detail);
}
