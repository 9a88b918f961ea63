//! The structures that Linux and its programs exchange on x86_64, byte for byte (include/uapi of the kernel).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct timespec` (and `__kernel_timespec`): seconds and nanoseconds.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds, 0..1_000_000_000 (or `UTIME_NOW`, `UTIME_OMIT`).
    pub nsec: i64,
}

/// `struct timeval`: seconds and microseconds.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Timeval {
    /// Seconds.
    pub sec: i64,
    /// Microseconds.
    pub usec: i64,
}

/// `struct iovec`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Iovec {
    /// Where the bytes are, in the cage.
    pub base: u64,
    /// How many.
    pub len: u64,
}

/// `struct user_msghdr`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Msghdr {
    /// The address.
    pub name: u64,
    /// Its length.
    pub namelen: u32,
    /// Padding.
    pub pad0: u32,
    /// The array of [`Iovec`].
    pub iov: u64,
    /// Its length, in elements.
    pub iovlen: u64,
    /// Control data.
    pub control: u64,
    /// Its length in bytes.
    pub controllen: u64,
    /// `MSG_*` on return.
    pub flags: u32,
    /// Padding.
    pub pad1: u32,
}

/// `struct clone_args` of clone3(2), as of Linux 5.7 (`CLONE_ARGS_SIZE_VER2`).
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CloneArgs {
    /// `CLONE_*`.
    pub flags: u64,
    /// Where to store a pid descriptor.
    pub pidfd: u64,
    /// Where to store the child's tid, in the child.
    pub child_tid: u64,
    /// Where to store the child's tid, in the parent.
    pub parent_tid: u64,
    /// The signal at the child's end.
    pub exit_signal: u64,
    /// The lowest byte of the child's stack.
    pub stack: u64,
    /// The stack's size.
    pub stack_size: u64,
    /// The thread pointer.
    pub tls: u64,
    /// Chosen pids.
    pub set_tid: u64,
    /// How many.
    pub set_tid_size: u64,
    /// A cgroup's descriptor.
    pub cgroup: u64,
}

/// `struct open_how` of openat2(2).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct OpenHow {
    /// `O_*`.
    pub flags: u64,
    /// Permission bits of a new file.
    pub mode: u64,
    /// `RESOLVE_*`.
    pub resolve: u64,
}

/// `struct stat` of x86_64.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Stat {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Links.
    pub nlink: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Padding.
    pub pad0: u32,
    /// Device number, of a device.
    pub rdev: u64,
    /// Size in bytes.
    pub size: i64,
    /// Preferred block size.
    pub blksize: i64,
    /// Blocks of 512 bytes.
    pub blocks: i64,
    /// Last access.
    pub atime: Timespec,
    /// Last change of the contents.
    pub mtime: Timespec,
    /// Last change of the inode.
    pub ctime: Timespec,
    /// Unused.
    pub unused: [i64; 3],
}

impl Stat {
    /// The file's type, `S_IFREG` and so on.
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    /// What makes two names the same file: device and inode.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }
}

/// `struct statx`, opaque but for what is read here (stx_mnt_id at 0x90).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Statx {
    /// Which fields are there.
    pub mask: u32,
    /// The bytes between.
    pub before_mnt_id: [u8; 0x8c],
    /// The mount that the file lies on.
    pub mnt_id: u64,
    /// The rest.
    pub rest: [u8; 0x68],
}

/// `struct rlimit64`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Rlimit {
    /// The soft limit.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}

/// `struct pollfd`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pollfd {
    /// The descriptor.
    pub fd: i32,
    /// What is waited for.
    pub events: i16,
    /// What is there.
    pub revents: i16,
}

const _: () = assert!(
    size_of::<Stat>() == 144
        && size_of::<Statx>() == 256
        && size_of::<Msghdr>() == 56
        && size_of::<CloneArgs>() == 88
);
