//! Which CPUs the server runs on. The kernel likes to put whoever is woken beside his waker, and to leave him there; a server that
//! looks at a slot from the CPU of the very thread that is to fill it is in its way, while other CPUs idle.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::{Pid, gettid};

/// Who is away for longer when he yields shares his CPU with somebody.
const AWAY: Duration = Duration::from_micros(10);
/// So long at least he stays where he went: where all CPUs are wanted no other is better.
const STAYS: Duration = Duration::from_millis(1);
/// No CPU.
const NONE: usize = usize::MAX;

/// Them.
#[derive(Debug)]
pub(super) struct Berth {
    server: AtomicI32,
    all: OnceLock<CpuSet>,
    /// The CPU that the server keeps off.
    off: AtomicUsize,
}

impl Default for Berth {
    fn default() -> Self {
        Self {
            server: AtomicI32::new(0),
            all: OnceLock::new(),
            off: AtomicUsize::new(NONE),
        }
    }
}

impl Berth {
    /// The calling thread is the server.
    pub(super) fn enter(&self) {
        if let Ok(all) = sched_getaffinity(Pid::from_raw(0)) {
            let _ = self.all.set(all);
            self.server.store(gettid().as_raw(), Ordering::Release);
        }
    }

    /// The server is to leave the caller's CPU to the caller, and to whom he wakes there.
    pub(super) fn keep_off(&self) {
        let server = self.server.load(Ordering::Acquire);
        let (Some(&(mut others)), Ok(here)) = (self.all.get(), sched_getcpu()) else {
            return;
        };
        // Where it is the only one this fails, and nothing changes.
        if server != 0
            && self.off.swap(here, Ordering::AcqRel) != here
            && others.unset(here).is_ok()
        {
            let _ = sched_setaffinity(Pid::from_raw(server), &others);
        }
    }

    /// The server lets others run who want its CPU, and leaves it to them where there are some, and it came some time ago. Gives the
    /// time.
    pub(super) fn give_way(&self, came: &mut Instant) -> Instant {
        let before = Instant::now();
        // The kernel may have somebody for this CPU, and tells only those who enter it.
        std::thread::yield_now();
        let now = Instant::now();
        if now.duration_since(before) > AWAY && now.duration_since(*came) > STAYS {
            *came = now;
            self.keep_off();
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_leaves_the_cpu_of_whoever_asks() {
        let berth = Berth::default();
        // Nobody there yet.
        berth.keep_off();
        assert_eq!(berth.off.load(Ordering::Relaxed), NONE);
        berth.enter();
        let all = *berth.all.get().unwrap();
        let count = |set: &CpuSet| {
            (0..CpuSet::count())
                .filter(|&cpu| set.is_set(cpu) == Ok(true))
                .count()
        };
        berth.keep_off();
        let off = berth.off.load(Ordering::Relaxed);
        let own = sched_getaffinity(Pid::from_raw(0)).unwrap();
        if count(&all) > 1 {
            assert_eq!(own.is_set(off), Ok(false));
            assert_eq!(count(&own), count(&all) - 1);
        } else {
            assert_eq!(own, all);
        }
    }
}
