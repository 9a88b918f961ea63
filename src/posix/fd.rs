//! The lives of descriptors: close, dup, pipe.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{Ctx, Forward, Outcome, Role, SysResult};
use crate::abi::{Errno, Sysno};
use crate::cage::{Descriptor, FdTable, FileKind, OpenFile};
use crate::guest::{Fd, UserOut};
use crate::sys::descriptor;

/// What makes a pipe one of the kernel's notification queues.
const O_NOTIFICATION_PIPE: i32 = libc::O_EXCL;
const CLONE_FILES: u64 = 0x400;

/// See close(2).
pub fn close(cx: &Ctx<'_>, fd: Fd) -> SysResult {
    let files = cx.files();
    let mut table = files.lock();
    table.get(fd.0)?;
    if !arrived(cx, &mut table, fd.0) {
        // The number is handed out, its file is on the way: to Linux it is not open yet.
        return Err(Errno::EBADF);
    }
    let closed = take_out(cx, &mut table, fd.0);
    drop(table);
    cx.thread.mark_closing();
    drop(closed);
    Ok(Outcome::Continue)
}

/// See close_range(2).
pub fn close_range(cx: &Ctx<'_>, first: u32, last: u32, flags: u32) -> SysResult {
    if flags & !(libc::CLOSE_RANGE_UNSHARE | libc::CLOSE_RANGE_CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    if flags & libc::CLOSE_RANGE_UNSHARE != 0 && shares_files(cx) {
        let [first, last] = [first, last].map(u64::from);
        let rest = flags & !libc::CLOSE_RANGE_UNSHARE;
        let args = [first, last, u64::from(rest), 0, 0, 0];
        return Forward::new(Sysno::unshare, [CLONE_FILES, 0, 0, 0, 0, 0])
            .role(Role::Copy)
            .then(move |cx, result| {
                if result < 0 {
                    return Ok(Outcome::Continue);
                }
                take_out_range(cx, first, last, rest)?;
                Forward::new(Sysno::close_range, args).into()
            })
            .into();
    }
    take_out_range(cx, first.into(), last.into(), flags)?;
    Ok(Outcome::Continue)
}

/// The virtual part of close_range(2), on the caller's own table.
fn take_out_range(cx: &Ctx<'_>, first: u64, last: u64, flags: u32) -> Result<(), Errno> {
    let Ok(first) = i32::try_from(first) else {
        return Ok(());
    };
    let last = i32::try_from(last).unwrap_or(i32::MAX);
    let files = cx.files();
    let mut table = files.lock();
    if flags & libc::CLOSE_RANGE_CLOEXEC == 0 {
        table.lose_courier(first..=last);
    }
    let mut closed = Vec::new();
    for fd in table.numbers_in(first, last) {
        if !arrived(cx, &mut table, fd) {
            continue;
        }
        if flags & libc::CLOSE_RANGE_CLOEXEC != 0 {
            table.get_mut(fd)?.cloexec = true;
        } else {
            closed.extend(take_out(cx, &mut table, fd));
        }
    }
    drop(table);
    cx.thread.mark_closing();
    drop(closed);
    Ok(())
}

/// See dup(2).
pub fn dup(cx: &Ctx<'_>, oldfd: Fd) -> SysResult {
    duplicate(cx, oldfd, 0, false)
}

/// See dup2(2).
pub fn dup2(cx: &Ctx<'_>, oldfd: Fd, newfd: Fd) -> SysResult {
    if oldfd == newfd {
        cx.descriptor(oldfd)?;
        return Outcome::value(oldfd.0);
    }
    duplicate_at(cx, oldfd, newfd, false)
}

/// See dup3(2).
pub fn dup3(cx: &Ctx<'_>, oldfd: Fd, newfd: Fd, flags: i32) -> SysResult {
    if flags & !libc::O_CLOEXEC != 0 || oldfd == newfd {
        return Err(Errno::EINVAL);
    }
    duplicate_at(cx, oldfd, newfd, flags & libc::O_CLOEXEC != 0)
}

/// See pipe(2).
pub fn pipe(cx: &Ctx<'_>, pipefd: UserOut) -> SysResult {
    pipe2(cx, pipefd, 0)
}

/// See pipe2(2).
pub fn pipe2(cx: &Ctx<'_>, pipefd: UserOut, flags: i32) -> SysResult {
    const KNOWN: i32 = libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_DIRECT | O_NOTIFICATION_PIPE;
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & O_NOTIFICATION_PIPE != 0 {
        // As of a kernel without watch queues: what they would tell of are keys and mounts, none of them a cage's.
        return Err(Errno::ENOPKG);
    }
    let cloexec = flags & libc::O_CLOEXEC != 0;
    let (reader, writer) = descriptor::pipe(flags)?;
    let file = || Arc::new(OpenFile::new(FileKind::Pipe, b"pipe".to_vec()));
    let (read_file, write_file) = (file(), file());
    // Numbers first, files last: where the numbers cannot be told, nothing is open.
    let read_end = cx.insert_from(0, &read_file, None, cloexec)?;
    let write_end = match cx.insert_from(0, &write_file, None, cloexec) {
        Ok(fd) => fd,
        Err(errno) => {
            cx.undo_install(read_end);
            return Err(errno);
        }
    };
    let numbers = [read_end, write_end].map(i32::to_ne_bytes);
    if let Err(errno) = cx.guest.write_all(pipefd.0, numbers.as_flattened()) {
        cx.undo_install(read_end);
        cx.undo_install(write_end);
        return Err(errno);
    }
    cx.install_if_grantable(read_end, &read_file, Some(reader.into()), cloexec);
    cx.install_if_grantable(write_end, &write_file, Some(writer.into()), cloexec);
    Outcome::DONE
}

/// Duplicates onto the lowest free number from `from` on: dup, `F_DUPFD`.
pub(super) fn duplicate(cx: &Ctx<'_>, oldfd: Fd, from: i32, cloexec: bool) -> SysResult {
    let (file, host) = open_file(cx, oldfd)?;
    Outcome::value(cx.insert_from(from, &file, host, cloexec)?)
}

/// Whether another thread, of this process or another, has the same descriptor table.
pub(super) fn shares_files(cx: &Ctx<'_>) -> bool {
    let files = cx.files();
    let cages = cx.kernel.cages.read();
    cages
        .threads()
        .any(|other| other.tid != cx.thread.tid && Arc::ptr_eq(&files, &other.files()))
}

/// Duplicates onto a number of the cage's choice, closing what is there.
fn duplicate_at(cx: &Ctx<'_>, oldfd: Fd, newfd: Fd, cloexec: bool) -> SysResult {
    let number = u64::try_from(newfd.0).map_err(|_| Errno::EBADF)?;
    if number >= cx.cage().nofile() {
        return Err(Errno::EBADF);
    }
    let (file, host) = open_file(cx, oldfd)?;
    let files = cx.files();
    let mut table = files.lock();
    if table.is_closing(newfd.0) {
        if cx.holds(newfd.0) {
            // Another thread's close is about to run and would close the new file.
            return Err(Errno::EBUSY);
        }
        table.closed(newfd.0);
    }
    if !arrived(cx, &mut table, newfd.0) {
        return Err(Errno::EBUSY);
    }
    let descriptor = Descriptor {
        file: Arc::clone(&file),
        cloexec,
    };
    let replaced = table.replace(newfd.0, descriptor);
    drop(table);
    drop(replaced);
    cx.install_if_grantable(newfd.0, &file, host, cloexec);
    Outcome::value(newfd.0)
}

/// The open file at a number, and the kernel's file of it to install elsewhere, where the cage does not make the copy.
fn open_file(cx: &Ctx<'_>, fd: Fd) -> Result<(Arc<OpenFile>, Option<Arc<OwnedFd>>), Errno> {
    let file = cx.descriptor(fd)?.file;
    if cx.is_aside() {
        cx.note_source(fd);
        return Ok((file, None));
    }
    let host = match file.host_file() {
        Some(kept) => kept,
        None => Arc::new(cx.guest.borrow_file(fd.0)?),
    };
    Ok((file, Some(host)))
}

/// Whether nothing is on its way to this number any more.
fn arrived(cx: &Ctx<'_>, table: &mut FdTable, fd: i32) -> bool {
    if table.is_arriving(fd) {
        if !cx.holds(fd) {
            return false;
        }
        table.arrived(fd);
    }
    true
}

fn take_out(cx: &Ctx<'_>, table: &mut FdTable, fd: i32) -> Option<Descriptor> {
    let descriptor = table.remove(fd).ok()?;
    table.mark_closing(fd, cx.thread.tid);
    Some(descriptor)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;
    use crate::cage::{Files, Thread, Tid};
    use crate::guest::Guest;
    use crate::posix::bench_cage::{NOWHERE, TestCage, fails};

    fn with_files(count: usize) -> TestCage {
        let cage = TestCage::new();
        for _ in 0..count {
            let file = File::open("/dev/null").unwrap();
            cage.adopt(FileKind::File, "/dev/null", file.into());
        }
        cage
    }

    fn reg(value: i32) -> u64 {
        u64::from(value.cast_unsigned())
    }

    #[test]
    fn dup_hands_out_the_lowest_free_number() {
        let cage = with_files(3);
        assert_eq!(cage.call("close", &[1]), 0);
        assert_eq!(cage.call("dup", &[2]), 1);
        assert_eq!(cage.call("dup", &[0]), 3);
        assert_eq!(cage.call("dup", &[9]), fails(Errno::EBADF));
        assert_eq!(cage.call("dup", &[reg(-1)]), fails(Errno::EBADF));
        cage.thread.cage.set_nofile(4);
        assert_eq!(cage.call("dup", &[0]), fails(Errno::EMFILE));
        assert_eq!(cage.call("dup", &[9]), fails(Errno::EBADF));
        assert_eq!(cage.numbers(), cage.ram.open_numbers());
    }

    #[test]
    fn a_copy_that_the_thread_makes_itself_is_noted_and_not_installed() {
        let cage = with_files(2);
        let cx = Ctx::new(&cage.kernel, &cage.thread, &cage.ram, 0, [0; 6]).aside();
        assert!(matches!(dup(&cx, Fd(1)), Ok(Outcome::Emulated(2))));
        assert_eq!(cx.source(), Some(1));
        assert!(cx.take_installs().is_empty());
        assert_eq!(
            (cage.numbers().len(), cage.ram.open_numbers().len()),
            (3, 2)
        );
    }

    #[test]
    fn dup2_and_dup3_replace_what_is_there() {
        let cage = with_files(2);
        let (reader, _writer) = descriptor::pipe(0).unwrap();
        assert_eq!(cage.adopt(FileKind::Pipe, "pipe", reader), 2);
        assert_eq!(cage.call("dup2", &[2, 0]), 0);
        assert_eq!(
            cage.thread.files().get(0).unwrap().file.kind(),
            FileKind::Pipe
        );
        assert_eq!(cage.call("dup2", &[2, 2]), 2);
        assert_eq!(cage.call("dup2", &[7, 7]), fails(Errno::EBADF));
        assert_eq!(cage.call("dup2", &[0, 1024]), fails(Errno::EBADF));
        assert_eq!(cage.call("dup2", &[0, reg(-1)]), fails(Errno::EBADF));
        assert_eq!(cage.call("dup3", &[0, 0, 0]), fails(Errno::EINVAL));
        assert_eq!(cage.call("dup3", &[0, 5, 1]), fails(Errno::EINVAL));
        assert_eq!(cage.call("dup3", &[0, 5, reg(libc::O_CLOEXEC)]), 5);
        assert!(cage.cloexec(5));
        assert_eq!(cage.numbers(), vec![0, 1, 2, 5]);
        assert_eq!(cage.ram.open_numbers(), vec![0, 1, 2, 5]);
    }

    #[test]
    fn a_number_another_thread_is_closing_or_opening_is_busy() {
        let cage = with_files(3);
        let files = cage.thread.files();
        files.lock().remove(1).unwrap();
        files.lock().mark_closing(1, Tid(77));
        assert_eq!(cage.call("dup2", &[0, 1]), fails(Errno::EBUSY));
        assert_eq!(cage.call("dup", &[0]), 3);
        cage.ram.close(1);
        assert_eq!(cage.call("dup2", &[0, 1]), 1);
        let arriving = Descriptor {
            file: Arc::new(OpenFile::new(FileKind::File, Vec::new())),
            cloexec: false,
        };
        files.lock().replace(8, arriving);
        files.lock().mark_arriving(8, Tid(77));
        assert_eq!(cage.call("close", &[8]), fails(Errno::EBADF));
        assert_eq!(cage.call("dup2", &[0, 8]), fails(Errno::EBUSY));
        cage.ram.install(8, cage.ram.borrow_file(0).unwrap());
        assert_eq!(cage.call("close", &[8]), 0);
        assert_eq!(cage.numbers(), cage.ram.open_numbers());
    }

    #[test]
    fn close_goes_on_to_the_kernel_and_is_forgotten_here() {
        let cage = with_files(2);
        assert!(matches!(cage.outcome("close", &[1]), Ok(Outcome::Continue)));
        assert!(cage.thread.files().lock().is_closing(1));
        assert_eq!(cage.call("close", &[1]), fails(Errno::EBADF));
        cage.thread.settle();
        assert!(!cage.thread.files().lock().is_closing(1));
        assert_eq!(cage.ram.open_numbers(), vec![0]);
    }

    #[test]
    fn close_range_closes_marks_and_unshares() {
        let cage = with_files(8);
        let all = u64::from(u32::MAX);
        assert_eq!(cage.call("close_range", &[5, 4, 0]), fails(Errno::EINVAL));
        assert_eq!(cage.call("close_range", &[5, 6, 1]), fails(Errno::EINVAL));
        assert_eq!(cage.call("close_range", &[5, 6, 0]), 0);
        assert_eq!(cage.numbers(), vec![0, 1, 2, 3, 4, 7]);
        let cloexec = u64::from(libc::CLOSE_RANGE_CLOEXEC);
        assert_eq!(cage.call("close_range", &[3, all, cloexec]), 0);
        assert!(cage.cloexec(7) && cage.cloexec(3) && !cage.cloexec(2));
        let unshare = u64::from(libc::CLOSE_RANGE_UNSHARE);
        assert_eq!(cage.call("close_range", &[4, all, unshare]), 0);
        assert_eq!(cage.numbers(), vec![0, 1, 2, 3]);
        assert_eq!(cage.call("close_range", &[all, all, 0]), 0);
    }

    #[test]
    fn close_range_on_a_shared_table_is_an_unshare_first() {
        let cage = with_files(4);
        let other = Thread::new(
            Tid(7),
            Arc::clone(&cage.thread.cage),
            cage.thread.files(),
            cage.thread.fs(),
        );
        cage.kernel.cages.write().insert(Arc::new(other));
        let unshare = u64::from(libc::CLOSE_RANGE_UNSHARE);
        let args = [1, u64::from(u32::MAX), unshare];
        let Ok(Outcome::Forward(forward)) = cage.outcome("close_range", &args) else {
            panic!("no forward");
        };
        assert_eq!(
            (forward.nr, forward.role),
            (Sysno::unshare as u64, Role::Copy)
        );
        assert_eq!(cage.numbers().len(), 4);
        // What the platform does where the kernel said yes.
        let shared = cage.thread.files();
        cage.thread.set_files(Files::new(shared.copy()));
        let cx = Ctx::new(&cage.kernel, &cage.thread, &cage.ram, 0, [0; 6]);
        let Ok(Outcome::Forward(forward)) = (forward.then.unwrap())(&cx, 0) else {
            panic!("no second forward");
        };
        assert_eq!(forward.nr, Sysno::close_range as u64);
        assert_eq!(forward.args[..3], [1, u64::from(u32::MAX), 0]);
        assert_eq!((cage.numbers().len(), shared.lock().len()), (1, 4));
    }

    #[test]
    fn a_pipe_is_two_numbers_or_none() {
        let cage = with_files(1);
        let at = cage.room(8);
        assert_eq!(cage.call("pipe2", &[at, reg(libc::O_CLOEXEC)]), 0);
        assert_eq!((cage.int(at), cage.int(at + 4)), (1, 2));
        assert!(cage.cloexec(1) && cage.cloexec(2));
        let end = cage.ram.borrow_file(2).unwrap();
        assert_eq!(nix::unistd::write(end.as_fd(), b"ab"), Ok(2));
        assert_eq!(cage.call("pipe", &[NOWHERE]), fails(Errno::EFAULT));
        assert_eq!(
            cage.call("pipe2", &[at, reg(libc::O_TRUNC)]),
            fails(Errno::EINVAL)
        );
        assert_eq!(
            cage.call("pipe2", &[at, reg(libc::O_EXCL)]),
            fails(Errno::ENOPKG)
        );
        cage.thread.cage.set_nofile(4);
        assert_eq!(cage.call("pipe", &[at]), fails(Errno::EMFILE));
        assert_eq!(cage.numbers(), vec![0, 1, 2]);
        assert_eq!(cage.ram.open_numbers(), vec![0, 1, 2]);
        cage.thread.cage.set_nofile(5);
        assert_eq!(cage.call("pipe", &[at]), 0);
        assert_eq!((cage.int(at), cage.int(at + 4)), (3, 4));
    }
}
