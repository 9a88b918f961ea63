//! A mailbox as the supervisor sees it: memory shared with one address space of a cage, a slot for each thread. All that
//! is read here may be anything and change at any moment: every field is read once, and lengths are bounded.
#![expect(
    unsafe_code,
    reason = "memory is mapped and shared with another process"
)]

use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::shim::{MAILBOX, SLOTS, slot};
use crate::abi::Errno;

const WORD: usize = size_of::<u64>();

/// A mapped mailbox.
#[derive(Debug)]
struct Mapping(NonNull<u8>);

// SAFETY: the mapping is reached through atomics alone and unmapped once, by its owner.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `Mailbox::map` made, of that size; nobody borrows from it any longer.
        unsafe { libc::munmap(self.0.as_ptr().cast(), MAILBOX) };
    }
}

/// The mailbox of an address space.
#[derive(Debug)]
pub struct Mailbox {
    mapping: Arc<Mapping>,
    /// Which slots are free.
    free: Arc<Mutex<Vec<usize>>>,
}

impl Mailbox {
    /// Maps the mailbox that begins at `offset` of a file whose size is sealed.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn map(file: &OwnedFd, offset: usize) -> Result<Self, Errno> {
        let offset = libc::off_t::try_from(offset).map_err(|_| Errno::EINVAL)?;
        // SAFETY: a new mapping at a place of the kernel's choice disturbs nothing.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                MAILBOX,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let base = NonNull::new(base.cast()).ok_or(Errno::ENOMEM)?;
        Ok(Self {
            mapping: Arc::new(Mapping(base)),
            free: Arc::new(Mutex::new((0..SLOTS).rev().collect())),
        })
    }

    /// A slot of its own for a thread; `None` where all are taken.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        let index = self.free.lock().pop()?;
        let slot = Slot {
            mapping: Arc::clone(&self.mapping),
            free: Arc::clone(&self.free),
            index,
        };
        slot.word32(slot::STATE)
            .store(slot::IDLE, Ordering::Release);
        slot.set_awake(false);
        Some(slot)
    }
}

/// A thread's slot; free again when dropped.
#[derive(Debug)]
pub struct Slot {
    mapping: Arc<Mapping>,
    free: Arc<Mutex<Vec<usize>>>,
    index: usize,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.free.lock().push(self.index);
    }
}

impl Slot {
    /// Where in the mailbox it lies, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        (self.index * slot::SIZE) as u64
    }

    fn word32(&self, at: usize) -> &AtomicU32 {
        debug_assert!(at + 4 <= slot::SIZE && at.is_multiple_of(4));
        // SAFETY: the index is below SLOTS and `at` a constant of the layout, aligned and inside the slot; the mapping
        // lives as long as `self`, and the memory is only ever reached through atomics.
        unsafe {
            let base = self.mapping.0.add(self.index * slot::SIZE + at);
            AtomicU32::from_ptr(base.as_ptr().cast())
        }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at + WORD <= slot::SIZE && at.is_multiple_of(WORD));
        // SAFETY: as for `word32`.
        unsafe {
            let base = self.mapping.0.add(self.index * slot::SIZE + at);
            AtomicU64::from_ptr(base.as_ptr().cast())
        }
    }

    /// What it is at.
    #[must_use]
    pub fn state(&self) -> u32 {
        self.word32(slot::STATE).load(Ordering::Acquire)
    }

    fn exchange(&self, from: u32, to: u32) -> bool {
        self.word32(slot::STATE)
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Takes the posted call; false where there is none.
    #[must_use]
    pub fn take(&self) -> bool {
        self.state() == slot::POSTED && self.exchange(slot::POSTED, slot::TAKEN)
    }

    /// Takes the posted call back; false where it is not there any longer.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        self.exchange(slot::POSTED, slot::IDLE)
    }

    /// Says that the taken call is served, or is not for the mailbox.
    pub fn finish(&self, state: u32) {
        self.word32(slot::STATE).store(state, Ordering::Release);
    }

    /// Flags, number and shape.
    #[must_use]
    pub fn call(&self) -> u32 {
        self.word32(slot::CALL).load(Ordering::Relaxed)
    }

    /// Where the shim is to go.
    #[must_use]
    pub fn return_address(&self) -> u64 {
        self.word(slot::RETURN).load(Ordering::Relaxed)
    }

    /// The arguments.
    #[must_use]
    pub fn args(&self) -> [u64; 6] {
        std::array::from_fn(|index| self.word(slot::ARGS + index * WORD).load(Ordering::Relaxed))
    }

    /// The first or second path, with its NUL if it has one; as long as the shim says, within bounds.
    #[must_use]
    pub fn path(&self, second: bool) -> Vec<u8> {
        let (len, at) = if second {
            (slot::SECOND_LEN, slot::SECOND)
        } else {
            (slot::FIRST_LEN, slot::FIRST)
        };
        let len = usize::try_from(self.word32(len).load(Ordering::Relaxed)).unwrap_or(0);
        self.bytes(at, len.min(slot::PATH_MAX))
    }

    /// The first so many of the bytes that the call takes, within bounds.
    #[must_use]
    pub fn taken(&self, len: u64) -> Vec<u8> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.bytes(slot::OUT, len.min(slot::OUT_MAX))
    }

    /// Bytes of the slot; the caller has bounded `len`.
    fn bytes(&self, at: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len.next_multiple_of(WORD)];
        for (index, chunk) in bytes.chunks_exact_mut(WORD).enumerate() {
            let word = self.word(at + index * WORD).load(Ordering::Relaxed);
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// Writes bytes to a place among those that calls give; what goes beyond them is not written.
    pub fn put(&self, at: usize, bytes: &[u8]) {
        debug_assert!(at >= slot::OUT && at + bytes.len() <= slot::SIZE);
        let mut words = bytes.chunks_exact(WORD);
        let mut at = at;
        for chunk in &mut words {
            let mut word = [0; WORD];
            word.copy_from_slice(chunk);
            self.word(at)
                .store(u64::from_ne_bytes(word), Ordering::Relaxed);
            at += WORD;
        }
        let rest = words.remainder();
        let mut word = [0; WORD];
        if let (Some(part), false) = (word.get_mut(..rest.len()), rest.is_empty()) {
            part.copy_from_slice(rest);
            self.word(at)
                .store(u64::from_ne_bytes(word), Ordering::Relaxed);
        }
    }

    /// Writes the result, and the bytes that go to `addr` in the cage: at most [`slot::OUT_MAX`].
    pub fn answer(&self, result: i64, addr: u64, bytes: &[u8]) {
        self.put(slot::OUT, bytes);
        self.word32(slot::OWED).store(0, Ordering::Relaxed);
        let len = u32::try_from(bytes.len()).unwrap_or(0);
        self.word(slot::RESULT)
            .store(result.cast_unsigned(), Ordering::Relaxed);
        self.word(slot::OUT_ADDR).store(addr, Ordering::Relaxed);
        self.word32(slot::OUT_LEN).store(len, Ordering::Relaxed);
    }

    /// Writes what call the thread is to make before it goes on: number, first arguments, what the result says.
    pub fn owe(&self, nr: u32, args: [u64; 3], kind: u32) {
        for (index, arg) in args.into_iter().enumerate() {
            self.word(slot::OWED_ARGS + index * WORD)
                .store(arg, Ordering::Relaxed);
        }
        self.word32(slot::OWED_KIND).store(kind, Ordering::Relaxed);
        self.word32(slot::OWED).store(nr, Ordering::Relaxed);
    }

    /// The result of a served call.
    #[must_use]
    pub fn result(&self) -> u64 {
        self.word(slot::RESULT).load(Ordering::Relaxed)
    }

    /// Where the bytes of a served call go, and the bytes.
    #[must_use]
    pub fn given(&self) -> (u64, Vec<u8>) {
        let len = self.word32(slot::OUT_LEN).load(Ordering::Relaxed);
        let len = usize::try_from(len).unwrap_or(0);
        let addr = self.word(slot::OUT_ADDR).load(Ordering::Relaxed);
        (addr, self.bytes(slot::OUT, len.min(slot::OUT_MAX)))
    }

    /// Says whether somebody serves this slot.
    pub fn set_awake(&self, awake: bool) {
        self.word32(slot::AWAKE)
            .store(u32::from(awake), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_apart_and_given_back() {
        let file = super::super::sealed::memfd(MAILBOX as i64).unwrap();
        let mailbox = Mailbox::map(&file, 0).unwrap();
        let slots: Vec<Slot> = std::iter::from_fn(|| mailbox.slot()).collect();
        assert_eq!(slots.len(), SLOTS);
        assert!(mailbox.slot().is_none());
        slots[1].answer(7, 0x1000, b"some bytes");
        assert!(!slots[1].take());
        slots[1].finish(slot::POSTED);
        assert!(!slots[0].take());
        assert!(slots[1].take() && !slots[1].withdraw());
        drop(slots);
        assert_eq!(
            std::iter::from_fn(|| mailbox.slot())
                .collect::<Vec<_>>()
                .len(),
            SLOTS
        );
    }

    #[test]
    fn a_length_of_the_cages_is_bounded() {
        let file = super::super::sealed::memfd(MAILBOX as i64).unwrap();
        let mailbox = Mailbox::map(&file, 0).unwrap();
        let slot = mailbox.slot().unwrap();
        for len in [0, 1, 7, 8, 9, 1024, 1025, u32::MAX] {
            slot.word32(slot::FIRST_LEN).store(len, Ordering::Relaxed);
            slot.word32(slot::SECOND_LEN).store(len, Ordering::Relaxed);
            let bounded = (len as usize).min(slot::PATH_MAX);
            assert_eq!(slot.path(false).len(), bounded);
            assert_eq!(slot.path(true).len(), bounded);
        }
    }

    #[test]
    fn an_answer_owes_nothing_but_what_is_said_after_it() {
        let file = super::super::sealed::memfd(MAILBOX as i64).unwrap();
        let slot = Mailbox::map(&file, 0).unwrap().slot().unwrap();
        slot.owe(3, [5, 6, 7], slot::MAKES);
        let word = |at| slot.word32(at).load(Ordering::Relaxed);
        assert_eq!((word(slot::OWED), word(slot::OWED_KIND)), (3, slot::MAKES));
        assert_eq!(slot.word(slot::OWED_ARGS + 16).load(Ordering::Relaxed), 7);
        slot.answer(0, 0, &[]);
        assert_eq!(word(slot::OWED), 0);
        slot.put(slot::SIZE - 8, &[1; 3]);
        assert_eq!(slot.word(slot::SIZE - 8).load(Ordering::Relaxed), 0x01_0101);
    }
}
