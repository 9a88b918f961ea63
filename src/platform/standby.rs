//! Who serves when a server does not keep up. One thread answers notifications: the kernel wakes waiting threads in
//! turn, so that a second one would only be woken on the other CPU, with cold caches. The first standby watches that
//! thread, the second watches the first: each looks every few milliseconds whether calls are waiting twice in a row, and
//! helps until none is; while nothing happens they sleep.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How often a standby looks while calls come. A timer is dear on a virtual machine, and it runs beside the cages.
const TICK: Duration = Duration::from_millis(8);
/// After so many quiet looks it sleeps.
const QUIET: u32 = 2;

/// The pulse of a server: felt by the standby that watches it.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    beats: AtomicU64,
    asleep: AtomicBool,
    lock: Mutex<()>,
    woken: Condvar,
}

impl Pulse {
    /// The server took a call.
    pub(super) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            let _held = self.lock.lock();
            self.asleep.store(false, Ordering::SeqCst);
            self.woken.notify_all();
        }
    }

    /// The life of a standby: `is_pending` says whether calls wait, `help` answers one and says whether to go on.
    pub(super) fn watch(&self, is_pending: impl Fn() -> bool, mut help: impl FnMut() -> bool) {
        let mut quiet = 0;
        let mut seen = self.beats.load(Ordering::SeqCst);
        let mut waiting = false;
        loop {
            std::thread::sleep(TICK);
            let beats = self.beats.load(Ordering::SeqCst);
            let pending = is_pending();
            quiet = if pending || beats != seen {
                0
            } else {
                quiet + 1
            };
            if pending && waiting {
                while is_pending() {
                    if !help() {
                        return;
                    }
                }
            }
            waiting = pending;
            seen = beats;
            if quiet >= QUIET {
                self.sleep(seen);
                quiet = 0;
            }
        }
    }

    /// Sleeps until the server takes a call.
    fn sleep(&self, seen: u64) {
        let mut held = self.lock.lock();
        self.asleep.store(true, Ordering::SeqCst);
        // A beat between the last look and the store did not see that anybody sleeps.
        while self.asleep.load(Ordering::SeqCst) && self.beats.load(Ordering::SeqCst) == seen {
            self.woken.wait(&mut held);
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}
