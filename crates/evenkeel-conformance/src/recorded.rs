//! The forms in which keys and picks are recorded: the same for all programs.

use serde_json::Value;

use crate::Case;

/// A key that was sent several times, and what came of it.
pub(crate) struct Repeated<'c> {
    /// None, if the request had none.
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) picks: &'c [Value],
}

/// The requests of a case, each with its key and its picks; `None` if it lists none.
pub(crate) fn requests(case: &Case) -> Result<Option<Vec<Repeated<'_>>>, String> {
    let Some(requests) = case.0["requests"].as_array() else { return Ok(None) };
    let each = requests.iter().map(|request| {
        let picks = request["picks"].as_array().ok_or("a request without `picks`")?;
        Ok(Repeated { key: key_of(request)?, picks })
    });
    each.collect::<Result<_, String>>().map(Some)
}

/// The key of a request: as text, as hexadecimal digits of its bytes, or null if it had none.
pub(crate) fn key_of(request: &Value) -> Result<Option<Vec<u8>>, String> {
    match (&request["key_hex"], &request["key"]) {
        (Value::String(hex), _) => bytes(hex).map(Some).ok_or_else(|| format!("{hex:?} are no hex digits")),
        (Value::Null, Value::String(key)) => Ok(Some(key.clone().into_bytes())),
        (Value::Null, Value::Null) => Ok(None),
        _ => Err("a key is no text".to_owned()),
    }
}

/// The key of the request of this number, where the case lists them by number; `None` if it lists none.
pub(crate) fn key_of_number(case: &Case, number: usize) -> Result<Option<Option<Vec<u8>>>, String> {
    let Some(keys) = case.0["request_keys"].as_array() else { return Ok(None) };
    match keys.get(number) {
        Some(Value::String(key)) => Ok(Some(Some(key.clone().into_bytes()))),
        Some(Value::Null) => Ok(Some(None)),
        _ => Err(format!("request {number} has no entry in `request_keys`")),
    }
}

/// The server of a request; `None` if it reached none, which is null or -1.
pub(crate) type Pick = Option<u32>;

pub(crate) fn pick(value: &Value) -> Result<Pick, String> {
    if value.is_null() || value.as_i64() == Some(-1) {
        return Ok(None);
    }
    let server = value.as_u64().and_then(|server| u32::try_from(server).ok());
    server.map(Some).ok_or_else(|| format!("the pick {value} is no server"))
}

pub(crate) fn picks(list: &[Value]) -> Result<Vec<Pick>, String> {
    list.iter().map(pick).collect()
}

/// A pick in a message.
pub(crate) fn text(pick: Pick) -> String {
    pick.map_or_else(|| "none".to_owned(), |server| server.to_string())
}

/// The bytes of hexadecimal digits.
pub(crate) fn bytes(hex: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let is_hex = hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    (rest.is_empty() && is_hex).then(|| pairs.iter().map(byte).collect())?
}
