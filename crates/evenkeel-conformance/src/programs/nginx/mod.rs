//! Replays nginx: the directives of each case say which method it is.

use std::collections::BTreeMap;

use evenkeel_balance::compat::nginx::{
    Answer, InvalidUpstream, Method, Place, Request, Subject, Then, Upstream,
};
use evenkeel_convert::Key;
use evenkeel_types::Timestamp;
use serde_json::Value;

use super::each_case;
use crate::recorded::{bytes, key_of, key_of_number};
use crate::{Case, Tally, UnknownFile, Vector};

mod block;
mod converted;

use block::Block;

/// Replays a file of nginx.
///
/// # Errors
///
/// [`UnknownFile`], if no case has directives and a form of record that are known.
pub fn replay(vector: &Vector) -> Result<Tally, UnknownFile> {
    let mut running = BTreeMap::new();
    each_case(vector, |case, tally| {
        let block = Block::read(case)?;
        Replay { vector, case, block, tally }.run(&mut running)
    })
}

struct Replay<'a> {
    vector: &'a Vector,
    case: &'a Case,
    block: Block,
    tally: &'a mut Tally,
}

impl Replay<'_> {
    fn run(self, running: &mut BTreeMap<String, Upstream>) -> Result<(), String> {
        let case = &self.case.0;
        if let Some(ops) = case["ops"].as_array() {
            self.trace(ops)
        } else if let Some(steps) = case["steps"].as_array() {
            let mut upstream = self.upstream()?;
            self.requests(&mut upstream, steps, 0)
        } else if let Some(phases) = case["phases"].as_array() {
            self.phases(phases)
        } else if let Some(hex) = case["key_hex"].as_str() {
            self.repeated_key(running, hex)
        } else if let Some(picks) = case["picks"].as_array() {
            self.picks(picks)
        } else {
            Err("neither picks, ops, steps nor phases".to_owned())
        }
    }

    fn upstream(&self) -> Result<Upstream, String> {
        Upstream::new(self.block.method, &self.block.servers).map_err(|why: InvalidUpstream| why.to_string())
    }

    fn begin(&self, upstream: &Upstream, subject: Subject<'_>) -> Request {
        upstream.begin(subject).with_tries(self.block.tries)
    }

    /// One key, as often as there are picks. Cases of the same block ran on one process.
    fn repeated_key(self, running: &mut BTreeMap<String, Upstream>, hex: &str) -> Result<(), String> {
        let key = bytes(hex).ok_or("key_hex is no hex")?;
        let picks = self.case.0["picks"].as_array().ok_or("no picks")?;
        let block = self.case.0["config"].to_string();
        if !running.contains_key(&block) {
            running.insert(block.clone(), self.upstream()?);
        }
        let upstream = running.get_mut(&block).ok_or("no upstream")?;
        for (index, theirs) in picks.iter().enumerate() {
            let key = self.block.key(&key)?;
            let ours = self.answer(upstream, subject(key.as_ref()), theirs);
            self.tally.check(ours, text(theirs), || format!("{} request {index}", self.case.id()));
        }
        Ok(())
    }

    /// A pick for each key or client address of a list, or one after the other without any.
    fn picks(mut self, picks: &[Value]) -> Result<(), String> {
        // Lists are the order tried when all answer 503, and the record leaves the directive for that to be understood.
        self.block.retries_503 |= picks.iter().any(Value::is_array);
        let keys = self.vector.keys_of(self.case)?.unwrap_or_default();
        if self.block.is_keyed() && keys.len() != picks.len() {
            return Err(format!("{} picks for {} keys", picks.len(), keys.len()));
        }
        let mut upstream = self.upstream()?;
        for (index, theirs) in picks.iter().enumerate() {
            let key = keys.get(index).map_or(&[][..], Vec::as_slice);
            let made = self.block.key(key)?;
            let key = String::from_utf8_lossy(key);
            if self.block.method == Method::IpHash && made.is_none() {
                self.tally.fail(format!("{}: {key:?} is no address", self.case.id()));
                continue;
            }
            let subject = subject(made.as_ref());
            let ours = self.answer(&mut upstream, subject, theirs);
            self.tally.check(ours, text(theirs), || format!("{} {key:?} ({index})", self.case.id()));
        }
        Ok(())
    }

    /// What a request does, told as the record tells it: the server or address that served it, or all that were tried
    /// when none did.
    fn answer(&self, upstream: &mut Upstream, subject: Subject<'_>, theirs: &Value) -> String {
        let mut request = self.begin(upstream, subject);
        if theirs.is_array() {
            let all: Vec<usize> = (0..self.block.servers.len()).collect();
            let (tried, _) = self.chain(upstream, &mut request, &all, Timestamp::ORIGIN);
            return text(&tried.into());
        }
        let Some(place) = upstream.pick(&mut request, Timestamp::ORIGIN) else { return "null".to_owned() };
        upstream.finish(&mut request, Answer::Served, Timestamp::ORIGIN);
        if theirs.is_string() { text(&self.block.address(place).into()) } else { place.server.to_string() }
    }

    fn phases(mut self, phases: &[Value]) -> Result<(), String> {
        let mut upstream = self.upstream()?;
        for phase in phases {
            let requests = phase["requests"].as_array().ok_or("a phase without requests")?;
            let second = phase["second"].as_u64().ok_or("a phase without its second")?;
            self.requests_in(&mut upstream, requests, second)?;
        }
        Ok(())
    }

    fn requests(mut self, upstream: &mut Upstream, requests: &[Value], second: u64) -> Result<(), String> {
        self.requests_in(upstream, requests, second)
    }

    /// Requests to which some servers answer 503: which were tried, and what the client got.
    fn requests_in(
        &mut self,
        upstream: &mut Upstream,
        requests: &[Value],
        second: u64,
    ) -> Result<(), String> {
        for (index, record) in requests.iter().enumerate() {
            let failing: Vec<usize> = indexes(&record["fail"]).ok_or("a request without `fail`")?;
            let theirs = record["tried"].as_array().ok_or("a request without `tried`")?;
            let key = match key_of(record)? {
                Some(key) => self.block.key(&key)?,
                None if self.block.is_keyed() => return Err("a request without its key".to_owned()),
                None => None,
            };
            let subject = subject(key.as_ref());
            let mut request = self.begin(upstream, subject);
            let now = Timestamp::from_secs(second);
            let (tried, status) = self.chain(upstream, &mut request, &failing, now);
            // A name where an index should be says that nobody was left.
            let theirs: Vec<Value> = theirs.iter().filter(|tried| tried.is_u64()).cloned().collect();
            let theirs_status = record["status"].as_u64().unwrap_or(status);
            self.tally.check(
                format!("{} status {status}", text(&tried.into())),
                format!("{} status {theirs_status}", text(&theirs.into())),
                || format!("{} second {second} request {index}", self.case.id()),
            );
        }
        Ok(())
    }

    /// Tries server after server, as nginx does with these directives; returns which, and the client's status.
    fn chain(
        &self,
        upstream: &mut Upstream,
        request: &mut Request,
        failing: &[usize],
        now: Timestamp,
    ) -> (Vec<usize>, u64) {
        let mut tried = Vec::new();
        loop {
            let Some(place) = upstream.pick(request, now) else { return (tried, 502) };
            tried.push(place.server);
            let refuses = self.block.refuses.get(place.server) == Some(&true);
            let (answer, status) = match failing.contains(&place.server) {
                _ if refuses => (Answer::Refused, 502),
                true if self.block.retries_503 => (Answer::Retryable, 503),
                true => (Answer::Served, 503),
                false => (Answer::Served, 200),
            };
            if upstream.finish(request, answer, now) == Then::Done {
                return (tried, status);
            }
        }
    }

    /// The key of the request of this number, where the method goes by keys.
    fn key_of(&self, number: usize) -> Result<Option<Key>, String> {
        if !self.block.is_keyed() {
            return Ok(None);
        }
        let key = key_of_number(self.case, number)?.ok_or("a trace by keys, and no `request_keys`")?;
        self.block.key(&key.unwrap_or_default())
    }

    /// Requests that overlap.
    fn trace(self, ops: &[Value]) -> Result<(), String> {
        let mut upstream = self.upstream()?;
        let mut open: Vec<Request> = Vec::new();
        let mut begun = 0;
        for (index, op) in ops.iter().enumerate() {
            if let Some(picks) = op["picks"].as_array() {
                for theirs in picks {
                    let key = self.key_of(begun)?;
                    let ours = self.answer(&mut upstream, subject(key.as_ref()), theirs);
                    self.tally.check(ours, text(theirs), || format!("{} op {index}", self.case.id()));
                    begun += 1;
                }
                continue;
            }
            match (op[0].as_str(), &op[1]) {
                (Some("+"), theirs) => {
                    let key = self.key_of(begun)?;
                    let mut request = self.begin(&upstream, subject(key.as_ref()));
                    let picked = upstream.pick(&mut request, Timestamp::ORIGIN);
                    let ours = picked.map_or(Value::Null, |place: Place| place.server.into());
                    self.tally.check(text(&ours), text(theirs), || format!("{} op {index}", self.case.id()));
                    open.push(request);
                    begun += 1;
                }
                (Some("-"), number) => {
                    let number = number.as_u64().and_then(|number| usize::try_from(number).ok());
                    let request = number.and_then(|number| open.get_mut(number));
                    let request = request.ok_or("the end of a request that never began")?;
                    upstream.finish(request, Answer::Served, Timestamp::ORIGIN);
                }
                _ => return Err(format!("op {op} is neither + nor -")),
            }
        }
        Ok(())
    }
}

/// What nginx looks at: an empty key too is one to it, and a method that needs none passes over it.
fn subject(key: Option<&Key>) -> Subject<'_> {
    match key {
        Some(Key::Source(address)) => Subject::Address(*address),
        Some(Key::Bytes(bytes)) => Subject::Key(bytes),
        _ => Subject::Key(&[]),
    }
}

fn indexes(list: &Value) -> Option<Vec<usize>> {
    list.as_array()?
        .iter()
        .map(|index| index.as_u64().and_then(|index| usize::try_from(index).ok()))
        .collect()
}

/// Nobody is null here, and may be -1 in a record.
fn text(value: &Value) -> String {
    if value.as_i64() == Some(-1) { Value::Null.to_string() } else { value.to_string() }
}
