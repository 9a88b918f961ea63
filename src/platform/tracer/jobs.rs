//! Small jobs that the tracer does in a stopped thread by calls of its own: memory for what is lent, files that a
//! notification cannot bring, the kernel's working directory.

mod exchange;
mod map_fast;

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use parking_lot::Mutex;

use super::arena::{ARENA, Arenas, Slot};
use crate::abi::layout::{Iovec, Msghdr};
use crate::abi::{Errno, Sysno};
use crate::guest::{Guest, UserPtr};
use crate::posix::Install;
use crate::sys::closer::Loan;
use crate::sys::courier::{COURIER, Courier};
use crate::sys::{privilege, procfs};
use exchange::Exchange;

/// What a job wants next.
pub(super) enum Step {
    /// Run this call; its result comes with the next step.
    Call(u64, [u64; 6]),
    /// It is done; a number that was lent, where one was.
    Done(Option<i32>),
    /// The copy of the text is here, to be looked at and patched; whether it was comes with the next step.
    Copied(u64),
}

/// What a job works with.
pub(super) struct Bench<'a> {
    pub(super) guest: &'a dyn Guest,
    pub(super) arenas: &'a Mutex<Arenas>,
    pub(super) host_proc: &'a OwnedFd,
    pub(super) tid: i32,
}

/// Where a received file goes.
#[derive(Debug, Clone, Copy)]
enum Place {
    At { number: i32, cloexec: bool },
    Anywhere,
}

#[derive(Debug)]
enum Work {
    MapWritable,
    MapReadOnly {
        file: Option<OwnedFd>,
        base: u64,
    },
    Receive {
        file: Arc<OwnedFd>,
        place: Place,
    },
    Chdir {
        path: Vec<u8>,
    },
    /// The calls that map a file, in order; the file's number is put into those of mmap.
    MapFast {
        file: Arc<OwnedFd>,
        calls: VecDeque<(Sysno, [u64; 6])>,
        failed: bool,
        /// Whether the socket that the file came by is to stay, as a courier.
        keeps_courier: bool,
    },
    Exchange(Box<Exchange>),
    Close(i32),
    Own(u64, [u64; 6]),
    TakeTerminal(i32),
}

/// A job under way.
#[derive(Debug)]
pub(super) struct Job {
    work: Work,
    stage: u8,
    slot: Option<Slot>,
    pair: [i32; 2],
    received: i32,
    courier: Option<Courier>,
}

/// mseal(2), 6.10; the `syscalls` crate does not know it yet.
const MSEAL: u64 = 462;

fn nr(sysno: Sysno) -> u64 {
    sysno.id() as u64
}

/// Jobs that work with a file receive it first, by the stages before this one.
const RECEIVED: u8 = 5;

const CONTROL: u64 = 64;
const VECTOR: u64 = 128;
const BYTE: u64 = 160;
const PAIR: u64 = 168;
const SCRATCH: usize = 256;

fn number(fd: i32) -> u64 {
    u64::from(fd.cast_unsigned())
}

fn check(result: i64) -> Result<u64, Errno> {
    u64::try_from(result).map_err(|_| i32::try_from(-result).map_or(Errno::EIO, Errno::new))
}

impl Job {
    fn new(work: Work) -> Self {
        Self {
            work,
            stage: 0,
            slot: None,
            pair: [-1; 2],
            received: -1,
            courier: None,
        }
    }

    /// Memory that the kernel writes to; nothing where there is some already.
    pub(super) fn map_writable() -> Self {
        Self::new(Work::MapWritable)
    }

    /// Memory that the cage cannot change.
    pub(super) fn map_read_only() -> Self {
        Self::new(Work::MapReadOnly {
            file: None,
            base: 0,
        })
    }

    /// Puts a file at its number.
    pub(super) fn receive(install: Install) -> Self {
        let place = Place::At {
            number: install.fd,
            cloexec: install.cloexec,
        };
        Self::new(Work::Receive {
            file: install.file,
            place,
        })
    }

    /// Puts a file at any number, for one call.
    pub(super) fn lend(file: OwnedFd) -> Self {
        Self::new(Work::Receive {
            file: Arc::new(file),
            place: Place::Anywhere,
        })
    }

    /// Moves the kernel's working directory: only a hint, which whoever uses it checks.
    pub(super) fn chdir(path: Vec<u8>) -> Self {
        Self::new(Work::Chdir { path })
    }

    /// Makes a terminal the session's controlling one; where that cannot be, nothing changes.
    pub(super) fn take_terminal(number: i32) -> Self {
        Self::new(Work::TakeTerminal(number))
    }

    /// Makes the thread's own call, of which nothing is left to decide.
    pub(super) fn own(nr: u64, args: [u64; 6]) -> Self {
        Self::new(Work::Own(nr, args))
    }

    /// Closes a number.
    pub(super) fn close(number: i32) -> Self {
        Self::new(Work::Close(number))
    }

    /// Whether it gives the cage a file to keep.
    pub(super) fn is_grant(&self) -> bool {
        matches!(
            self.work,
            Work::Receive {
                place: Place::At { .. },
                ..
            }
        )
    }

    /// The number that it closes, where it does.
    pub(super) fn closes(&self) -> Option<i32> {
        match self.work {
            Work::Close(number) => Some(number),
            _ => None,
        }
    }

    /// Whether numbers that the kernel chooses are about while it runs: then the table must be still.
    pub(super) fn needs_still_table(&self) -> bool {
        matches!(
            self.work,
            Work::Receive { .. }
                | Work::MapReadOnly { .. }
                | Work::MapFast { .. }
                | Work::Exchange(_)
                | Work::Close(_)
        )
    }

    /// Takes the next step; `result` is that of the call asked for last.
    pub(super) fn step(&mut self, bench: &Bench<'_>, result: i64) -> Result<Step, Errno> {
        let stage = self.stage;
        self.stage += 1;
        match &mut self.work {
            Work::MapWritable => match stage {
                0 if bench.arenas.lock().take(true, SCRATCH).is_some() => Ok(Step::Done(None)),
                0 => Ok(map_anonymous()),
                1 => {
                    bench.arenas.lock().add(check(result)?, None);
                    Ok(Step::Call(MSEAL, [check(result)?, ARENA, 0, 0, 0, 0]))
                }
                // Unsealed, the cage could take it away: its own loss, the bytes there are only hints.
                _ => Ok(Step::Done(None)),
            },
            Work::Close(fd) => match stage {
                0 => Ok(Step::Call(nr(Sysno::close), [number(*fd), 0, 0, 0, 0, 0])),
                _ => Ok(Step::Done(None)),
            },
            Work::Own(nr, args) => match stage {
                0 => Ok(Step::Call(*nr, *args)),
                _ => Ok(Step::Done(None)),
            },
            Work::TakeTerminal(fd) => match stage {
                0 => Ok(Step::Call(
                    nr(Sysno::ioctl),
                    [number(*fd), libc::TIOCSCTTY, 0, 0, 0, 0],
                )),
                _ => Ok(Step::Done(None)),
            },
            Work::Chdir { path } => {
                if stage > 0 {
                    return Ok(Step::Done(None));
                }
                let mut bytes = path.clone();
                bytes.push(0);
                let slot = bench
                    .arenas
                    .lock()
                    .take(true, bytes.len())
                    .ok_or(Errno::ENOMEM)?;
                slot.fill(bench.guest, &bytes)?;
                let addr = slot.addr;
                self.slot = Some(slot);
                Ok(Step::Call(nr(Sysno::chdir), [addr, 0, 0, 0, 0, 0]))
            }
            Work::Receive { file, place } => {
                let (file, place) = (Arc::clone(file), *place);
                self.receive_step(bench, stage, result, &file, place)
            }
            Work::MapReadOnly { .. } => self.map_read_only_step(bench, stage, result),
            Work::MapFast { .. } => self.map_fast_step(bench, stage, result),
            Work::Exchange(_) => self.exchange_step(bench, stage, result),
        }
    }

    fn receive_step(
        &mut self,
        bench: &Bench<'_>,
        stage: u8,
        result: i64,
        file: &OwnedFd,
        place: Place,
    ) -> Result<Step, Errno> {
        const AF_UNIX: u64 = 1;
        const SOCK: u64 = (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC) as u64;
        if stage == 0 {
            let slot = bench
                .arenas
                .lock()
                .take(true, SCRATCH)
                .ok_or(Errno::ENOMEM)?;
            let addr = slot.addr;
            self.slot = Some(slot);
            return Ok(Step::Call(
                nr(Sysno::socketpair),
                [AF_UNIX, SOCK, 0, addr + PAIR, 0, 0],
            ));
        }
        let scratch = self.slot.as_ref().map_or(0, |slot| slot.addr);
        match stage {
            1 => {
                check(result)?;
                self.pair = bench.guest.get(UserPtr::<[i32; 2]>::new(scratch + PAIR))?;
                let ours = Loan::from(bench.guest.borrow_file(self.pair[1])?);
                let files = [file.as_raw_fd()];
                sendmsg::<()>(
                    ours.as_fd().as_raw_fd(),
                    &[std::io::IoSlice::new(b"f")],
                    &[ControlMessage::ScmRights(&files)],
                    MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
                    None,
                )
                .map_err(|error| Errno::new(error as i32))?;
                if self.keeps_courier() {
                    let [theirs, ours] = self.pair.map(|end| bench.guest.borrow_file(end));
                    self.courier = Some(Courier::new(ours?, theirs?));
                }
                Ok(Step::Call(
                    nr(Sysno::close),
                    [number(self.pair[1]), 0, 0, 0, 0, 0],
                ))
            }
            2 => {
                let header = Msghdr {
                    iov: scratch + VECTOR,
                    iovlen: 1,
                    control: scratch + CONTROL,
                    controllen: 24,
                    ..Msghdr::default()
                };
                let vector = Iovec {
                    base: scratch + BYTE,
                    len: 1,
                };
                bench.guest.put(UserPtr::new(scratch), &header)?;
                bench.guest.put(UserPtr::new(scratch + VECTOR), &vector)?;
                let flags = (libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC).cast_unsigned();
                Ok(Step::Call(
                    nr(Sysno::recvmsg),
                    [number(self.pair[0]), scratch, u64::from(flags), 0, 0, 0],
                ))
            }
            3 => {
                check(result)?;
                // struct cmsghdr is 16 bytes; the number follows.
                self.received = bench
                    .guest
                    .get(UserPtr::<i32>::new(scratch + CONTROL + 16))?;
                let close = [number(self.pair[0]), 0, 0, 0, 0, 0];
                if let Work::MapFast {
                    calls,
                    keeps_courier: true,
                    ..
                } = &mut self.work
                {
                    calls.push_front((Sysno::close, close));
                    let flags = number(libc::O_CLOEXEC);
                    return Ok(Step::Call(
                        nr(Sysno::dup3),
                        [number(self.pair[0]), number(COURIER), flags, 0, 0, 0],
                    ));
                }
                Ok(Step::Call(nr(Sysno::close), close))
            }
            4 => match place {
                Place::Anywhere => {
                    // The number went through memory that the cage can change.
                    if !same_file(bench.guest.borrow_file(self.received)?, file) {
                        return Err(Errno::EPERM);
                    }
                    Ok(Step::Done(Some(self.received)))
                }
                Place::At {
                    number: at,
                    cloexec,
                } if at == self.received => Ok(Step::Call(
                    nr(Sysno::fcntl),
                    [
                        number(at),
                        libc::F_SETFD as u64,
                        u64::from(cloexec),
                        0,
                        0,
                        0,
                    ],
                )),
                Place::At {
                    number: at,
                    cloexec,
                } => {
                    let flags = if cloexec { libc::O_CLOEXEC } else { 0 };
                    Ok(Step::Call(
                        nr(Sysno::dup3),
                        [
                            number(self.received),
                            number(at),
                            u64::from(flags.cast_unsigned()),
                            0,
                            0,
                            0,
                        ],
                    ))
                }
            },
            5 => {
                check(result)?;
                let Place::At { number: at, .. } = place else {
                    return Ok(Step::Done(None));
                };
                // All of this went through memory that the cage can change: look at what arrived.
                if !same_file(bench.guest.borrow_file(at)?, file) {
                    return Err(Errno::EPERM);
                }
                if at == self.received {
                    return Ok(Step::Done(None));
                }
                Ok(Step::Call(
                    nr(Sysno::close),
                    [number(self.received), 0, 0, 0, 0, 0],
                ))
            }
            _ => Ok(Step::Done(None)),
        }
    }

    fn map_read_only_step(
        &mut self,
        bench: &Bench<'_>,
        stage: u8,
        result: i64,
    ) -> Result<Step, Errno> {
        if stage == 0 {
            if bench.arenas.lock().take(false, 1).is_some() {
                self.stage = u8::MAX;
                return Ok(Step::Done(None));
            }
            let size = i64::try_from(ARENA).map_err(|_| Errno::ENOMEM)?;
            if let Work::MapReadOnly { file, .. } = &mut self.work {
                *file = Some(crate::sys::sealed::memfd(size)?);
            }
        }
        let Work::MapReadOnly { file, base } = &mut self.work else {
            return Ok(Step::Done(None));
        };
        let Some(backing) = file.as_ref() else {
            return Ok(Step::Done(None));
        };
        if stage < RECEIVED {
            let readable = crate::sys::sealed::reopen_read_only(bench.host_proc.as_fd(), backing)?;
            return match self.receive_step(bench, stage, result, &readable, Place::Anywhere)? {
                Step::Done(fd) => Ok(Step::Call(
                    nr(Sysno::mmap),
                    [
                        0,
                        ARENA,
                        libc::PROT_READ as u64,
                        libc::MAP_SHARED as u64,
                        number(fd.unwrap_or(-1)),
                        0,
                    ],
                )),
                call => Ok(call),
            };
        }
        match stage {
            RECEIVED => {
                *base = check(result)?;
                Ok(Step::Call(MSEAL, [*base, ARENA, 0, 0, 0, 0]))
            }
            6 => {
                // Unsealed, the cage could put its own memory there.
                check(result)?;
                if !is_mapped(bench, *base, backing) {
                    return Err(Errno::EPERM);
                }
                let file = file.take();
                bench.arenas.lock().add(*base, file);
                Ok(Step::Call(
                    nr(Sysno::close),
                    [number(self.received), 0, 0, 0, 0, 0],
                ))
            }
            _ => Ok(Step::Done(None)),
        }
    }
}

fn map_anonymous() -> Step {
    Step::Call(
        nr(Sysno::mmap),
        [
            0,
            ARENA,
            (libc::PROT_READ | libc::PROT_WRITE) as u64,
            (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64,
            u64::MAX,
            0,
        ],
    )
}

fn identity(file: impl AsFd) -> Option<(u64, u64)> {
    nix::sys::stat::fstat(file)
        .ok()
        .map(|stat| (stat.st_dev, stat.st_ino))
}

fn same_file(one: OwnedFd, other: &OwnedFd) -> bool {
    let one = identity(Loan::from(one));
    one.is_some() && one == identity(other)
}

/// Whether what a thread has mapped at `base`, now that it is sealed, is this file, shared and for reading only: another
/// thread may have put something else there before it was sealed.
fn is_mapped(bench: &Bench<'_>, base: u64, file: &OwnedFd) -> bool {
    let look = || procfs::mapping_at(bench.host_proc.as_fd(), bench.tid, base);
    let Ok(Some(mapping)) = look().or_else(|_| privilege::with_ptrace(look)) else {
        return false;
    };
    let inode = identity(file).map(|(_, inode)| inode);
    mapping.range == (base, base + ARENA)
        && mapping.mode == "r--s"
        && mapping.offset == 0
        && inode == Some(mapping.inode)
}
