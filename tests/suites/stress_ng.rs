//! stress-ng's stressors that verify what they do: those of its file system, network, pipe, signal, scheduler, memory and
//! operating system classes that an ordinary user may run. One test is one stressor, alone for two seconds.
//!
//! Not in the lists: what needs privileges; what stress-ng itself only runs when told that it may hang the machine; what takes
//! all memory, descriptors or /dev/shm there is (bigheap, brk, dev-shm, mmapfork, oom-pipe, resources, stack); what opens all of /dev or
//! guesses at system calls and instructions (bad-ioctl, dev, opcode, sysinval); 4,096 processes at once (forkheavy); and
//! io-uring, which fails natively too.

use std::time::Duration;

use crate::harness::case::Run;
use crate::harness::process::Output;
use crate::harness::program;
use crate::harness::scratch::Scratch;

use super::{Module, Suite, Verdict, Verdicts, note};

/// How long each stressor runs.
const SECONDS: &str = "2";

/// The modules and their stressors, each in one module; the classes are stress-ng's, but for `signal`, which it has in `os`.
const MODULES: &[(&str, &str)] = &[
    (
        "stress/sample",
        "access dir fcntl getdent inotify lockofd rename epoll sock sockfd pipe splice clone fork wait \
         sigfd pty shm-sysv",
    ),
    (
        "stress/signal",
        "alarm itimer kill sigabrt sigchld sigfpe sigio signal signest sigpending sigpipe sigq sigrt \
         sigsegv sigsuspend sigtrap timer timerfd",
    ),
    (
        "stress/pipe",
        "fifo pipeherd ring-pipe sendfile tee vm-splice",
    ),
    (
        "stress/network",
        "dccp netdev ping-sock sctp sockabuse sockdiag sockpair sockmany udp udp-flood",
    ),
    (
        "stress/filesystem",
        "chattr chdir chmod chown copy-file dentry dirdeep dirmany dnotify dup eventfd fallocate fiemap handle \
         file-ioctl filename flock fpunch fsize fstat hdd inode-flags io iomix ioprio lease link locka \
         lockf mknod open procfs symlink sync-file touch utime verity xattr",
    ),
    (
        "stress/scheduler",
        "affinity close daemon exec exit-group fault futex hrtimers loadavg mq msg mutex \
         nanosleep nice poll pthread race-sched resched schedpolicy sem sem-sysv session sleep spawn \
         switch vfork vforkmany yield zombie",
    ),
    (
        "stress/memory",
        "atomic bad-altstack bsearch context full heapsort hsearch judy list lockbus lsearch malloc \
         matrix matrix-3d mcontend membarrier memcpy memfd memrate memthrash mergesort mincore \
         misaligned null numa prefetch qsort radixsort randlist remap rmap shellsort skiplist \
         sparsematrix stackmmap str stream tlb-shootdown tmpfs tree tsearch vm vm-addr vm-rw vm-segv wcs \
         zero zlib",
    ),
    (
        "stress/os",
        "af-alg aio aiol cap clock dynlib enosys env get getrandom kcmp key landlock madvise \
         mlock mmap mmapaddr mmapfixed mmaphuge mmapmany mprotect mremap msync msyncmany munmap pci \
         personality pidfd plugin prctl ptrace readahead revio rlimit seal seccomp seek set shm \
         sysbadaddr syscall sysinfo sysfs unshare urandom userfaultfd usersyscall vdso x86syscall",
    ),
];

/// Debian's stress-ng.
#[derive(Debug)]
pub(crate) struct StressNg;

impl Suite for StressNg {
    fn name(&self) -> &'static str {
        "stress-ng"
    }

    fn missing(&self) -> Option<String> {
        let name = "stress-ng";
        program(name).is_none().then(|| name.to_owned())
    }

    fn modules(&self) -> Vec<Module> {
        MODULES
            .iter()
            .map(|&(name, _)| Module {
                name,
                sample: name == "stress/sample",
                limit: Duration::from_secs(1_200),
            })
            .collect()
    }

    /// As root it would change the machine that the tests run on.
    fn as_root(&self) -> bool {
        false
    }

    fn run(&self, module: &Module, only: &[String], scratch: &Scratch) -> Run {
        scratch.write("stress_ng.sh", include_bytes!("stress_ng.sh"), 0o644);
        let mut argv = vec!["nice", "bash", "stress_ng.sh", SECONDS];
        if only.is_empty() {
            let stressors = MODULES.iter().find(|&&(name, _)| name == module.name);
            argv.extend(
                stressors
                    .iter()
                    .flat_map(|(_, names)| names.split_whitespace()),
            );
        } else {
            argv.extend(only.iter().map(String::as_str));
        }
        let mut run = Run::new(&argv);
        run.limit = module.limit;
        run
    }

    fn verdicts(&self, _module: &Module, output: &Output, _scratch: &Scratch) -> Verdicts {
        let mut verdicts = Verdicts::new();
        for line in output.stdout_text().lines() {
            let mut words = line.split_whitespace();
            if let (Some("verdict"), Some(stressor), Some(word)) =
                (words.next(), words.next(), words.next())
            {
                let verdict = match word {
                    "passed" => Verdict::Passed,
                    "skipped" => Verdict::Skipped,
                    _ => Verdict::Failed,
                };
                note(&mut verdicts, stressor, verdict);
            }
        }
        verdicts
    }
}
