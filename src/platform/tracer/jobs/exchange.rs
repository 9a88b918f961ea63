//! The job that patches text which other threads run, without any of them: a copy of it is mapped, patched where nobody
//! runs it, and moved to where the text is, by one call. To whoever runs there meanwhile that is a page that was not at
//! hand.
//!
//! Stopping them would be no smaller a thing: an interrupt ends an `epoll_wait`, a receive with a time-out or a `semop`
//! early, and nobody knows how much of its time it had left. And a site that is changed in place would be five bytes
//! that another processor may take half of. Here the kernel has told every processor to forget the old pages before the
//! first of the new ones can be seen, and what stands behind a patch is the same in both.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{Bench, Job, Place, RECEIVED, Step, Work, check, nr, number};
use crate::abi::{Errno, Sysno};
use crate::sys::procfs::Mapping;

/// An exchange under way.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The text's file.
    file: Arc<OwnedFd>,
    range: (u64, u64),
    offset: u64,
    /// Where the copy is, until it is moved.
    copy: u64,
    is_refused: bool,
}

impl Job {
    /// Moves a patched copy of a file's text to where the text is.
    pub(in super::super) fn exchange(file: OwnedFd, text: &Mapping) -> Self {
        Self::new(Work::Exchange(Box::new(Exchange {
            file: Arc::new(file),
            range: text.range,
            offset: text.offset,
            copy: 0,
            is_refused: false,
        })))
    }

    /// Whether a text was to be exchanged, and is as it was.
    pub(in super::super) fn is_refused(&self) -> bool {
        matches!(&self.work, Work::Exchange(exchange) if exchange.is_refused)
    }

    pub(super) fn exchange_step(
        &mut self,
        bench: &Bench<'_>,
        stage: u8,
        result: i64,
    ) -> Result<Step, Errno> {
        let Work::Exchange(exchange) = &mut self.work else {
            return Ok(Step::Done(None));
        };
        if stage < RECEIVED {
            let file = Arc::clone(&exchange.file);
            let (range, offset) = (exchange.range, exchange.offset);
            return match self.receive_step(bench, stage, result, &file, Place::Anywhere)? {
                Step::Done(fd) => {
                    let prot = (libc::PROT_READ | libc::PROT_EXEC) as u64;
                    let (len, flags) = (range.1 - range.0, libc::MAP_PRIVATE as u64);
                    let fd = number(fd.unwrap_or(-1));
                    let args = [0, len, prot, flags, fd, offset];
                    Ok(Step::Call(nr(Sysno::mmap), args))
                }
                step => Ok(step),
            };
        }
        let (start, len) = (exchange.range.0, exchange.range.1 - exchange.range.0);
        let remove = Step::Call(nr(Sysno::munmap), [exchange.copy, len, 0, 0, 0, 0]);
        Ok(match stage {
            RECEIVED => {
                match check(result) {
                    Ok(copy) => exchange.copy = copy,
                    Err(_) => exchange.is_refused = true,
                }
                let received = number(self.received);
                Step::Call(nr(Sysno::close), [received, 0, 0, 0, 0, 0])
            }
            6 if exchange.is_refused => Step::Done(None),
            6 => Step::Copied(exchange.copy),
            7 if result < 0 => {
                exchange.is_refused = true;
                remove
            }
            7 => {
                let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
                let args = [exchange.copy, len, len, flags, start, 0];
                Step::Call(nr(Sysno::mremap), args)
            }
            8 if !exchange.is_refused && result < 0 => {
                // As where the text is sealed.
                exchange.is_refused = true;
                remove
            }
            _ => Step::Done(None),
        })
    }
}
