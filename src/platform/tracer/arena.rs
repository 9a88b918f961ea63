//! Memory of the platform's in a cage: what is lent to the kernel for one call lies there. A read-only arena is a file
//! of the supervisor's mapped shared, so that the cage cannot change it; a writable one is ordinary memory.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::abi::Errno;
use crate::guest::Guest;

/// How large an arena is.
pub(super) const ARENA: u64 = 64 * 1024;
const ALIGN: u64 = 16;

/// One mapping.
#[derive(Debug)]
pub(super) struct Arena {
    base: u64,
    /// The file behind a read-only one.
    file: Option<OwnedFd>,
    /// Offset and length of what is in use, in order.
    used: Vec<(u64, u64)>,
}

/// A piece of an arena; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    arena: Arc<Mutex<Arena>>,
    offset: u64,
    pub(super) addr: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let offset = self.offset;
        self.arena.lock().used.retain(|&(at, _)| at != offset);
    }
}

impl Slot {
    /// Fills the piece.
    pub(super) fn fill(&self, memory: &dyn Guest, bytes: &[u8]) -> Result<(), Errno> {
        let arena = self.arena.lock();
        if let Some(file) = &arena.file {
            let at = i64::try_from(self.offset).map_err(|_| Errno::EFAULT)?;
            let written =
                nix::sys::uio::pwrite(file, bytes, at).map_err(|error| Errno::new(error as i32))?;
            return if written == bytes.len() {
                Ok(())
            } else {
                Err(Errno::EFAULT)
            };
        }
        match memory.write(self.addr, bytes)? {
            written if written == bytes.len() => Ok(()),
            _ => Err(Errno::EFAULT),
        }
    }
}

/// The arenas of an address space. A fork's child maps the same ones, and shares what is in use.
#[derive(Debug, Default, Clone)]
pub(super) struct Arenas {
    read_only: Vec<Arc<Mutex<Arena>>>,
    writable: Vec<Arc<Mutex<Arena>>>,
}

impl Arenas {
    /// Notes a new mapping; `file` is what is behind a read-only one.
    pub(super) fn add(&mut self, base: u64, file: Option<OwnedFd>) {
        let list = if file.is_some() {
            &mut self.read_only
        } else {
            &mut self.writable
        };
        list.push(Arc::new(Mutex::new(Arena {
            base,
            file,
            used: Vec::new(),
        })));
    }

    /// Takes a piece of `len` bytes; `None` where a new arena must be mapped first.
    pub(super) fn take(&self, writable: bool, len: usize) -> Option<Slot> {
        let len = u64::try_from(len).ok()?.max(1).next_multiple_of(ALIGN);
        let list = if writable {
            &self.writable
        } else {
            &self.read_only
        };
        list.iter().find_map(|arena| {
            let mut locked = arena.lock();
            let mut at = 0;
            let mut place = locked.used.len();
            for (index, &(offset, used)) in locked.used.iter().enumerate() {
                if offset - at >= len {
                    place = index;
                    break;
                }
                at = offset + used;
            }
            if at + len > ARENA {
                return None;
            }
            locked.used.insert(place, (at, len));
            Some(Slot {
                arena: Arc::clone(arena),
                offset: at,
                addr: locked.base + at,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_overlap_and_are_given_back() {
        let mut arenas = Arenas::default();
        assert!(arenas.take(true, 8).is_none());
        arenas.add(0x1000, None);
        let first = arenas.take(true, 100).unwrap();
        let second = arenas.take(true, 100).unwrap();
        let third = arenas.take(true, 100).unwrap();
        assert_eq!(
            [first.addr, second.addr, third.addr],
            [0x1000, 0x1070, 0x10e0]
        );
        drop(second);
        let small = arenas.take(true, 17).unwrap();
        assert_eq!(small.addr, 0x1070);
        let large = arenas.take(true, 112).unwrap();
        assert_eq!(large.addr, 0x1150);
        assert!(arenas.take(true, 64 * 1024).is_none());
        assert!(arenas.take(false, 8).is_none());
    }
}
