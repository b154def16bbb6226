use evenkeel_balance::compat::haproxy::Backend;
use serde_json::Value;

use super::command::obey;
use super::directives::Section;
use super::key::Keys;
use crate::{Case, Tally, Vector};

/// One case, on a backend that is fresh.
struct Replay<'a> {
    vector: &'a Vector,
    case: &'a Case,
    section: &'a Section,
    keys: &'a Keys,
    backend: Backend,
    tally: &'a mut Tally,
    /// Requests so far, in blocks and traces.
    requests: usize,
    /// Where the requests of a trace went, until they finish.
    open: Vec<Option<usize>>,
}

/// Replays a case in whatever form it was recorded.
pub(super) fn case(
    vector: &Vector,
    case: &Case,
    section: &Section,
    keys: &Keys,
    tally: &mut Tally,
) -> Result<(), String> {
    let backend = Backend::new(section.config, &section.servers).map_err(|error| error.to_string())?;
    let mut replay = Replay { vector, case, section, keys, backend, tally, requests: 0, open: Vec::new() };
    if let Some(ops) = case.0["ops"].as_array() {
        return ops.iter().try_for_each(|op| replay.op(op));
    }
    if let Some(requests) = case.0["requests"].as_array() {
        return requests.iter().try_for_each(|request| replay.repeated(request));
    }
    match case.0["picks"].as_array() {
        Some(picks) => replay.block(picks, &case.0["keys"]),
        None => Err("neither `picks`, `ops` nor `requests`".to_owned()),
    }
}

impl Replay<'_> {
    /// Requests one after the other, with the keys of a list if the case names one.
    fn block(&mut self, picks: &[Value], list: &Value) -> Result<(), String> {
        let list = match list.as_str() {
            Some(id) => Some(self.vector.keys.get(id).ok_or_else(|| format!("key list {id:?}"))?),
            None => None,
        };
        for (index, theirs) in picks.iter().enumerate() {
            let key = match list {
                Some(list) => Some(list.get(index).ok_or("more picks than keys")?.clone().into_bytes()),
                None => self.key_of_request(self.requests)?,
            };
            self.request(key.as_deref(), theirs)?;
        }
        Ok(())
    }

    /// One key that was sent several times.
    fn repeated(&mut self, request: &Value) -> Result<(), String> {
        let key = recorded_key(request)?;
        let picks = request["picks"].as_array().ok_or("a request without `picks`")?;
        picks.iter().try_for_each(|theirs| self.request(key.as_deref(), theirs))
    }

    /// An entry of a trace: a request starts or ends, a block of requests, or a command.
    fn op(&mut self, op: &Value) -> Result<(), String> {
        if let Some(command) = op["admin"].as_str() {
            return obey(command, self.section, &mut self.backend);
        }
        if let Some(picks) = op["picks"].as_array() {
            let list = if op["keys"].is_null() { &self.case.0["keys"] } else { &op["keys"] };
            return self.block(picks, list);
        }
        match (op[0].as_str(), op[1].as_u64()) {
            (Some("+"), Some(_)) => self.start(&op[1]),
            (Some("-"), Some(number)) => self.finish(number),
            _ => Err(format!("op {op}")),
        }
    }

    fn start(&mut self, theirs: &Value) -> Result<(), String> {
        let key = self.key_of_request(self.requests)?;
        let server = self.pick(key.as_deref(), theirs)?;
        self.backend.take(server);
        self.open.push(Some(server));
        Ok(())
    }

    fn finish(&mut self, number: u64) -> Result<(), String> {
        let open = usize::try_from(number).ok().and_then(|number| self.open.get_mut(number));
        let server = open.and_then(Option::take).ok_or_else(|| format!("request {number} is not open"))?;
        self.backend.release(server);
        Ok(())
    }

    /// A request that ends before the next one.
    fn request(&mut self, key: Option<&[u8]>, theirs: &Value) -> Result<(), String> {
        let server = self.pick(key, theirs)?;
        self.backend.take(server);
        self.backend.release(server);
        Ok(())
    }

    /// Compares a pick, and goes on from theirs: one that differs must not make others differ.
    fn pick(&mut self, key: Option<&[u8]>, theirs: &Value) -> Result<usize, String> {
        let servers = self.backend.len();
        let theirs = theirs.as_u64().and_then(|server| usize::try_from(server).ok());
        let theirs = theirs.filter(|&server| server < servers).ok_or("a pick is no server")?;
        let hash = self.keys.hash(&self.backend, key)?;
        let ours = self.backend.choose(hash).map_or(-1, |server| server as i64);
        let (id, number) = (self.case.id(), self.requests);
        self.tally.check(ours, theirs as i64, || format!("{id} request {number}"));
        self.requests += 1;
        Ok(theirs)
    }

    fn key_of_request(&self, number: usize) -> Result<Option<Vec<u8>>, String> {
        let Some(keys) = self.case.0["request_keys"].as_array() else { return Ok(None) };
        match keys.get(number) {
            Some(Value::String(key)) => Ok(Some(key.clone().into_bytes())),
            Some(Value::Null) => Ok(None),
            _ => Err(format!("request {number} has no entry in `request_keys`")),
        }
    }
}

/// The key of a request: as text, as hex digits, or null if it had none.
fn recorded_key(request: &Value) -> Result<Option<Vec<u8>>, String> {
    match (&request["key_hex"], &request["key"]) {
        (Value::String(hex), _) => bytes(hex).map(Some).ok_or_else(|| format!("{hex:?} are no hex digits")),
        (Value::Null, Value::String(key)) => Ok(Some(key.clone().into_bytes())),
        (Value::Null, Value::Null) => Ok(None),
        _ => Err("a key is no text".to_owned()),
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}
