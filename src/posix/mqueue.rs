//! POSIX message queues: the supervisor, which is in the run's ipc namespace, opens and removes them by name; sending,
//! receiving and being told run in the cage, which holds the queue.

use std::ffi::CString;

use super::{Ctx, Outcome, SysResult};
use crate::abi::Errno;
use crate::cage::{FileKind, OpenFile};
use crate::guest::{Fd, Mode, PATH_MAX, UserIn, UserOut, UserPtr};
use crate::sys;

fn name_at(cx: &Ctx<'_>, name: UserIn) -> Result<CString, Errno> {
    let name = cx.guest.get_cstr(name.0, PATH_MAX)?;
    CString::new(name).map_err(|_| Errno::EINVAL)
}

/// See mq_open(3); the name comes without its slash. A queue is always close-on-exec.
pub fn mq_open(cx: &Ctx<'_>, name: UserIn, oflag: i32, mode: Mode, attr: UserIn) -> SysResult {
    // Linux reads the attributes first.
    let attributes: Option<sys::mqueue::Attributes> = if oflag & libc::O_CREAT != 0 && attr.0 != 0 {
        Some(cx.guest.get(UserPtr::new(attr.0))?)
    } else {
        None
    };
    let name = name_at(cx, name)?;
    let queue = sys::fs::with_umask(cx.fs().umask(), || {
        sys::mqueue::open(&name, oflag, mode.0, attributes.as_ref())
    })?;
    let label = [b"/".as_slice(), name.as_bytes()].concat();
    let file = OpenFile::new(FileKind::File, label);
    Outcome::value(cx.open_lowest(file, queue, true)?)
}

/// See mq_unlink(3).
pub fn mq_unlink(cx: &Ctx<'_>, name: UserIn) -> SysResult {
    let name = name_at(cx, name)?;
    sys::mqueue::unlink(&name)?;
    Outcome::DONE
}

/// See mq_timedsend(2).
pub fn mq_timedsend(
    _cx: &Ctx<'_>,
    _mqdes: Fd,
    _msg_ptr: UserIn,
    _msg_len: usize,
    _msg_prio: u32,
    _abs_timeout: UserIn,
) -> SysResult {
    // Priority and time-out come before the descriptor; the kernel holds nothing that the virtual table does not.
    Ok(Outcome::Continue)
}

/// See mq_timedreceive(2).
pub fn mq_timedreceive(
    _cx: &Ctx<'_>,
    _mqdes: Fd,
    _msg_ptr: UserOut,
    _msg_len: usize,
    _msg_prio: UserOut,
    _abs_timeout: UserIn,
) -> SysResult {
    Ok(Outcome::Continue)
}

/// See mq_notify(3).
pub fn mq_notify(_cx: &Ctx<'_>, _mqdes: Fd, _sevp: UserIn) -> SysResult {
    Ok(Outcome::Continue)
}

/// See mq_getsetattr(2).
pub fn mq_getsetattr(_cx: &Ctx<'_>, _mqdes: Fd, _newattr: UserIn, _oldattr: UserOut) -> SysResult {
    Ok(Outcome::Continue)
}

#[cfg(test)]
mod tests {
    use crate::abi::Errno;
    use crate::posix::bench_cage::{NOWHERE, TestCage, fails};

    #[test]
    fn a_queue_needs_a_name_that_can_be_read() {
        let cage = TestCage::new();
        let name = cage.put_str(format!("cage-trace-none-{}", std::process::id()));
        let (empty, slash) = (cage.put_str(""), cage.put_str("a/b"));
        let create = u64::from(libc::O_CREAT.cast_unsigned());
        for (args, errno) in [
            ([name, 0, 0, 0], Errno::ENOENT),
            ([NOWHERE, 0, 0, 0], Errno::EFAULT),
            ([name, create, 0o600, NOWHERE], Errno::EFAULT),
            ([empty, 0, 0, 0], Errno::ENOENT),
            ([slash, 0, 0, 0], Errno::EACCES),
        ] {
            assert_eq!(cage.call("mq_open", &args), fails(errno), "{args:?}");
        }
        assert_eq!(cage.call("mq_unlink", &[name]), fails(Errno::ENOENT));
        assert!(cage.numbers().is_empty());
    }
}
