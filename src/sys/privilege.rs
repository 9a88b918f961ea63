//! Capabilities: emptying a process of them, and raising one of them around a single act.
//!
//! Which process keeps what is decided in the `run` floor, never here.
#![expect(unsafe_code, reason = "capget, capset and prctl have no safe wrapper")]

use std::io;

use crate::abi::Errno;

/// A capability's number, as in capabilities(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability(u32);

impl Capability {
    /// `CAP_DAC_OVERRIDE`
    pub const DAC_OVERRIDE: Self = Self(1);
    /// `CAP_SETGID`
    pub const SETGID: Self = Self(6);
    /// `CAP_SETUID`
    pub const SETUID: Self = Self(7);
    /// `CAP_SYS_PTRACE`
    pub const SYS_PTRACE: Self = Self(19);
    /// `CAP_SETFCAP`
    pub const SETFCAP: Self = Self(31);
    /// `CAP_KILL`
    pub const KILL: Self = Self(5);
    /// `CAP_DAC_READ_SEARCH`
    pub const DAC_READ_SEARCH: Self = Self(2);
    /// `CAP_SYS_RESOURCE`
    pub const SYS_RESOURCE: Self = Self(24);

    /// Its bit in a set.
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << self.0
    }
}

/// What a supervisor needs whose cages can change their ids: to take theirs for a call, to signal them, to read and set
/// their limits.
pub const TO_ACT_FOR_OTHERS: u64 = Capability::SETUID.bit()
    | Capability::SETGID.bit()
    | Capability::KILL.bit()
    | Capability::SYS_RESOURCE.bit();

/// The three sets of the calling thread that capset(2) changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sets {
    effective: u64,
    permitted: u64,
    inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

fn current() -> io::Result<Sets> {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut halves = [Half::default(); 2];
    // SAFETY: version 3 writes exactly two halves, and both objects outlive the call.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let [low, high] = halves;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(Sets {
        effective: join(low.effective, high.effective),
        permitted: join(low.permitted, high.permitted),
        inheritable: join(low.inheritable, high.inheritable),
    })
}

fn set(sets: Sets) -> io::Result<()> {
    let half = |shift: u32| Half {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let halves = [half(0), half(32)];
    // SAFETY: version 3 reads exactly two halves, and both objects outlive the call.
    if unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn prctl(option: libc::c_int, argument: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the options used in this file take numbers only.
    if unsafe { libc::prctl(option, argument, 0, 0, 0) } < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Whether `capability` is in effect for the calling thread.
pub fn has(capability: Capability) -> bool {
    current().is_ok_and(|sets| sets.effective & capability.bit() != 0)
}

/// Leaves the calling thread `kept` in its permitted set and nothing in any other; nothing is in effect.
pub fn keep_permitted(kept: u64) -> io::Result<()> {
    let permitted = current()?.permitted & kept;
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong,
    )?;
    set(Sets {
        effective: 0,
        permitted,
        inheritable: 0,
    })
}

/// Empties every capability set of the calling thread, the bounding set too: no exec can bring one back.
pub fn drop_all() -> io::Result<()> {
    Privileges::default().apply()
}

/// NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, and those and KEEP_CAPS (unset) locked.
const NOROOT: libc::c_ulong = 0xef;

/// What a program is to have, over every exec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Privileges {
    /// Capabilities, bit N for number N.
    pub capabilities: u64,
    /// Whether user 0 means nothing, for good.
    pub noroot: bool,
}

impl Privileges {
    /// Gives the calling thread exactly these: in each of its sets, the bounding and the ambient one too.
    pub fn apply(self) -> io::Result<()> {
        if self.noroot {
            prctl(libc::PR_SET_SECUREBITS, NOROOT)?;
        }
        for number in 0..64 {
            if self.capabilities >> number & 1 != 0 {
                continue;
            }
            match prctl(libc::PR_CAPBSET_DROP, number) {
                Ok(()) => {}
                // The kernel's last capability is behind us.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) && number > 0 => break,
                Err(error) => return Err(error),
            }
        }
        keep_permitted(self.capabilities)?;
        let kept = current()?.permitted;
        set(Sets {
            effective: kept,
            permitted: kept,
            inheritable: kept,
        })?;
        // Where no_new_privs is set, an exec keeps ambient capabilities alone.
        for number in (0..64).filter(|number| kept >> number & 1 != 0) {
            raise_ambient(number)?;
        }
        Ok(())
    }
}

fn raise_ambient(number: libc::c_ulong) -> io::Result<()> {
    let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
    // SAFETY: the option takes numbers only.
    if unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, number, 0, 0) } < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Takes other ids and supplementary groups for good, in every thread, capabilities kept.
pub fn become_ids(uid: Option<u32>, gid: Option<u32>, groups: Option<&[u32]>) -> io::Result<()> {
    use nix::unistd::{Gid, setgroups, setresgid, setresuid};
    let before = current()?;
    prctl(libc::PR_SET_KEEPCAPS, 1)?;
    if let Some(groups) = groups {
        let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups)?;
    }
    if let Some(gid) = gid {
        setresgid(gid.into(), gid.into(), gid.into())?;
    }
    if let Some(uid) = uid {
        setresuid(uid.into(), uid.into(), uid.into())?;
    }
    prctl(libc::PR_SET_KEEPCAPS, 0)?;
    set(before)?;
    // A process that changed its ids is not dumpable, and then its children could not be traced.
    set_dumpable(true)
}

/// No exec of this thread or its children gains anything from set-id bits or file capabilities.
pub fn set_no_new_privs() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Whether others of the same user may look into this process.
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable))
}

/// Puts exactly these of the permitted capabilities in effect, for this thread only.
pub(super) fn set_effective(capabilities: u64) -> Result<(), Errno> {
    let errno = |error: io::Error| Errno::new(error.raw_os_error().unwrap_or(libc::EPERM));
    let sets = current().map_err(errno)?;
    set(Sets {
        effective: capabilities & sets.permitted,
        ..sets
    })
    .map_err(errno)
}

/// Runs `act`, and where it was refused once more with `capability` in effect: a cage that changed its ids is another user's.
pub(super) fn with_if_refused<T>(
    capability: Capability,
    mut act: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    match act() {
        Err(Errno::EPERM | Errno::EACCES) => with(capability, act),
        result => result,
    }
}

/// Runs `act` with `CAP_SYS_PTRACE` in effect, for this thread only; without it where it is not permitted.
pub fn with_ptrace<R>(act: impl FnOnce() -> R) -> R {
    with(Capability::SYS_PTRACE, act)
}

/// Runs `act` with `capability` in effect, for this thread only; without it where it is not permitted.
pub fn with<R>(capability: Capability, act: impl FnOnce() -> R) -> R {
    struct Lower(Option<Sets>);
    impl Drop for Lower {
        fn drop(&mut self) {
            // Lowering cannot fail: the effective set only shrinks. If the kernel refused all the same, to go on with a
            // capability in effect would be worse than to end.
            if let Some(sets) = self.0
                && set(sets).is_err()
            {
                std::process::abort();
            }
        }
    }
    let before = current().ok().filter(|sets| {
        sets.permitted & capability.bit() != 0 && sets.effective & capability.bit() == 0
    });
    let raised = before.filter(|sets| {
        set(Sets {
            effective: sets.effective | capability.bit(),
            ..*sets
        })
        .is_ok()
    });
    let _lower = Lower(raised);
    act()
}
