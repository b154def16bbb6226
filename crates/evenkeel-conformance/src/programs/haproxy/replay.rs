use evenkeel_balance::compat::haproxy::Backend;
use serde_json::Value;

use super::command::obey;
use super::directives::Section;
use super::key::Keys;
use crate::recorded::{key_of_number, pick, requests, text};
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
    open: Vec<Open>,
}

/// A request of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    At(usize),
    /// It reached no server.
    Nowhere,
    Done,
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
    if let Some(requests) = requests(case)? {
        return requests.iter().try_for_each(|request| {
            request.picks.iter().try_for_each(|theirs| replay.request(request.key.as_deref(), theirs))
        });
    }
    match case.0["picks"].as_array() {
        Some(picks) => {
            let keys = vector.keys_of(case)?;
            replay.block(picks, keys.as_deref())
        }
        None => Err("neither `picks`, `ops` nor `requests`".to_owned()),
    }
}

impl Replay<'_> {
    /// Requests one after the other, with these keys if there are any.
    fn block(&mut self, picks: &[Value], keys: Option<&[Vec<u8>]>) -> Result<(), String> {
        if let Some(keys) = keys.filter(|keys| keys.len() < picks.len()) {
            return Err(format!("{} picks for {} keys", picks.len(), keys.len()));
        }
        for (index, theirs) in picks.iter().enumerate() {
            let key = match keys.and_then(|keys| keys.get(index)) {
                Some(key) => Some(key.clone()),
                None => key_of_number(self.case, self.requests)?.flatten(),
            };
            self.request(key.as_deref(), theirs)?;
        }
        Ok(())
    }

    /// An entry of a trace: a request starts or ends, a block of requests, or a command.
    fn op(&mut self, op: &Value) -> Result<(), String> {
        if let Some(command) = op["admin"].as_str() {
            return obey(command, self.section, &mut self.backend);
        }
        if let Some(picks) = op["picks"].as_array() {
            let own = self.vector.key_list(&op["keys"])?;
            let keys = if own.is_some() { own } else { self.vector.keys_of(self.case)? };
            return self.block(picks, keys.as_deref());
        }
        match (op[0].as_str(), op[1].as_u64()) {
            (Some("+"), _) if op.as_array().is_some_and(|op| op.len() == 2) => self.start(&op[1]),
            (Some("-"), Some(number)) => self.finish(number),
            _ => Err(format!("op {op}")),
        }
    }

    fn start(&mut self, theirs: &Value) -> Result<(), String> {
        let key = key_of_number(self.case, self.requests)?.flatten();
        let server = self.pick(key.as_deref(), theirs)?;
        self.open.push(server.map_or(Open::Nowhere, |server| {
            self.backend.take(server);
            Open::At(server)
        }));
        Ok(())
    }

    fn finish(&mut self, number: u64) -> Result<(), String> {
        let open = usize::try_from(number).ok().and_then(|number| self.open.get_mut(number));
        let open = open.filter(|open| **open != Open::Done);
        let open = open.ok_or_else(|| format!("request {number} is not open"))?;
        if let Open::At(server) = std::mem::replace(open, Open::Done) {
            self.backend.release(server);
        }
        Ok(())
    }

    /// A request that ends before the next one.
    fn request(&mut self, key: Option<&[u8]>, theirs: &Value) -> Result<(), String> {
        if let Some(server) = self.pick(key, theirs)? {
            self.backend.take(server);
            self.backend.release(server);
        }
        Ok(())
    }

    /// Compares a pick, and goes on from theirs: one that differs must not make others differ.
    fn pick(&mut self, key: Option<&[u8]>, theirs: &Value) -> Result<Option<usize>, String> {
        let theirs = pick(theirs)?;
        if theirs.is_some_and(|server| server as usize >= self.backend.len()) {
            return Err(format!("the pick {} is no server", text(theirs)));
        }
        let hash = self.keys.hash(&self.backend, key)?;
        let ours = self.backend.choose(hash).and_then(|server| u32::try_from(server).ok());
        let (id, number) = (self.case.id(), self.requests);
        self.tally.check(text(ours), text(theirs), || format!("{id} request {number}"));
        self.requests += 1;
        Ok(theirs.map(|server| server as usize))
    }
}
