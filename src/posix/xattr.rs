//! Extended attributes by name. The host's calls take no directory: they run in the thread's own, set for the moment.

use std::ffi::CString;

use super::path::{Last, Path, Target};
use super::{Ctx, Outcome, SysResult};
use crate::abi::Errno;
use crate::guest::{DirFd, Fd, UserIn, UserOut, UserPath};
use crate::sys;

/// The longest name, with its NUL.
const NAME_MAX: usize = 256;
/// The longest value.
const VALUE_MAX: usize = 65_536;

fn name(cx: &Ctx<'_>, name: UserIn) -> Result<CString, Errno> {
    let bytes = cx
        .guest
        .get_cstr(name.0, NAME_MAX)
        .map_err(|errno| match errno {
            Errno::ENAMETOOLONG => Errno::ERANGE,
            errno => errno,
        })?;
    if bytes.is_empty() {
        return Err(Errno::ERANGE);
    }
    CString::new(bytes).map_err(|_| Errno::ERANGE)
}

fn path(cx: &Ctx<'_>, path: UserPath, follow: bool) -> Result<Path, Errno> {
    let last = if follow { Last::Follow } else { Last::Keep };
    Path::new(cx, DirFd::CWD, cx.guest.get_path(path)?, last)
}

/// Runs a call without a directory on a target; it is told whether to follow.
fn run<T>(
    cx: &Ctx<'_>,
    path: &Path,
    follow: bool,
    act: impl Fn(&Target<'_>, bool) -> Result<T, Errno>,
) -> Result<T, Errno> {
    path.run(cx, |target| {
        let follow = follow || target.is_object();
        if target.name.to_bytes().starts_with(b"/") {
            return act(&target, follow);
        }
        sys::fs::in_dir(target.dir, || act(&target, follow))
    })
}

fn set(
    cx: &Ctx<'_>,
    pathname: UserPath,
    xattr: UserIn,
    value: (UserIn, usize),
    flags: i32,
    follow: bool,
) -> SysResult {
    if flags & !(libc::XATTR_CREATE | libc::XATTR_REPLACE) != 0 {
        return Err(Errno::EINVAL);
    }
    let xattr = name(cx, xattr)?;
    let (at, size) = value;
    if size > VALUE_MAX {
        return Err(Errno::E2BIG);
    }
    let mut bytes = vec![0u8; size];
    cx.guest.read_exact(at.0, &mut bytes)?;
    let path = path(cx, pathname, follow)?;
    run(cx, &path, follow, |target, follow| {
        sys::xattr::set(target.name, &xattr, &bytes, flags, follow)
    })?;
    Outcome::DONE
}

fn get(
    cx: &Ctx<'_>,
    pathname: UserPath,
    xattr: UserIn,
    value: (UserOut, usize),
    follow: bool,
) -> SysResult {
    let xattr = name(cx, xattr)?;
    let path = path(cx, pathname, follow)?;
    let (at, size) = value;
    let (len, bytes) = run(cx, &path, follow, |target, follow| {
        let mut bytes = vec![0u8; size.min(VALUE_MAX)];
        let len = sys::xattr::get(target.name, &xattr, &mut bytes, follow)?;
        Ok((len, bytes))
    })?;
    if size > 0 {
        cx.guest
            .write_all(at.0, bytes.get(..len).unwrap_or_default())?;
    }
    Outcome::value(len)
}

fn list(cx: &Ctx<'_>, pathname: UserPath, list: (UserOut, usize), follow: bool) -> SysResult {
    let path = path(cx, pathname, follow)?;
    let (at, size) = list;
    let (len, bytes) = run(cx, &path, follow, |target, follow| {
        let mut bytes = vec![0u8; size.min(VALUE_MAX)];
        let len = sys::xattr::list(target.name, &mut bytes, follow)?;
        Ok((len, bytes))
    })?;
    if size > 0 {
        cx.guest
            .write_all(at.0, bytes.get(..len).unwrap_or_default())?;
    }
    Outcome::value(len)
}

fn remove(cx: &Ctx<'_>, pathname: UserPath, xattr: UserIn, follow: bool) -> SysResult {
    let xattr = name(cx, xattr)?;
    let path = path(cx, pathname, follow)?;
    run(cx, &path, follow, |target, follow| {
        sys::xattr::remove(target.name, &xattr, follow)
    })?;
    Outcome::DONE
}

/// See setxattr(2).
pub fn setxattr(
    cx: &Ctx<'_>,
    path: UserPath,
    name: UserIn,
    value: UserIn,
    size: usize,
    flags: i32,
) -> SysResult {
    set(cx, path, name, (value, size), flags, true)
}

/// See lsetxattr(2).
pub fn lsetxattr(
    cx: &Ctx<'_>,
    path: UserPath,
    name: UserIn,
    value: UserIn,
    size: usize,
    flags: i32,
) -> SysResult {
    set(cx, path, name, (value, size), flags, false)
}

/// See fsetxattr(2).
pub fn fsetxattr(
    cx: &Ctx<'_>,
    fd: Fd,
    _name: UserIn,
    _value: UserIn,
    _size: usize,
    _flags: i32,
) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See getxattr(2).
pub fn getxattr(
    cx: &Ctx<'_>,
    path: UserPath,
    name: UserIn,
    value: UserOut,
    size: usize,
) -> SysResult {
    get(cx, path, name, (value, size), true)
}

/// See lgetxattr(2).
pub fn lgetxattr(
    cx: &Ctx<'_>,
    path: UserPath,
    name: UserIn,
    value: UserOut,
    size: usize,
) -> SysResult {
    get(cx, path, name, (value, size), false)
}

/// See fgetxattr(2).
pub fn fgetxattr(cx: &Ctx<'_>, fd: Fd, _name: UserIn, _value: UserOut, _size: usize) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See listxattr(2).
pub fn listxattr(cx: &Ctx<'_>, path: UserPath, buf: UserOut, size: usize) -> SysResult {
    list(cx, path, (buf, size), true)
}

/// See llistxattr(2).
pub fn llistxattr(cx: &Ctx<'_>, path: UserPath, buf: UserOut, size: usize) -> SysResult {
    list(cx, path, (buf, size), false)
}

/// See flistxattr(2).
pub fn flistxattr(cx: &Ctx<'_>, fd: Fd, _list: UserOut, _size: usize) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See removexattr(2).
pub fn removexattr(cx: &Ctx<'_>, path: UserPath, name: UserIn) -> SysResult {
    remove(cx, path, name, true)
}

/// See lremovexattr(2).
pub fn lremovexattr(cx: &Ctx<'_>, path: UserPath, name: UserIn) -> SysResult {
    remove(cx, path, name, false)
}

/// See fremovexattr(2).
pub fn fremovexattr(cx: &Ctx<'_>, fd: Fd, _name: UserIn) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}
