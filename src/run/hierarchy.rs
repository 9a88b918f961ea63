//! Where control groups can be made: the mounted hierarchies and the caller's place in each; and whose a group is, by its
//! name. Nothing is made here.

use std::fs;
use std::path::{Path, PathBuf};

use super::mountinfo::Mount;

/// What every group of ours is called, before the numbers of its supervisor.
const STEM: &str = "cage-trace";

/// One mounted hierarchy, and where this process is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) unified: bool,
    /// Of version 1 only.
    pub(super) controllers: Vec<String>,
    pub(super) mount: PathBuf,
    /// The directory of this process's own group.
    pub(super) own: PathBuf,
}

/// Reads the hierarchies out of `/proc/self/mountinfo` and `/proc/self/cgroup`.
pub(super) fn hierarchies(mountinfo: &str, membership: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for mount in mountinfo.lines().filter_map(Mount::parse) {
        let unified = match mount.filesystem {
            "cgroup2" => true,
            "cgroup" => false,
            _ => continue,
        };
        let member = membership.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (names, path) = (fields.next()?, fields.next()?);
            let fits = if unified {
                names.is_empty()
            } else {
                !names.is_empty()
                    && names
                        .split(',')
                        .all(|name| mount.options.split(',').any(|option| option == name))
            };
            fits.then_some((names, path))
        });
        let Some((names, path)) = member else {
            continue;
        };
        // What is mounted may be a part of the hierarchy that we are not in.
        let Ok(below) = Path::new(path).strip_prefix(&mount.root) else {
            continue;
        };
        let controllers: Vec<String> = names
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        let again =
            |other: &Hierarchy| other.unified == unified && other.controllers == controllers;
        if !found.iter().any(again) {
            found.push(Hierarchy {
                unified,
                controllers,
                own: mount.place.join(below),
                mount: mount.place,
            });
        }
    }
    found
}

/// Whose group: the pid namespace, the number in it, and when that process began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Maker {
    namespace: u64,
    pid: u32,
    began: u64,
}

impl Maker {
    pub(super) fn own() -> Option<Self> {
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        let namespace = namespace.to_str()?.strip_prefix("pid:[")?;
        let pid = std::process::id();
        Some(Self {
            namespace: namespace.strip_suffix(']')?.parse().ok()?,
            pid,
            began: began(pid)?,
        })
    }

    pub(super) fn name(self) -> String {
        format!("{STEM}-{}-{}-{}", self.namespace, self.pid, self.began)
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut numbers = name.strip_prefix(STEM)?.strip_prefix('-')?.split('-');
        let maker = Self {
            namespace: numbers.next()?.parse().ok()?,
            pid: numbers.next()?.parse().ok()?,
            began: numbers.next()?.parse().ok()?,
        };
        numbers.next().is_none().then_some(maker)
    }

    /// Whether it is gone for sure; of another namespace's nobody can tell from here.
    pub(super) fn is_gone(self, own: Self) -> bool {
        self.namespace == own.namespace && began(self.pid) != Some(self.began)
    }
}

/// When a process began, in the kernel's ticks: no two processes of a number have the same.
fn began(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name in brackets may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 20 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 30 0:30 /docker/1 /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
35 30 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
";

    #[test]
    fn hierarchies_are_found_with_our_place_in_them() {
        let membership = "5:pids:/elsewhere\n4:memory:/docker/1/a\n3:cpu,cpuacct:/b\n2:freezer:/\n1:name=systemd:/\n0::/c:d\n";
        let found: Vec<(bool, String, String)> = hierarchies(MOUNTS, membership)
            .into_iter()
            .map(|one| {
                let own = one.own.to_string_lossy().into_owned();
                (one.unified, one.controllers.join(","), own)
            })
            .collect();
        let base = "/sys/fs/cgroup";
        assert_eq!(
            found,
            [
                (true, String::new(), format!("{base}/unified/c:d")),
                (false, "cpu,cpuacct".into(), format!("{base}/cpu,cpuacct/b")),
                (false, "memory".into(), format!("{base}/memory/a")),
                (false, "name=systemd".into(), format!("{base}/systemd/")),
            ]
        );
    }

    #[test]
    fn a_name_tells_its_maker_and_whether_that_is_gone() {
        let own = Maker::own().unwrap();
        assert_eq!(Maker::parse(&own.name()), Some(own));
        assert!(!own.is_gone(own));
        let other = Maker {
            began: own.began + 1,
            ..own
        };
        assert!(other.is_gone(own), "the number is another's by now");
        let foreign = Maker {
            namespace: own.namespace + 1,
            ..other
        };
        assert!(!foreign.is_gone(own), "nobody can tell from here");
        for name in [
            "cage-trace",
            "cage-trace-1-2",
            "cage-trace-1-2-3-4",
            "user.slice",
        ] {
            assert_eq!(Maker::parse(name), None, "{name}");
        }
    }
}
