//! What processes have used. What they may use is set elsewhere.
#![expect(
    unsafe_code,
    reason = "clocks of other processes and rusage have no safe wrapper"
)]

/// The CPU time of a process, in nanoseconds, its ended threads included, its children not; also of one that ended and
/// was not waited for yet. `None` where there is no such process, or the number is that of a thread which leads none.
#[must_use]
pub fn cpu_time(pid: i32) -> Option<u64> {
    /// `CPUCLOCK_SCHED`: what the scheduler counted, to the nanosecond.
    const SCHEDULED: i32 = 2;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let clock = !pid << 3 | SCHEDULED;
    // SAFETY: the time goes to a live local; an unknown clock is an error.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return None;
    }
    let seconds = u64::try_from(time.tv_sec).ok()?;
    seconds
        .checked_mul(1_000_000_000)?
        .checked_add(u64::try_from(time.tv_nsec).ok()?)
}

/// What a process used in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// CPU time, in nanoseconds.
    pub cpu: u64,
    /// The most memory that it held, in bytes.
    pub peak_memory: u64,
}

impl Used {
    /// The CPU time so far.
    #[must_use]
    pub(super) fn cpu_of(pid: i32) -> Self {
        Self {
            cpu: cpu_time(pid).unwrap_or(0),
            peak_memory: 0,
        }
    }
}

/// A rusage's kilobytes, in bytes.
pub(super) fn kilobytes(count: libc::c_long) -> u64 {
    u64::try_from(count).unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_time_of_a_process_grows_while_it_works() {
        let own = i32::try_from(std::process::id()).unwrap();
        let before = cpu_time(own).unwrap();
        let mut sum = 0_u64;
        while cpu_time(own).unwrap() - before < 20_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        assert_eq!(cpu_time(1 << 22), None, "no number is so high");
    }
}
