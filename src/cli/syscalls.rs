//! The table of calls as users read it: plain, as JSON, and as docs/COMPATIBILITY.md. Only the rows are looked at;
//! nothing is run.

use std::fmt::Write;

use serde::Serialize;

use crate::guest::ArgKind;
use crate::posix::row::{Action, Row, Support};
use crate::posix::table::ROWS;

/// How the table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
    Markdown,
}

impl Form {
    /// The form of a flag.
    pub(super) fn of_flag(flag: &str) -> Option<Self> {
        match flag {
            "--json" => Some(Self::Json),
            "--markdown" => Some(Self::Markdown),
            _ => None,
        }
    }
}

/// An argument's kind, in one word.
fn kind(kind: ArgKind) -> &'static str {
    match kind {
        ArgKind::Fd => "fd",
        ArgKind::DirFd => "dirfd",
        ArgKind::Path => "path",
        ArgKind::Int => "int",
        ArgKind::Uint => "uint",
        ArgKind::Long => "long",
        ArgKind::Ulong => "ulong",
        ArgKind::Mode => "mode",
        ArgKind::In => "in",
        ArgKind::Out => "out",
        ArgKind::Addr => "addr",
    }
}

/// What happens to a call, as the table says it.
fn action(action: Action) -> &'static str {
    match action {
        Action::Pass => "pass",
        Action::Data(_) => "data",
        Action::Run(_) => "run",
        Action::Shared(_) => "shared",
        Action::Announce(_) => "announce",
        Action::Trace(_) => "trace",
        Action::Fail(_) => "fail",
    }
}

fn support(support: Support) -> &'static str {
    match support {
        Support::Full => "Full",
        Support::Partial(_) => "Partial",
        Support::Host => "Host",
        Support::No(_) => "No",
    }
}

/// What is missing, or why there is nothing; where it always fails, with what.
fn note(row: &Row) -> Option<String> {
    let said = match row.support {
        Support::Partial(note) | Support::No(note) => note,
        Support::Full | Support::Host => return None,
    };
    Some(match row.action {
        Action::Fail(errno) => format!("{}: {said}", errno.name().unwrap_or("fails")),
        _ => said.to_owned(),
    })
}

fn prototype(row: &Row) -> String {
    let names: Vec<&str> = row.args.iter().map(|arg| arg.name).collect();
    format!("{}({})", row.name, names.join(", "))
}

/// A row as JSON has it; members stay in this order.
#[derive(Serialize)]
struct Object {
    nr: u32,
    name: &'static str,
    args: Vec<Argument>,
    action: &'static str,
    support: &'static str,
    note: Option<String>,
}

#[derive(Serialize)]
struct Argument {
    name: &'static str,
    kind: &'static str,
}

impl From<&Row> for Object {
    fn from(row: &Row) -> Self {
        let args = row.args.iter().map(|arg| Argument {
            name: arg.name,
            kind: kind(arg.kind),
        });
        Self {
            nr: row.nr,
            name: row.name,
            args: args.collect(),
            action: action(row.action),
            support: support(row.support),
            note: note(row),
        }
    }
}

fn json() -> Result<String, serde_json::Error> {
    let lines: Result<Vec<String>, _> = ROWS
        .iter()
        .map(|row| serde_json::to_string(&Object::from(row)))
        .collect();
    Ok(format!("[\n{}\n]\n", lines?.join(",\n")))
}

fn text() -> String {
    let mut text = String::from(" NR  SUPPORT  ACTION    CALL\n");
    for row in ROWS {
        let (support, action) = (support(row.support), action(row.action));
        let _ = write!(text, "{:>3}  {support:<7}  {action:<8}", row.nr);
        let _ = write!(text, "  {}", prototype(row));
        if let Some(note) = note(row) {
            let _ = write!(text, "  — {note}");
        }
        text.push('\n');
    }
    text
}

fn markdown() -> String {
    let count = |word: &str| {
        let same = ROWS.iter().filter(|row| support(row.support) == word);
        same.count()
    };
    let mut text = format!(
        "# Compatibility\n\n\
        Made by `cage-trace syscalls --markdown`, out of `src/posix/table.rs`; do not edit. {} calls of Linux on x86_64:\n\n\
        | support | calls | meaning |\n|---|---|---|\n\
        | Full | {} | as on Linux, by a handler |\n\
        | Host | {} | the kernel's own, in the cage |\n\
        | Partial | {} | with what is missing |\n\
        | No | {} | fails, and why |\n\n\
        Any other number is `ENOSYS`, and named when the run ends. What happens to a call (`pass`, `data`, `run`, `shared`,\n\
        `announce`, `trace`, `fail`) is in [ARCHITECTURE.md](../ARCHITECTURE.md#the-life-of-a-call).\n\n\
        | nr | call | action | support | note |\n|---|---|---|---|---|\n",
        ROWS.len(),
        count("Full"),
        count("Host"),
        count("Partial"),
        count("No"),
    );
    for row in ROWS {
        let _ = writeln!(
            text,
            "| {} | `{}` | {} | {} | {} |",
            row.nr,
            prototype(row),
            action(row.action),
            support(row.support),
            note(row).unwrap_or_default()
        );
    }
    text
}

/// The whole table.
pub(super) fn table(form: Form) -> Result<String, serde_json::Error> {
    match form {
        Form::Text => Ok(text()),
        Form::Json => json(),
        Form::Markdown => Ok(markdown()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_row_is_an_object_of_six_members() {
        let written = json().unwrap();
        let dup = r#"{"nr":32,"name":"dup","args":[{"name":"oldfd","kind":"fd"}],"action":"run","support":"Full","note":null},"#;
        assert!(written.lines().any(|line| line == dup));
        let rows: Vec<Value> = serde_json::from_str(&written).unwrap();
        assert_eq!(rows.len(), ROWS.len());
        let setns = rows.iter().find(|row| row["name"] == "setns").unwrap();
        assert_eq!(setns["action"], "fail");
        assert_eq!(setns["note"], "EPERM: the world is fixed");
    }

    #[test]
    fn no_note_breaks_a_line_of_the_table() {
        assert_eq!(text().lines().count(), ROWS.len() + 1);
        let lines = markdown();
        let rows = lines.lines().filter(|line| line.starts_with("| "));
        assert!(rows.clone().count() > ROWS.len());
        for row in rows {
            assert!(matches!(row.matches('|').count(), 4 | 6), "{row}");
        }
    }
}
