//! Writes the id maps of the run's user namespace: by the supervisor itself for its own id alone, otherwise by a child that
//! stays outside, as root or through newuidmap(1) and newgidmap(1). What is mapped is decided in `identity.rs`.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::Command;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::identity::{Ids, Kind, Who, Writer};
use super::init::Message;
use super::launch::{LaunchError, RESTRICTED, expect_ready};
use crate::sys::process::{self, Channel};

const WEAK_ROOT: &str = "root needs CAP_SETUID, CAP_SETGID and CAP_SETFCAP to be root inside; run as an ordinary user otherwise";

pub(super) fn write_proc(
    host_proc: BorrowedFd<'_>,
    name: &str,
    text: &str,
) -> Result<(), LaunchError> {
    openat(
        host_proc,
        name,
        OFlag::O_WRONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(io::Error::from)
    .and_then(|file| fs::File::from(file).write_all(text.as_bytes()))
    .map_err(|error| LaunchError::new(format!("cannot write /proc/{name}"), error).mend(RESTRICTED))
}

/// Who writes the maps once the namespace is there; made before, since it must stay outside.
pub(super) struct Maps<'a> {
    who: &'a Who,
    host_proc: BorrowedFd<'a>,
    /// The child outside, where one is needed.
    outside: Option<Outside>,
}

struct Outside {
    channel: Channel,
    pid: i32,
}

impl<'a> Maps<'a> {
    /// Forks the child that stays outside, where there must be one.
    pub(super) fn prepare(who: &'a Who, host_proc: BorrowedFd<'a>) -> Result<Self, LaunchError> {
        let needed = [&who.uids, &who.gids]
            .iter()
            .any(|ids| ids.writer != Writer::Own);
        let outside = if needed {
            Some(Outside::fork(who, host_proc)?)
        } else {
            None
        };
        Ok(Self {
            who,
            host_proc,
            outside,
        })
    }

    /// Writes both maps; the caller is in the new user namespace.
    pub(super) fn write(self) -> Result<(), LaunchError> {
        let own = |ids: &Ids| ids.writer == Writer::Own;
        if own(&self.who.gids) {
            // The kernel lets nobody map a group of its own before that.
            write_proc(self.host_proc, "self/setgroups", "deny")?;
        }
        if let Some(outside) = self.outside {
            outside.write()?;
        }
        for ids in [&self.who.uids, &self.who.gids] {
            if own(ids) {
                let name = format!("self/{}_map", ids.kind.name());
                let written = write_proc(self.host_proc, &name, &ids.text());
                let maps_root =
                    ids.kind == Kind::User && ids.map.iter().any(|range| range.host == 0);
                written.map_err(|error| {
                    if maps_root {
                        error.mend(WEAK_ROOT)
                    } else {
                        error
                    }
                })?;
            }
        }
        Ok(())
    }
}

impl Outside {
    fn fork(who: &Who, host_proc: BorrowedFd<'_>) -> Result<Self, LaunchError> {
        let parent = std::process::id();
        let (channel, end) = Channel::pair()
            .map_err(|error| LaunchError::new("cannot make a socket pair", error))?;
        let ours = channel.as_fd().as_raw_fd();
        let pid = process::fork(|| {
            process::close_number(ours);
            if !matches!(end.receive(), Ok((message, _)) if Message::decode(&message) == Some(Message::Ready)) {
                process::exit_now(1);
            }
            let map = |ids: &Ids| match ids.writer {
                Writer::Own => Ok(()),
                Writer::Root => {
                    let name = format!("{parent}/{}_map", ids.kind.name());
                    write_proc(host_proc, &name, &ids.text())
                }
                Writer::Helper => ask_helper(ids, parent),
            };
            let reply = match map(&who.uids).and_then(|()| map(&who.gids)) {
                Ok(()) => Message::Ready,
                Err(error) => Message::Failed(error.to_string()),
            };
            let _ = end.send(&reply.encode());
            process::exit_now(0)
        })
        .map_err(|error| LaunchError::new("cannot fork", error))?;
        Ok(Self { channel, pid })
    }

    fn write(self) -> Result<(), LaunchError> {
        self.channel
            .send(&Message::Ready.encode())
            .map_err(|error| LaunchError::new("cannot talk to the writer of the id maps", error))?;
        let result = expect_ready(&self.channel);
        let _ = process::wait_for(self.pid);
        result
    }
}

/// Has newuidmap(1) or newgidmap(1) write a map: they are set-id, and know what the administrator gave to whom.
fn ask_helper(ids: &Ids, target: u32) -> Result<(), LaunchError> {
    let (helper, list) = match ids.kind {
        Kind::User => ("newuidmap", "/etc/subuid"),
        Kind::Group => ("newgidmap", "/etc/subgid"),
    };
    let numbers: Vec<String> = ids
        .map
        .iter()
        .flat_map(|range| [range.cage, range.host, range.count])
        .map(|number| number.to_string())
        .collect();
    let flags: Vec<String> = ids
        .map
        .iter()
        .map(|range| {
            let name = ids.kind.name();
            format!("--{name}-map={}:{}:{}", range.host, range.cage, range.count)
        })
        .collect();
    let flags = flags.join(" ");
    let tried = format!("{helper} PID {}", numbers.join(" "));
    let output = Command::new(helper)
        .arg(target.to_string())
        .args(&numbers)
        .output()
        .map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                LaunchError::said(format!(
                    "{flags}: an ordinary user maps other ids than its own by {helper}, which is not installed (install the package uidmap, or run as root)"
                ))
            } else {
                LaunchError::new(format!("{flags}: cannot run {helper}"), error)
            }
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().replace('\n', "; ");
    Err(LaunchError::said(format!(
        "{flags}: refused; tried `{tried}`, which said: {said} (the host ids must be the caller's own or in a line USER:FIRST:COUNT of {list}; the administrator can add one, or run as root)"
    )))
}
