//! One run from start to end: the world, the launch, the loop, the exit status.

mod cgroup;
pub mod command;
mod console;
mod devices;
pub mod doctor;
mod entries;
mod filesystem;
mod hide;
mod hierarchy;
mod hosts;
mod id_maps;
mod identity;
mod init;
pub mod invariants;
mod kernel_trees;
pub mod launch;
mod limits;
mod lookup;
mod masks;
mod mountinfo;
pub mod options;
mod outer;
mod own_network;
mod points;
mod pty;
pub mod publish;
pub mod report;
mod serve;
mod status;
pub mod streams;
pub mod terminal;
mod view;
mod watch;
mod world;

use std::fs::File;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use command::Resolved;
use launch::{FilterPlan, launch};
use limits::Enforcement;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use options::{Mediate, Options, PlatformChoice};
use publish::Published;
use status::{End, Start, Status};
use streams::Streams;

use crate::dispatch::Plan;
use crate::interpose::Interposer;
use crate::interpose::audit::{Audit, Header};
use crate::platform::{self, Kind};

/// Exit status for a failure of our own.
pub const FAILED: u8 = 125;
/// Exit status for a command that cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// Exit status for a command that does not exist.
pub const NOT_FOUND: u8 = 127;

/// Runs `options` to the end and returns the exit status.
pub fn run(options: &Options) -> u8 {
    // First: whatever else is opened could take a number that the caller did not have.
    let streams = Streams::open(options);
    let mut status = match Status::open(options) {
        Ok(status) => status,
        Err(error) => {
            complain(&format!("{error:#}"));
            return FAILED;
        }
    };
    let run = |streams| try_run(options, streams, &mut status);
    let ended = streams.map_err(anyhow::Error::from).and_then(run);
    let end = ended.unwrap_or_else(|error| {
        let message = format!("{error:#}");
        complain(&message);
        End::failed(FAILED, message)
    });
    let code = end.status;
    status.end(end);
    code
}

fn complain(message: &str) {
    eprintln!("cage-trace: {message}");
}

fn try_run(options: &Options, streams: Streams, status: &mut Status) -> anyhow::Result<End> {
    let caller = if options.die_with_parent {
        Some(watch::caller().context(
            "--die-with-parent: the caller cannot be watched: it is gone, or outside this pid namespace",
        )?)
    } else {
        None
    };
    explain_ourselves(options)?;
    if let Some(fd) = streams.forgotten(options).filter(|_| !options.quiet) {
        complain(&format!(
            "the command names descriptor {fd}, which is not handed on: --pass-fd={fd} would"
        ));
    }
    let kind = choose(options.platform);
    let limits = Arc::new(Enforcement::prepare(options)?);
    let degraded = &limits.degraded;
    settle_for(degraded, options.strict)?;
    let audit = audit(options, kind, degraded)?;
    let interposers = audit
        .iter()
        .map(|audit| Box::new(Arc::clone(audit)) as Box<dyn Interposer>)
        .collect();
    let plan = Plan::new(interposers, options.mediate == Mediate::All);
    let filter = FilterPlan {
        program: platform::filter(&plan, kind),
        listener: kind.notifies(),
        hello: platform::hello(),
    };
    let published = Published::listen(options)?;
    let launched = launch(options, &streams, &filter, &limits)?;
    let missing = match &launched.resolved {
        Resolved::Found(_) => None,
        Resolved::NotFound(message) => Some((NOT_FOUND, message)),
        Resolved::NotExecutable(message) => Some((NOT_EXECUTABLE, message)),
    };
    if let Some((code, message)) = missing {
        complain(message);
        return Ok(End::failed(code, message.clone()));
    }
    let start = Start::new(
        options,
        kind.name(),
        launched.target,
        &limits.enforced,
        degraded,
    );
    status.start(&start);
    let end = serve::serve(options, launched, published, plan, kind, (&limits, caller))?;
    if let Some(losses) = audit.and_then(|audit| audit.losses()) {
        complain(&losses);
    }
    Ok(end)
}

/// Says once what cannot be had in full; with `--strict` that is the end.
fn settle_for(degraded: &[String], strict: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        degraded.is_empty() || !strict,
        "--strict: {}",
        degraded.join("; ")
    );
    for what in degraded {
        complain(&format!("degraded: {what}"));
    }
    Ok(())
}

/// The audit log, where one was asked for: its file is made before the world is, so that it is covered there.
fn audit(options: &Options, kind: Kind, degraded: &[String]) -> anyhow::Result<Option<Arc<Audit>>> {
    let Some(path) = &options.output else {
        return Ok(None);
    };
    let file = File::create(path).with_context(|| {
        format!(
            "cannot write the audit log {}: name a file that can be written with -o",
            path.display()
        )
    })?;
    let host_proc = open(
        "/proc",
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .context("cannot open /proc")?;
    let header = Header {
        argv: &options.command,
        platform: kind.name(),
        mediate: match options.mediate {
            Mediate::Names => "names",
            Mediate::All => "all",
        },
        degraded,
    };
    Ok(Some(Arc::new(Audit::new(file, host_proc, header))))
}

/// The supervisor's own diagnostics: on standard error with `-v`, or in a file.
fn explain_ourselves(options: &Options) -> anyhow::Result<()> {
    let level = match options.verbose {
        0 => tracing::Level::ERROR,
        1 => tracing::Level::INFO,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false);
    if let Some(path) = &options.log {
        let file = File::create(path).with_context(|| {
            format!(
                "cannot write {}: name another file with --log",
                path.display()
            )
        })?;
        subscriber.with_writer(Mutex::new(file)).init();
    } else {
        subscriber.with_writer(std::io::stderr).init();
    }
    Ok(())
}

/// The best platform that the kernel allows, unless one was asked for.
fn choose(choice: PlatformChoice) -> Kind {
    match choice {
        PlatformChoice::Ptrace => Kind::Ptrace,
        PlatformChoice::Hybrid => Kind::Hybrid,
        PlatformChoice::Fast => Kind::Fast,
        PlatformChoice::Best if crate::sys::notify::is_supported() => Kind::Hybrid,
        PlatformChoice::Best => Kind::Ptrace,
    }
}
