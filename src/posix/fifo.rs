//! FIFOs by name. An open that waits for its peer waits in the cage, in short native sleeps; between them the supervisor
//! looks whether the peer came. No thread of the supervisor waits, and a signal interrupts as it does on Linux.

use std::os::fd::{AsFd, OwnedFd};

use super::open::{Wanted, reopen};
use super::{Ctx, Forward, Outcome, SysResult};
use crate::abi::{Errno, Sysno};
use crate::cage::FileKind;
use crate::sys;

/// The first sleep, in milliseconds; each next one is twice as long, up to the last.
const FIRST_SLEEP: u64 = 1;
const LAST_SLEEP: u64 = 16;

/// A FIFO of the host may be read, but a writer would reach a process outside: that needs a mount of the run's own.
fn may_write(cx: &Ctx<'_>, file: &OwnedFd) -> Result<(), Errno> {
    if sys::fs::is_on_pipefs(file.as_fd()) {
        return Ok(());
    }
    let mount = sys::fs::mount_id(file.as_fd())?;
    if cx.kernel.private_mounts.contains(&mount) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// A FIFO was opened without waiting.
///
/// # Errors
/// `EACCES` where it may not be written, and what granting gives.
pub(super) fn opened(cx: &Ctx<'_>, wanted: Wanted, file: OwnedFd, label: Vec<u8>) -> SysResult {
    if wanted.writes() {
        // There is a reader, or this end is one.
        may_write(cx, &file)?;
        return wanted.grant(cx, FileKind::Pipe, file, label);
    }
    if !wanted.waits() {
        return wanted.grant(cx, FileKind::Pipe, file, label);
    }
    // Made again after an interruption, the open goes on with the end that it had: that one knows who came.
    let file = match cx.thread.take_end() {
        Some(held) if same_file(&held, &file) => held,
        _ => file,
    };
    Wait {
        wanted,
        label,
        end: End::Reader(file),
        sleep: FIRST_SLEEP,
    }
    .look(cx)
}

/// A FIFO was to be opened for writing, and nobody reads; `place` is an `O_PATH` descriptor of it.
///
/// # Errors
/// `EACCES` where it may not be written, `ENXIO` where the cage does not wait.
pub(super) fn without_reader(
    cx: &Ctx<'_>,
    wanted: Wanted,
    place: OwnedFd,
    label: Vec<u8>,
) -> SysResult {
    may_write(cx, &place)?;
    if !wanted.waits() {
        return Err(Errno::ENXIO);
    }
    Wait {
        wanted,
        label,
        end: End::Writer(place),
        sleep: FIRST_SLEEP,
    }
    .look(cx)
}

fn same_file(one: &OwnedFd, other: &OwnedFd) -> bool {
    let identity = |file: &OwnedFd| sys::fs::fstat(file.as_fd()).map(|stat| stat.identity());
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

/// Which end waits.
enum End {
    /// The open file: as a reader it is already there, so that a writer's open succeeds.
    Reader(OwnedFd),
    /// The place to open when a reader is there.
    Writer(OwnedFd),
}

/// An open that waits for its peer. Dropped, with what it holds, when the cage is interrupted or dies.
struct Wait {
    wanted: Wanted,
    label: Vec<u8>,
    end: End,
    sleep: u64,
}

impl Wait {
    /// Hands the FIFO over if the peer came, or sends the cage to sleep.
    fn look(self, cx: &Ctx<'_>) -> SysResult {
        match self.met(cx)? {
            Met::Peer(file, wait) => wait.grant(cx, file),
            Met::Nobody(wait) => wait.sleep(),
        }
    }

    fn met(self, cx: &Ctx<'_>) -> Result<Met, Errno> {
        let came = match self.end {
            End::Reader(file) if sys::fs::nobody_wrote(file.as_fd()) => Err(End::Reader(file)),
            End::Reader(file) => Ok(file),
            End::Writer(place) => match reopen(cx, self.wanted, &place) {
                Err(Errno::ENXIO) => Err(End::Writer(place)),
                opened => Ok(opened?),
            },
        };
        let (wanted, label) = (self.wanted, self.label);
        Ok(match came {
            Ok(file) => Met::Peer(file, Granting { wanted, label }),
            Err(end) => Met::Nobody(Self {
                wanted,
                label,
                end,
                sleep: self.sleep,
            }),
        })
    }

    fn sleep(mut self) -> SysResult {
        let args = [0, 0, self.sleep, 0, 0, 0];
        self.sleep = (self.sleep * 2).min(LAST_SLEEP);
        Ok(Outcome::Forward(Forward::new(Sysno::poll, args).then(
            move |cx, result| {
                // The table was free to change while the cage slept; a fork may be copying it now.
                if cx.begin_change().is_err() {
                    return self.sleep();
                }
                let met = self.met(cx)?;
                if let Met::Nobody(_) = met {
                    drop(cx.take_change());
                }
                match met {
                    // Whoever came counts, though a signal came too.
                    Met::Peer(file, wait) => wait.grant(cx, file),
                    Met::Nobody(wait) if result >= 0 => wait.sleep(),
                    // open(2) goes on after a handler that says so; a writer that comes meanwhile must find its reader.
                    Met::Nobody(wait) => {
                        if let End::Reader(file) = wait.end {
                            cx.thread.hold_end(file);
                        }
                        Err(Errno::ERESTARTSYS)
                    }
                }
            },
        )))
    }
}

/// What a look found.
enum Met {
    Peer(OwnedFd, Granting),
    Nobody(Wait),
}

/// An open that has met its peer.
struct Granting {
    wanted: Wanted,
    label: Vec<u8>,
}

impl Granting {
    fn grant(self, cx: &Ctx<'_>, file: OwnedFd) -> SysResult {
        self.wanted.grant(cx, FileKind::Pipe, file, self.label)
    }
}
