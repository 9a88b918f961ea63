//! The names of flags, modes, signals and the like, for those who read a log. Only registers are looked at.

use std::fmt::Write as _;

use crate::abi::{Errno, Sysno};
use crate::posix::row::Row;

type Names = &'static [(u64, &'static str)];

const OPEN: Names = &[
    (0o100, "O_CREAT"),
    (0o200, "O_EXCL"),
    (0o400, "O_NOCTTY"),
    (0o1000, "O_TRUNC"),
    (0o2000, "O_APPEND"),
    (0o4000, "O_NONBLOCK"),
    (0o4_010_000, "O_SYNC"),
    (0o10000, "O_DSYNC"),
    (0o20000, "O_ASYNC"),
    (0o40000, "O_DIRECT"),
    (0o100_000, "O_LARGEFILE"),
    // O_TMPFILE holds O_DIRECTORY's bit, so it comes first.
    (0o20_200_000, "O_TMPFILE"),
    (0o200_000, "O_DIRECTORY"),
    (0o400_000, "O_NOFOLLOW"),
    (0o1_000_000, "O_NOATIME"),
    (0o2_000_000, "O_CLOEXEC"),
    (0o10_000_000, "O_PATH"),
];
const AT: Names = &[
    (0x100, "AT_SYMLINK_NOFOLLOW"),
    (0x200, "AT_REMOVEDIR|AT_EACCESS"),
    (0x400, "AT_SYMLINK_FOLLOW"),
    (0x800, "AT_NO_AUTOMOUNT"),
    (0x1000, "AT_EMPTY_PATH"),
    (0x2000, "AT_STATX_FORCE_SYNC"),
    (0x4000, "AT_STATX_DONT_SYNC"),
];
const PROT: Names = &[
    (1, "PROT_READ"),
    (2, "PROT_WRITE"),
    (4, "PROT_EXEC"),
    (0x0100_0000, "PROT_GROWSDOWN"),
    (0x0200_0000, "PROT_GROWSUP"),
];
const MAP: Names = &[
    (3, "MAP_SHARED_VALIDATE"),
    (1, "MAP_SHARED"),
    (2, "MAP_PRIVATE"),
    (0x10, "MAP_FIXED"),
    (0x20, "MAP_ANONYMOUS"),
    (0x40, "MAP_32BIT"),
    (0x100, "MAP_GROWSDOWN"),
    (0x800, "MAP_DENYWRITE"),
    (0x2000, "MAP_LOCKED"),
    (0x4000, "MAP_NORESERVE"),
    (0x8000, "MAP_POPULATE"),
    (0x10000, "MAP_NONBLOCK"),
    (0x20000, "MAP_STACK"),
    (0x40000, "MAP_HUGETLB"),
    (0x10_0000, "MAP_FIXED_NOREPLACE"),
];
const CLONE: Names = &[
    (0x100, "CLONE_VM"),
    (0x200, "CLONE_FS"),
    (0x400, "CLONE_FILES"),
    (0x800, "CLONE_SIGHAND"),
    (0x1000, "CLONE_PIDFD"),
    (0x2000, "CLONE_PTRACE"),
    (0x4000, "CLONE_VFORK"),
    (0x8000, "CLONE_PARENT"),
    (0x1_0000, "CLONE_THREAD"),
    (0x2_0000, "CLONE_NEWNS"),
    (0x4_0000, "CLONE_SYSVSEM"),
    (0x8_0000, "CLONE_SETTLS"),
    (0x10_0000, "CLONE_PARENT_SETTID"),
    (0x20_0000, "CLONE_CHILD_CLEARTID"),
    (0x40_0000, "CLONE_DETACHED"),
    (0x80_0000, "CLONE_UNTRACED"),
    (0x100_0000, "CLONE_CHILD_SETTID"),
    (0x200_0000, "CLONE_NEWCGROUP"),
    (0x400_0000, "CLONE_NEWUTS"),
    (0x800_0000, "CLONE_NEWIPC"),
    (0x1000_0000, "CLONE_NEWUSER"),
    (0x2000_0000, "CLONE_NEWPID"),
    (0x4000_0000, "CLONE_NEWNET"),
    (0x8000_0000, "CLONE_IO"),
];
const ACCESS: Names = &[(4, "R_OK"), (2, "W_OK"), (1, "X_OK")];
const SOCK: Names = &[(0o4000, "SOCK_NONBLOCK"), (0o2_000_000, "SOCK_CLOEXEC")];
const WAIT: Names = &[
    (1, "WNOHANG"),
    (2, "WUNTRACED"),
    (4, "WEXITED"),
    (8, "WCONTINUED"),
    (0x0100_0000, "WNOWAIT"),
    (0x2000_0000, "__WNOTHREAD"),
    (0x4000_0000, "__WALL"),
    (0x8000_0000, "__WCLONE"),
];

/// Families of sockets.
const FAMILY: &[&str] = &[
    "AF_UNSPEC",
    "AF_UNIX",
    "AF_INET",
    "AF_AX25",
    "AF_IPX",
    "AF_APPLETALK",
    "AF_NETROM",
    "AF_BRIDGE",
    "AF_ATMPVC",
    "AF_X25",
    "AF_INET6",
    "AF_ROSE",
    "AF_DECnet",
    "AF_NETBEUI",
    "AF_SECURITY",
    "AF_KEY",
    "AF_NETLINK",
    "AF_PACKET",
];
const SOCKET_TYPE: &[&str] = &[
    "0",
    "SOCK_STREAM",
    "SOCK_DGRAM",
    "SOCK_RAW",
    "SOCK_RDM",
    "SOCK_SEQPACKET",
];
const WHENCE: &[&str] = &["SEEK_SET", "SEEK_CUR", "SEEK_END", "SEEK_DATA", "SEEK_HOLE"];
const FCNTL: &[&str] = &[
    "F_DUPFD", "F_GETFD", "F_SETFD", "F_GETFL", "F_SETFL", "F_GETLK", "F_SETLK", "F_SETLKW",
    "F_SETOWN", "F_GETOWN", "F_SETSIG", "F_GETSIG",
];
const HOW: &[&str] = &["SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK"];

/// Flags as `A|B|0x…`; the bits that have no name come last, as a number.
fn flags(names: Names, mut bits: u64, mut text: String) -> String {
    for &(mask, name) in names {
        if bits & mask == mask {
            bits &= !mask;
            if !text.is_empty() {
                text.push('|');
            }
            text.push_str(name);
        }
    }
    if bits != 0 || text.is_empty() {
        if !text.is_empty() {
            text.push('|');
        }
        let _ = write!(text, "{bits:#x}");
    }
    text
}

fn listed(names: &[&str], value: u64) -> Option<String> {
    usize::try_from(value)
        .ok()
        .and_then(|index| names.get(index))
        .map(|&name| name.to_owned())
}

fn open_flags(bits: u64) -> String {
    let access = match bits & 3 {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        2 => "O_RDWR",
        _ => "O_ACCMODE",
    };
    let text = access.to_owned();
    if bits & !3 == 0 {
        text
    } else {
        flags(OPEN, bits & !3, text)
    }
}

/// What an argument says, where a name says more than the number.
pub(super) fn text(row: &Row, arg: &str, register: u64) -> Option<String> {
    let low = register & 0xffff_ffff;
    match (row.name, arg) {
        ("open" | "openat", "flags") => Some(open_flags(low)),
        (_, "sig" | "signum") => i32::try_from(low).ok().and_then(signal),
        ("rt_sigprocmask", "how") => listed(HOW, low),
        ("mmap" | "mprotect" | "pkey_mprotect", "prot") if low == 0 => Some("PROT_NONE".to_owned()),
        ("mmap" | "mprotect" | "pkey_mprotect", "prot") => Some(flags(PROT, low, String::new())),
        ("mmap", "flags") => Some(flags(MAP, low, String::new())),
        ("clone", "flags") => {
            let exit = low & 0xff;
            let name = i32::try_from(exit).ok().and_then(signal);
            let text = name.unwrap_or_default();
            let named = if text.is_empty() { 0 } else { 0xff };
            Some(flags(CLONE, register & !named, text))
        }
        ("access" | "faccessat" | "faccessat2", "mode") if low == 0 => Some("F_OK".to_owned()),
        ("access" | "faccessat" | "faccessat2", "mode") => Some(flags(ACCESS, low, String::new())),
        ("socket" | "socketpair", "domain") => listed(FAMILY, low),
        ("socket" | "socketpair", "ty") => {
            let kind = listed(SOCKET_TYPE, low & 0xf)?;
            Some(if low & !0xf == 0 {
                kind
            } else {
                flags(SOCK, low & !0xf, kind)
            })
        }
        ("lseek", "whence") => listed(WHENCE, low),
        ("fcntl", "op") => match low {
            1030 => Some("F_DUPFD_CLOEXEC".to_owned()),
            36 => Some("F_OFD_GETLK".to_owned()),
            37 => Some("F_OFD_SETLK".to_owned()),
            38 => Some("F_OFD_SETLKW".to_owned()),
            value => listed(FCNTL, value),
        },
        ("wait4" | "waitid", "options") if low != 0 => Some(flags(WAIT, low, String::new())),
        ("unlinkat", "flags") if low == 0x200 => Some("AT_REMOVEDIR".to_owned()),
        ("faccessat2", "flags") if low == 0x200 => Some("AT_EACCESS".to_owned()),
        (
            "newfstatat" | "statx" | "unlinkat" | "linkat" | "fchownat" | "faccessat2"
            | "utimensat" | "execveat" | "fchmodat2",
            "flags",
        ) if low != 0 => Some(flags(AT, low, String::new())),
        _ => None,
    }
}

/// A signal's name: `SIGINT`, `SIGRT_2`.
pub(super) fn signal(number: i32) -> Option<String> {
    if let Ok(signal) = nix::sys::signal::Signal::try_from(number) {
        return Some(signal.as_str().to_owned());
    }
    (32..=64)
        .contains(&number)
        .then(|| format!("SIGRT_{}", number - 32))
}

/// An error number's name.
pub(super) fn errno(number: i32) -> String {
    Errno::new(number)
        .name()
        .map_or_else(|| format!("E{number}"), str::to_owned)
}

/// The name of a number that has no row.
pub(super) fn unknown(nr: u64) -> String {
    usize::try_from(nr).ok().and_then(Sysno::new).map_or_else(
        || format!("syscall_{nr:#x}"),
        |sysno| sysno.name().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posix::table;

    fn said(nr: u64, arg: &str, register: u64) -> Option<String> {
        text(table::row(nr).unwrap(), arg, register)
    }

    #[test]
    fn flags_are_named_and_no_bit_is_lost() {
        let of = |bits: i32| said(257, "flags", u64::from(bits.cast_unsigned())).unwrap();
        assert_eq!(of(0), "O_RDONLY");
        assert_eq!(
            of(libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC),
            "O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC"
        );
        assert_eq!(of(libc::O_RDWR | libc::O_TMPFILE), "O_RDWR|O_TMPFILE");
        assert_eq!(of(libc::O_DIRECTORY), "O_RDONLY|O_DIRECTORY");
        assert_eq!(of(libc::O_SYNC | libc::O_DSYNC), "O_RDONLY|O_SYNC");
        assert_eq!(of(0x4000_0000), "O_RDONLY|0x40000000");
        assert_eq!(said(9, "prot", 0).as_deref(), Some("PROT_NONE"));
        assert_eq!(
            said(9, "flags", 0x22).as_deref(),
            Some("MAP_PRIVATE|MAP_ANONYMOUS")
        );
    }

    #[test]
    fn names_stand_for_numbers() {
        assert_eq!(said(62, "sig", 9).as_deref(), Some("SIGKILL"));
        assert_eq!(said(62, "sig", 34).as_deref(), Some("SIGRT_2"));
        assert_eq!(said(62, "sig", 0), None);
        assert_eq!(said(41, "domain", 10).as_deref(), Some("AF_INET6"));
        assert_eq!(
            said(41, "ty", 0o2_000_001).as_deref(),
            Some("SOCK_STREAM|SOCK_CLOEXEC")
        );
        assert_eq!(
            said(56, "flags", 0x120_0011).as_deref(),
            Some("SIGCHLD|CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID")
        );
        assert_eq!(said(21, "mode", 0).as_deref(), Some("F_OK"));
        assert_eq!(said(0, "count", 7), None);
        assert_eq!(errno(2), "ENOENT");
        assert_eq!(errno(3999), "E3999");
        assert_eq!(unknown(0x4000_0001), "syscall_0x40000001");
    }
}
