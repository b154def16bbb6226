//! Tables of rules, and requests for them.

use evenkeel_route::matching::{
    HeaderMatch, HttpRule, HttpRules, HttpRulesConfig, PathMatch, Request, Scratch, ValueMatch,
};

/// The kinds of paths in [`by_path`], of which each has a third.
pub const KINDS: [&str; 3] = ["exact", "parameter", "catch-all"];

/// Rules with a host, a path and a header each: a hundredth as many hosts as rules.
#[must_use]
pub fn by_host(count: usize) -> HttpRulesConfig {
    let rule = |i: usize| HttpRule {
        hosts: vec![format!("tenant-{}.example.com", i % (count / 100)).parse().expect("a name")],
        paths: vec![PathMatch::Prefix(format!("/api/v1/service-{}/items", i / (count / 100)))],
        headers: vec![HeaderMatch {
            name: "x-version".into(),
            test: ValueMatch::Exact("2".into()),
            invert: false,
        }],
        ..HttpRule::default()
    };
    HttpRulesConfig { rules: (0..count).map(rule).collect(), ..HttpRulesConfig::default() }
}

/// A request that owns its parts.
#[derive(Clone, Debug)]
pub struct Owned {
    host: String,
    target: String,
    headers: Vec<(&'static str, &'static str)>,
}

impl Owned {
    /// The same, borrowed.
    #[must_use]
    pub fn request(&self) -> Request<'_, Vec<(&'static str, &'static str)>> {
        Request::new("GET", &self.host, &self.target).with_headers(&self.headers)
    }
}

/// Requests that [`by_host`] takes, in an order that jumps about.
#[must_use]
pub fn by_host_requests(count: usize) -> Vec<Owned> {
    let owned = |i: usize| Owned {
        host: format!("tenant-{}.example.com", i % (count / 100)),
        target: format!("/api/v1/service-{}/items/4711", i / (count / 100)),
        headers: vec![
            ("host", "example.com"),
            ("user-agent", "curl/8.5.0"),
            ("accept", "*/*"),
            ("accept-encoding", "gzip"),
            ("x-request-id", "5b1c"),
            ("x-version", "2"),
        ],
    };
    jumping(count, 0).map(owned).collect()
}

/// Rules for paths alone: a third exact, a third with a parameter, a third with a rest.
#[must_use]
pub fn by_path(count: usize) -> Vec<HttpRule> {
    patterns(count)
        .into_iter()
        .map(|text| {
            let path = if text.contains('{') { PathMatch::Template(text) } else { PathMatch::Exact(text) };
            HttpRule { paths: vec![path], ..HttpRule::default() }
        })
        .collect()
}

/// Paths of a kind that [`by_path`] takes.
#[must_use]
pub fn paths(kind: &str, count: usize) -> Vec<String> {
    let path = |i: usize| match kind {
        "exact" => format!("/service-{i}/v1/items"),
        "parameter" => format!("/service-{i}/users/4711/posts"),
        _ => format!("/service-{i}/files/a/b/c.txt"),
    };
    let wanted = KINDS.iter().position(|other| *other == kind).unwrap_or(0);
    jumping(count, wanted).map(path).collect()
}

/// The number of the rule that takes a path, and the length of what it captured.
#[must_use]
pub fn find(rules: &HttpRules, path: &str, scratch: &mut Scratch) -> Option<(usize, usize)> {
    let request = Request { path: path.as_bytes(), ..Request::new("GET", "", "") };
    let found = rules.find(&request, scratch).ok()??;
    let captured = found.captures().next().map_or(0, |(_, value)| value.len());
    Some((found.rule(), captured))
}

/// The same table for matchit.
#[cfg(feature = "peer-routes")]
#[must_use]
pub fn matchit(count: usize) -> matchit::Router<usize> {
    let mut router = matchit::Router::new();
    for (i, pattern) in patterns(count).into_iter().enumerate() {
        router.insert(pattern, i).expect("patterns that differ");
    }
    router
}

/// As [`find`], by matchit.
#[cfg(feature = "peer-routes")]
#[must_use]
pub fn find_matchit(router: &matchit::Router<usize>, path: &str) -> Option<(usize, usize)> {
    let found = router.at(path).ok()?;
    let captured = found.params.iter().next().map_or(0, |(_, value)| value.len());
    Some((*found.value, captured))
}

fn patterns(count: usize) -> Vec<String> {
    (0..count)
        .map(|i| match i % 3 {
            0 => format!("/service-{i}/v1/items"),
            1 => format!("/service-{i}/users/{{id}}/posts"),
            _ => format!("/service-{i}/files/{{*rest}}"),
        })
        .collect()
}

/// [`ASKED`] numbers below `count` that leave the remainder `rest` by three, far apart, in an order that no prefetcher
/// guesses.
fn jumping(count: usize, rest: usize) -> impl Iterator<Item = usize> {
    (0..ASKED).map(move |i| i * 7919 % (count / 3) * 3 + rest)
}

/// How many requests take turns: a power of two. They lie in the caches as a request does that has just been read.
pub const ASKED: usize = 512;
