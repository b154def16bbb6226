//! Lines of values between commas.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::found::{Found, hash, status};
use super::parser::Wrong;
use super::quantity::{Quantity, decimal};
use super::settings::StampOf;
use super::stamp;
use crate::error::Invalid;

/// Which columns are read.
#[derive(Debug)]
pub(crate) struct Columns {
    reader: Reader,
    time: Column,
    stamp: StampOf,
    service: Column,
    status: Option<Column>,
    key: Option<Column>,
    /// Whether the first line is still to come, and has the names.
    names_to_come: bool,
    is_first: bool,
    values: Vec<u8>,
    ends: Vec<usize>,
}

#[derive(Debug)]
struct Column {
    quantity: Quantity,
    at: Option<usize>,
}

impl Column {
    fn new(setting: &str, text: &str) -> Result<Self, Invalid> {
        let quantity = Quantity::read(&format!("arrivals.replay.{setting}"), text)?;
        let at = quantity.field.parse().ok();
        Ok(Self { quantity, at })
    }

    fn name(&self) -> &str {
        &self.quantity.field
    }

    fn wrong(&self, found: &[u8], expected: &'static str) -> Wrong {
        Wrong::value(&format!("column {}", self.name()), found, expected)
    }
}

impl Columns {
    pub(crate) fn new(
        time: &str,
        service: &str,
        status: Option<&str>,
        stamp: StampOf,
        delimiter: char,
        key: Option<&str>,
    ) -> Result<Self, Invalid> {
        let is_fine = delimiter.is_ascii() && !matches!(delimiter, '"' | '\n' | '\r' | '.');
        let setting = "arrivals.replay.format.delimiter";
        Invalid::unless(
            is_fine,
            setting,
            format_args!("{delimiter:?}"),
            "an ASCII character, no quote or dot",
        )?;
        // With the usual three columns the key is the second.
        let key = key.or((service == "2").then_some("1"));
        let own = Self {
            reader: ReaderBuilder::new().delimiter(delimiter as u8).build(),
            time: Column::new("format.time", time)?,
            stamp,
            service: Column::new("format.service", service)?,
            status: status.map(|name| Column::new("format.status", name)).transpose()?,
            key: key.map(|name| Column::new("key", name)).transpose()?,
            names_to_come: false,
            is_first: true,
            values: vec![0; super::lines::LONGEST + 1],
            ends: vec![0; MOST_COLUMNS],
        };
        let columns = || [&own.time, &own.service].into_iter().chain(&own.status).chain(&own.key);
        let names_to_come = columns().any(|column| column.at.is_none());
        Ok(Self { names_to_come, ..own })
    }

    /// Nothing for the line with the names. Linear in the line.
    pub(crate) fn read(&mut self, line: &[u8]) -> Result<Option<Found>, Wrong> {
        let count = self.split(line)?;
        let is_first = std::mem::take(&mut self.is_first);
        if std::mem::take(&mut self.names_to_come) {
            let names: Vec<&[u8]> = (0..count).map(|at| value(&self.values, &self.ends, at)).collect();
            let columns = [&mut self.time, &mut self.service].into_iter();
            for column in columns.chain(self.status.as_mut()).chain(self.key.as_mut()) {
                if column.at.is_none() {
                    let at = names.iter().position(|name| name.trim_ascii() == column.name().as_bytes());
                    column.at = at;
                }
            }
            return Ok(None);
        }
        let cell = |column: &Column| match column.at.filter(|&at| at < count) {
            Some(at) => Ok(value(&self.values, &self.ends, at).trim_ascii()),
            None => Err(Wrong::Absent { name: format!("column {}", column.name()) }),
        };
        let time = cell(&self.time)?;
        let Some(at) = stamp::parse(time, self.time.quantity.unit) else {
            // Columns by number, and a first line with names all the same.
            let is_name = is_first && time.first().is_some_and(u8::is_ascii_alphabetic);
            return if is_name { Ok(None) } else { Err(self.time.wrong(time, "a time")) };
        };
        let service = cell(&self.service)?;
        let mut found = Found::new(at, self.stamp);
        let number = decimal(service, self.service.quantity.unit);
        let expected = "a number that is not negative";
        found.total = Some(number.ok_or_else(|| self.service.wrong(service, expected))?);
        if let Some(column) = &self.status {
            found.status = status(column.name(), cell(column)?)?;
        }
        if let Some(column) = &self.key {
            found.key = Some(hash(cell(column)?));
        }
        Ok(Some(found))
    }

    /// How many values there are; they lie in `values`, up to `ends`.
    fn split(&mut self, line: &[u8]) -> Result<usize, Wrong> {
        self.reader.reset();
        let (mut input, mut written, mut ended) = (line, 0, 0);
        loop {
            let (result, read, wrote, ends) =
                self.reader.read_record(input, &mut self.values[written..], &mut self.ends[ended..]);
            written += wrote;
            ended += ends;
            match result {
                // The line is all there is: what comes now is its end.
                ReadRecordResult::InputEmpty => input = &input[read..],
                ReadRecordResult::OutputFull => return Err(Wrong::TooLong),
                ReadRecordResult::OutputEndsFull => {
                    return Err(Wrong::value("line", line, "at most 1024 columns"));
                }
                ReadRecordResult::Record => return Ok(ended),
                ReadRecordResult::End => return Ok(0),
            }
        }
    }
}

fn value<'a>(values: &'a [u8], ends: &[usize], at: usize) -> &'a [u8] {
    let from = at.checked_sub(1).map_or(0, |before| ends[before]);
    &values[from..ends[at]]
}

const MOST_COLUMNS: usize = 1024;
