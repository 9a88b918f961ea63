//! What /proc shows of a process: the cage's virtual view, and never the supervisor.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::Ctx;
use crate::abi::Errno;
use crate::cage::Thread;

/// Whose directory of /proc is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// `/proc/self`.
    Own,
    /// `/proc/thread-self`.
    OwnThread,
    /// `/proc/PID`, by the number inside the run.
    Pid(i32),
}

/// What a name in /proc means.
#[derive(Debug)]
pub(crate) enum View {
    /// A symbolic link with this text.
    Link(Vec<u8>),
    /// The magic link of a descriptor of the cage with this number inside the run.
    Descriptor(i32, i32),
    /// The magic link of a place (exe, cwd, root), and its label.
    Place(OwnedFd, Vec<u8>),
    /// A file whose content is not the host's.
    Doctored {
        /// The content.
        content: Vec<u8>,
        /// Its permission bits.
        mode: u32,
    },
    /// What the host shows.
    Host,
    /// Not to be seen.
    Refused(Errno),
}

/// The calling process's number inside the run.
pub(crate) fn inner_pid(cx: &Ctx<'_>) -> i32 {
    cx.cage().inner_pid(|| cx.cage().tgid.0)
}

/// A thread of the cage with this number inside the run.
pub(crate) fn thread_of(cx: &Ctx<'_>, pid: i32) -> Option<Arc<Thread>> {
    let cages = cx.kernel.cages.read();
    cages
        .threads()
        .find(|thread| thread.cage.inner_pid(|| thread.cage.tgid.0) == pid)
        .cloned()
}

/// What the name means: no names is the process's directory itself.
///
/// # Errors
/// `ENOENT`.
pub(crate) fn view(cx: &Ctx<'_>, who: Who, names: &[&[u8]]) -> Result<View, Errno> {
    let pid = inner_pid(cx);
    Ok(match (who, names) {
        (Who::Own, []) => View::Link(pid.to_string().into_bytes()),
        (Who::OwnThread, []) => View::Link(format!("{pid}/task/{pid}").into_bytes()),
        (Who::Own, [b"fd", number]) => View::Descriptor(
            pid,
            std::str::from_utf8(number)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or(Errno::ENOENT)?,
        ),
        _ => View::Host,
    })
}
