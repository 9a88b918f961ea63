//! The file that lines are written to: buffered, numbered, and honest about what did not reach it. A line that is lost
//! leaves a gap in `seq`, a `drop` line once the file takes lines again, and a sentence at the end of the run.

use std::fmt::{Debug, Write as _};
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

/// As much as is kept back before it is written.
const FULL: usize = 64 * 1024;
/// As long as anything is kept back, while lines keep coming.
const STALE: Duration = Duration::from_secs(1);

/// A file of lines.
pub(super) struct LogFile {
    out: Box<dyn Write + Send>,
    buffer: Vec<u8>,
    seq: u64,
    lost: u64,
    /// Lost lines that no `drop` line has told of.
    untold: u64,
    /// The file ends in the middle of a line.
    torn: bool,
    error: Option<String>,
    flushed: Instant,
}

impl Debug for LogFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogFile")
            .field("seq", &self.seq)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

impl LogFile {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self {
            out,
            buffer: Vec::with_capacity(FULL + FULL / 4),
            seq: 0,
            lost: 0,
            untold: 0,
            torn: false,
            error: None,
            flushed: Instant::now(),
        }
    }

    /// Adds a line of these members; `now` writes out what there is.
    pub(super) fn line(&mut self, members: &str, now: bool) {
        let _ = write!(self.buffer, "{{\"v\":1,\"seq\":{},", self.seq);
        self.seq += 1;
        self.buffer.extend_from_slice(members.as_bytes());
        self.buffer.extend_from_slice(b"}\n");
        if now || self.buffer.len() >= FULL || self.flushed.elapsed() >= STALE {
            self.flush();
        }
    }

    /// How many lines there were.
    pub(super) fn lines(&self) -> u64 {
        self.seq
    }

    /// Lines that did not reach the file so far, and why not.
    pub(super) fn losses(&self) -> Option<(u64, &str)> {
        self.error.as_deref().map(|error| (self.lost, error))
    }

    /// Writes out what there is. What the file does not take is lost, and counted.
    pub(super) fn flush(&mut self) {
        self.flushed = Instant::now();
        if self.buffer.is_empty() {
            return;
        }
        if self.torn || self.untold > 0 {
            let mut told = String::new();
            let _ = writeln!(
                told,
                "{}{{\"v\":1,\"type\":\"drop\",\"count\":{}}}",
                if self.torn { "\n" } else { "" },
                self.untold
            );
            match write_all(&mut *self.out, told.as_bytes()) {
                Ok(()) => {
                    self.untold = 0;
                    self.torn = false;
                }
                Err((written, error)) => {
                    self.torn |= written > 0;
                    self.lose(0, &error);
                    return;
                }
            }
        }
        match write_all(&mut *self.out, &self.buffer) {
            Ok(()) => self.buffer.clear(),
            Err((written, error)) => {
                self.torn = written > 0 && self.buffer.get(written - 1) != Some(&b'\n');
                self.lose(written, &error);
            }
        }
    }

    fn lose(&mut self, written: usize, error: &std::io::Error) {
        let rest = self.buffer.get(written..).unwrap_or_default();
        let lines = rest.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.lost += lines;
        self.untold += lines;
        self.error.get_or_insert_with(|| error.to_string());
        self.buffer.clear();
    }
}

/// Writes everything, or says how much was written.
fn write_all(out: &mut dyn Write, bytes: &[u8]) -> Result<(), (usize, std::io::Error)> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// A file on a disk that has room for some bytes.
    #[derive(Clone, Default)]
    struct Disk {
        bytes: Arc<Mutex<Vec<u8>>>,
        room: Arc<Mutex<usize>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut room = self.room.lock();
            let count = bytes.len().min(*room);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            *room -= count;
            self.bytes.lock().extend_from_slice(&bytes[..count]);
            Ok(count)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_kept_back_until_they_matter() {
        let disk = Disk::default();
        *disk.room.lock() = 1 << 30;
        let mut log = LogFile::new(Box::new(disk.clone()));
        log.line("\"type\":\"a\"", false);
        assert!(disk.bytes.lock().is_empty());
        log.line("\"type\":\"b\"", true);
        assert_eq!(
            disk.bytes.lock().as_slice(),
            b"{\"v\":1,\"seq\":0,\"type\":\"a\"}\n{\"v\":1,\"seq\":1,\"type\":\"b\"}\n"
        );
        let long = "x".repeat(FULL);
        log.line(&format!("\"y\":\"{long}\""), false);
        assert!(disk.bytes.lock().len() > FULL);
        assert!(log.losses().is_none());
    }

    #[test]
    fn a_full_disk_loses_lines_loudly_and_the_rest_stays_readable() {
        let disk = Disk::default();
        *disk.room.lock() = 40;
        let mut log = LogFile::new(Box::new(disk.clone()));
        for _ in 0..3 {
            log.line("\"type\":\"syscall\"", false);
        }
        log.flush();
        assert_eq!(log.losses().map(|(lost, _)| lost), Some(2));
        log.line("\"type\":\"syscall\"", true);
        assert_eq!(log.losses().map(|(lost, _)| lost), Some(3));
        *disk.room.lock() = 1 << 20;
        log.line("\"type\":\"exit\"", true);
        let text = String::from_utf8(disk.bytes.lock().clone()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        let drop: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
        assert_eq!(drop["type"], "drop");
        assert_eq!(drop["count"], 3);
        let last: serde_json::Value = serde_json::from_str(lines[3]).unwrap();
        assert_eq!(last["seq"], 4);
        assert!(
            serde_json::from_str::<serde_json::Value>(lines[1]).is_err(),
            "the torn line"
        );
    }
}
