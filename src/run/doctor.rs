//! `doctor`: what this kernel lets this user have of a run, and how to mend what it does not. Each check tries the thing
//! itself, in a child, or reads the switch that decides it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::sys::{landlock, namespace, notify, process};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// As it should be.
    Good,
    /// A run does without, or with less.
    Less,
    /// No run is possible.
    Bad,
}

/// A check's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    name: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do about it; empty where nothing is wrong.
    mend: String,
}

impl Finding {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Good,
            found: found.into(),
            mend: String::new(),
        }
    }

    fn less(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Less,
            found: found.into(),
            mend: mend.into(),
        }
    }

    fn bad(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Bad,
            ..Self::less(name, found, mend)
        }
    }
}

/// Examines this machine. Returns what to print and whether a run is possible.
#[must_use]
pub fn examine() -> (String, bool) {
    let findings = [
        kernel(),
        user_namespaces(),
        apparmor(),
        ptrace(),
        seccomp(),
        overlay(),
        id_ranges(),
        cgroups(),
        landlock_scope(),
        tiocsti(),
        whole_run(),
    ];
    let mut text = String::new();
    for finding in &findings {
        let mark = match finding.verdict {
            Verdict::Good => "ok  ",
            Verdict::Less => "less",
            Verdict::Bad => "BAD ",
        };
        let _ = writeln!(text, "{mark}  {:<18}{}", finding.name, finding.found);
        if !finding.mend.is_empty() {
            let _ = writeln!(text, "      {:<18}to mend: {}", "", finding.mend);
        }
    }
    let possible = findings
        .iter()
        .all(|finding| finding.verdict != Verdict::Bad);
    (text, possible)
}

/// A file below /proc/sys, trimmed.
fn switch(name: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
    Some(text.trim().to_owned())
}

/// Runs a check in a child, whose namespaces and restrictions end with it.
fn in_child(check: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let child = process::fork(|| {
        let errno = match check() {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(libc::EIO).clamp(1, 255),
        };
        process::exit_now(errno);
    })?;
    match libc::WEXITSTATUS(process::wait_for(child)?) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn kernel() -> Finding {
    let release = switch("kernel/osrelease").unwrap_or_else(|| "unknown".to_owned());
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let shown = format!("Linux {release}");
    if version >= (6, 10) {
        Finding::good("kernel", shown)
    } else {
        Finding::less(
            "kernel",
            shown,
            "Linux 6.10 or newer: before it connect, bind and sendto with an address fail inside",
        )
    }
}

fn user_namespaces() -> Finding {
    let name = "user namespaces";
    match in_child(|| namespace::leave_host().and_then(|()| namespace::leave_network())) {
        Ok(()) => Finding::good(name, "can be made"),
        Err(error) => {
            let mut mends = Vec::new();
            if switch("user/max_user_namespaces").as_deref() == Some("0") {
                mends.push("sysctl user.max_user_namespaces=10000");
            }
            if switch("kernel/unprivileged_userns_clone").as_deref() == Some("0") {
                mends.push("sysctl kernel.unprivileged_userns_clone=1");
            }
            if mends.is_empty() {
                mends.push("in a container: run it with --security-opt seccomp=unconfined or as its runtime allows namespaces");
            }
            Finding::bad(name, format!("cannot be made: {error}"), mends.join("; "))
        }
    }
}

fn apparmor() -> Finding {
    let name = "AppArmor";
    match switch("kernel/apparmor_restrict_unprivileged_userns").as_deref() {
        Some("1") => Finding::less(
            name,
            "restricts user namespaces of ordinary users",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile for cage-trace with `userns,`",
        ),
        _ => Finding::good(name, "does not restrict user namespaces"),
    }
}

fn ptrace() -> Finding {
    let name = "ptrace";
    match switch("kernel/yama/ptrace_scope").as_deref() {
        Some("3") => Finding::bad(
            name,
            "Yama forbids all of it (ptrace_scope 3)",
            "boot with kernel.yama.ptrace_scope=2 or lower: 3 cannot be taken back",
        ),
        Some(scope) => Finding::good(name, format!("allowed (Yama's ptrace_scope {scope})")),
        None => Finding::good(name, "allowed (no Yama)"),
    }
}

fn seccomp() -> Finding {
    let name = "seccomp";
    let actions = switch("kernel/seccomp/actions_avail").unwrap_or_default();
    let has = |action: &str| actions.split_whitespace().any(|known| known == action);
    if !has("trace") {
        return Finding::bad(
            name,
            "no filters that trace",
            "a kernel with CONFIG_SECCOMP_FILTER",
        );
    }
    if notify::is_supported() {
        Finding::good(name, "stops and notifications (platform hybrid)")
    } else {
        Finding::less(
            name,
            "stops only (platform ptrace, slower)",
            "Linux 5.19 or newer, for notifications that no signal cuts in two",
        )
    }
}

fn overlay() -> Finding {
    let name = "overlay";
    let supported = fs::read_to_string("/proc/filesystems").is_ok_and(|list| {
        list.lines()
            .any(|line| line.split_whitespace().next_back() == Some("overlay"))
    });
    if supported {
        Finding::good(
            name,
            "known to the kernel; in user namespaces since Linux 5.11",
        )
    } else {
        Finding::less(
            name,
            "not known to the kernel",
            "modprobe overlay, for --mount=overlay:…",
        )
    }
}

fn id_ranges() -> Finding {
    let name = "id ranges";
    if nix::unistd::geteuid().is_root() {
        return Finding::good(name, "root maps any");
    }
    let tools = ["newuidmap", "newgidmap"].iter().all(|tool| {
        ["/usr/bin", "/bin", "/usr/local/bin"]
            .iter()
            .any(|directory| Path::new(directory).join(tool).exists())
    });
    let uid = nix::unistd::getuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    let listed = fs::read_to_string("/etc/subuid").is_ok_and(|text| {
        text.lines().any(|line| {
            let owner = line.split(':').next();
            owner == Some(uid.to_string().as_str())
                || owner.is_some_and(|owner| user.as_ref().is_some_and(|user| user.name == owner))
        })
    });
    if tools && listed {
        Finding::good(name, "newuidmap and newgidmap, with ranges in /etc/subuid")
    } else {
        Finding::less(
            name,
            "the own id only",
            "install uidmap and give the user a range in /etc/subuid and /etc/subgid, for --uid-map of more ids",
        )
    }
}

fn cgroups() -> Finding {
    let name = "cgroups";
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let unified = own.lines().find_map(|line| line.strip_prefix("0::"));
    let directory =
        unified.map(|path| Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/')));
    let writable = directory.is_some_and(|directory| {
        nix::unistd::access(&directory, nix::unistd::AccessFlags::W_OK).is_ok()
            && directory.join("cgroup.procs").exists()
    });
    let v1 = Path::new("/sys/fs/cgroup/memory/cgroup.procs").exists()
        && nix::unistd::access("/sys/fs/cgroup/memory", nix::unistd::AccessFlags::W_OK).is_ok();
    match (writable, v1) {
        (true, _) => Finding::good(name, "version 2, and a group of one's own can be made"),
        (_, true) => Finding::good(name, "version 1, and a group of one's own can be made"),
        _ => Finding::less(
            name,
            "no group of one's own",
            "have it delegated (systemd-run --user --scope -p Delegate=yes …) for --memory, --cpus and --pids-limit by the kernel",
        ),
    }
}

fn landlock_scope() -> Finding {
    let name = "Landlock";
    let tried = in_child(|| {
        crate::sys::privilege::set_no_new_privs()?;
        landlock::keep_to_own_abstract_sockets()
    });
    match tried {
        Ok(()) => Finding::good(name, "keeps abstract sockets apart (--net=host)"),
        Err(_) => Finding::less(
            name,
            "cannot keep abstract sockets apart",
            "Linux 6.12 or newer with Landlock, for --net=host",
        ),
    }
}

fn tiocsti() -> Finding {
    let name = "TIOCSTI";
    match switch("dev/tty/legacy_tiocsti").as_deref() {
        Some("0") => Finding::good(name, "off in the kernel, and refused by cage-trace"),
        _ => Finding::good(name, "on in the kernel, refused by cage-trace"),
    }
}

fn whole_run() -> Finding {
    let name = "a run";
    let tried = std::env::current_exe().and_then(|program| {
        Command::new(program)
            .args(["-q", "--", "/bin/true"])
            .stdin(Stdio::null())
            .output()
    });
    match tried {
        Ok(output) if output.status.success() => Finding::good(name, "of /bin/true works"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("it says nothing").to_owned();
            Finding::bad(name, "of /bin/true fails", said)
        }
        Err(error) => Finding::bad(name, "cannot be started", error.to_string()),
    }
}
