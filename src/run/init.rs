//! Pid 1 of a run and its first child. Init mounts `/proc`, forks the program, then only reaps; it is never traced.
//!
//! Both are forks of the single-threaded supervisor. They report over one channel and never return into its code.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Pid, chdir, getcwd, setpgid};

use super::command::{HostCommand, Resolved};
use super::launch::LaunchError;
use super::options::Rlimit;
use super::pty::Pty;
use super::streams::Streams;
use super::world::World;
use crate::abi::layout;
use crate::sys::descriptor;
use crate::sys::privilege::{self, Privileges};
use crate::sys::process::{self, Channel, FailurePage, Filter, Image, Step};

/// What goes over the channels between the supervisor, init and the program's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Init: `/proc` is mounted. Supervisor: the new root is entered.
    Ready,
    /// The program's process: all is prepared; this is what the command is, and where it will run.
    Prepared(Resolved, PathBuf),
    /// Something failed; what to tell the user.
    Failed(String),
    /// Init: the program ended with this wait status.
    Ended(i32),
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (tag, body): (u8, Vec<u8>) = match self {
            Self::Ready => (b'R', Vec::new()),
            Self::Failed(text) => (b'E', text.clone().into_bytes()),
            Self::Ended(status) => (b'W', status.to_ne_bytes().to_vec()),
            Self::Prepared(resolved, cwd) => {
                let (tag, text) = match resolved {
                    Resolved::Found(path) => (b'F', path.as_os_str().as_bytes()),
                    Resolved::NotFound(text) => (b'N', text.as_bytes()),
                    Resolved::NotExecutable(text) => (b'X', text.as_bytes()),
                };
                let mut body = cwd.as_os_str().as_bytes().to_vec();
                body.push(0);
                body.extend(text);
                (tag, body)
            }
        };
        let mut message = vec![tag];
        message.extend(body);
        message
    }

    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        let (tag, body) = message.split_first()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let resolved = |make: &dyn Fn(&[u8]) -> Resolved| {
            let end = body.iter().position(|byte| *byte == 0)?;
            let cwd = OsString::from_vec(body.get(..end)?.to_vec()).into();
            Some(Self::Prepared(make(body.get(end + 1..)?), cwd))
        };
        match tag {
            b'R' => Some(Self::Ready),
            b'E' => Some(Self::Failed(text(body))),
            b'W' => Some(Self::Ended(i32::from_ne_bytes(body.try_into().ok()?))),
            b'F' => resolved(&|path| Resolved::Found(OsStr::from_bytes(path).into())),
            b'N' => resolved(&|message| Resolved::NotFound(text(message))),
            b'X' => resolved(&|message| Resolved::NotExecutable(text(message))),
            _ => None,
        }
    }
}

/// All that init and the program's process need to know.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    pub(super) world: &'a World,
    pub(super) command: &'a [OsString],
    pub(super) environment: &'a [OsString],
    pub(super) host_command: &'a HostCommand,
    /// Whether a `/proc` is mounted.
    pub(super) proc: bool,
    /// Where the program must start.
    pub(super) chdir: Option<&'a Path>,
    /// Where it starts otherwise, if that shows inside.
    pub(super) cwd: Option<&'a Path>,
    pub(super) filter: &'a Filter,
    pub(super) streams: &'a Streams,
    pub(super) privileges: Privileges,
    /// The program's own limits.
    pub(super) rlimits: &'a [Rlimit],
    pub(super) failure: &'a FailurePage,
    /// The channel of init, and the one of the program's process.
    pub(super) init: &'a Channel,
    pub(super) program: &'a Channel,
    /// The supervisor's ends of both, which its children must not hold open.
    pub(super) foreign: [RawFd; 2],
    /// The terminal of the run's own, if it gets one.
    pub(super) pty: Option<&'a Pty>,
}

fn give_up(channel: &Channel, what: &str, error: &io::Error) -> ! {
    give_up_saying(channel, format!("{what}: {error}"))
}

fn give_up_saying(channel: &Channel, message: String) -> ! {
    // If the supervisor is gone, there is nobody to tell.
    let _ = channel.send(&Message::Failed(message).encode());
    process::exit_now(125)
}

/// The whole life of init.
pub(super) fn run(setup: &Setup<'_>) -> ! {
    let channel = setup.init;
    let or_give_up = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            give_up(channel, what, &error);
        }
    };
    process::set_name(c"cage-init");
    for fd in setup.foreign {
        process::close_number(fd);
    }
    if setup.proc
        && let Err(error) = setup.world.mount_proc()
    {
        give_up_saying(channel, error.to_string());
    }
    or_give_up(
        "cannot report to the supervisor",
        channel.send(&Message::Ready.encode()),
    );
    match channel.receive() {
        Ok((message, _)) if Message::decode(&message) == Some(Message::Ready) => {}
        _ => process::exit_now(125),
    }
    if let Some(pty) = setup.pty {
        or_give_up(
            "cannot give the run a session with its terminal",
            pty.lead_session(),
        );
    }
    let child = match process::fork(|| become_program(setup)) {
        Ok(child) => child,
        Err(error) => give_up(channel, "cannot fork the program's process", &error),
    };
    // Only now: a fork of a process that is not dumpable could not be traced by an ordinary user.
    or_give_up(
        "cannot make init undumpable",
        privilege::set_dumpable(false),
    );
    or_give_up(
        "cannot drop init's privileges",
        privilege::drop_all().and_then(|()| privilege::set_no_new_privs()),
    );
    or_give_up(
        "cannot tie init to its supervisor",
        process::die_with_parent(),
    );
    // Neither the caller's pipes nor anything else is kept open by a process that lives as long as the run.
    or_give_up(
        "cannot close init's descriptors",
        process::close_all_but(0, &[channel.as_fd().as_raw_fd()]),
    );
    while let Some(reaped) = process::reap_next() {
        if reaped.pid == child {
            let _ = channel.send(&Message::Ended(reaped.status).encode());
        }
    }
    process::exit_now(0)
}

/// Enters the directory where the program starts, and says which one that is.
fn working_directory(setup: &Setup<'_>) -> Result<PathBuf, LaunchError> {
    if let Some(directory) = setup.chdir {
        let flag = format!("--chdir {}", directory.display());
        return chdir(directory).and_then(|()| getcwd()).map_err(|error| {
            LaunchError::new(flag, error.into())
                .mend("name a directory that shows inside; --ro-bind shows one of the host's")
        });
    }
    if let Some(cwd) = setup.cwd.filter(|cwd| chdir(*cwd).is_ok()) {
        return Ok(cwd.to_owned());
    }
    chdir("/").map_err(|error| LaunchError::new("cannot enter /", error.into()))?;
    Ok(PathBuf::from("/"))
}

/// The program's process, up to the program's first instruction.
fn become_program(setup: &Setup<'_>) -> ! {
    let channel = setup.program;
    let fail = |what: &str, error: io::Error| -> ! { give_up(channel, what, &error) };
    if let Err(error) = setpgid(Pid::from_raw(0), Pid::from_raw(0)) {
        fail("cannot give the program a process group", error.into());
    }
    if let Some(pty) = setup.pty
        && let Err(error) = pty.take()
    {
        fail("cannot give the program its terminal", error);
    }
    let dropped = setup.privileges.apply();
    if let Err(error) = dropped.and_then(|()| privilege::set_no_new_privs()) {
        fail("cannot drop the program's privileges", error);
    }
    process::leave_keyring();
    let cwd = match working_directory(setup) {
        Ok(cwd) => cwd,
        Err(error) => give_up_saying(channel, error.to_string()),
    };
    let name = setup
        .command
        .first()
        .map_or(OsStr::new(""), OsString::as_os_str);
    let resolved = setup.host_command.resolve(name);
    let path = match &resolved {
        Resolved::Found(path) => path.clone().into_os_string(),
        _ => OsString::new(),
    };
    let image = match Image::new(&path, setup.command, setup.environment) {
        Ok(image) => image,
        Err(error) => fail("cannot prepare the arguments", error),
    };
    if channel
        .send(&Message::Prepared(resolved, cwd).encode())
        .is_err()
    {
        process::exit_now(125);
    }
    // Until the supervisor has attached itself; if it is gone, the run is over.
    match channel.receive() {
        Ok((message, _)) if Message::decode(&message) == Some(Message::Ready) => {}
        _ => process::exit_now(125),
    }
    process::restore_signals();
    if let Err(error) = setup.streams.arrange() {
        // The channel may be closed already; the page always works.
        setup
            .failure
            .report(Step::Descriptors, error.raw_os_error().unwrap_or(libc::EIO));
        process::exit_now(125);
    }
    // Last: nothing is opened or allocated any more, which they might forbid.
    for limit in setup.rlimits {
        let new = layout::Rlimit {
            soft: limit.soft,
            hard: limit.hard,
        };
        if let Err(errno) = descriptor::limit(0, limit.resource.cast_signed(), Some(&new)) {
            setup.failure.report(Step::Limits, errno.into_raw());
            process::exit_now(125);
        }
    }
    process::enter(setup.filter, &image, setup.failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_channel() {
        let all = [
            Message::Ready,
            Message::Failed("cannot".to_owned()),
            Message::Ended(0x8b00),
            Message::Prepared(Resolved::Found("/bin/sh".into()), "/tmp/x".into()),
            Message::Prepared(Resolved::NotFound("x: not found".to_owned()), "/".into()),
            Message::Prepared(Resolved::NotExecutable("denied".to_owned()), "/".into()),
        ];
        for message in all {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        assert_eq!(Message::decode(b""), None);
        assert_eq!(Message::decode(b"Fno end of the directory"), None);
    }
}
