//! execve(2) and execveat(2). The file is resolved and judged here, with the interpreters of its `#!` lines; then the
//! kernel runs the cage's own call, and the platform compares the new image with what was judged.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::path::{Kind, Last, Path};
use super::{Ctx, Forward, Judged, Outcome, Role, SysResult};
use crate::abi::{Errno, Sysno};
use crate::guest::{DirFd, Fd, UserIn, UserPath};
use crate::sys;

/// As many interpreters as the kernel follows.
const DEPTH: usize = 5;
/// As much of a file as the kernel looks at (BINPRM_BUF_SIZE).
const HEAD: usize = 256;

/// See execve(2).
pub fn execve(cx: &Ctx<'_>, pathname: UserPath, argv: UserIn, envp: UserIn) -> SysResult {
    let args = [pathname.0, argv.0, envp.0, 0, 0, 0];
    exec(cx, Sysno::execve, args, DirFd::CWD, pathname, 0)
}

/// See execveat(2).
pub fn execveat(
    cx: &Ctx<'_>,
    dirfd: DirFd,
    pathname: UserPath,
    argv: UserIn,
    envp: UserIn,
    flags: i32,
) -> SysResult {
    let args = [
        u64::from(dirfd.0.cast_unsigned()),
        pathname.0,
        argv.0,
        envp.0,
        u64::from(flags.cast_unsigned()),
        0,
    ];
    exec(cx, Sysno::execveat, args, dirfd, pathname, flags)
}

fn exec(
    cx: &Ctx<'_>,
    sysno: Sysno,
    args: [u64; 6],
    dirfd: DirFd,
    pathname: UserPath,
    flags: i32,
) -> SysResult {
    if flags & !(libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = cx.guest.get_path(pathname)?;
    let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
    let (place, label) = if path.is_empty() {
        if flags & libc::AT_EMPTY_PATH == 0 {
            return Err(Errno::ENOENT);
        }
        let fd = Fd(dirfd.0);
        let copy = cx.with_file(fd, |file| {
            file.try_clone_to_owned().map_err(|_| Errno::ENFILE)
        })?;
        (copy, cx.label(fd).unwrap_or_default())
    } else {
        place_of(cx, dirfd, path.clone(), follow)?
    };
    let mut relative = !path.is_empty() && path.first() != Some(&b'/') && dirfd == DirFd::CWD;
    let identity = judge(cx, &place, &mut relative)?;
    let mut forward = Forward::new(sysno, args).role(Role::Exec(Judged {
        identity,
        path: label,
    }));
    let fs = cx.fs();
    if relative && !fs.kernel_is_there() {
        forward = forward.at(fs.cwd());
    }
    Ok(Outcome::Forward(forward))
}

/// Device and inode of the file that will be mapped: the program itself or its last interpreter.
fn judge(cx: &Ctx<'_>, place: &OwnedFd, relative: &mut bool) -> Result<(u64, u64), Errno> {
    let mut owned: Option<OwnedFd> = None;
    for _ in 0..=DEPTH {
        let file = owned.as_ref().unwrap_or(place);
        let stat = nix::sys::stat::fstat(file).map_err(errno)?;
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => {}
            // Kept, not followed: the caller asked for no link in the last place.
            libc::S_IFLNK => return Err(Errno::ELOOP),
            _ => return Err(Errno::EACCES),
        }
        sys::exec::may_execute(file.as_fd())?;
        let head = head_of(cx, file.as_fd())?;
        match classify(&head) {
            Image::Program => return Ok((stat.st_dev, stat.st_ino)),
            Image::Script(interpreter) => {
                *relative |= interpreter.first() != Some(&b'/');
                let (next, _) = place_of(cx, DirFd::CWD, interpreter, true)?;
                owned = Some(next);
            }
            Image::Unknown => return Err(Errno::ENOEXEC),
        }
    }
    Err(Errno::ELOOP)
}

/// The file's first bytes. A file that may be executed but not read is refused: it could not be looked into.
fn head_of(cx: &Ctx<'_>, file: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let name = format!("self/fd/{}", file.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let readable =
        openat(&cx.kernel.host_proc, name.as_str(), flags, Mode::empty()).map_err(errno)?;
    let mut head = vec![0; HEAD];
    let got = nix::sys::uio::pread(&readable, &mut head, 0).map_err(errno)?;
    head.truncate(got);
    Ok(head)
}

fn errno(error: nix::Error) -> Errno {
    Errno::new(error as i32)
}

#[derive(Debug, PartialEq, Eq)]
enum Image {
    Program,
    Script(Vec<u8>),
    Unknown,
}

/// What the kernel's binfmt_elf and binfmt_script make of a file's first bytes.
fn classify(head: &[u8]) -> Image {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line_end = line.iter().position(|&byte| byte == b'\n');
        let whole = line_end.is_some() || head.len() < HEAD;
        let line = line.get(..line_end.unwrap_or(line.len())).unwrap_or(line);
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let start = line
            .iter()
            .position(|byte| !is_blank(byte))
            .unwrap_or(line.len());
        let rest = line.get(start..).unwrap_or_default();
        let end = rest.iter().position(|byte| is_blank(byte) || *byte == 0);
        let name = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if name.is_empty() || (end.is_none() && !whole) {
            return Image::Unknown;
        }
        return Image::Script(name.to_vec());
    }
    // 64 bits, little-endian, x86-64: others would make calls of another architecture.
    let is_native = head.get(..4) == Some(b"\x7fELF")
        && head.get(4) == Some(&2)
        && head.get(5) == Some(&1)
        && head.get(18..20) == Some(&[62, 0]);
    if is_native {
        Image::Program
    } else {
        Image::Unknown
    }
}

/// A path's object, `O_PATH`, and its absolute name as reached.
fn place_of(
    cx: &Ctx<'_>,
    dirfd: DirFd,
    path: Vec<u8>,
    follow: bool,
) -> Result<(OwnedFd, Vec<u8>), Errno> {
    let last = if follow { Last::Follow } else { Last::Keep };
    let path = Path::new(cx, dirfd, path, last)?;
    let nofollow = if follow { 0 } else { libc::O_NOFOLLOW };
    let place = path.run(cx, |target| match target.kind {
        Kind::Name => sys::fs::open_place(target.dir, target.name, nofollow),
        Kind::Object(object) => object.file.try_clone().map_err(|_| Errno::ENFILE),
        Kind::Link(_) => Err(Errno::ELOOP),
        Kind::Doctored(_) | Kind::Refused(_) => Err(Errno::EACCES),
    })?;
    Ok((place, path.label()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_are_read_as_the_kernel_reads_them() {
        let script = |name: &[u8]| Image::Script(name.to_vec());
        assert_eq!(classify(b"#!/bin/sh\necho"), script(b"/bin/sh"));
        assert_eq!(classify(b"#!  \t/bin/sh -e\n"), script(b"/bin/sh"));
        assert_eq!(classify(b"#!/bin/sh"), script(b"/bin/sh"));
        assert_eq!(classify(b"#!\n"), Image::Unknown);
        assert_eq!(classify(b"#! \n/bin/sh"), Image::Unknown);
        assert_eq!(classify(b""), Image::Unknown);
        assert_eq!(classify(b"echo hello\n"), Image::Unknown);
        let mut long = b"#!/".to_vec();
        long.resize(HEAD, b'x');
        assert_eq!(classify(&long), Image::Unknown);
        let mut elf = vec![0u8; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18] = 62;
        assert_eq!(classify(&elf), Image::Program);
        elf[4] = 1;
        assert_eq!(classify(&elf), Image::Unknown);
    }
}
