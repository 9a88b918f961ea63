//! Counts of what the platforms did: stops by kind, notifications, grants.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The counters of a run.
#[derive(Debug, Default)]
pub struct Meter {
    /// Stops at a `RET_TRACE` of the filter.
    pub seccomp_stops: AtomicU64,
    /// Stops at the end (or beginning) of a call.
    pub exit_stops: AtomicU64,
    /// Stops for fork, exec and first breaths.
    pub event_stops: AtomicU64,
    /// Stops for a signal about to be delivered.
    pub signal_stops: AtomicU64,
    /// Job-control stops.
    pub group_stops: AtomicU64,
    /// Calls answered by notification.
    pub notifications: AtomicU64,
    /// Calls answered by the mailbox.
    pub mailed: AtomicU64,
    /// Calls that were taken from the mailbox and had to be made natively after all.
    pub returned: AtomicU64,
    /// Calls of threads with a slot that came natively: nobody served it, or not in time.
    pub missed: AtomicU64,
    /// Times that a thread's slot was left alone for a while, since looking at it did not pay.
    pub rested: AtomicU64,
    /// Call sites patched.
    pub patched: AtomicU64,
    /// Times that a thread was to get patched sites or a slot, and did not.
    pub declined: AtomicU64,
    /// Files put into a cage's kernel table.
    pub grants: AtomicU64,
    /// Notifications handed over to the tracer.
    pub handovers: AtomicU64,
    /// Calls that the platform ran in a cage for its own purposes.
    pub injected: AtomicU64,
    /// Whether it is counted what processes used, which costs a call at each report of theirs.
    pub weighs: AtomicBool,
    /// The CPU time of ended processes, in nanoseconds, where it is counted.
    pub ended_cpu: AtomicU64,
    /// The most memory that one of them held, in bytes.
    pub largest: AtomicU64,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
