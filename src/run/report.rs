//! What a run says at its end: the counters of `--stats`, as a table or as one line of JSON, and the remarks, at most
//! one line each.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::options::StatsFormat;
use crate::dispatch::{Remarks, Tally};
use crate::platform::Meter;

/// Names of calls that one remark spells out.
const NAMED: usize = 8;

/// The counters of a run.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The platform's name.
    pub platform: &'a str,
    /// Calls by outcome.
    pub tally: &'a Tally,
    /// What the platform did.
    pub meter: &'a Meter,
    /// Calls without support.
    pub remarks: &'a Remarks,
}

fn of(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Report<'_> {
    /// The counters as `--stats` prints them, with a newline at the end.
    #[must_use]
    pub fn render(&self, format: StatsFormat) -> String {
        match format {
            StatsFormat::Text => self.text(),
            StatsFormat::Json => {
                let mut line = self.json().to_string();
                line.push('\n');
                line
            }
        }
    }

    fn calls(&self) -> [(&'static str, u64); 4] {
        [
            ("emulated", of(&self.tally.emulated)),
            ("failed", of(&self.tally.failed)),
            ("denied", of(&self.tally.denied)),
            ("forwarded", of(&self.tally.forwarded)),
        ]
    }

    fn stops(&self) -> [(&'static str, u64); 5] {
        [
            ("seccomp", of(&self.meter.seccomp_stops)),
            ("exit", of(&self.meter.exit_stops)),
            ("event", of(&self.meter.event_stops)),
            ("signal", of(&self.meter.signal_stops)),
            ("group", of(&self.meter.group_stops)),
        ]
    }

    fn rest(&self) -> [(&'static str, u64); 10] {
        [
            ("notifications", of(&self.meter.notifications)),
            ("mailed", of(&self.meter.mailed)),
            ("returned", of(&self.meter.returned)),
            ("missed", of(&self.meter.missed)),
            ("rested", of(&self.meter.rested)),
            ("patched", of(&self.meter.patched)),
            ("declined", of(&self.meter.declined)),
            ("handovers", of(&self.meter.handovers)),
            ("grants", of(&self.meter.grants)),
            ("injected", of(&self.meter.injected)),
        ]
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: u64| {
            let _ = writeln!(out, "{name:<28}{value:>12}");
        };
        row("calls to the dispatcher", total(&self.calls()));
        for (name, value) in self.calls() {
            row(&format!("  {name}"), value);
        }
        row("  of these without a row", of(&self.tally.unknown));
        row("stops", total(&self.stops()));
        for (name, value) in self.stops() {
            row(&format!("  {name}"), value);
        }
        for (name, value) in self.rest() {
            row(name, value);
        }
        for (name, &value) in &self.remarks.enosys {
            row(&format!("ENOSYS {name}"), value);
        }
        let _ = writeln!(out, "{:<28}{:>12}", "platform", self.platform);
        out
    }

    /// The counters, as `--stats=json` prints them.
    pub(super) fn json(&self) -> Value {
        let mut calls = object(&self.calls());
        calls["total"] = total(&self.calls()).into();
        calls["unknown"] = of(&self.tally.unknown).into();
        let mut stops = object(&self.stops());
        stops["total"] = total(&self.stops()).into();
        let mut report = object(&self.rest());
        report["platform"] = self.platform.into();
        report["calls"] = calls;
        report["stops"] = stops;
        report["enosys"] = json!(self.remarks.enosys);
        report
    }
}

fn total(counters: &[(&str, u64)]) -> u64 {
    counters.iter().map(|(_, value)| value).sum()
}

fn object(counters: &[(&str, u64)]) -> Value {
    counters
        .iter()
        .map(|&(name, value)| (name.to_owned(), Value::from(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// The remarks at the end, one line each, without `cage-trace: ` before them.
#[must_use]
pub fn remarks(remarks: &Remarks) -> Vec<String> {
    let mut lines = Vec::new();
    if !remarks.enosys.is_empty() {
        let mut calls: Vec<_> = remarks.enosys.iter().collect();
        calls.sort_by_key(|&(name, &count)| (std::cmp::Reverse(count), name));
        let named: Vec<_> = calls
            .iter()
            .take(NAMED)
            .map(|(name, count)| format!("{name} ({count})"))
            .collect();
        let more = calls.len().saturating_sub(NAMED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        lines.push(format!(
            "calls that a cage does not have (ENOSYS): {}{more}",
            named.join(", ")
        ));
    }
    if let Some(path) = &remarks.read_only {
        let path = String::from_utf8_lossy(path);
        let dir = Path::new(&*path).parent().unwrap_or(Path::new("/"));
        // Debug output escapes what a terminal would obey; the path is the cage's.
        lines.push(format!(
            "{path:?} could not be written, the world is read-only: --bind {dir:?} lets the run write there"
        ));
    }
    if remarks.no_network {
        lines.push(
            "a network was wanted and is not there: --net=host lets the run use the host's"
                .to_owned(),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_report<T>(act: impl FnOnce(&Report<'_>) -> T) -> T {
        let tally = Tally::default();
        tally.emulated.store(10, Ordering::Relaxed);
        tally.failed.store(3, Ordering::Relaxed);
        tally.forwarded.store(2, Ordering::Relaxed);
        tally.unknown.store(1, Ordering::Relaxed);
        let meter = Meter::default();
        meter.seccomp_stops.store(5, Ordering::Relaxed);
        meter.exit_stops.store(4, Ordering::Relaxed);
        meter.notifications.store(9, Ordering::Relaxed);
        meter.mailed.store(8, Ordering::Relaxed);
        meter.patched.store(6, Ordering::Relaxed);
        meter.declined.store(2, Ordering::Relaxed);
        meter.grants.store(7, Ordering::Relaxed);
        let mut remarks = Remarks::default();
        remarks.enosys.insert("io_uring_setup".to_owned(), 2);
        act(&Report {
            platform: "hybrid",
            tally: &tally,
            meter: &meter,
            remarks: &remarks,
        })
    }

    #[test]
    fn json_is_one_line_that_adds_up() {
        let line = with_report(|report| report.render(StatsFormat::Json));
        assert_eq!(line.matches('\n').count(), 1);
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            read,
            json!({
                "platform": "hybrid",
                "calls": {"total": 15, "emulated": 10, "failed": 3, "denied": 0, "forwarded": 2, "unknown": 1},
                "stops": {"total": 9, "seccomp": 5, "exit": 4, "event": 0, "signal": 0, "group": 0},
                "notifications": 9, "mailed": 8, "returned": 0, "missed": 0, "rested": 0, "patched": 6, "declined": 2, "handovers": 0, "grants": 7, "injected": 0,
                "enosys": {"io_uring_setup": 2},
            })
        );
    }

    #[test]
    fn text_is_a_table() {
        let text = with_report(|report| report.render(StatsFormat::Text));
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.rsplitn(2, ' ').collect())
            .collect();
        let has = |name: &str, value: &str| {
            let row = |row: &Vec<&str>| row[0] == value && row[1].trim() == name;
            assert!(rows.iter().any(row), "{name}: {text}");
        };
        has("calls to the dispatcher", "15");
        has("emulated", "10");
        has("stops", "9");
        has("ENOSYS io_uring_setup", "2");
        assert!(rows.iter().all(|row| row.len() == 2), "{text}");
    }

    #[test]
    fn remarks_are_a_line_each_and_name_the_mend() {
        assert!(remarks(&Remarks::default()).is_empty());
        let mut all = Remarks {
            read_only: Some(b"/etc/x\x1b[2J\n".to_vec()),
            no_network: true,
            ..Remarks::default()
        };
        for number in 0..20 {
            all.enosys.insert(format!("call{number:02}"), number);
        }
        let lines = remarks(&all);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].contains("call19 (19), call18 (18)") && lines[0].ends_with("and 12 more"));
        assert!(lines[1].contains("--bind \"/etc\""), "{}", lines[1]);
        for line in &lines {
            assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
        }
    }
}
