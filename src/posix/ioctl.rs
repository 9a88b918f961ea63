//! ioctl(2): an allow-list. What is on it is the kernel's own on a file that it holds for the cage; what makes or
//! marks descriptors is done here; what would act on more than the file is refused, and the rest is no such request.

use std::os::fd::AsFd;

use super::{Ctx, Outcome, SysResult, tty};
use crate::abi::Errno;
use crate::cage::{FileKind, OpenFile};
use crate::guest::{Addr, Fd};
use crate::sys::{descriptor, fs};

const FIOCLEX: u32 = 0x5451;
const FIONCLEX: u32 = 0x5450;
const TIOCGPTPEER: u32 = 0x5441;
const FICLONE: u32 = 0x4004_9409;

/// Answered by any file.
const ANY: &[u32] = &[
    2,           // FIGETBSZ
    0x541b,      // FIONREAD, TIOCINQ, SIOCINQ
    0x5421,      // FIONBIO
    0x5452,      // FIOASYNC
    0x5460,      // FIOQSIZE
    0x8008_6601, // FS_IOC_GETFLAGS
    0x4008_6602, // FS_IOC_SETFLAGS: the file's owner's, on what is mounted writable; the rest needs privileges of the host
    0x8008_7601, // FS_IOC_GETVERSION
    0x801c_581f, // FS_IOC_FSGETXATTR
    0x4020_940d, // FICLONERANGE: the descriptor in its structure is one of the cage's, or none
    0xc018_9436, // FIDEDUPERANGE: likewise
    0x8004_5200, // RNDGETENTCNT
];

/// Answered by terminals; the kernel says `ENOTTY` of other files itself.
const TERMINAL: &[u32] = &[
    0x5401,      // TCGETS
    0x5402,      // TCSETS
    0x5403,      // TCSETSW
    0x5404,      // TCSETSF
    0x5405,      // TCGETA
    0x5406,      // TCSETA
    0x5407,      // TCSETAW
    0x5408,      // TCSETAF
    0x5409,      // TCSBRK
    0x540a,      // TCXONC
    0x540b,      // TCFLSH
    0x540e,      // TIOCSCTTY, tied to the caller
    0x540f,      // TIOCGPGRP
    0x5410,      // TIOCSPGRP
    0x5411,      // TIOCOUTQ, SIOCOUTQ
    0x5413,      // TIOCGWINSZ
    0x5414,      // TIOCSWINSZ
    0x5420,      // TIOCPKT
    0x5422,      // TIOCNOTTY, tied to the caller
    0x5424,      // TIOCGETD
    0x5425,      // TCSBRKP
    0x5427,      // TIOCSBRK
    0x5428,      // TIOCCBRK
    0x5429,      // TIOCGSID
    0x802c_542a, // TCGETS2
    0x402c_542b, // TCSETS2
    0x402c_542c, // TCSETSW2
    0x402c_542d, // TCSETSF2
    0x8004_5430, // TIOCGPTN
    0x4004_5431, // TIOCSPTLCK
    0x8004_5432, // TIOCGDEV
    0x4004_5436, // TIOCSIG
    0x8004_5438, // TIOCGPKT
    0x8004_5439, // TIOCGPTLCK
    0x8004_5440, // TIOCGEXCL
    0x5456,      // TIOCGLCKTRMIOS
];

/// Answered by sockets: owners, time stamps, and what there is to read about the run's own network.
const SOCKET: &[u32] = &[
    0x8901,      // FIOSETOWN
    0x8902,      // SIOCSPGRP
    0x8903,      // FIOGETOWN
    0x8904,      // SIOCGPGRP
    0x8905,      // SIOCATMARK
    0x8906,      // SIOCGSTAMP
    0x8907,      // SIOCGSTAMPNS
    0x8010_8906, // SIOCGSTAMP_NEW
    0x8010_8907, // SIOCGSTAMPNS_NEW
    0x894b,      // SIOCOUTQNSD
    0x8910,      // SIOCGIFNAME
    0x8912,      // SIOCGIFCONF
    0x8913,      // SIOCGIFFLAGS
    0x8915,      // SIOCGIFADDR
    0x8917,      // SIOCGIFDSTADDR
    0x8919,      // SIOCGIFBRDADDR
    0x891b,      // SIOCGIFNETMASK
    0x891d,      // SIOCGIFMETRIC
    0x8921,      // SIOCGIFMTU
    0x8927,      // SIOCGIFHWADDR
    0x8933,      // SIOCGIFINDEX
    0x8935,      // SIOCGIFPFLAGS
    0x8938,      // SIOCGIFCOUNT
    0x8942,      // SIOCGIFTXQLEN
    0x8970,      // SIOCGIFMAP
];

/// What acts on more than the cage's use of a terminal: typing into it, the console, disciplines, locking others out.
const NEVER: &[u32] = &[
    0x5412, // TIOCSTI
    0x541c, // TIOCLINUX
    0x541d, // TIOCCONS
    0x5423, // TIOCSETD
    0x540c, // TIOCEXCL
    0x540d, // TIOCNXCL
    0x5437, // TIOCVHANGUP
    0x5457, // TIOCSLCKTRMIOS
];

/// See ioctl(2).
pub fn ioctl(cx: &Ctx<'_>, fd: Fd, op: u64, argp: Addr) -> SysResult {
    let kind = cx.descriptor(fd)?.file.kind();
    if kind == FileKind::Place {
        return Err(Errno::EBADF);
    }
    // The kernel reads an unsigned int here.
    let op = u32::try_from(op & u64::from(u32::MAX)).map_err(|_| Errno::ENOTTY)?;
    match op {
        FIOCLEX | FIONCLEX => {
            cx.files().lock().get_mut(fd.0)?.cloexec = op == FIOCLEX;
            Ok(Outcome::Continue)
        }
        TIOCGPTPEER => open_peer(cx, fd, argp.0),
        // The source is a number in a register: the kernel holds nothing in the cage that is not the cage's.
        FICLONE => Ok(Outcome::Continue),
        op if ANY.contains(&op) || TERMINAL.contains(&op) => Ok(Outcome::Continue),
        op if SOCKET.contains(&op) && kind == FileKind::Socket => Ok(Outcome::Continue),
        op if NEVER.contains(&op) && is_terminal(cx, fd)? => Err(Errno::EPERM),
        _ => Err(Errno::ENOTTY),
    }
}

fn is_terminal(cx: &Ctx<'_>, fd: Fd) -> Result<bool, Errno> {
    cx.with_file(fd, |file| Ok(descriptor::is_terminal(file)))
}

/// `TIOCGPTPEER`: the other end of a pseudoterminal, by way of its master.
fn open_peer(cx: &Ctx<'_>, fd: Fd, flags: u64) -> SysResult {
    const KNOWN: i32 = libc::O_ACCMODE | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let flags = u32::try_from(flags & u64::from(u32::MAX)).map_err(|_| Errno::EINVAL)?;
    let flags = flags.cast_signed() & KNOWN;
    let (peer, number) = cx.with_file(fd, |master| {
        let peer = descriptor::pty_peer(master, flags)?;
        Ok((peer, descriptor::pty_number(master)?))
    })?;
    let takes = tty::is_taken(cx, &fs::fstat(peer.as_fd())?, flags);
    let label = format!("/dev/pts/{number}").into_bytes();
    let file = OpenFile::new(FileKind::Terminal, label);
    let number = cx.open_lowest(file, peer, flags & libc::O_CLOEXEC != 0)?;
    if takes {
        cx.acquire_terminal(number);
    }
    Outcome::value(number)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;
    use crate::posix::bench_cage::{TestCage, fails};

    fn goes_on(cage: &TestCage, fd: u64, op: u64) -> bool {
        matches!(cage.outcome("ioctl", &[fd, op, 0]), Ok(Outcome::Continue))
    }

    fn with_null() -> TestCage {
        let cage = TestCage::new();
        let null = File::open("/dev/null").unwrap();
        assert_eq!(cage.adopt(FileKind::File, "/dev/null", null.into()), 0);
        cage
    }

    #[test]
    fn the_mark_is_the_tables_and_the_kernels() {
        let cage = with_null();
        assert!(goes_on(&cage, 0, u64::from(FIOCLEX)));
        assert!(cage.cloexec(0));
        assert!(goes_on(&cage, 1 << 32, u64::from(FIONCLEX) | 1 << 40));
        assert!(!cage.cloexec(0));
    }

    #[test]
    fn the_list_decides_and_the_descriptor_comes_first() {
        let cage = with_null();
        assert!(goes_on(&cage, 0, 0x5401));
        assert!(goes_on(&cage, 0, 0x541b | 5 << 40));
        for (fd, op, errno) in [
            (9, 0x5401, Errno::EBADF),
            (9, 0xdead_beef, Errno::EBADF),
            (0, 0xdead_beef, Errno::ENOTTY),
            (0, 0x5412, Errno::ENOTTY),
            (0, 0x8912, Errno::ENOTTY),
            (0, u64::from(TIOCGPTPEER), Errno::ENOTTY),
        ] {
            assert_eq!(
                cage.call("ioctl", &[fd, op, 0]),
                fails(errno),
                "{fd} {op:#x}"
            );
        }
        let place = File::open("/").unwrap();
        assert_eq!(cage.adopt(FileKind::Place, "/", place.into()), 1);
        assert_eq!(cage.call("ioctl", &[1, 0x541b, 0]), fails(Errno::EBADF));
    }

    #[test]
    fn a_pseudoterminals_other_end_gets_a_number_and_nobody_types_for_another() {
        let cage = TestCage::new();
        let master = nix::pty::posix_openpt(nix::fcntl::OFlag::O_RDWR).unwrap();
        nix::pty::unlockpt(&master).unwrap();
        let slave = descriptor::pty_number(master.as_fd()).unwrap();
        let copy = master.as_fd().try_clone_to_owned().unwrap();
        assert_eq!(cage.adopt(FileKind::Terminal, "/dev/ptmx", copy), 0);
        let flags = u64::from((libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC).cast_unsigned());
        assert_eq!(cage.call("ioctl", &[0, u64::from(TIOCGPTPEER), flags]), 1);
        assert!(cage.cloexec(1));
        let file = cage.thread.files().get(1).unwrap().file;
        assert_eq!(file.label(), format!("/dev/pts/{slave}").as_bytes());
        for op in NEVER {
            let result = cage.call("ioctl", &[1, u64::from(*op), 0]);
            assert_eq!(result, fails(Errno::EPERM), "{op:#x}");
        }
        // The other end has none itself.
        assert_eq!(
            cage.call("ioctl", &[1, u64::from(TIOCGPTPEER), flags]),
            fails(Errno::EIO)
        );
    }
}
