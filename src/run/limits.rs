//! What a run may use, and who sees to it: control groups where they can be had, the supervisor itself otherwise.
//!
//! Decided before anything of the run exists, so that what cannot be had in full is said, or refused, before it starts.

use std::os::fd::OwnedFd;

use super::cgroup::{Groups, Need};
use super::options::{Limits, Options, Rlimit};
use crate::sys::descriptor;

/// How many processes the kernel may count beyond what the supervisor counts itself: its own threads, init, and the ended
/// ones that nobody has waited for.
const NPROC_ROOM: u64 = 64;
/// Below this no descriptor is left for the run to start with.
const NOFILE_LEAST: u64 = 4;

/// A limit and who sees to it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Enforced {
    /// As on the command line, without the dashes.
    pub(super) name: &'static str,
    /// Seconds, bytes, CPUs or a count.
    pub(super) value: f64,
    pub(super) by: &'static str,
}

/// The limits of a run, with whatever upholds them.
#[derive(Debug)]
pub(super) struct Enforcement {
    pub(super) limits: Limits,
    pub(super) groups: Groups,
    /// Readable once the kernel finds no memory for the run.
    pub(super) out_of_memory: Option<OwnedFd>,
    pub(super) enforced: Vec<Enforced>,
    /// What was asked for and cannot be had in full, a sentence each.
    pub(super) degraded: Vec<String>,
    /// Whether somebody wants to know what the run used.
    measures: bool,
}

pub(super) const SUPERVISOR: &str = "supervisor";

impl Enforcement {
    /// Decides who upholds what, and makes the groups for it.
    ///
    /// # Errors
    /// Where a limit cannot be given at all.
    pub(super) fn prepare(options: &Options) -> anyhow::Result<Self> {
        let limits = options.limits.clone();
        for rlimit in &limits.rlimits {
            check_rlimit(rlimit)?;
        }
        let measures = options.status_fd.is_some() || options.report.is_some();
        let needs: Vec<Need> = [
            (limits.memory.is_some() || measures, Need::Memory),
            (limits.cpus.is_some(), Need::Cpus),
            (limits.cpu_time.is_some() || measures, Need::CpuTime),
            (limits.pids.is_some(), Need::Pids),
        ]
        .into_iter()
        .filter_map(|(wanted, need)| wanted.then_some(need))
        .collect();
        let mut prepared = Self {
            groups: Groups::make(&needs),
            out_of_memory: None,
            limits,
            enforced: Vec::new(),
            degraded: Vec::new(),
            measures,
        };
        prepared.set();
        Ok(prepared)
    }

    /// Whether the run's memory has a limit.
    pub(super) fn bounds_memory(&self) -> bool {
        self.limits.memory.is_some()
    }

    fn set(&mut self) {
        if let Some(timeout) = self.limits.timeout {
            self.note("timeout", timeout.as_secs_f64(), SUPERVISOR);
        }
        if let Some(time) = self.limits.cpu_time {
            let by = self.who(Need::CpuTime, |_| Ok(()));
            self.note("cpu-time", time.as_secs_f64(), by.unwrap_or(SUPERVISOR));
        }
        if let Some(bytes) = self.limits.memory {
            let by = self.who(Need::Memory, |groups| groups.limit_memory(bytes));
            self.note("memory", bytes as f64, by.unwrap_or(SUPERVISOR));
            if by.is_some() {
                self.out_of_memory = self.groups.out_of_memory_bell();
            }
            if by.is_none() {
                self.degraded.push(format!(
                    "--memory {bytes}: no memory cgroup can be had, so the supervisor looks every few milliseconds, and does \
                     not see what no process has mapped ({MEND})"
                ));
            }
        }
        if let Some(thousandths) = self.limits.cpus {
            let by = self.who(Need::Cpus, |groups| groups.limit_cpus(thousandths));
            let cpus = f64::from(thousandths) / 1000.0;
            self.note("cpus", cpus, by.unwrap_or("nothing"));
            if by.is_none() {
                self.degraded.push(format!(
                    "--cpus {cpus}: no cpu cgroup can be had, so the run may use all CPUs ({MEND})"
                ));
            }
        }
        if let Some(count) = self.limits.pids {
            // The run's init is in the group too, and nobody's process.
            let limit = |groups: &Groups| groups.limit_pids(count.saturating_add(1));
            let by = self.who(Need::Pids, limit);
            self.note("pids-limit", count as f64, by.unwrap_or(SUPERVISOR));
        }
    }

    fn note(&mut self, name: &'static str, value: f64, by: &'static str) {
        self.enforced.push(Enforced { name, value, by });
    }

    /// The group that upholds a limit, once it is set there.
    fn who(
        &mut self,
        need: Need,
        set: impl FnOnce(&Groups) -> std::io::Result<()>,
    ) -> Option<&'static str> {
        if !self.groups.has(need) {
            return None;
        }
        match set(&self.groups) {
            Ok(()) => Some(self.groups.name(need)),
            Err(error) => {
                tracing::info!(%error, ?need, "a control group does not take its limit");
                self.groups.give_up(need);
                None
            }
        }
    }

    fn by_supervisor(&self, name: &str) -> bool {
        self.enforced
            .iter()
            .any(|enforced| enforced.name == name && enforced.by == SUPERVISOR)
    }

    /// How many threads and processes the supervisor lets be.
    pub(super) fn counted_pids(&self) -> Option<u64> {
        self.limits
            .pids
            .filter(|_| self.by_supervisor("pids-limit"))
    }

    /// How much memory the supervisor lets the run have.
    pub(super) fn polled_memory(&self) -> Option<u64> {
        self.limits.memory.filter(|_| self.by_supervisor("memory"))
    }

    /// Whether CPU time must be summed up by the supervisor.
    pub(super) fn sums_cpu_time(&self) -> bool {
        self.by_supervisor("cpu-time")
    }

    /// Whether the supervisor must weigh each process that ends.
    pub(super) fn weighs(&self) -> bool {
        self.sums_cpu_time()
            || self.measures && !(self.groups.has(Need::CpuTime) && self.groups.has(Need::Memory))
    }

    /// The limits of each process. Where the supervisor counts processes the kernel bounds the ended ones, whom it does
    /// not see.
    pub(super) fn rlimits(&self) -> Vec<Rlimit> {
        let mut all: Vec<Rlimit> = Vec::new();
        for limit in &self.limits.rlimits {
            // The last word counts; a lower hard limit before it would stand in its way.
            all.retain(|other| other.resource != limit.resource);
            all.push(*limit);
        }
        if let Some(count) = self.counted_pids()
            && !all.iter().any(|limit| limit.resource == libc::RLIMIT_NPROC)
        {
            let own = own_limit(libc::RLIMIT_NPROC).map_or(u64::MAX, |(_, hard)| hard);
            let room = count.saturating_add(NPROC_ROOM).min(own);
            all.push(Rlimit {
                name: "nproc",
                resource: libc::RLIMIT_NPROC,
                soft: room,
                hard: room,
            });
        }
        all
    }

    /// The numbers that the program's descriptor table may have, where that was said.
    pub(super) fn nofile(&self) -> Option<u64> {
        let last = self.limits.rlimits.iter().rev();
        let mut nofile = last.filter(|limit| limit.resource == libc::RLIMIT_NOFILE);
        nofile.next().map(|limit| limit.soft)
    }
}

const MEND: &str = "run it as root, or in a cgroup that is delegated to you, as `systemd-run --user --scope -p Delegate=yes` makes one";

fn own_limit(resource: u32) -> Option<(u64, u64)> {
    let resource = i32::try_from(resource).ok()?;
    let limit = descriptor::limit(0, resource, None).ok()?;
    Some((limit.soft, limit.hard))
}

fn number(value: u64) -> String {
    if value == u64::MAX {
        "unlimited".to_owned()
    } else {
        value.to_string()
    }
}

fn check_rlimit(rlimit: &Rlimit) -> anyhow::Result<()> {
    let Rlimit {
        name, soft, hard, ..
    } = *rlimit;
    let said = format!("--rlimit {name}={}:{}", number(soft), number(hard));
    let Some((_, own)) = own_limit(rlimit.resource) else {
        anyhow::bail!("{said}: this kernel has no such limit");
    };
    anyhow::ensure!(
        hard <= own,
        "{said}: the hard limit is above this process's own, {}: ask for no more than that",
        number(own)
    );
    anyhow::ensure!(
        rlimit.resource != libc::RLIMIT_NOFILE || soft >= NOFILE_LEAST,
        "{said}: a program needs at least {NOFILE_LEAST} descriptors to start with"
    );
    Ok(())
}
