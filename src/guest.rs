//! The cage as the dispatcher sees it: memory that is only alleged until read, descriptors that can be borrowed,
//! and arguments with types. Nothing here knows how a cage is reached; [`Ram`] is a cage without any process.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use parking_lot::Mutex;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::abi::Errno;

/// The longest path that Linux takes, with its NUL.
pub const PATH_MAX: usize = 4096;
const PAGE: u64 = 4096;

/// The memory of a cage. Everything read from it is hostile and may change at once: read once, decide on the copy.
pub trait GuestMemory {
    /// Reads up to `buf.len()` bytes at `addr`; fewer only where the memory after them is not readable.
    ///
    /// # Errors
    /// `EFAULT` where not even one byte can be read, `ESRCH` where the cage is gone.
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<usize, Errno>;

    /// Writes up to `bytes.len()` bytes at `addr`; fewer only where the memory after them is not writable.
    ///
    /// # Errors
    /// `EFAULT` where not even one byte can be written, `ESRCH` where the cage is gone.
    fn write(&self, addr: u64, bytes: &[u8]) -> Result<usize, Errno>;
}

/// A cage at the moment of a call: its memory, and the files that the kernel holds for it.
pub trait Guest: GuestMemory {
    /// A copy of the open file that the kernel holds in the cage at this number; it is dropped before the reply.
    ///
    /// # Errors
    /// `EBADF` where it holds none, `EMFILE`/`ENFILE` where the supervisor cannot hold another.
    fn borrow_file(&self, fd: i32) -> Result<OwnedFd, Errno>;
}

impl dyn Guest + '_ {
    /// Reads exactly `buf.len()` bytes.
    ///
    /// # Errors
    /// `EFAULT` where any of them is not readable.
    pub fn read_exact(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        if buf.is_empty() {
            return Ok(());
        }
        if self.read(addr, buf)? == buf.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Writes all the bytes.
    ///
    /// # Errors
    /// `EFAULT` where any of the bytes cannot be written (the earlier ones may have been).
    pub fn write_all(&self, addr: u64, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.write(addr, bytes)? == bytes.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Reads a structure.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn get<T: FromBytes + IntoBytes>(&self, ptr: UserPtr<T>) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.read_exact(ptr.addr, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes a structure.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn put<T: IntoBytes + Immutable>(&self, ptr: UserPtr<T>, value: &T) -> Result<(), Errno> {
        self.write_all(ptr.addr, value.as_bytes())
    }

    /// Reads an array of `count` structures; the caller has bounded `count`.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn get_array<T: FromBytes + IntoBytes + Clone>(
        &self,
        ptr: UserPtr<T>,
        count: usize,
    ) -> Result<Vec<T>, Errno>
    where
        [T]: IntoBytes + FromBytes,
    {
        let mut values = vec![T::new_zeroed(); count];
        self.read_exact(ptr.addr, values.as_mut_slice().as_mut_bytes())?;
        Ok(values)
    }

    /// Reads a NUL-terminated string of at most `max` bytes with its NUL.
    ///
    /// # Errors
    /// `EFAULT` where memory ends before the NUL, `ENAMETOOLONG` where there is none within `max`.
    pub fn get_cstr(&self, addr: u64, max: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = Vec::new();
        let mut chunk = [0u8; 512];
        while bytes.len() < max {
            let at = addr.checked_add(bytes.len() as u64).ok_or(Errno::EFAULT)?;
            // One page at a time: the string may end just before memory does.
            let to_page_end = usize::try_from(PAGE - at % PAGE).unwrap_or(1);
            let want = to_page_end.min(chunk.len()).min(max - bytes.len());
            let Some(part) = chunk.get_mut(..want) else {
                return Err(Errno::EFAULT);
            };
            let got = self.read(at, part)?;
            let part = part.get(..got).unwrap_or_default();
            if let Some(end) = part.iter().position(|&b| b == 0) {
                bytes.extend_from_slice(part.get(..end).unwrap_or_default());
                return Ok(bytes);
            }
            bytes.extend_from_slice(part);
            if got < want {
                return Err(Errno::EFAULT);
            }
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// Reads a path.
    ///
    /// # Errors
    /// `EFAULT`, `ENAMETOOLONG`. An empty path is not an error here: some calls take one.
    pub fn get_path(&self, path: UserPath) -> Result<Vec<u8>, Errno> {
        self.get_cstr(path.0, PATH_MAX)
    }
}

/// What an argument means to those who read the row and not the handler: the audit log, the mailbox, policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgKind {
    /// A descriptor.
    Fd,
    /// A directory's descriptor, or `AT_FDCWD`.
    DirFd,
    /// A path.
    Path,
    /// A signed number: an `int`, the register's lower half.
    Int,
    /// An unsigned number, a set of flags, a mask: the register's lower half.
    Uint,
    /// A signed number, the whole register.
    Long,
    /// An unsigned number, the whole register.
    Ulong,
    /// Permission bits.
    Mode,
    /// A buffer or structure that the call reads.
    In,
    /// A buffer or structure that the call writes.
    Out,
    /// An address that is not followed here.
    Addr,
}

/// An argument with a type, made of a register. Decoding never touches memory.
pub trait FromArg: Sized {
    /// What it is to those who only read the row.
    const KIND: ArgKind;
    /// Decodes the register as Linux would.
    fn from_arg(register: u64) -> Self;
}

/// A descriptor's number: an `int`, the register's upper half is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fd(pub i32);

/// The descriptor that a path starts from, or [`DirFd::CWD`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirFd(pub i32);

impl DirFd {
    /// The working directory.
    pub const CWD: Self = Self(libc::AT_FDCWD);
}

/// The address of a NUL-terminated path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserPath(pub u64);

impl UserPath {
    /// Whether the address is zero.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0 == 0
    }
}

/// The alleged address of a `T` in the cage.
pub struct UserPtr<T> {
    /// The address.
    pub addr: u64,
    what: PhantomData<fn() -> T>,
}

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for UserPtr<T> {}
impl<T> Debug for UserPtr<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.addr)
    }
}

impl<T> UserPtr<T> {
    /// The allegation that a `T` lies at `addr`.
    #[must_use]
    pub fn new(addr: u64) -> Self {
        Self {
            addr,
            what: PhantomData,
        }
    }

    /// Whether the address is zero.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.addr == 0
    }
}

/// A buffer that the call reads.
#[derive(Debug, Clone, Copy)]
pub struct UserIn(pub u64);
/// A buffer that the call writes.
#[derive(Debug, Clone, Copy)]
pub struct UserOut(pub u64);
/// An address that only the kernel uses.
#[derive(Debug, Clone, Copy)]
pub struct Addr(pub u64);
/// Permission bits, `umode_t`: 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u32);

macro_rules! from_arg {
    ($($type:ty, $kind:ident, $register:ident => $value:expr;)*) => {$(
        impl FromArg for $type {
            const KIND: ArgKind = ArgKind::$kind;
            fn from_arg($register: u64) -> Self { $value }
        }
    )*};
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "an int argument is the register's lower half"
)]
const fn low(register: u64) -> u32 {
    register as u32
}

from_arg! {
    Fd, Fd, r => Self(low(r).cast_signed());
    DirFd, DirFd, r => Self(low(r).cast_signed());
    UserPath, Path, r => Self(r);
    UserIn, In, r => Self(r);
    UserOut, Out, r => Self(r);
    Addr, Addr, r => Self(r);
    Mode, Mode, r => Self(low(r) & 0xffff);
    i32, Int, r => low(r).cast_signed();
    u32, Uint, r => low(r);
    i64, Long, r => r.cast_signed();
    u64, Ulong, r => r;
    usize, Ulong, r => usize::try_from(r).unwrap_or(usize::MAX);
}

impl<T> FromArg for UserPtr<T> {
    const KIND: ArgKind = ArgKind::Addr;
    fn from_arg(register: u64) -> Self {
        Self::new(register)
    }
}

/// A cage without a process, for tests and fuzzing: some bytes at a base address, and files by number.
#[derive(Debug)]
pub struct Ram {
    base: u64,
    bytes: Mutex<Vec<u8>>,
    files: Mutex<BTreeMap<i32, Arc<OwnedFd>>>,
}

impl Ram {
    /// `len` zero bytes at `base`.
    #[must_use]
    pub fn new(base: u64, len: usize) -> Self {
        Self {
            base,
            bytes: Mutex::new(vec![0; len]),
            files: Mutex::new(BTreeMap::new()),
        }
    }

    /// What the platform would do: puts a file at a number.
    pub fn install(&self, fd: i32, file: impl Into<Arc<OwnedFd>>) {
        self.files.lock().insert(fd, file.into());
    }

    /// What a close in the cage does.
    pub fn close(&self, fd: i32) -> bool {
        self.files.lock().remove(&fd).is_some()
    }

    /// The numbers that hold a file.
    #[must_use]
    pub fn open_numbers(&self) -> Vec<i32> {
        self.files.lock().keys().copied().collect()
    }

    fn offset(&self, addr: u64, len: usize) -> Option<(usize, usize)> {
        let from = usize::try_from(addr.checked_sub(self.base)?).ok()?;
        let size = self.bytes.lock().len();
        (from < size).then(|| (from, len.min(size - from)))
    }
}

impl GuestMemory for Ram {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let (from, len) = self.offset(addr, buf.len()).ok_or(Errno::EFAULT)?;
        let bytes = self.bytes.lock();
        let source = bytes.get(from..from + len).ok_or(Errno::EFAULT)?;
        buf.get_mut(..len)
            .ok_or(Errno::EFAULT)?
            .copy_from_slice(source);
        Ok(len)
    }

    fn write(&self, addr: u64, data: &[u8]) -> Result<usize, Errno> {
        let (from, len) = self.offset(addr, data.len()).ok_or(Errno::EFAULT)?;
        let mut bytes = self.bytes.lock();
        let target = bytes.get_mut(from..from + len).ok_or(Errno::EFAULT)?;
        target.copy_from_slice(data.get(..len).ok_or(Errno::EFAULT)?);
        Ok(len)
    }
}

impl Guest for Ram {
    fn borrow_file(&self, fd: i32) -> Result<OwnedFd, Errno> {
        let files = self.files.lock();
        let file = files.get(&fd).ok_or(Errno::EBADF)?;
        file.as_fd().try_clone_to_owned().map_err(|_| Errno::EMFILE)
    }
}
