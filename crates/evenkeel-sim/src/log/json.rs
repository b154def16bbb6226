//! Lines that are objects of JSON.

use std::borrow::Cow;

use serde_json::Value;

use super::found::{Found, Upstream, hash, path, status};
use super::parser::{Skip, Wrong};
use super::quantity::{MILLISECOND, Nanos, Quantity, decimal};
use super::settings::StampOf;
use super::stamp;
use crate::error::Invalid;

/// Which fields are read.
#[derive(Debug)]
pub(crate) struct Objects {
    time: Quantity,
    stamp: StampOf,
    duration: Quantity,
    upstream: Option<Quantity>,
    status: String,
    server: String,
    /// The key, and whether it is a path that may have a query.
    key: (String, bool),
}

impl Objects {
    /// The fields for time, duration, time of the server, status and server.
    pub(crate) fn new(fields: [&str; 5], stamp: StampOf, key: Option<&str>) -> Result<Self, Invalid> {
        let [time, duration, upstream, status, server] = fields;
        let setting = |name: &str| format!("arrivals.replay.format.{name}");
        Ok(Self {
            time: Quantity::read(&setting("time"), time)?,
            stamp,
            duration: Quantity::read(&setting("duration"), duration)?,
            upstream: Some(Quantity::read(&setting("upstream"), upstream)?),
            status: status.to_owned(),
            server: server.to_owned(),
            key: (key.unwrap_or("key").to_owned(), false),
        })
    }

    pub(crate) fn envoy(key: Option<&str>) -> Result<Self, Invalid> {
        let fields =
            ["start_time", "duration:ms", "upstream_service_time:ms", "response_code", "upstream_host"];
        let own = Self::new(fields, StampOf::Start, key)?;
        Ok(Self { key: key.map_or(("path".to_owned(), true), |key| (key.to_owned(), false)), ..own })
    }

    pub(crate) fn evenkeel(key: Option<&str>) -> Result<Self, Invalid> {
        let own = Self::new(["time", "ms:ms", "ms:ms", "status", "endpoint"], StampOf::Start, key)?;
        let key = key.map_or(("path".to_owned(), true), |key| (key.to_owned(), false));
        Ok(Self { key, upstream: None, ..own })
    }

    /// Linear in the line.
    pub(crate) fn read(&self, line: &[u8]) -> Result<Found, Wrong> {
        let object: Value = serde_json::from_slice(line).map_err(|error| Wrong::Json(error.to_string()))?;
        if !object.is_object() {
            return Err(Wrong::Json("no object".to_owned()));
        }
        let text = |name: &str| field(&object, name).map_or(Ok(None), |value| text(name, value));
        let time = text(&self.time.field)?;
        let time = time.ok_or_else(|| Wrong::Absent { name: self.time.field.clone() })?;
        let at = stamp::parse(time.as_bytes(), self.time.unit);
        let at = at.ok_or_else(|| Wrong::value(&self.time.field, time.as_bytes(), "a time"))?;
        // A number has lost the zeros at its end: 1.500 and 1.5 are the same to a reader of JSON. Whoever writes fractions of
        // seconds writes milliseconds.
        let is_number = field(&object, &self.time.field).is_some_and(Value::is_f64);
        let step = if is_number { at.step.min(MILLISECOND) } else { at.step };
        let mut found = Found::new(Nanos { step, ..at }, self.stamp);
        if let Some(duration) = text(&self.duration.field)? {
            found.total = Some(number(&self.duration, &duration)?);
        }
        if let Some(own) = &self.upstream
            && let Some(value) = field(&object, &own.field)
        {
            match super::json::text(&own.field, value)?.as_deref() {
                None | Some("-" | "") => found.skip = Some(Skip::NotSent),
                Some(text) => found.upstream = Some(Upstream::one(number(own, text)?)),
            }
        }
        if found.total.is_none() && found.upstream.is_none() && found.skip.is_none() {
            return Err(Wrong::Absent { name: self.duration.field.clone() });
        }
        if let Some(code) = text(&self.status)? {
            found.status = status(&self.status, code.as_bytes())?;
        }
        found.server =
            text(&self.server)?.filter(|server| server != "-").map(|server| hash(server.as_bytes()));
        let (key, is_path) = &self.key;
        found.key =
            text(key)?.map(|text| hash(if *is_path { path(text.as_bytes()) } else { text.as_bytes() }));
        Ok(found)
    }
}

/// The value of this name, or at this path through objects.
fn field<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        field(object.get(first)?, rest)
    })
}

/// A number or a string; nothing for null.
fn text<'a>(name: &str, value: &'a Value) -> Result<Option<Cow<'a, str>>, Wrong> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.into())),
        Value::Number(number) => Ok(Some(plain(number).into())),
        Value::Bool(value) => Ok(Some(value.to_string().into())),
        Value::Array(_) | Value::Object(_) => {
            Err(Wrong::value(name, value.to_string().as_bytes(), "a number or a text"))
        }
    }
}

/// Without an exponent, so that it can be read as a decimal number.
fn plain(number: &serde_json::Number) -> String {
    let text = number.to_string();
    match number.as_f64() {
        Some(value) if text.contains(['e', 'E']) && value.abs() < 1e19 => format!("{value:.9}"),
        _ => text,
    }
}

fn number(quantity: &Quantity, text: &str) -> Result<Nanos, Wrong> {
    let read = decimal(text.as_bytes(), quantity.unit);
    read.ok_or_else(|| Wrong::value(&quantity.field, text.as_bytes(), "a number that is not negative"))
}
