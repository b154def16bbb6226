use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::connection::reason_of;
use crate::excerpt::Excerpt;
use crate::http::BodyMatch;
use crate::reason::Reason;
use crate::search::Search;

/// What a body must hold, compiled.
#[derive(Debug)]
pub(crate) enum Expected {
    Text(Vec<u8>),
    Pattern(Box<regex::bytes::Regex>),
}

impl Expected {
    pub(crate) fn compile(body: &BodyMatch) -> Result<Self, regex::Error> {
        match body {
            BodyMatch::Contains(text) => Ok(Self::Text(text.as_bytes().to_vec())),
            BodyMatch::Regex(pattern) => {
                let mut builder = regex::bytes::RegexBuilder::new(pattern);
                builder.size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN);
                Ok(Self::Pattern(Box::new(builder.build()?)))
            }
        }
    }

    /// Reads at most `most` bytes and says whether they hold it. A text is found as soon as it is there; a pattern is
    /// tried once, on the whole or on the first `most` bytes.
    pub(crate) async fn is_in(&self, body: &mut Incoming, most: usize) -> Result<(), Reason> {
        let needle: &[u8] = if let Self::Text(text) = self { text } else { &[] };
        let mut search = Search::new(needle, most);
        let searched = matches!(self, Self::Text(_));
        while !search.is_full() && (!searched || !search.found()) {
            let Some(frame) = body.frame().await else { break };
            if let Ok(data) = frame.map_err(|error| reason_of(&error))?.into_data() {
                search.push(&data);
            }
        }
        let found = match self {
            Self::Text(_) => search.found(),
            Self::Pattern(pattern) => pattern.is_match(search.held()),
        };
        if found { Ok(()) } else { Err(Reason::WrongBody(Excerpt::of(search.held()))) }
    }
}

/// Reads what is left, up to `most` bytes; whether that was all.
pub(crate) async fn drain(body: &mut Incoming, most: usize) -> bool {
    let mut left = most;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let length = frame.data_ref().map_or(0, bytes::Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
    true
}

/// Memory for one compiled pattern, and for its search: 256 KiB.
const MAX_PATTERN: usize = 256 * 1_024;
