//! Who a process is: its number inside the run and its ids, from the host's /proc. The supervisor stands in the outer
//! pid namespace, so the pids that the kernel tells it must be translated for a cage.

use std::fs::File;
use std::io::Read;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::cage::{Peer, Tid};
use crate::posix::{Ctx, proc};

/// Reads `PID/status`; `None` where the process has gone.
fn status(cx: &Ctx<'_>, pid: i32) -> Option<Peer> {
    let name = format!("{pid}/status");
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = openat(&cx.kernel.host_proc, name.as_str(), flags, Mode::empty()).ok()?;
    let mut text = String::new();
    File::from(file)
        .take(64 * 1024)
        .read_to_string(&mut text)
        .ok()?;
    parse(&text)
}

/// The fields of a status file: the innermost pid, the effective ids.
fn parse(text: &str) -> Option<Peer> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::split_whitespace)
    };
    Some(Peer {
        pid: field("NSpid:")?.next_back()?.parse().ok()?,
        uid: field("Uid:")?.nth(1)?.parse().ok()?,
        gid: field("Gid:")?.nth(1)?.parse().ok()?,
    })
}

/// The calling process, as a socket's peer would see it.
pub(super) fn caller(cx: &Ctx<'_>) -> Peer {
    status(cx, cx.cage().tgid.0).unwrap_or_else(|| Peer {
        // The process has just died, or the host's /proc is closed to us.
        pid: 0,
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
    })
}

/// The number inside the run of a process that the supervisor knows by this one; 0, as for a process of another
/// namespace, where it is not of the run or its number was never learnt.
pub(super) fn inner_pid(cx: &Ctx<'_>, outer: i32) -> i32 {
    let cage = {
        let cages = cx.kernel.cages.read();
        cages.by_tgid(Tid(outer)).map(|thread| thread.cage.clone())
    };
    match cage {
        Some(cage) => proc::inner_pid_of(cx.kernel, &cage),
        // Dead perhaps, but not yet waited for.
        None => status(cx, outer).map_or(0, |peer| peer.pid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_number_and_the_effective_ids_are_read() {
        let text = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nNSpid:\t900\t12\t3\n";
        let peer = Peer {
            pid: 3,
            uid: 2,
            gid: 6,
        };
        assert_eq!(parse(text), Some(peer));
        assert_eq!(parse("Name:\tx\n"), None);
        assert_eq!(parse("NSpid:\nUid:\nGid:\n"), None);
    }
}
