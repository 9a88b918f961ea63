//! Ids and capabilities: which ids there are in a run, setuid(2) and its family, and the supervisor acting with the ids and
//! capabilities of a cage that can change them. They mean something in the run's user namespace alone.
//!
//! A capability changes what the handlers' calls may do, as it would the cage's own: owners, modes, access, ports. It does
//! not change what the table refuses: mounts, namespaces, modules, tracing, raw devices stay refused whoever asks.

use std::os::fd::AsFd;
use std::sync::OnceLock;

use super::{Ctx, Kernel, Outcome, SysResult};
use crate::abi::Errno;
use crate::cage::{Cage, Thread};
use crate::sys::credentials::{Acting, FileCredentials, Status};

const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
/// `CAP_NET_RAW`
pub(super) const CAP_NET_RAW: u32 = 13;
const CAP_SYS_RESOURCE: u32 = 24;
/// No id: leave it as it is.
const NONE: u32 = u32::MAX;

/// Which ids a run has, and what its program may do.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The user ids that exist inside: each range's first, and one past its last.
    pub uids: Vec<(u32, u32)>,
    /// The group ids.
    pub gids: Vec<(u32, u32)>,
    /// The capabilities that the program starts with, bit N for number N.
    pub capabilities: u64,
    /// Nobody becomes user 0, not even who is.
    pub no_root: bool,
    own: OnceLock<FileCredentials>,
}

impl Credentials {
    /// Those of a run.
    #[must_use]
    pub fn new(
        uids: Vec<(u32, u32)>,
        gids: Vec<(u32, u32)>,
        capabilities: u64,
        no_root: bool,
    ) -> Self {
        Self {
            uids,
            gids,
            capabilities,
            no_root,
            own: OnceLock::new(),
        }
    }

    /// Whether the program was given this capability.
    #[must_use]
    pub const fn gave(&self, capability: u32) -> bool {
        self.capabilities >> capability & 1 != 0
    }

    /// Whether the supervisor's own credentials are not always the cages'.
    #[must_use]
    pub const fn differ(&self) -> bool {
        self.capabilities != 0
    }
}

impl Kernel {
    /// Notes the supervisor's own credentials; to be called before any thread acts for a cage.
    ///
    /// # Errors
    /// Where the host's /proc does not tell them.
    pub fn note_own_credentials(&self) -> Result<(), Errno> {
        if self.credentials.differ() {
            let own = Status::read(self.host_proc.as_fd(), "self")?.of_files();
            let _ = self.credentials.own.set(own);
        }
        Ok(())
    }

    /// Makes this thread of the supervisor act with the credentials of a thread that waits for it: `real` where its real
    /// ids count. Nothing is done in a run whose cages have the supervisor's.
    ///
    /// # Errors
    /// `ESRCH` where the thread has gone.
    pub fn act_for(&self, thread: &Thread, real: bool) -> Result<Option<Acting>, Errno> {
        if !self.credentials.differ() {
            return Ok(None);
        }
        let own = self.credentials.own.get().ok_or(Errno::EPERM)?;
        let status = Status::read(self.host_proc.as_fd(), &thread.tid.0.to_string())?;
        // Where it has died its number may be somebody else's, with rights of its own: but nobody's whom we trace.
        let ours = i32::try_from(std::process::id()).is_ok_and(|own| status.tracer == own);
        if !ours || status.process != thread.cage.tgid.0 {
            return Err(Errno::ESRCH);
        }
        let wanted = if real {
            status.of_access()
        } else {
            status.of_files()
        };
        wanted.take(own)
    }
}

/// Whether a cage may set the limits of another one: prlimit(2) looks at the real ids, which are not the supervisor's.
pub(super) fn may_limit(cx: &Ctx<'_>, other: &Cage) -> Result<(), Errno> {
    if !cx.kernel.credentials.differ() || other.id == cx.cage().id {
        return Ok(());
    }
    let proc = cx.kernel.host_proc.as_fd();
    let [own, other] =
        [cx.thread.tid.0, other.tgid.0].map(|id| Status::read(proc, &id.to_string()));
    let (own, other) = (own?, other?);
    let is = |own: [u32; 4], other: [u32; 4]| other.iter().take(3).all(|id| *id == own[0]);
    if is(own.uids, other.uids) && is(own.gids, other.gids)
        || own.effective >> CAP_SYS_RESOURCE & 1 != 0
    {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Whether the kernel shall judge: an id that is not there is `EPERM`, as where it is somebody else's; the kernel's
/// `EINVAL` would tell of the user namespace.
fn judge<const N: usize>(
    wanted: [u32; N],
    ids: &[(u32, u32)],
    capable: bool,
    no_root: bool,
) -> SysResult {
    let exists = |id: u32| ids.iter().any(|&(first, end)| (first..end).contains(&id));
    let may = |id: &u32| *id == NONE || !(no_root && *id == 0) && (capable || exists(*id));
    if wanted.iter().all(may) {
        Ok(Outcome::Continue)
    } else {
        Err(Errno::EPERM)
    }
}

fn users<const N: usize>(cx: &Ctx<'_>, wanted: [u32; N]) -> SysResult {
    let run = &cx.kernel.credentials;
    judge(wanted, &run.uids, run.gave(CAP_SETUID), run.no_root)
}

fn groups<const N: usize>(cx: &Ctx<'_>, wanted: [u32; N]) -> SysResult {
    let run = &cx.kernel.credentials;
    judge(wanted, &run.gids, run.gave(CAP_SETGID), false)
}

/// See setuid(2).
pub fn setuid(cx: &Ctx<'_>, uid: u32) -> SysResult {
    users(cx, [uid])
}

/// See setreuid(2).
pub fn setreuid(cx: &Ctx<'_>, ruid: u32, euid: u32) -> SysResult {
    users(cx, [ruid, euid])
}

/// See setresuid(2).
pub fn setresuid(cx: &Ctx<'_>, ruid: u32, euid: u32, suid: u32) -> SysResult {
    users(cx, [ruid, euid, suid])
}

/// See setgid(2).
pub fn setgid(cx: &Ctx<'_>, gid: u32) -> SysResult {
    groups(cx, [gid])
}

/// See setregid(2).
pub fn setregid(cx: &Ctx<'_>, rgid: u32, egid: u32) -> SysResult {
    groups(cx, [rgid, egid])
}

/// See setresgid(2).
pub fn setresgid(cx: &Ctx<'_>, rgid: u32, egid: u32, sgid: u32) -> SysResult {
    groups(cx, [rgid, egid, sgid])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_not_there_is_somebody_elses() {
        let ids = [(5, 8), (100, 101)];
        let refused = |wanted: &[u32; 2], capable, no_root| {
            judge(*wanted, &ids, capable, no_root).err() == Some(Errno::EPERM)
        };
        assert!(!refused(&[5, 7], false, false));
        assert!(!refused(&[NONE, 100], false, false));
        for absent in [0, 4, 8, 99, 101] {
            assert!(refused(&[5, absent], false, false), "{absent}");
            // Who may take any is told by the kernel that it is not there.
            assert!(!refused(&[5, absent], true, false), "{absent}");
        }
        assert!(judge([0], &[(0, 10)], false, false).is_ok());
        assert!(judge([0], &[(0, 10)], false, true).is_err());
    }
}
