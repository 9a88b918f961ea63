//! The command line: flags become [`crate::run`]'s options.

use std::process::ExitCode;

/// Parses the command line, runs, and returns the exit status.
pub fn main() -> ExitCode {
    ExitCode::from(125)
}
