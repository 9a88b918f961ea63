//! What the fast path knows of a thread: how often its calls came the kernel's way, and its lane once it has one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::super::meter::{Meter, count};
use super::due::Due;
use crate::abi::Errno;
use crate::cage::Thread;
use crate::posix::Taken;
use crate::sys::mailbox::Slot;

/// After so many calls by the kernel's way their site is looked at.
const MANY: u32 = 32;
/// After so many more where its object is being looked through.
const LATER: u32 = 256;
/// So often a thread's sites are looked at, at most, and each time after twice as many calls.
const ASKS: u32 = 12;
/// Calls that follow one another within so many nanoseconds come thick: several times what one takes by the kernel's way where two
/// CPUs must wake each other for it. Where the supervisor is built to be tested, slow and beside other tests, nearly all do.
const THICK: u64 = if cfg!(debug_assertions) {
    50_000_000
} else {
    1_000_000
};

/// After so many misses a lane is judged.
const MISSES: u32 = 8;
/// So many calls must be served for each that had to be made the kernel's way after all.
const HITS_PER_MISS: u32 = if cfg!(debug_assertions) { 0 } else { 8 };
/// How long a lane that is not worth it is left alone, at first and at most, in nanoseconds.
const SHORTEST_REST: u64 = 4_000_000;
const LONGEST_REST: u64 = 256_000_000;

/// A thread's way to the mailbox.
#[derive(Debug)]
pub(in super::super) struct Lane {
    /// The thread.
    pub(in super::super) thread: Arc<Thread>,
    /// Its slot.
    pub(in super::super) slot: Slot,
    /// Where the slot is in the cage.
    pub(super) at: u64,
    /// What the call that was served last owes.
    pub(in super::super) due: Mutex<Option<Due>>,
    /// What it took from a file.
    pub(in super::super) taken: Mutex<Option<Taken>>,
    /// Whether the server looks at it, or will in a moment.
    pub(super) is_hot: AtomicBool,
    /// Whether it looks at it now, as the slot says too, which the cage can change.
    is_awake: AtomicBool,
    /// A notification by which the thread waits for a call that was taken.
    pub(super) parked: Mutex<Option<u64>>,
    /// The tracer holds the thread in a stop until its call is served.
    pub(in super::super) tracer_waits: AtomicBool,
    /// Calls served since it was last judged.
    pub(super) hits: AtomicU32,
    /// Calls that came the kernel's way though the server looked.
    misses: AtomicU32,
    /// When it may be heated again, and how long it is to rest the next time, in nanoseconds.
    rests_until: AtomicU64,
    rest: AtomicU64,
}

impl Lane {
    /// A lane for a thread.
    pub(in super::super) fn new(thread: Arc<Thread>, slot: Slot, at: u64) -> Arc<Self> {
        Arc::new(Self {
            thread,
            slot,
            at,
            due: Mutex::new(None),
            taken: Mutex::new(None),
            is_hot: AtomicBool::new(false),
            is_awake: AtomicBool::new(false),
            parked: Mutex::new(None),
            tracer_waits: AtomicBool::new(false),
            hits: AtomicU32::new(0),
            misses: AtomicU32::new(0),
            rests_until: AtomicU64::new(0),
            rest: AtomicU64::new(SHORTEST_REST),
        })
    }

    /// The number that its last call handed out is free again: its file will not come.
    pub(in super::super) fn lose(&self) {
        if let Some(Due::Copy { to, .. } | Due::Receive { to, .. }) = self.due.lock().take() {
            self.thread.files().lock().abandon(to);
        }
    }

    /// Says whether the server looks at it.
    pub(super) fn set_awake(&self, awake: bool) {
        self.is_awake.store(awake, Ordering::Release);
        self.slot.set_awake(awake);
    }

    /// Whether it is worth being looked at, now that a call of its came the kernel's way: where the server gets no CPU of
    /// its own, waiting for it costs more than it saves.
    fn is_worth_heat(&self, meter: &Meter, now: u64, tells: bool) -> bool {
        if !self.is_hot.load(Ordering::Acquire) {
            return now >= self.rests_until.load(Ordering::Relaxed);
        }
        if !tells || !self.is_awake.load(Ordering::Acquire) {
            return false;
        }
        let misses = self.misses.fetch_add(1, Ordering::Relaxed) + 1;
        if misses < MISSES {
            return false;
        }
        self.misses.store(0, Ordering::Relaxed);
        let hits = self.hits.swap(0, Ordering::Relaxed);
        if hits >= misses * HITS_PER_MISS {
            self.rest.store(SHORTEST_REST, Ordering::Relaxed);
        } else {
            self.set_awake(false);
            self.rest(meter, now);
        }
        false
    }

    /// It is left alone for a while; the next time for twice as long.
    fn rest(&self, meter: &Meter, now: u64) {
        let rest = self.rest.load(Ordering::Relaxed);
        self.rest
            .store((rest * 2).min(LONGEST_REST), Ordering::Relaxed);
        self.rests_until.store(now + rest, Ordering::Relaxed);
        count(&meter.rested);
    }

    /// The server leaves it, after a time in which nothing came.
    pub(super) fn cool(&self, meter: &Meter, now: u64, was_of_use: bool) {
        self.set_awake(false);
        if was_of_use {
            self.rest.store(SHORTEST_REST, Ordering::Relaxed);
        } else if !cfg!(debug_assertions) {
            self.rest(meter, now);
        }
        self.is_hot.store(false, Ordering::Release);
    }
}

/// A thread.
#[derive(Debug)]
pub(in super::super) struct Client {
    arrivals: AtomicU32,
    /// How many there must be until the next look.
    next: AtomicU32,
    asks: AtomicU32,
    last: AtomicU64,
    lane: Mutex<Option<Arc<Lane>>>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            arrivals: AtomicU32::new(0),
            next: AtomicU32::new(MANY),
            asks: AtomicU32::new(0),
            last: AtomicU64::new(0),
            lane: Mutex::default(),
        }
    }
}

impl Client {
    /// Its lane.
    pub(in super::super) fn lane(&self) -> Option<Arc<Lane>> {
        self.lane.lock().clone()
    }

    /// A file did not come to the number that was handed out for it: it is free again. Gives what the call fails with.
    pub(in super::super) fn lose(&self) -> Errno {
        if let Some(lane) = self.lane() {
            lane.lose();
        }
        Errno::EMFILE
    }

    /// Gives it a lane.
    pub(in super::super) fn set_lane(&self, lane: Arc<Lane>) {
        *self.lane.lock() = Some(lane);
    }

    /// Its sites are not looked at any more.
    pub(in super::super) fn settle(&self) {
        self.asks.store(ASKS, Ordering::Relaxed);
    }

    /// Its sites are looked at a little later.
    pub(in super::super) fn postpone(&self) {
        self.asks.fetch_sub(1, Ordering::Relaxed);
        self.next.store(LATER, Ordering::Relaxed);
    }

    /// A call of its came the kernel's way: whether its site is worth a look.
    pub(super) fn arrives(&self) -> bool {
        let many =
            self.arrivals.fetch_add(1, Ordering::Relaxed) >= self.next.load(Ordering::Relaxed);
        let looks = many && self.asks.load(Ordering::Relaxed) < ASKS;
        if looks {
            let asks = self.asks.fetch_add(1, Ordering::Relaxed);
            self.arrivals.store(0, Ordering::Relaxed);
            self.next.store(MANY << asks.min(ASKS), Ordering::Relaxed);
        }
        looks
    }

    /// A call of its that could have gone by the mailbox came the kernel's way at this moment: the lane that is to be served from now
    /// on. `tells` where it says whether the lane is worth it.
    pub(super) fn misses(&self, meter: &Meter, now: u64, tells: bool) -> Option<Arc<Lane>> {
        let gap = now.saturating_sub(self.last.swap(now, Ordering::Relaxed));
        let thick = (gap < THICK).then(|| self.lane()).flatten();
        thick.filter(|lane| {
            count(&meter.missed);
            lane.is_worth_heat(meter, now, tells)
        })
    }
}
