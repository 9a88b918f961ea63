//! `/dev/tty`: the calling session's own terminal, and never the supervisor's.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use super::open::{Wanted, reopen, terminals};
use super::{Ctx, SysResult};
use crate::abi::Errno;
use crate::abi::layout::{OpenHow, Stat};
use crate::cage::FileKind;
use crate::sys;

/// The device number of `/dev/tty`.
const ALIAS: (u32, u32) = (5, 0);
/// The device number of a pseudoterminal's master.
const MASTER: (u32, u32) = (5, 2);
/// The first of the majors of Unix98 terminals, and how many there are.
const PTS: std::ops::RangeInclusive<u32> = 136..=143;

/// Whether this is `/dev/tty`, the name that means the caller's terminal.
pub(super) fn is_alias(stat: &Stat) -> bool {
    (libc::major(stat.rdev), libc::minor(stat.rdev)) == ALIAS
}

/// What /proc/PID/stat tells of a process and its terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    /// The session, as the host counts.
    session: i32,
    /// The device number of its controlling terminal, 0 for none.
    terminal: u64,
}

/// Whether a terminal that the calling process opens with these flags becomes its controlling one: it leads a session
/// that has none, and can read it. A master never does; asked for it, the kernel would take its other end.
pub(super) fn is_taken(cx: &Ctx<'_>, terminal: &Stat, flags: i32) -> bool {
    flags & libc::O_NOCTTY == 0
        && flags & libc::O_ACCMODE != libc::O_WRONLY
        && (libc::major(terminal.rdev), libc::minor(terminal.rdev)) != MASTER
        && standing(cx).is_some_and(|own| own.session == cx.cage().tgid.0 && own.terminal == 0)
}

fn standing(cx: &Ctx<'_>) -> Option<Standing> {
    let name = CString::new(format!("{}/stat", cx.cage().tgid.0)).ok()?;
    let how = OpenHow {
        flags: u64::from((libc::O_RDONLY | libc::O_CLOEXEC).cast_unsigned()),
        ..OpenHow::default()
    };
    let file = sys::fs::open(cx.kernel.host_proc.as_fd(), &name, how).ok()?;
    let mut text = Vec::new();
    std::fs::File::from(file)
        .take(4096)
        .read_to_end(&mut text)
        .ok()?;
    parse(&text)
}

/// The name in parentheses may hold anything, so the fields are counted from its end.
fn parse(text: &[u8]) -> Option<Standing> {
    let end = text.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace().skip(3);
    let session = fields.next()?.parse().ok()?;
    let number = fields.next()?.parse::<i32>().ok()?.cast_unsigned();
    let minor = (number & 0xff) | ((number >> 12) & 0xf_ff00);
    Some(Standing {
        session,
        terminal: libc::makedev((number >> 8) & 0xfff, minor),
    })
}

/// Opens the calling session's terminal.
///
/// # Errors
/// `ENXIO` where it has none.
pub(super) fn open(cx: &Ctx<'_>, wanted: Wanted, label: Vec<u8>) -> SysResult {
    let terminal = standing(cx).ok_or(Errno::ENXIO)?.terminal;
    if terminal == 0 {
        return Err(Errno::ENXIO);
    }
    let held = terminals(cx).into_iter().find_map(|fd| {
        cx.with_file(fd, |file| {
            if sys::fs::fstat(file)?.rdev != terminal {
                return Err(Errno::ENXIO);
            }
            file.try_clone_to_owned()
                .map_err(|error| Errno::from_io_error(error).unwrap_or(Errno::ENFILE))
        })
        .ok()
    });
    let file = match held {
        Some(file) => reopen(cx, wanted, &file)?,
        None => by_number(cx, wanted, terminal)?,
    };
    wanted.grant(cx, FileKind::Terminal, file, label)
}

/// The terminal with this device number in the world's /dev/pts.
fn by_number(cx: &Ctx<'_>, wanted: Wanted, terminal: u64) -> Result<OwnedFd, Errno> {
    let (major, minor) = (libc::major(terminal), libc::minor(terminal));
    if !PTS.contains(&major) {
        return Err(Errno::ENXIO);
    }
    let index = (major - PTS.start()) * 256 + minor;
    let name = CString::new(format!("dev/pts/{index}")).map_err(|_| Errno::ENXIO)?;
    let place = sys::fs::open_place(cx.kernel.root.as_fd(), &name, libc::O_NOFOLLOW)
        .map_err(|_| Errno::ENXIO)?;
    if sys::fs::fstat(place.as_fd())?.rdev != terminal {
        return Err(Errno::ENXIO);
    }
    reopen(cx, wanted, &place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terminal_is_read_out_of_stat_whatever_the_name() {
        let text = b"42 (a) b ) S 1 42 40 34816 42 4194560 1 0";
        let own = parse(text).unwrap();
        assert_eq!(
            (libc::major(own.terminal), libc::minor(own.terminal)),
            (136, 0)
        );
        assert_eq!(parse(b"42 nothing"), None);
        let none = parse(b"7 (sh) S 1 7 7 0 -1 0").unwrap();
        assert_eq!((none.session, none.terminal), (7, 0));
    }
}
