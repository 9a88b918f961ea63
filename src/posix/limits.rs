//! Resource limits. They are set on the process by the supervisor, from its own copy of the new values.

use std::sync::Arc;

use super::{Ctx, Outcome, SysResult, credentials, proc};
use crate::abi::Errno;
use crate::abi::layout::Rlimit;
use crate::cage::Cage;
use crate::guest::{UserIn, UserOut, UserPtr};
use crate::sys::descriptor;

/// `RLIMIT_NOFILE`: the numbers that the virtual table may hand out, too.
const NOFILE: i32 = 7;

/// See setrlimit(2).
pub fn setrlimit(cx: &Ctx<'_>, resource: i32, rlim: UserIn) -> SysResult {
    let new = cx.guest.get(UserPtr::<Rlimit>::new(rlim.0))?;
    set(cx.cage(), resource, Some(new))?;
    Outcome::DONE
}

/// See prlimit64(2).
pub fn prlimit64(
    cx: &Ctx<'_>,
    pid: i32,
    resource: i32,
    new_limit: UserIn,
    old_limit: UserOut,
) -> SysResult {
    let new = match new_limit.0 {
        0 => None,
        at => Some(cx.guest.get(UserPtr::<Rlimit>::new(at))?),
    };
    let cage = if pid == 0 {
        Arc::clone(cx.cage())
    } else {
        match proc::thread_of(cx, pid) {
            Some(thread) => Arc::clone(&thread.cage),
            // The run's init is there, but not the cage's.
            None if proc::exists(cx, pid) => return Err(Errno::EPERM),
            None => return Err(Errno::ESRCH),
        }
    };
    credentials::may_limit(cx, &cage)?;
    let old = set(&cage, resource, new)?;
    if old_limit.0 != 0 {
        cx.guest.put(UserPtr::new(old_limit.0), &old)?;
    }
    Outcome::DONE
}

/// Sets a limit where one is given, and says what it was.
fn set(cage: &Cage, resource: i32, new: Option<Rlimit>) -> Result<Rlimit, Errno> {
    let old = descriptor::limit(cage.tgid.0, resource, new.as_ref())?;
    if let Some(new) = new
        && resource == NOFILE
    {
        cage.set_nofile(new.soft);
    }
    Ok(old)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use zerocopy::IntoBytes;

    use super::*;
    use crate::cage::Tid;
    use crate::posix::bench_cage::{NOWHERE, TestCage, fails};

    const CPU: u64 = 0;

    /// A cage that stands for a process of its own, whose limits may be changed.
    fn cage() -> (TestCage, Child) {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Tid(i32::try_from(child.id()).unwrap());
        (TestCage::of_process(std::path::Path::new("/"), pid), child)
    }

    fn put(cage: &TestCage, soft: u64, hard: u64) -> u64 {
        cage.put(Rlimit { soft, hard }.as_bytes())
    }

    fn get(cage: &TestCage, at: u64) -> (u64, u64) {
        let bytes = cage.bytes(at, 16);
        let word = |from: usize| u64::from_ne_bytes(bytes[from..from + 8].try_into().unwrap());
        (word(0), word(8))
    }

    #[test]
    fn limits_are_the_processs_own() {
        let (cage, mut child) = cage();
        let pid = u64::from(child.id());
        let room = cage.room(16);
        let (low, higher) = (put(&cage, 1000, 2000), put(&cage, 3000, 2000));
        assert_eq!(cage.call("setrlimit", &[CPU, low]), 0);
        assert_eq!(cage.call("setrlimit", &[CPU, higher]), fails(Errno::EINVAL));
        assert_eq!(cage.call("setrlimit", &[99, low]), fails(Errno::EINVAL));
        assert_eq!(cage.call("setrlimit", &[99, NOWHERE]), fails(Errno::EFAULT));
        let lower = put(&cage, 1500, 1800);
        assert_eq!(cage.call("prlimit64", &[0, CPU, lower, room]), 0);
        assert_eq!(get(&cage, room), (1000, 2000));
        assert_eq!(cage.call("prlimit64", &[pid, CPU, 0, room]), 0);
        assert_eq!(get(&cage, room), (1500, 1800));
        let nobody = u64::from(i32::MAX.cast_unsigned());
        for (args, errno) in [
            ([0, CPU, NOWHERE, room], Errno::EFAULT),
            ([nobody, CPU, low, 0], Errno::ESRCH),
            ([u64::from(u32::MAX), CPU, low, 0], Errno::ESRCH),
            ([1, CPU, low, 0], Errno::EPERM),
            ([0, 99, 0, room], Errno::EINVAL),
            ([0, CPU, 0, NOWHERE], Errno::EFAULT),
        ] {
            assert_eq!(cage.call("prlimit64", &args), fails(errno), "{args:?}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn the_number_of_files_bounds_the_virtual_table() {
        let (cage, mut child) = cage();
        let files = u64::try_from(NOFILE).unwrap();
        let three = put(&cage, 3, 10);
        assert_eq!(cage.call("setrlimit", &[files, three]), 0);
        for expected in 0..3 {
            assert_eq!(cage.call("eventfd", &[0]), expected);
        }
        assert_eq!(cage.call("eventfd", &[0]), fails(Errno::EMFILE));
        let four = put(&cage, 4, 10);
        assert_eq!(cage.call("prlimit64", &[0, files, four, 0]), 0);
        assert_eq!(cage.call("eventfd", &[0]), 3);
        let more = put(&cage, 11, 10);
        assert_eq!(cage.call("setrlimit", &[files, more]), fails(Errno::EINVAL));
        assert_eq!(cage.thread.cage.nofile(), 4);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
