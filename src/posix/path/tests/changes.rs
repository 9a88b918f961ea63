//! What is changed by name: links, the working directory, metadata, attributes; and a FIFO that is waited for.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};

use super::{CWD, open, tree};
use crate::abi::Errno;
use crate::posix::bench_cage::{NOWHERE, fails};

#[test]
fn a_nameless_file_is_given_a_name() {
    let (scratch, cage) = tree("nameless");
    let fd = open(&cage, ".", libc::O_TMPFILE | libc::O_RDWR);
    if fd == fails(Errno::EOPNOTSUPP) {
        return;
    }
    let from = cage.put_str(format!("/proc/self/fd/{fd}"));
    let to = cage.put_str("named");
    let follow = libc::AT_SYMLINK_FOLLOW as u64;
    assert_eq!(cage.call("linkat", &[CWD, from, CWD, to, follow]), 0);
    let (empty, flag) = (cage.put_str(""), libc::AT_EMPTY_PATH as u64);
    let again = cage.put_str("again");
    let fd = fd.cast_unsigned();
    assert_eq!(cage.call("linkat", &[fd, empty, CWD, again, flag]), 0);
    assert_eq!(fs::metadata(scratch.path("named")).unwrap().nlink(), 2);
    assert_eq!(
        cage.call("linkat", &[CWD, from, CWD, to, 1]),
        fails(Errno::EINVAL)
    );
}

#[test]
fn the_working_directory_is_the_cages_own() {
    let (scratch, cage) = tree("cwd");
    let before = std::env::current_dir().unwrap();
    let buf = cage.room(4096);
    assert_eq!(
        cage.call("chdir", &[cage.put_str("f")]),
        fails(Errno::ENOTDIR)
    );
    assert_eq!(
        cage.call("chdir", &[cage.put_str("missing")]),
        fails(Errno::ENOENT)
    );
    assert_eq!(cage.call("chdir", &[cage.put_str("ld")]), 0);
    assert!(open(&cage, "g", libc::O_RDONLY) >= 0);
    assert_eq!(cage.call("getcwd", &[buf, 3]), fails(Errno::ERANGE));
    assert_eq!(cage.call("getcwd", &[NOWHERE, 4096]), fails(Errno::EFAULT));
    fs::rename(scratch.path("d"), scratch.path("moved")).unwrap();
    assert!(cage.call("getcwd", &[buf, 4096]) > 0);
    let want = scratch.path("moved");
    assert_eq!(cage.bytes(buf, want.len()), want.as_bytes());
    fs::remove_dir_all(scratch.path("moved")).unwrap();
    assert_eq!(cage.call("getcwd", &[buf, 4096]), fails(Errno::ENOENT));
    let place = cage.put_str(scratch.0.as_os_str().as_bytes());
    let fd = cage
        .call("open", &[place, libc::O_PATH as u64, 0])
        .cast_unsigned();
    assert_eq!(cage.call("fchdir", &[fd]), 0);
    let f = open(&cage, "f", libc::O_RDONLY).cast_unsigned();
    assert_eq!(cage.call("fchdir", &[f]), fails(Errno::ENOTDIR));
    assert_eq!(cage.call("fchdir", &[999]), fails(Errno::EBADF));
    assert_eq!(std::env::current_dir().unwrap(), before);
}

#[test]
fn metadata_is_changed_by_name() {
    let (scratch, cage) = tree("meta");
    let f = cage.put_str("f");
    let times: Vec<u8> = [1_i64, 5, 2, 6]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    let at = cage.put(&times);
    assert_eq!(cage.call("utimensat", &[CWD, f, at, 0]), 0);
    let meta = fs::metadata(scratch.path("f")).unwrap();
    assert_eq!((meta.atime(), meta.mtime(), meta.mtime_nsec()), (1, 2, 6));
    assert_eq!(cage.call("utimes", &[f, at]), 0);
    assert_eq!(fs::metadata(scratch.path("f")).unwrap().mtime_nsec(), 6000);
    assert_eq!(cage.call("utime", &[f, at]), 0);
    assert_eq!(fs::metadata(scratch.path("f")).unwrap().mtime(), 5);
    assert_eq!(
        cage.call("utimensat", &[CWD, f, NOWHERE, 0]),
        fails(Errno::EFAULT)
    );
    let bad: Vec<u8> = [0_i64, 2_000_000, 0, 0]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    assert_eq!(
        cage.call("utimes", &[f, cage.put(&bad)]),
        fails(Errno::EINVAL)
    );
    let omit: Vec<u8> = [0, libc::UTIME_OMIT, 0, libc::UTIME_OMIT]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    assert_eq!(
        cage.call("utimensat", &[CWD, NOWHERE, cage.put(&omit), 0]),
        0
    );
    let fd = open(&cage, "f", libc::O_RDONLY).cast_unsigned();
    assert_eq!(cage.call("utimensat", &[fd, 0, at, 0]), 0);
    assert_eq!(fs::metadata(scratch.path("f")).unwrap().atime(), 1);

    assert_eq!(cage.call("truncate", &[f, 2]), 0);
    assert_eq!(fs::read(scratch.path("f")).unwrap(), b"te");
    assert_eq!(cage.call("truncate", &[f, u64::MAX]), fails(Errno::EINVAL));
    assert_eq!(
        cage.call("truncate", &[cage.put_str("d"), 0]),
        fails(Errno::EISDIR)
    );
    let own = cage.put_str(format!("/proc/self/fd/{fd}"));
    assert_eq!(cage.call("truncate", &[own, 1]), 0);
    assert_eq!(fs::metadata(scratch.path("f")).unwrap().len(), 1);
    assert_eq!(cage.call("chmod", &[own, 0o600]), 0);
    let mode = fs::metadata(scratch.path("f"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    let keep = u64::from(u32::MAX);
    assert_eq!(cage.call("chown", &[f, keep, keep]), 0);
    assert_eq!(
        cage.call("lchown", &[cage.put_str("dangling"), keep, keep]),
        0
    );
    assert_eq!(
        cage.call("chown", &[cage.put_str("dangling"), keep, keep]),
        fails(Errno::ENOENT)
    );
    let lf = cage.put_str("lf");
    assert_eq!(
        cage.call("fchmodat2", &[CWD, lf, 0o600, 0x800]),
        fails(Errno::EINVAL)
    );
}

#[test]
fn attributes_are_set_listed_and_removed_by_name() {
    let (_scratch, cage) = tree("xattr");
    let (f, name, value) = (
        cage.put_str("f"),
        cage.put_str("user.note"),
        cage.put(b"hello"),
    );
    let buf = cage.room(256);
    let set = cage.call("setxattr", &[f, name, value, 5, 0]);
    if set == fails(Errno::EOPNOTSUPP) {
        return;
    }
    assert_eq!(set, 0);
    assert_eq!(
        cage.call("setxattr", &[f, name, value, 5, 1]),
        fails(Errno::EEXIST)
    );
    assert_eq!(cage.call("getxattr", &[f, name, buf, 0]), 5);
    assert_eq!(
        cage.call("getxattr", &[f, name, buf, 2]),
        fails(Errno::ERANGE)
    );
    assert_eq!(cage.call("getxattr", &[f, name, buf, 256]), 5);
    assert_eq!(cage.bytes(buf, 5), b"hello");
    assert_eq!(cage.call("listxattr", &[f, buf, 256]), 10);
    assert_eq!(cage.call("llistxattr", &[cage.put_str("lf"), buf, 256]), 0);
    assert_eq!(cage.call("removexattr", &[f, name]), 0);
    assert_eq!(cage.call("removexattr", &[f, name]), fails(Errno::ENODATA));
    assert_eq!(
        cage.call("getxattr", &[f, cage.put_str(""), buf, 1]),
        fails(Errno::ERANGE)
    );
    assert_eq!(
        cage.call("setxattr", &[f, name, value, 70_000, 0]),
        fails(Errno::E2BIG)
    );
    assert_eq!(
        cage.call("setxattr", &[f, name, value, 5, 8]),
        fails(Errno::EINVAL)
    );
}

#[test]
fn a_fifo_without_a_peer_is_waited_for_in_the_cage() {
    let (scratch, cage) = tree("fifo");
    let fifo = cage.put_str("p");
    assert_eq!(
        cage.call("mknod", &[fifo, u64::from(libc::S_IFIFO) | 0o600, 0]),
        0
    );
    // Nobody writes: the cage sleeps, and looks again until somebody does.
    let crate::posix::Outcome::Forward(sleep) = cage.outcome("open", &[fifo, 0, 0]).unwrap() else {
        panic!("an open of a FIFO that nobody writes waits");
    };
    assert_eq!(sleep.nr, libc::SYS_poll.cast_unsigned());
    assert!(cage.numbers().is_empty());
    let writer = fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(scratch.path("p"))
        .unwrap();
    drop(writer);
    let cx = crate::posix::Ctx::new(
        &cage.kernel,
        &cage.thread,
        &cage.ram,
        2,
        [fifo, 0, 0, 0, 0, 0],
    );
    let then = sleep.then.unwrap();
    assert!(matches!(
        then(&cx, 0),
        Ok(crate::posix::Outcome::Emulated(0))
    ));
    assert_eq!(cage.numbers(), vec![0]);
    // A signal and nobody: the call may be made again.
    let crate::posix::Outcome::Forward(sleep) = cage.outcome("open", &[fifo, 0, 0]).unwrap() else {
        panic!("it waits again");
    };
    assert_eq!(sleep.then.unwrap()(&cx, -4).err(), Some(Errno::ERESTARTSYS));
    // A mount that is not the run's own: a writer would reach the host.
    assert_eq!(open(&cage, "p", libc::O_WRONLY), fails(Errno::EACCES));
    assert!(open(&cage, "p", libc::O_RDONLY | libc::O_NONBLOCK) > 0);
}
