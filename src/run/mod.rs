//! One run from start to end: the world, the launch, the loop, the exit status.

pub mod command;
mod init;
pub mod launch;
mod mountinfo;
pub mod options;
pub mod terminal;
mod view;
mod world;

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use command::Resolved;
use launch::{FilterPlan, launch};
use options::Options;

/// Exit status for a failure of our own.
pub const FAILED: u8 = 125;
/// Exit status for a command that cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// Exit status for a command that does not exist.
pub const NOT_FOUND: u8 = 127;

/// Runs `options` to the end and returns the exit status.
pub fn run(options: &Options) -> u8 {
    let complain = |message: &str| eprintln!("cage-trace: {message}");
    let mut launched = match launch(options, &FilterPlan::default()) {
        Ok(launched) => launched,
        Err(error) => {
            complain(&error.to_string());
            return FAILED;
        }
    };
    match &launched.resolved {
        Resolved::Found(_) => {}
        Resolved::NotFound(message) => {
            complain(message);
            launched.end();
            return NOT_FOUND;
        }
        Resolved::NotExecutable(message) => {
            complain(message);
            launched.end();
            return NOT_EXECUTABLE;
        }
    }
    let status = launched
        .release()
        .and_then(|()| launched.wait_for_program());
    launched.end();
    if let Some(message) = launched.failure() {
        complain(&message);
    }
    match status {
        Ok(status) => {
            let status = ExitStatus::from_raw(status);
            status
                .code()
                .or_else(|| status.signal().map(|signal| 128 + signal))
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(FAILED)
        }
        Err(error) => {
            complain(&error.to_string());
            FAILED
        }
    }
}
