//! The control groups of a run: where the caller may make one, what is limited and measured there, and that none is left.
//!
//! On version 2 one group has everything; on version 1 each controller has a hierarchy of its own, and both may be mixed.
//! A group's name tells which supervisor made it, so that the next one on the way removes what a killed one left.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::unistd::{AccessFlags, access};

use super::hierarchy::{Hierarchy, Maker, hierarchies};
use super::mountinfo;
use crate::sys::cgroup::{self, Group};
use crate::sys::privilege::{self, Capability};
use crate::sys::process::{self, Channel};

/// The kernel takes processes out of their groups a little after it reported their end.
const PATIENCE: Duration = Duration::from_secs(2);
/// The period of a CPU quota, in microseconds.
const PERIOD: u64 = 100_000;

/// What a group can be needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A bound of memory, and its peak.
    Memory,
    /// A share of the CPUs' time.
    Cpus,
    /// CPU time, counted.
    CpuTime,
    /// A bound of the number of processes and threads.
    Pids,
}

impl Need {
    /// The controller of version 1.
    fn controller(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpus => "cpu",
            Self::CpuTime => "cpuacct",
            Self::Pids => "pids",
        }
    }

    /// The controller of version 2, which counts CPU time without one.
    fn unified(self) -> Option<&'static str> {
        match self {
            Self::CpuTime => None,
            other => Some(other.controller()),
        }
    }
}

/// A group and what it is good for.
#[derive(Debug)]
struct Placed {
    group: Group,
    unified: bool,
    needs: Vec<Need>,
}

/// The groups of a run; removed when this is dropped, which must be after the run's processes are gone.
#[derive(Debug, Default)]
pub(super) struct Groups {
    placed: Vec<Placed>,
    remover: OnceLock<Remover>,
}

/// A child that keeps the caller's ids and removes the groups when the supervisor lets go, or is gone.
#[derive(Debug)]
struct Remover {
    channel: Channel,
    pid: i32,
}

impl Groups {
    /// Makes what groups can be made for `needs`; what is not there afterwards could not be had.
    pub(super) fn make(needs: &[Need]) -> Self {
        let mut groups = Self::default();
        if needs.is_empty() {
            return groups;
        }
        let Some(maker) = Maker::own() else {
            return groups;
        };
        let mut table = hierarchies(
            &mountinfo::read_lossy(Path::new("/proc/self/mountinfo")),
            &mountinfo::read_lossy(Path::new("/proc/self/cgroup")),
        );
        // What both have is better in the one that can also kill.
        table.sort_by_key(|hierarchy| !hierarchy.unified);
        for hierarchy in &table {
            let missing: Vec<Need> = needs
                .iter()
                .copied()
                .filter(|&need| !groups.has(need))
                .collect();
            let placed = if hierarchy.unified {
                place_unified(hierarchy, &missing, maker)
            } else {
                place(hierarchy, &missing, maker)
            };
            groups.placed.extend(placed);
        }
        groups
    }

    /// Whether there is none at all.
    pub(super) fn is_empty(&self) -> bool {
        self.placed.is_empty()
    }

    /// Whether there is a group for this.
    pub(super) fn has(&self, need: Need) -> bool {
        self.of(need).is_some()
    }

    /// What sees to it, for people; the group must be there.
    pub(super) fn name(&self, need: Need) -> &'static str {
        match self.of(need) {
            Some(placed) if placed.unified => "cgroup v2",
            _ => "cgroup v1",
        }
    }

    fn of(&self, need: Need) -> Option<&Placed> {
        self.placed
            .iter()
            .find(|placed| placed.needs.contains(&need))
    }

    /// Notes that a group does not do after all.
    pub(super) fn give_up(&mut self, need: Need) {
        for placed in &mut self.placed {
            placed.needs.retain(|&other| other != need);
        }
    }

    fn set(&self, need: Need, files: &[(&str, &str, &str)]) -> io::Result<()> {
        let Some(placed) = self.of(need) else {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        };
        for (position, (unified, old, value)) in files.iter().enumerate() {
            let file = if placed.unified { unified } else { old };
            if file.is_empty() {
                continue;
            }
            match placed.group.write(file, value) {
                // Only the first is the limit itself: not every kernel has the others.
                Err(error) if position == 0 || error.kind() != io::ErrorKind::NotFound => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Bounds memory and swap together.
    pub(super) fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        let bytes = bytes.to_string();
        self.set(
            Need::Memory,
            &[
                ("memory.max", "memory.limit_in_bytes", &bytes),
                ("", "memory.memsw.limit_in_bytes", &bytes),
                ("memory.swap.max", "", "0"),
                ("memory.oom.group", "", "1"),
            ],
        )
    }

    /// A descriptor that is readable once the run is out of memory. Version 1 kills a process then, of which the program may
    /// make what it likes; version 2 kills all, and needs no bell.
    pub(super) fn out_of_memory_bell(&self) -> Option<OwnedFd> {
        let placed = self.of(Need::Memory).filter(|placed| !placed.unified)?;
        placed.group.bell("memory.oom_control").ok()
    }

    /// Bounds the number of processes and threads.
    pub(super) fn limit_pids(&self, count: u64) -> io::Result<()> {
        self.set(Need::Pids, &[("pids.max", "pids.max", &count.to_string())])
    }

    /// Gives the run so many thousandths of a CPU.
    pub(super) fn limit_cpus(&self, thousandths: u32) -> io::Result<()> {
        let period = PERIOD.to_string();
        let quota = u64::from(thousandths) * (PERIOD / 1000);
        let (quota, both) = (quota.to_string(), format!("{quota} {PERIOD}"));
        match self.of(Need::Cpus) {
            Some(placed) if !placed.unified => {
                placed.group.write("cpu.cfs_period_us", &period)?;
                placed.group.write("cpu.cfs_quota_us", &quota)
            }
            _ => self.set(Need::Cpus, &[("cpu.max", "", &both)]),
        }
    }

    /// Leaves it to a child to remove them: the supervisor is about to become another user of the host's, who may not. The
    /// process must be single threaded.
    pub(super) fn leave_removal_to_a_child(&self) -> io::Result<()> {
        if self.placed.is_empty() {
            return Ok(());
        }
        let (channel, end) = Channel::pair()?;
        let mut kept: Vec<_> = self
            .placed
            .iter()
            .map(|placed| placed.group.parent())
            .collect();
        kept.push(end.as_fd());
        let mut kept: Vec<i32> = kept.iter().map(AsRawFd::as_raw_fd).collect();
        kept.sort_unstable();
        let pid = process::fork(|| {
            process::set_name(c"cage-groups");
            // Nobody's terminal ends it before the others.
            let alone = nix::unistd::setsid().map_err(io::Error::from);
            let ready = alone
                .and_then(|_| privilege::keep_permitted(Capability::DAC_OVERRIDE.bit()))
                .and_then(|()| privilege::set_no_new_privs())
                .and_then(|()| process::close_all_but(0, &kept));
            if ready.is_ok() {
                // Nothing is ever sent: this is its end.
                let _ = end.receive();
            }
            self.remove_all();
            process::exit_now(0)
        })?;
        let _ = self.remover.set(Remover { channel, pid });
        Ok(())
    }

    fn remove_all(&self) {
        let deadline = Instant::now() + PATIENCE;
        for placed in &self.placed {
            // The root of a hierarchy is read-only even to root, whose capability this needs; another's is no help.
            let remove = || privilege::with(Capability::DAC_OVERRIDE, || placed.group.remove());
            while let Err(error) = remove() {
                if error.raw_os_error() != Some(libc::EBUSY) || Instant::now() >= deadline {
                    tracing::error!(%error, "a control group of the run is left");
                    break;
                }
                sleep(Duration::from_millis(1));
            }
        }
    }

    /// Puts a process into all of the groups.
    pub(super) fn adopt(&self, pid: i32) -> io::Result<()> {
        self.placed
            .iter()
            .try_for_each(|placed| placed.group.adopt(pid))
    }

    /// CPU time that all processes of the run used, the ended ones too.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        let placed = self.of(Need::CpuTime)?;
        if placed.unified {
            let stat = placed.group.read("cpu.stat").ok()?;
            return Some(Duration::from_micros(field(&stat, "usage_usec")?));
        }
        let used = placed.group.read("cpuacct.usage").ok()?;
        Some(Duration::from_nanos(used.trim().parse().ok()?))
    }

    /// The most memory that the run had at a time.
    pub(super) fn peak_memory(&self) -> Option<u64> {
        let placed = self.of(Need::Memory)?;
        let file = if placed.unified {
            "memory.peak"
        } else {
            "memory.max_usage_in_bytes"
        };
        placed.group.read(file).ok()?.trim().parse().ok()
    }

    /// How many processes the kernel killed because the run had no memory left.
    pub(super) fn oom_kills(&self) -> u64 {
        let read = |placed: &Placed| {
            let file = if placed.unified {
                "memory.events"
            } else {
                "memory.oom_control"
            };
            field(&placed.group.read(file).ok()?, "oom_kill")
        };
        self.of(Need::Memory).and_then(read).unwrap_or(0)
    }

    /// How many forks were refused.
    pub(super) fn refused_forks(&self) -> Option<u64> {
        let placed = self.of(Need::Pids)?;
        field(&placed.group.read("pids.events").ok()?, "max")
    }

    /// Kills all processes of the run at once, where the kernel can.
    pub(super) fn kill(&self) {
        for placed in self.placed.iter().filter(|placed| placed.unified) {
            // Older kernels have no such file; init's end does the same.
            let _ = placed.group.write("cgroup.kill", "1");
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        if let Some(Remover { channel, pid }) = self.remover.take() {
            drop(channel);
            // Whoever waited for any child may have had it.
            let _ = process::wait_for(pid);
        } else {
            self.remove_all();
        }
    }
}

/// The number after a word, in a file of words and numbers.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .and_then(|number| number.trim().parse().ok())
}

/// Removes what supervisors left that were killed.
fn sweep(parent: BorrowedFd<'_>, own: Maker) {
    for name in cgroup::children(parent).unwrap_or_default() {
        if Maker::parse(&name).is_some_and(|maker| maker.is_gone(own)) {
            // Where somebody lives in it all the same, the kernel refuses.
            let _ = cgroup::remove(parent, &name);
        }
    }
}

/// A group in a hierarchy of version 1.
fn place(hierarchy: &Hierarchy, needs: &[Need], maker: Maker) -> Option<Placed> {
    let has = |need: &Need| {
        let name = need.controller();
        hierarchy.controllers.iter().any(|other| other == name)
    };
    let needs: Vec<Need> = needs.iter().copied().filter(has).collect();
    if needs.is_empty() {
        return None;
    }
    let parent = cgroup::open_directory(&hierarchy.own).ok()?;
    sweep(parent.as_fd(), maker);
    Some(Placed {
        group: Group::make(parent, &maker.name()).ok()?,
        unified: false,
        needs,
    })
}

/// A group of version 2. Controllers can only be had in a group whose parent has no process of its own (but for the root),
/// so where the caller's own group will not do, it is made beside that one, as far up as nothing bounds those between.
fn place_unified(hierarchy: &Hierarchy, needs: &[Need], maker: Maker) -> Option<Placed> {
    let mut best: Option<(usize, PathBuf)> = None;
    let wanted: Vec<&str> = needs.iter().filter_map(|need| need.unified()).collect();
    for place in hierarchy.own.ancestors() {
        if !place.starts_with(&hierarchy.mount) {
            break;
        }
        // Who moves a process must be able to write here, as the group above both places.
        let may_move = access(&place.join("cgroup.procs"), AccessFlags::W_OK).is_ok();
        if let Ok(directory) = cgroup::open_directory(place)
            && may_move
            && access(place, AccessFlags::W_OK).is_ok()
        {
            let count = enabled(directory.as_fd(), &wanted).len();
            if best.as_ref().is_none_or(|(most, _)| count > *most) {
                best = Some((count, place.to_owned()));
            }
            if count == wanted.len() || is_bounded(directory.as_fd()) {
                break;
            }
        } else {
            break;
        }
    }
    let parent = cgroup::open_directory(&best?.1).ok()?;
    sweep(parent.as_fd(), maker);
    let enabled = enabled(parent.as_fd(), &wanted);
    let needs: Vec<Need> = needs
        .iter()
        .copied()
        .filter(|need| need.unified().is_none_or(|name| enabled.contains(&name)))
        .collect();
    if needs.is_empty() {
        return None;
    }
    Some(Placed {
        group: Group::make(parent, &maker.name()).ok()?,
        unified: true,
        needs,
    })
}

/// Which of the wanted controllers a group's children have; those that they could have are given to them.
fn enabled<'a>(group: BorrowedFd<'_>, wanted: &[&'a str]) -> Vec<&'a str> {
    let list = |file: &str| cgroup::read(group, file).unwrap_or_default();
    let has = |text: &str, name: &str| text.split_whitespace().any(|word| word == name);
    let (available, given) = (list("cgroup.controllers"), list("cgroup.subtree_control"));
    for name in wanted {
        if has(&available, name) && !has(&given, name) {
            // Where the group has processes of its own it is refused.
            let _ = cgroup::write(group, "cgroup.subtree_control", &format!("+{name}"));
        }
    }
    let given = list("cgroup.subtree_control");
    let given = |name: &&&str| has(&given, name);
    wanted.iter().filter(given).copied().collect()
}

/// Whether something is bounded here that a group further up would escape.
fn is_bounded(group: BorrowedFd<'_>) -> bool {
    ["memory.max", "memory.high", "pids.max", "cpu.max"]
        .iter()
        .filter_map(|file| cgroup::read(group, file).ok())
        .any(|text| !text.starts_with("max"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "oom 3\noom_kill 7\noom_group_kill 1\n";
        assert_eq!(field(text, "oom_kill"), Some(7));
        assert_eq!(field(text, "oom"), Some(3));
        assert_eq!(field(text, "max"), None);
    }
}
