//! Memory that has a file behind it.

use std::ffi::CString;

use super::{Ctx, Outcome, SysResult};
use crate::abi::Errno;
use crate::cage::{FileKind, OpenFile};
use crate::guest::{Addr, Fd, UserIn};
use crate::sys::descriptor;

/// The longest name of a memory file; the kernel puts `memfd:` before it.
const NAME_MAX: usize = 249;
/// The size of huge pages, in a flag's upper bits.
const MFD_HUGE_MASK: u32 = 0x3f << 26;
const MFD_NOEXEC_SEAL: u32 = 0x8;
const MFD_EXEC: u32 = 0x10;
const PAGE_MASK: u64 = 0xfff;

/// See mmap(2).
pub fn mmap(
    cx: &Ctx<'_>,
    _addr: Addr,
    _length: usize,
    _prot: i32,
    flags: i32,
    fd: Fd,
    offset: u64,
) -> SysResult {
    if offset & PAGE_MASK != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & libc::MAP_ANONYMOUS == 0 {
        cx.descriptor(fd)?;
    }
    Ok(Outcome::Continue)
}

/// See memfd_create(2).
pub fn memfd_create(cx: &Ctx<'_>, name: UserIn, flags: u32) -> SysResult {
    let mut known = libc::MFD_CLOEXEC
        | libc::MFD_ALLOW_SEALING
        | libc::MFD_HUGETLB
        | MFD_NOEXEC_SEAL
        | MFD_EXEC;
    if flags & libc::MFD_HUGETLB != 0 {
        known |= MFD_HUGE_MASK;
    }
    if flags & !known != 0 || flags & (MFD_EXEC | MFD_NOEXEC_SEAL) == MFD_EXEC | MFD_NOEXEC_SEAL {
        return Err(Errno::EINVAL);
    }
    let name = match cx.guest.get_cstr(name.0, NAME_MAX + 1) {
        Err(Errno::ENAMETOOLONG) => return Err(Errno::EINVAL),
        name => name?,
    };
    let mut label = b"/memfd:".to_vec();
    label.extend_from_slice(&name);
    label.extend_from_slice(b" (deleted)");
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    let host = descriptor::memory_file(&name, flags)?;
    let file = OpenFile::new(FileKind::File, label);
    Outcome::value(cx.open_lowest(file, host, flags & libc::MFD_CLOEXEC != 0)?)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::guest::Guest;
    use crate::posix::bench_cage::{NOWHERE, TestCage, fails};

    #[test]
    fn a_memory_file_has_a_number_and_a_label() {
        let cage = TestCage::new();
        let name = cage.put_str("thing");
        let flags = u64::from(libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        assert_eq!(cage.call("memfd_create", &[name, flags]), 0);
        assert!(cage.cloexec(0));
        let file = cage.thread.files().get(0).unwrap().file;
        assert_eq!(file.label(), b"/memfd:thing (deleted)");
        let host = cage.ram.borrow_file(0).unwrap();
        assert_eq!(nix::unistd::write(host.as_fd(), b"x"), Ok(1));
        let longest = cage.put_str([b'n'; 249]);
        assert_eq!(cage.call("memfd_create", &[longest, 0]), 1);
        assert!(!cage.cloexec(1));
    }

    #[test]
    fn bad_names_and_flags_are_refused() {
        let cage = TestCage::new();
        let (name, long) = (cage.put_str("x"), cage.put_str([b'n'; 250]));
        for (args, errno) in [
            ([name, 0x400], Errno::EINVAL),
            ([NOWHERE, 0x400], Errno::EINVAL),
            ([name, 0x18], Errno::EINVAL),
            ([long, 0], Errno::EINVAL),
            ([NOWHERE, 0], Errno::EFAULT),
        ] {
            assert_eq!(cage.call("memfd_create", &args), fails(errno));
        }
        assert!(cage.numbers().is_empty());
    }

    #[test]
    fn a_mapping_of_a_file_needs_the_file() {
        let cage = TestCage::new();
        let anonymous = u64::from((libc::MAP_ANONYMOUS | libc::MAP_PRIVATE).cast_unsigned());
        let none = u64::from(u32::MAX);
        assert_eq!(cage.call("mmap", &[0, 4096, 1, anonymous, none, 0]), 0);
        assert_eq!(
            cage.call("mmap", &[0, 4096, 1, 2, 5, 0]),
            fails(Errno::EBADF)
        );
        assert_eq!(
            cage.call("mmap", &[0, 4096, 1, 2, 5, 7]),
            fails(Errno::EINVAL)
        );
        let name = cage.put_str("");
        assert_eq!(cage.call("memfd_create", &[name, 0]), 0);
        assert_eq!(cage.call("mmap", &[0, 4096, 1, 2, 0, 0]), 0);
    }
}
