//! One run from start to end: the world, the launch, the loop, the exit status.

pub mod command;
mod init;
pub mod launch;
mod mountinfo;
pub mod options;
mod serve;
pub mod terminal;
mod view;
mod world;

use command::Resolved;
use launch::{FilterPlan, launch};
use options::{Mediate, Options, PlatformChoice};

use crate::dispatch::Plan;
use crate::platform::{self, Kind};

/// Exit status for a failure of our own.
pub const FAILED: u8 = 125;
/// Exit status for a command that cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// Exit status for a command that does not exist.
pub const NOT_FOUND: u8 = 127;

/// Runs `options` to the end and returns the exit status.
pub fn run(options: &Options) -> u8 {
    match try_run(options) {
        Ok(status) => status,
        Err(error) => {
            complain(&format!("{error:#}"));
            FAILED
        }
    }
}

fn complain(message: &str) {
    eprintln!("cage-trace: {message}");
}

fn try_run(options: &Options) -> anyhow::Result<u8> {
    let kind = choose(options.platform);
    let plan = Plan::new(Vec::new(), options.mediate == Mediate::All);
    let filter = FilterPlan {
        program: platform::filter(&plan, kind),
        listener: kind == Kind::Hybrid,
        hello: platform::hello(),
    };
    let launched = launch(options, &filter)?;
    match &launched.resolved {
        Resolved::Found(_) => {}
        Resolved::NotFound(message) => {
            complain(message);
            return Ok(NOT_FOUND);
        }
        Resolved::NotExecutable(message) => {
            complain(message);
            return Ok(NOT_EXECUTABLE);
        }
    }
    serve::serve(options, launched, plan, kind)
}

/// The best platform that the kernel allows, unless one was asked for.
fn choose(choice: PlatformChoice) -> Kind {
    match choice {
        PlatformChoice::Ptrace => Kind::Ptrace,
        PlatformChoice::Hybrid => Kind::Hybrid,
        PlatformChoice::Best if crate::sys::notify::is_supported() => Kind::Hybrid,
        PlatformChoice::Best => Kind::Ptrace,
    }
}
