//! fcntl(2). Most of it passes; here are what makes or marks descriptors, and what a cage does not get.

use super::{Ctx, Outcome, SysResult, fd};
use crate::abi::Errno;
use crate::cage::FileKind;
use crate::guest::Fd;

/// Whether it is the file of another descriptor (Linux 6.10).
const F_DUPFD_QUERY: i32 = 1027;
/// Whether this open made the file (Linux 6.12).
const F_CREATED_QUERY: i32 = 1028;
const F_GETOWNER_UIDS: i32 = 17;
const F_SETSIG: i32 = 10;
const F_GETSIG: i32 = 11;
const F_SETOWN_EX: i32 = 15;
const F_GETOWN_EX: i32 = 16;
const F_GET_RW_HINT: i32 = 1035;
const F_SET_RW_HINT: i32 = 1036;
const F_GET_FILE_RW_HINT: i32 = 1037;
const F_SET_FILE_RW_HINT: i32 = 1038;

/// See fcntl(2).
pub fn fcntl(cx: &Ctx<'_>, fd: Fd, op: i32, arg: u64) -> SysResult {
    let kind = cx.descriptor(fd)?.file.kind();
    if kind == FileKind::Place && !works_on_a_place(op) {
        return Err(Errno::EBADF);
    }
    match op {
        libc::F_DUPFD => duplicate(cx, fd, arg, false),
        libc::F_DUPFD_CLOEXEC => duplicate(cx, fd, arg, true),
        libc::F_SETFD => {
            let cloexec = arg & u64::from(libc::FD_CLOEXEC.cast_unsigned()) != 0;
            cx.files().lock().get_mut(fd.0)?.cloexec = cloexec;
            Ok(Outcome::Continue)
        }
        // The kernel's own, on a file that it holds for the cage: flags, locks, owners, pipes, seals, hints. Where
        // one reads memory, what is there decides nothing.
        libc::F_GETFD
        | libc::F_GETFL
        | libc::F_SETFL
        | libc::F_GETLK
        | libc::F_SETLK
        | libc::F_SETLKW
        | libc::F_OFD_GETLK
        | libc::F_OFD_SETLK
        | libc::F_OFD_SETLKW
        | libc::F_SETOWN
        | libc::F_GETOWN
        | F_SETSIG
        | F_GETSIG
        | F_SETOWN_EX
        | F_GETOWN_EX
        | F_GETOWNER_UIDS
        | libc::F_SETPIPE_SZ
        | libc::F_GETPIPE_SZ
        | libc::F_ADD_SEALS
        | libc::F_GET_SEALS
        | F_GET_RW_HINT
        | F_SET_RW_HINT
        | F_GET_FILE_RW_HINT
        | F_SET_FILE_RW_HINT
        | libc::F_GETLEASE
        | F_DUPFD_QUERY
        | F_CREATED_QUERY => Ok(Outcome::Continue),
        // F_SETLEASE would stall our own opens, F_NOTIFY tells by signals what inotify tells better.
        _ => Err(Errno::EINVAL),
    }
}

/// What Linux lets be done with an `O_PATH` descriptor.
fn works_on_a_place(op: i32) -> bool {
    matches!(
        op,
        libc::F_DUPFD
            | libc::F_DUPFD_CLOEXEC
            | F_DUPFD_QUERY
            | F_CREATED_QUERY
            | libc::F_GETFD
            | libc::F_SETFD
            | libc::F_GETFL
    )
}

fn duplicate(cx: &Ctx<'_>, fd: Fd, arg: u64, cloexec: bool) -> SysResult {
    // The kernel reads an unsigned int here.
    let from = arg & u64::from(u32::MAX);
    if from >= cx.cage().nofile() {
        return Err(Errno::EINVAL);
    }
    let from = i32::try_from(from).map_err(|_| Errno::EINVAL)?;
    fd::duplicate(cx, fd, from, cloexec)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::posix::bench_cage::{TestCage, fails};

    fn op(number: i32) -> u64 {
        u64::from(number.cast_unsigned())
    }

    fn cage() -> TestCage {
        let cage = TestCage::new();
        let file = File::open("/dev/null").unwrap();
        cage.adopt(FileKind::File, "/dev/null", file.into());
        cage
    }

    #[test]
    fn dupfd_takes_the_lowest_number_from_its_argument_on() {
        let cage = cage();
        assert_eq!(cage.call("fcntl", &[0, op(libc::F_DUPFD), 10]), 10);
        assert_eq!(cage.call("fcntl", &[0, op(libc::F_DUPFD_CLOEXEC), 10]), 11);
        assert!(cage.cloexec(11) && !cage.cloexec(10));
        // Upper halves are nothing, in the command as in the descriptor.
        let junk = 1 << 32;
        assert_eq!(
            cage.call("fcntl", &[junk, op(libc::F_DUPFD) | junk, junk | 3]),
            3
        );
        let limit = cage.thread.cage.nofile();
        for (fd, from, errno) in [
            (0, limit, Errno::EINVAL),
            (0, u64::from(u32::MAX), Errno::EINVAL),
            (7, 0, Errno::EBADF),
            (7, limit, Errno::EBADF),
        ] {
            assert_eq!(
                cage.call("fcntl", &[fd, op(libc::F_DUPFD), from]),
                fails(errno)
            );
        }
        cage.thread.cage.set_nofile(12);
        assert_eq!(
            cage.call("fcntl", &[0, op(libc::F_DUPFD), 10]),
            fails(Errno::EMFILE)
        );
        assert_eq!(cage.numbers(), cage.ram.open_numbers());
    }

    #[test]
    fn setfd_keeps_one_bit_and_goes_on_to_the_kernel() {
        let cage = cage();
        let set = |value| cage.outcome("fcntl", &[0, op(libc::F_SETFD), value]);
        assert!(matches!(set(u64::MAX), Ok(Outcome::Continue)));
        assert!(cage.cloexec(0));
        assert!(matches!(set(2), Ok(Outcome::Continue)));
        assert!(!cage.cloexec(0));
    }

    #[test]
    fn leases_notes_and_the_unknown_are_refused_after_the_descriptor() {
        let cage = cage();
        for number in [libc::F_SETLEASE, libc::F_NOTIFY, 9999, 12] {
            assert_eq!(
                cage.call("fcntl", &[0, op(number), 0]),
                fails(Errno::EINVAL)
            );
            assert_eq!(cage.call("fcntl", &[5, op(number), 0]), fails(Errno::EBADF));
        }
    }

    #[test]
    fn a_place_knows_only_what_concerns_its_number() {
        let cage = cage();
        let place = File::open("/").unwrap();
        let fd = u64::try_from(cage.adopt(FileKind::Place, "/", place.into())).unwrap();
        assert_eq!(
            cage.call("fcntl", &[fd, op(libc::F_SETFL), 0]),
            fails(Errno::EBADF)
        );
        assert_eq!(cage.call("fcntl", &[fd, 9999, 0]), fails(Errno::EBADF));
        assert_eq!(cage.call("fcntl", &[fd, op(libc::F_GETFL), 0]), 0);
        assert_eq!(cage.call("fcntl", &[fd, op(libc::F_DUPFD), 0]), 2);
        assert_eq!(
            cage.thread.files().get(2).unwrap().file.kind(),
            FileKind::Place
        );
    }
}
