use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::BuildHasherDefault;
use std::sync::OnceLock;

use hashbrown::HashMap;
use regex_automata::PatternSet;
use siphasher::sip::SipHasher13;

use super::coverage::{self, Shadow};
use super::error::{RuleProblem, RulesError};
use super::fraction::Fraction;
use super::headers::Headers;
use super::host::{HostMatch, LONGEST_AUTHORITY, bare_host};
use super::host_index::HostIndex;
use super::http_rule::{CookieMatch, HeaderMatch, HttpRule, HttpRulesConfig, Limits, QueryMatch};
use super::lists::{List, ListRef, Listed, Lists, resolve};
use super::normal::{PathOptions, escape, normalise};
use super::path::{Name, Path, PathMatch};
use super::predicate::{Place, Predicate, is_token, predicates_of};
use super::raw_prefixes::RawPrefixes;
use super::regexes::Regexes;
use super::request::{Request, RequestError};
use super::trie::{Pattern, Straight, Trie};

/// A compiled table of rules: the first that fits takes the request.
///
/// A match costs a hash lookup for the host, a walk down a tree of path segments, and then only the remaining conditions of
/// the rules that fit so far; where many rules of one host and path differ by the exact value of a header, that is a
/// lookup too. Only other conditions on the same host and path (ranges, prefixes of values) are asked one after the other. Nothing is
/// allocated, once the [`Scratch`] has grown.
///
/// ```
/// use evenkeel_route::matching::{HttpRule, HttpRules, HttpRulesConfig, PathMatch, Request, Scratch};
///
/// let users = HttpRule {
///     hosts: vec!["*.example.com".parse()?],
///     paths: vec![PathMatch::Template("/users/{id}/**".into())],
///     ..HttpRule::default()
/// };
/// let rules = HttpRules::new(&HttpRulesConfig { rules: vec![users], ..HttpRulesConfig::default() })?;
///
/// let mut scratch = Scratch::default();
/// let request = Request::new("GET", "api.example.com:443", "/users/42/posts?page=2");
/// let found = rules.find(&request, &mut scratch)?.expect("the rule fits");
/// assert_eq!(found.rule(), 0);
/// assert_eq!(found.capture("id"), Some(&b"42"[..]));
///
/// let request = Request::new("GET", "example.com", "/users/42");
/// assert!(rules.find(&request, &mut scratch)?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct HttpRules {
    pub(crate) rules: Box<[HttpRule]>,
    /// By decreasing weight.
    pub(crate) entries: Box<[Entry]>,
    pub(crate) paths: Box<[Path]>,
    /// The named parts of all paths, side by side: what a match is asked for next.
    names: Box<[Name]>,
    pub(crate) predicates: Box<[(Place, Predicate)]>,
    pub(crate) methods: Box<[Box<str>]>,
    pub(crate) options: PathOptions,
    pub(crate) index: Index,
    /// Found when somebody asks: a reload does not.
    shadowed: OnceLock<Box<[Shadow]>>,
}

/// A rule with one of its paths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) rule: u32,
    pub(crate) path: u32,
    /// A bit for each method that it takes; none stands for all.
    pub(crate) methods: u32,
    pub(crate) first_predicate: u32,
    pub(crate) predicates: u16,
    names: u16,
    first_name: u32,
}

/// Where the entries are found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    pub(crate) hosts: HostIndex,
    pub(crate) groups: Box<[Group]>,
    pub(crate) trie: Trie,
    pub(crate) lists: Box<[List]>,
    most_regexes: usize,
}

/// The rules of one host pattern.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) least: u32,
    pub(crate) root: u32,
    pub(crate) any: ListRef,
    pub(crate) raw: Option<Box<RawPrefixes>>,
    pub(crate) regexes: Option<Box<Regexes>>,
    /// Whether there is anything besides what is in the trie.
    has_others: bool,
}

/// Room for work, to be kept from match to match. One for each thread.
#[derive(Clone, Debug)]
pub struct Scratch {
    pub(crate) host: Vec<u8>,
    pub(crate) path: Vec<u8>,
    pub(crate) decoded: Vec<u8>,
    pub(crate) regexes: PatternSet,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { host: Vec::new(), path: Vec::new(), decoded: Vec::new(), regexes: PatternSet::new(0) }
    }
}

/// The rule that takes a request.
#[derive(Clone, Copy, Debug)]
pub struct Match<'a> {
    rule: usize,
    path: &'a [u8],
    names: &'a [Name],
    options: &'a PathOptions,
}

impl<'a> Match<'a> {
    /// Its number in the configuration.
    #[inline]
    #[must_use]
    pub const fn rule(&self) -> usize {
        self.rule
    }

    /// The path in the form that was matched. Escapes may have been decoded: see [`escaped_path`](Self::escaped_path).
    #[must_use]
    pub const fn path(&self) -> &'a [u8] {
        self.path
    }

    /// The path in the form that was matched, with what a request line cannot hold escaped again: what should be sent on.
    /// See [`escape`]. O(n), and a copy if anything is escaped.
    #[must_use]
    pub fn escaped_path(&self) -> Cow<'a, [u8]> {
        escape(self.path, self.options)
    }

    /// The part of the path that the template calls `name`.
    #[must_use]
    pub fn capture(&self, name: &str) -> Option<&'a [u8]> {
        self.captures().find(|&(other, _)| other == name).map(|(_, value)| value)
    }

    /// All named parts of the path, in order. Empty but for templates.
    #[inline]
    #[must_use]
    pub const fn captures(&self) -> Captures<'a> {
        Captures { names: self.names, path: self.path }
    }
}

/// The named parts of a path.
#[derive(Clone, Debug)]
pub struct Captures<'a> {
    names: &'a [Name],
    path: &'a [u8],
}

impl<'a> Iterator for Captures<'a> {
    type Item = (&'a str, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.names.split_first()?;
        self.names = rest;
        Some((&name.name, name.of(self.path)))
    }
}

impl HttpRules {
    /// Compiles a table. O(n log n); some microseconds a rule.
    ///
    /// # Errors
    ///
    /// [`RulesError`] names the first field that cannot be used.
    pub fn new(config: &HttpRulesConfig) -> Result<Self, RulesError> {
        Self::compile(config.clone())
    }

    /// As [`new`](Self::new), for those who have no other use for the rules: nothing is copied.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn compile(config: HttpRulesConfig) -> Result<Self, RulesError> {
        let mut compiler = Compiler::default();
        let mut order: Vec<usize> = (0..config.rules.len()).collect();
        order.sort_by_key(|&rule| std::cmp::Reverse(config.rules[rule].weight));
        for rule in order {
            compiler.add(rule, &config.rules[rule], &config)?;
        }
        let index = compiler.index(&config.limits)?;
        Ok(Self {
            rules: config.rules.into(),
            entries: compiler.entries.into(),
            paths: compiler.paths.into(),
            names: compiler.names.into(),
            predicates: compiler.predicates.into(),
            methods: compiler.methods.into(),
            options: config.path,
            index,
            shadowed: OnceLock::new(),
        })
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules as they were given.
    #[must_use]
    pub fn rules(&self) -> &[HttpRule] {
        &self.rules
    }

    /// Rules that never take a request, or not on some of their hosts and paths, because an earlier one takes all of it.
    ///
    /// What is listed is certain. Not everything is found: two rules that cover a third only together are not seen, nor
    /// are regular expressions and ranges compared by what they mean.
    #[must_use]
    pub fn shadowed(&self) -> &[Shadow] {
        self.shadowed.get_or_init(|| coverage::find(self).into())
    }

    /// The first rule that takes the request.
    ///
    /// # Errors
    ///
    /// [`RequestError`] if the request should be answered with status 400. No rule was asked.
    pub fn find<'s, H: Headers + ?Sized>(
        &'s self,
        request: &Request<'s, H>,
        scratch: &'s mut Scratch,
    ) -> Result<Option<Match<'s>>, RequestError> {
        let Scratch { host, path, decoded, regexes } = scratch;
        let path = normalise(request.path, &self.options, path)?;
        let host = bounded_host(request.host, self.index.hosts.ignores_host(), host)?;
        let method = self.method_bit(request.method);
        let mut search = Search { rules: self, request, method, decoded, best: u32::MAX };
        let index = &self.index;
        if index.hosts.ignores_host() {
            if let Some(group) = index.hosts.any() {
                search.look(&index.groups[group as usize], path, regexes);
            }
        } else {
            index.hosts.each(host, |group| search.look_apart(&index.groups[group as usize], path, regexes));
        }
        let Some(entry) = self.entries.get(search.best as usize) else { return Ok(None) };
        let first = entry.first_name as usize;
        let names = self.names.get(first..first + usize::from(entry.names)).unwrap_or_default();
        Ok(Some(Match { rule: entry.rule as usize, path, names, options: &self.options }))
    }

    pub(crate) fn predicates_of(&self, entry: &Entry) -> &[(Place, Predicate)] {
        let first = entry.first_predicate as usize;
        &self.predicates[first..first + entry.predicates as usize]
    }

    /// The bit of a method, none if no rule names it.
    #[inline]
    pub(crate) fn method_bit(&self, method: &str) -> u32 {
        if self.methods.is_empty() { 0 } else { self.bit_of(method) }
    }

    #[inline(never)]
    fn bit_of(&self, method: &str) -> u32 {
        self.methods.iter().position(|known| **known == *method).map_or(0, |bit| 1 << bit)
    }
}

#[inline]
pub(crate) fn bounded_host<'a>(
    authority: &'a [u8],
    is_ignored: bool,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], RequestError> {
    if authority.len() > LONGEST_AUTHORITY {
        return Err(RequestError::HostTooLong { len: authority.len() });
    }
    Ok(if is_ignored { authority } else { bare_host(authority, buffer) })
}

/// The search for the first entry that accepts a request.
struct Search<'a, 'r, H: ?Sized> {
    rules: &'a HttpRules,
    request: &'a Request<'r, H>,
    method: u32,
    decoded: &'a mut Vec<u8>,
    /// The smallest entry so far: later ones are not asked.
    best: u32,
}

impl<H: Headers + ?Sized> Search<'_, '_, H> {
    /// Visits everything of `group` that takes `path`.
    #[inline(always)]
    fn look(&mut self, group: &Group, path: &[u8], regexes: &mut PatternSet) {
        if group.least >= self.best {
            return;
        }
        if path.first() == Some(&b'/') {
            let Straight { below, here, fork } = self.rules.index.trie.straight(group.root, path);
            for list in [below, here] {
                if list.is_some() {
                    self.visit(list);
                }
            }
            if let Some((at, rest)) = fork {
                self.branch(at, rest);
            }
        }
        if group.has_others {
            self.look_beside(group, path, regexes);
        }
    }

    /// The same where it is called from several places.
    #[inline(never)]
    fn look_apart(&mut self, group: &Group, path: &[u8], regexes: &mut PatternSet) {
        self.look(group, path, regexes);
    }

    /// The rest of a walk that has more than one way to go.
    #[inline(never)]
    fn branch(&mut self, at: u32, path: &[u8]) {
        let (trie, mut best) = (&self.rules.index.trie, self.best);
        trie.walk(at, path, false, &mut best, &mut |list, best| {
            self.visit(list);
            *best = self.best;
        });
    }

    /// Paths that are no business of the trie.
    #[inline(never)]
    fn look_beside(&mut self, group: &Group, path: &[u8], found: &mut PatternSet) {
        if group.any.is_some() {
            self.visit(group.any);
        }
        if let Some(raw) = &group.raw {
            raw.each(path, |list| self.visit(list));
        }
        if let Some(regexes) = group.regexes.as_ref().filter(|regexes| regexes.least < self.best) {
            let most = self.rules.index.most_regexes;
            if found.capacity() < most {
                *found = PatternSet::new(most);
            }
            regexes.each(path, found, |list| self.visit(list));
        }
    }

    /// Lowers `best` to the first entry of the list that is accepted.
    #[inline]
    fn visit(&mut self, list: ListRef) {
        match resolve(&self.rules.index.lists, list) {
            Listed::One(entry) => {
                if entry < self.best && self.accepts(entry) {
                    self.best = entry;
                }
            }
            Listed::Many(list) => self.first_of(list),
        }
    }

    #[inline(never)]
    fn first_of(&mut self, list: &List) {
        self.scan(&list.entries);
        for by_header in &list.by_header {
            if by_header.least < self.best {
                let headers = self.request.headers;
                headers.any(&by_header.name, &mut |value| {
                    if let Some(found) = by_header.values.get(value) {
                        self.scan(&by_header.lists[found as usize]);
                    }
                    false
                });
            }
        }
    }

    fn scan(&mut self, entries: &[u32]) {
        let best = self.best;
        let mut better = entries.iter().take_while(|&&entry| entry < best);
        if let Some(&entry) = better.find(|&&entry| self.accepts(entry)) {
            self.best = entry;
        }
    }

    #[inline]
    fn accepts(&mut self, entry: u32) -> bool {
        let entry = &self.rules.entries[entry as usize];
        (entry.methods == 0 || entry.methods & self.method != 0)
            && (entry.predicates == 0 || self.conditions_hold(entry))
    }

    #[inline(never)]
    fn conditions_hold(&mut self, entry: &Entry) -> bool {
        let predicates = self.rules.predicates_of(entry);
        predicates.iter().all(|(_, predicate)| predicate.holds(self.request, self.decoded))
    }
}

/// What a rule asks for besides host, path and method.
#[derive(PartialEq, Eq, Hash)]
struct Conditions {
    listeners: Vec<String>,
    headers: Vec<HeaderMatch>,
    query: Vec<QueryMatch>,
    cookies: Vec<CookieMatch>,
    fraction: Option<Fraction>,
}

#[derive(Default)]
struct Compiler {
    entries: Vec<Entry>,
    paths: Vec<Path>,
    names: Vec<Name>,
    predicates: Vec<(Place, Predicate)>,
    conditions: HashMap<Conditions, (u32, u16), BuildHasherDefault<SipHasher13>>,
    methods: Vec<Box<str>>,
    regexes: usize,
    groups: Vec<(HostMatch, Vec<u32>)>,
    group_of: HashMap<String, usize, BuildHasherDefault<SipHasher13>>,
    placed: usize,
}

impl Compiler {
    fn add(&mut self, number: usize, rule: &HttpRule, config: &HttpRulesConfig) -> Result<(), RulesError> {
        let field = || format!("rules[{number}]");
        let hosts: &[HostMatch] = if rule.hosts.is_empty() { &[HostMatch::Any] } else { &rule.hosts };
        let paths: &[PathMatch] = if rule.paths.is_empty() { &[PathMatch::Any] } else { &rule.paths };
        self.placed = self.placed.saturating_add(hosts.len().saturating_mul(paths.len()));
        if self.placed > config.limits.rules.min(MOST_ENTRIES) {
            let problem = RuleProblem::TooManyRules { count: self.placed, limit: config.limits.rules };
            return Err(RulesError::new(field(), problem));
        }
        let methods = self.methods_of(rule, &field)?;
        let (first_predicate, predicates) = self.predicates_of(rule, &field, &config.limits)?;
        let entry = Entry {
            rule: number as u32,
            path: 0,
            methods,
            first_predicate,
            predicates,
            names: 0,
            first_name: 0,
        };
        let first = self.entries.len() as u32;
        for (i, path) in paths.iter().enumerate() {
            let at = || format!("{}.paths[{i}]", field());
            let path = Path::new(path, at, &config.path, &config.limits)?;
            self.regexes += usize::from(matches!(path, Path::Regex { .. }));
            if self.regexes > config.limits.regexes {
                return Err(RulesError::new(at(), RuleProblem::TooManyRegexes(config.limits.regexes)));
            }
            let names = path.names();
            let first_name = self.names.len() as u32;
            self.names.extend_from_slice(names);
            // As many as a path has segments, which are bounded.
            let names = u16::try_from(names.len()).unwrap_or(u16::MAX);
            self.entries.push(Entry { path: self.paths.len() as u32, names, first_name, ..entry });
            self.paths.push(path);
        }
        for (i, host) in hosts.iter().enumerate() {
            // A pattern may have been made by hand: it must be one that parses.
            let text = host.to_string();
            let group = match self.group_of.get(&text) {
                Some(&known) => known,
                None => {
                    let parsed: HostMatch = text.parse().map_err(|error| {
                        RulesError::new(format!("{}.hosts[{i}]", field()), RuleProblem::Host(error))
                    })?;
                    self.groups.push((parsed, Vec::new()));
                    self.group_of.insert(text, self.groups.len() - 1);
                    self.groups.len() - 1
                }
            };
            self.groups[group].1.extend(first..self.entries.len() as u32);
        }
        Ok(())
    }

    /// Where the conditions of a rule lie: rules that ask for the same share them, and what they were compiled to.
    fn predicates_of(
        &mut self,
        rule: &HttpRule,
        field: &impl Fn() -> String,
        limits: &Limits,
    ) -> Result<(u32, u16), RulesError> {
        let HttpRule { listeners, headers, query, cookies, fraction, .. } = rule;
        if listeners.is_empty()
            && headers.is_empty()
            && query.is_empty()
            && cookies.is_empty()
            && fraction.is_none()
        {
            return Ok((0, 0));
        }
        let asked = Conditions {
            listeners: listeners.clone(),
            headers: headers.clone(),
            query: query.clone(),
            cookies: cookies.clone(),
            fraction: *fraction,
        };
        if let Some(&known) = self.conditions.get(&asked) {
            return Ok(known);
        }
        let predicates = predicates_of(rule, &field(), limits)?;
        let Ok(count) = u16::try_from(predicates.len()) else {
            let problem = RuleProblem::TooLong { len: predicates.len(), limit: u16::MAX.into() };
            return Err(RulesError::new(field(), problem));
        };
        let place = (self.predicates.len() as u32, count);
        self.predicates.extend(predicates);
        self.conditions.insert(asked, place);
        Ok(place)
    }

    fn methods_of(&mut self, rule: &HttpRule, field: &impl Fn() -> String) -> Result<u32, RulesError> {
        let mut bits = 0;
        for (i, method) in rule.methods.iter().enumerate() {
            let at = || format!("{}.methods[{i}]", field());
            if !is_token(method) {
                return Err(RulesError::new(at(), RuleProblem::Name(method.clone())));
            }
            let bit = self.methods.iter().position(|known| **known == **method).unwrap_or(self.methods.len());
            if bit == u32::BITS as usize {
                return Err(RulesError::new(at(), RuleProblem::TooManyMethods(method.clone())));
            }
            if bit == self.methods.len() {
                self.methods.push(method.as_str().into());
            }
            bits |= 1 << bit;
        }
        Ok(bits)
    }

    fn index(&self, limits: &Limits) -> Result<Index, RulesError> {
        let key_of = |entry: u32| {
            let entry = &self.entries[entry as usize];
            let first = entry.first_predicate as usize;
            let predicates = &self.predicates[first..first + entry.predicates as usize];
            predicates.iter().find_map(|(_, predicate)| predicate.exact_header())
        };
        let mut lists = Lists::new(&key_of);
        let mut trie = Trie::default();
        let mut groups = Vec::with_capacity(self.groups.len());
        let mut most_regexes = 0;
        for (_, entries) in &self.groups {
            let group = self.group(entries, &mut trie, &mut lists, limits)?;
            most_regexes = most_regexes.max(group.regexes.as_ref().map_or(0, |regexes| regexes.len()));
            groups.push(group);
        }
        let hosts = HostIndex::new(self.groups.iter().enumerate().map(|(i, (host, _))| (host, i as u32)));
        Ok(Index { hosts, groups: groups.into(), trie, lists: lists.lists.into(), most_regexes })
    }

    fn group(
        &self,
        entries: &[u32],
        trie: &mut Trie,
        lists: &mut Lists<'_>,
        limits: &Limits,
    ) -> Result<Group, RulesError> {
        let (mut any, mut shapes) = (Vec::new(), Vec::new());
        let mut raw: BTreeMap<&[u8], Vec<u32>> = BTreeMap::new();
        let mut regexes: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for &entry in entries {
            match &self.paths[self.entries[entry as usize].path as usize] {
                Path::Any => any.push(entry),
                Path::Trie(shape) => shapes.push(Pattern { key: &shape.key, open: shape.open, entry }),
                Path::RawPrefix(prefix) => raw.entry(prefix).or_default().push(entry),
                Path::Regex { pattern, .. } => regexes.entry(pattern).or_default().push(entry),
            }
        }
        let raw: Vec<(Box<[u8]>, ListRef)> =
            raw.into_iter().map(|(prefix, entries)| (prefix.into(), lists.add(entries))).collect();
        let least_regex = regexes.values().flatten().copied().min().unwrap_or(u32::MAX);
        let (patterns, found): (Vec<String>, Vec<ListRef>) =
            regexes.into_iter().map(|(pattern, entries)| (pattern.to_owned(), lists.add(entries))).unzip();
        let regexes = if patterns.is_empty() {
            None
        } else {
            let compiled = Regexes::new(&patterns, found.into(), least_regex, limits.regex_bytes);
            Some(Box::new(compiled.map_err(|problem| RulesError::new("rules", problem))?))
        };
        Ok(Group {
            least: entries.iter().copied().min().unwrap_or(u32::MAX),
            has_others: !any.is_empty() || !raw.is_empty() || regexes.is_some(),
            root: trie.add(&mut shapes, lists),
            any: lists.add(any),
            raw: (!raw.is_empty()).then(|| Box::new(RawPrefixes::new(raw))),
            regexes,
        })
    }
}

/// Numbers of entries leave one bit free.
const MOST_ENTRIES: usize = (1 << 31) - 2;
