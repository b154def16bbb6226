//! The access log: a line of JSON for each request, gathered by workers and written by a thread.
//!
//! A worker never waits for the file: if the thread cannot keep up, lines are lost and counted.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// What workers write to. All clones are one log.
#[derive(Clone)]
pub struct AccessLog {
    to: SyncSender<String>,
    lost: Arc<AtomicU64>,
}

/// The thread that writes. Dropped, it writes what is left and ends, once all logs are gone.
pub struct Writer(Option<JoinHandle<()>>);

impl AccessLog {
    /// Begins to write at the end of a file, or to the standard output if its name is `-`.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, or there is no thread.
    pub fn open(file: &Path) -> io::Result<(Self, Writer)> {
        let to: Box<dyn Write + Send> = if file == Path::new("-") {
            Box::new(io::stdout())
        } else {
            Box::new(OpenOptions::new().create(true).append(true).open(file)?)
        };
        let (sender, receiver) = sync_channel(BATCHES);
        let thread = std::thread::Builder::new().name("access-log".into());
        let thread = thread.spawn(move || write_all(to, &receiver))?;
        Ok((Self { to: sender, lost: Arc::default() }, Writer(Some(thread))))
    }

    /// How many lines were lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn send(&self, batch: &mut String, lines: u64) {
        let full = std::mem::replace(batch, String::with_capacity(BATCH + (BATCH >> 3)));
        if self.to.try_send(full).is_err() {
            self.lost.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

fn write_all(mut to: Box<dyn Write + Send>, from: &Receiver<String>) {
    while let Ok(batch) = from.recv() {
        // A full disk is no reason to stop serving.
        let _ = to.write_all(batch.as_bytes());
        let _ = to.flush();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

/// The part of a worker: lines that wait to be sent together.
pub struct LogBuffer {
    log: AccessLog,
    batch: Mutex<(String, u64)>,
}

impl LogBuffer {
    /// For one worker.
    pub fn new(log: AccessLog) -> Self {
        Self { log, batch: Mutex::default() }
    }

    /// Adds a line.
    pub fn add(&self, line: &str) {
        let mut batch = self.batch.lock();
        let (text, lines) = &mut *batch;
        text.push_str(line);
        *lines += 1;
        if text.len() >= BATCH {
            self.log.send(text, std::mem::take(lines));
        }
    }

    /// Sends what there is.
    pub fn flush(&self) {
        let mut batch = self.batch.lock();
        let (text, lines) = &mut *batch;
        if *lines > 0 {
            self.log.send(text, std::mem::take(lines));
        }
    }
}

/// What is known of a request when its answer begins; the rest is added when it has ended.
#[derive(Debug, Default)]
pub struct Record(String);

impl Record {
    /// A line that begins with the time.
    pub fn new() -> Self {
        let mut line = String::with_capacity(384);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let _ = write!(line, "{{\"time\":{}.{:03}", now.as_secs(), now.subsec_millis());
        Self(line)
    }

    /// A text.
    pub fn text(&mut self, key: &str, value: &[u8]) {
        let _ = write!(self.0, ",\"{key}\":\"");
        for part in value.utf8_chunks() {
            for c in part.valid().chars() {
                match c {
                    '"' | '\\' => {
                        self.0.push('\\');
                        self.0.push(c);
                    }
                    c if c.is_control() => {
                        let _ = write!(self.0, "\\u{:04x}", u32::from(c));
                    }
                    c => self.0.push(c),
                }
            }
            if !part.invalid().is_empty() {
                self.0.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.0.push('"');
    }

    /// A number.
    pub fn number(&mut self, key: &str, value: u64) {
        let _ = write!(self.0, ",\"{key}\":{value}");
    }

    /// What is only known at the end.
    pub fn end(mut self, bytes: u64, took: Duration, is_whole: bool) -> String {
        self.number("bytes", bytes);
        let _ = write!(self.0, ",\"ms\":{:.3},\"complete\":{is_whole}}}", took.as_secs_f64() * 1e3);
        self.0.push('\n');
        self.0
    }
}

/// A worker sends so many bytes together.
const BATCH: usize = 32 << 10;
/// So many batches may wait: 8 MiB.
const BATCHES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_client_sends_the_line_is_json() {
        let mut record = Record::new();
        record.text("path", b"/\"\\\n\x00\xff\xf0\x9f\x8d\xb0");
        record.number("status", 200);
        let line = record.end(5, Duration::from_micros(1500), true);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["path"], "/\"\\\n\u{0}\u{fffd}\u{1f370}");
        assert_eq!(read["ms"], 1.5);
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
    }

    #[test]
    fn lines_beyond_what_the_writer_can_take_are_counted() {
        let (to, from) = sync_channel(1);
        let log = AccessLog { to, lost: Arc::default() };
        let buffer = LogBuffer::new(log.clone());
        for _ in 0..3 {
            buffer.add("a\n");
            buffer.add("b\n");
            buffer.flush();
        }
        assert_eq!(log.lost(), 4);
        assert_eq!(from.try_iter().collect::<Vec<_>>(), ["a\nb\n"]);
    }
}
