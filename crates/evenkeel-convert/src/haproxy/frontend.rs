use std::collections::BTreeMap;

use evenkeel::router::{
    Action, RouteConfig, RouterConfig, StaticResponse, StreamAction, StreamRouteConfig, StreamRouterConfig,
};
use evenkeel_route::matching::{HttpRule, HttpRules, HttpRulesConfig, StreamRule};

use super::acl::{Acls, Condition};
use super::answer::answer;
use super::backend::Target;
use super::lexer::Line;
use super::settings::Settings;
use crate::conversion::Conversion;
use crate::error::ConvertError;
use crate::place::Place;
use crate::raw_paths::raw_paths;
use crate::setup::{Listener, Serves};
use crate::tls::{Certificate, ListenerTls};
use crate::word::Word;

/// A frontend, while its lines are read.
#[derive(Debug)]
pub(crate) struct Frontend {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) settings: Settings,
    pub(crate) acls: Acls,
    /// Where it listens, and how clients speak TLS there.
    addresses: Vec<(String, Option<ListenerTls>)>,
    /// What answers by itself, before any backend is chosen.
    answers: Vec<(Condition, RouteConfig, Line)>,
    uses: Vec<(Condition, String, Line)>,
}

impl Frontend {
    pub(crate) fn new(name: &str, place: &Place, settings: Settings) -> Self {
        Self {
            name: name.to_owned(),
            place: place.clone(),
            settings,
            acls: Acls::new(),
            addresses: Vec::new(),
            answers: Vec::new(),
            uses: Vec::new(),
        }
    }

    /// Takes a line; whether it is one of a frontend.
    pub(crate) fn take(&mut self, line: &Line, conversion: &mut Conversion) -> Result<bool, ConvertError> {
        let texts = line.texts();
        let (place, subject) = (line.place(), line.text());
        match texts.as_slice() {
            ["bind", addresses, rest @ ..] => {
                let tls = bind(addresses, rest, line, conversion)?;
                let all = addresses.split(',');
                self.addresses.extend(all.map(|address| (address.to_owned(), tls.clone())));
                conversion.report.taken(place, subject, "an address of a listener");
            }
            ["use_backend", name, ..] if name.contains("%[") => {
                conversion.report.none(
                    place,
                    subject,
                    "which backend this is is only known when requests come: write a route for each",
                );
            }
            ["use_backend", name, ..] => {
                let condition = condition(&line.words[2..], place, &self.acls)?;
                match condition {
                    Ok(condition) => self.uses.push((condition, (*name).to_owned(), line.clone())),
                    Err(why) => conversion.report.none(place, subject, why),
                }
            }
            ["redirect", ..] => self.answer(&line.words[..], line, conversion)?,
            ["http-request", "redirect" | "deny" | "return" | "tarpit", ..] => {
                self.answer(&line.words[1..], line, conversion)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn answer(
        &mut self,
        words: &[Word],
        line: &Line,
        conversion: &mut Conversion,
    ) -> Result<(), ConvertError> {
        let (place, subject) = (line.place(), line.text());
        let at = words.iter().position(|word| word.is("if") || word.is("unless")).unwrap_or(words.len());
        let (what, rest) = words.split_at(at);
        let texts: Vec<&str> = what.iter().map(|word| word.text.as_str()).collect();
        let answer = match answer(&texts) {
            Ok(answer) => answer,
            Err(why) => {
                conversion.report.none(place, subject, why);
                return Ok(());
            }
        };
        match condition(rest, place, &self.acls)? {
            Ok(condition) => {
                for word in answer.unread {
                    conversion.report.none(
                        place,
                        format!("{subject}: {word}"),
                        "it is left out of the answer",
                    );
                }
                if answer.waits {
                    let detail =
                        "a route that answers at once, where HAProxy lets the client wait: timeout tarpit";
                    conversion.report.differs(place, subject, detail);
                } else {
                    conversion.report.taken(place, subject, "a route that answers by itself");
                }
                self.answers.push((condition, answer.route, line.clone()));
            }
            Err(why) => conversion.report.none(place, subject, why),
        }
        Ok(())
    }

    /// The listener, once all backends are known.
    pub(crate) fn finish(
        self,
        targets: &BTreeMap<String, Target>,
        conversion: &mut Conversion,
    ) -> Result<(), ConvertError> {
        let serves = if self.settings.is_http {
            self.http(targets, conversion)?
        } else {
            self.stream(targets, conversion)?
        };
        conversion.report.taken(&self.place, format!("frontend {}", self.name), "a listener with routes");
        // What clients speak is said of each address.
        let mut kinds: Vec<(Option<ListenerTls>, Vec<String>)> = Vec::new();
        for (address, tls) in self.addresses {
            match kinds.iter_mut().find(|(known, _)| *known == tls) {
                Some((_, addresses)) => addresses.push(address),
                None => kinds.push((tls, vec![address])),
            }
        }
        kinds.sort_by_key(|(tls, _)| tls.is_some());
        if kinds.is_empty() {
            kinds.push((None, Vec::new()));
        }
        for (number, (tls, addresses)) in kinds.into_iter().enumerate() {
            // No name of HAProxy has this sign.
            let name = match number {
                0 => self.name.clone(),
                1 => format!("{}#tls", self.name),
                _ => format!("{}#tls{number}", self.name),
            };
            let serves = serves.clone();
            conversion.setup.listeners.push(Listener { name, addresses, tls, udp: false, serves });
        }
        Ok(())
    }

    fn http(
        &self,
        targets: &BTreeMap<String, Target>,
        conversion: &mut Conversion,
    ) -> Result<Serves, ConvertError> {
        let mut router = RouterConfig { path: raw_paths(), ..RouterConfig::default() };
        for (condition, route, line) in &self.answers {
            self.push(&mut router, condition, route, line, conversion);
        }
        for (condition, name, line) in &self.uses {
            let target = target(targets, name, line.place())?;
            if self.push(&mut router, condition, &self.route(target), line, conversion) {
                tell_retry(target, line.place(), conversion);
                conversion.report.taken(line.place(), line.text(), "a route");
            }
        }
        match &self.settings.default_backend {
            Some(name) => {
                let target = target(targets, name, &self.place)?;
                tell_retry(target, &self.place, conversion);
                let mut route = self.route(target);
                crate::nginx::unique(&mut route.name, &router.routes);
                router.routes.push(route);
            }
            None => {
                let route = RouteConfig::new("no backend", Action::Respond(StaticResponse::new(503)));
                router.routes.push(route);
            }
        }
        Ok(Serves::Http(router))
    }

    fn route(&self, target: &Target) -> RouteConfig {
        let mut route = RouteConfig::new(&target.name, Action::Cluster(target.name.clone()));
        route.retry = target.retry();
        route.retry_same_endpoint = route.retry.is_some() && target.servers < 2;
        route.affinity.clone_from(&target.affinity);
        let both = |a: &[_], b: &[_]| [a, b].concat();
        route.headers.request = both(&self.settings.request_headers, &target.settings.request_headers);
        route.headers.response = both(&target.settings.response_headers, &self.settings.response_headers);
        route.key = target
            .settings
            .balance
            .as_ref()
            .and_then(|(_, rule)| key_sources(rule.as_ref()))
            .unwrap_or_default();
        route
    }

    /// One route for each case of a condition. Whether there is one.
    fn push(
        &self,
        router: &mut RouterConfig,
        condition: &Condition,
        route: &RouteConfig,
        line: &Line,
        conversion: &mut Conversion,
    ) -> bool {
        let rules = match condition.rules() {
            Ok(rules) => rules,
            Err(why) => {
                conversion.report.none(
                    line.place(),
                    line.text(),
                    format!("{why}: write a route that says it"),
                );
                return false;
            }
        };
        if let Some(rule) = rules.iter().find(|rule| !compiles(rule)) {
            let what = format!("{:?}", rule.paths);
            conversion.report.none(
                line.place(),
                line.text(),
                format!("a pattern that does not compile here: {what}"),
            );
            return false;
        }
        if rules.iter().any(|rule| !rule.headers.is_empty()) {
            let detail =
                "a line of a header is looked at as a whole, where HAProxy looks at each part between commas";
            conversion.report.differs(line.place(), line.text(), detail);
        }
        for rule in rules {
            let mut route = route.clone();
            route.rule = rule;
            route.name = format!("{}:{}", route.name, line.place().line);
            crate::nginx::unique(&mut route.name, &router.routes);
            router.routes.push(route);
        }
        true
    }

    fn stream(
        &self,
        targets: &BTreeMap<String, Target>,
        conversion: &mut Conversion,
    ) -> Result<Serves, ConvertError> {
        let mut router = StreamRouterConfig::default();
        let mut push = |rule: StreamRule, name: &str| {
            let action = StreamAction::Cluster(name.to_owned());
            let number = router.routes.len();
            router.routes.push(StreamRouteConfig { name: format!("{name}:{number}"), rule, action });
        };
        for (condition, name, line) in &self.uses {
            tell_stream(target(targets, name, line.place())?, line.place(), conversion);
            match condition.stream_rules() {
                Ok(rules) => {
                    rules.into_iter().for_each(|rule| push(rule, name));
                    conversion.report.taken(line.place(), line.text(), "a route of connections");
                }
                Err(why) => conversion.report.none(line.place(), line.text(), why),
            }
        }
        if let Some(name) = &self.settings.default_backend {
            tell_stream(target(targets, name, &self.place)?, &self.place, conversion);
            push(StreamRule::default(), name);
        }
        for (_, _, line) in &self.answers {
            conversion.report.none(line.place(), line.text(), "connections are not answered");
        }
        Ok(Serves::Stream(router))
    }
}

/// What `bind` says of TLS; everything else is a finding.
fn bind(
    addresses: &str,
    words: &[&str],
    line: &Line,
    conversion: &mut Conversion,
) -> Result<Option<ListenerTls>, ConvertError> {
    let place = line.place();
    let (mut is_tls, mut asks_clients) = (false, false);
    let (mut tls, mut unread) = (ListenerTls::default(), Vec::new());
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        if word == "ssl" {
            is_tls = true;
            continue;
        }
        if !["crt", "ca-file", "verify", "alpn"].contains(&word) {
            unread.push(word);
            continue;
        }
        let Some(&value) = words.next() else {
            return Err(ConvertError::unexpected(place, word, "a value comes after it"));
        };
        match (word, value) {
            ("crt", file) => tls.certificates.push(Certificate {
                hosts: Vec::new(),
                cert_file: file.to_owned(),
                key_file: file.to_owned(),
            }),
            ("ca-file", file) => tls.client_ca_file = Some(file.to_owned()),
            ("verify", "none" | "required") => asks_clients = value == "required",
            ("alpn", names) => tls.alpn = names.split(',').map(str::to_owned).collect(),
            _ => unread.extend([word, value]),
        }
    }
    if !is_tls && tls != ListenerTls::default() {
        let detail = "without `ssl` clients speak in the clear, and this says nothing";
        conversion.report.none(place, format!("bind {addresses}: TLS"), detail);
    }
    tls.client_ca_file = tls.client_ca_file.filter(|_| asks_clients);
    if !unread.is_empty() {
        let subject = format!("bind {addresses}: {}", unread.join(" "));
        conversion.report.none(place, subject, "sockets are your server's, and so is this of TLS");
    }
    if tls.certificates.iter().any(|certificate| certificate.cert_file.ends_with('/')) {
        let detail = "a folder of certificates: name its files";
        conversion.report.differs(place, format!("bind {addresses}: crt"), detail);
    }
    Ok(is_tls.then_some(tls))
}

fn tell_retry(target: &Target, place: &Place, conversion: &mut Conversion) {
    let rule = target.settings.balance.as_ref().and_then(|(_, rule)| rule.as_ref());
    if rule.is_some() && key_sources(rule).is_none() {
        let detail = format!("a route cannot say this key: make it with keys.{}", target.name);
        conversion.report.differs(place, format!("the key of {}", target.name), detail);
    }
    if let Some(retry) = target.retry() {
        let detail = format!(
            "retry: {} attempts, each at another server if there is one, with a growing wait; HAProxy asks the same server again first",
            retry.attempts
        );
        conversion.report.differs(place, format!("retries (in force for {})", target.name), detail);
    }
}

/// What routes of connections do not say of a backend, though those of requests do.
fn tell_stream(target: &Target, place: &Place, conversion: &mut Conversion) {
    let name = &target.name;
    if target.affinity.is_some() {
        let detail = "routes of connections have no affinity: take a policy that goes by the source";
        conversion.report.none(place, format!("the affinity of {name}"), detail);
    }
    if !target.settings.request_headers.is_empty() || !target.settings.response_headers.is_empty() {
        let detail = "connections have no headers";
        conversion.report.none(place, format!("the headers of {name}"), detail);
    }
    if target.retry().is_some() {
        let detail = "routes of connections are not tried again: whoever connects does it";
        // Nobody has to write them for HAProxy to have them.
        conversion.report.differs(place, format!("retries (in force for {name})"), detail);
    }
}

fn key_sources(rule: Option<&crate::key_rule::KeyRule>) -> Option<Vec<evenkeel::router::KeySource>> {
    use crate::key_rule::{KeyPart, KeyRule};
    use evenkeel::router::KeySource;
    Some(vec![match rule? {
        KeyRule::Source => KeySource::Source,
        KeyRule::UrlParam(name) | KeyRule::Sample(KeyPart::Query(name)) => KeySource::Query(name.clone()),
        KeyRule::Header { name, domain_only: false }
        | KeyRule::Sample(KeyPart::Header(name) | KeyPart::Item(name)) => KeySource::Header(name.clone()),
        KeyRule::Sample(KeyPart::Cookie(name)) => KeySource::Cookie(name.clone()),
        KeyRule::Sample(KeyPart::Path) => KeySource::Path,
        KeyRule::Uri(key) if key.len.is_none() && key.depth.is_none() && !key.is_whole => KeySource::Path,
        _ => return None,
    }])
}

fn target<'a>(
    targets: &'a BTreeMap<String, Target>,
    name: &str,
    place: &Place,
) -> Result<&'a Target, ConvertError> {
    targets.get(name).ok_or_else(|| ConvertError::unexpected(place, name, "there is no backend of this name"))
}

/// What follows an action: nothing, or `if` and `unless`. The inner error is what cannot be said.
fn condition(words: &[Word], place: &Place, acls: &Acls) -> Result<Result<Condition, String>, ConvertError> {
    match words.split_first() {
        None => Ok(Ok(Condition::always())),
        Some((word, rest)) if word.is("if") => Condition::read(rest, place, acls).map(Ok),
        Some((word, _)) if word.is("unless") => {
            Ok(Err("`unless`: write the condition the other way round with `if`".to_owned()))
        }
        Some((word, _)) => {
            Err(ConvertError::unexpected(&word.place, word.text.clone(), "if or unless comes here"))
        }
    }
}

fn compiles(rule: &HttpRule) -> bool {
    let config =
        HttpRulesConfig { rules: vec![rule.clone()], path: raw_paths(), ..HttpRulesConfig::default() };
    HttpRules::new(&config).is_ok()
}
