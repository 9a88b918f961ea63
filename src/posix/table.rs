//! The one table: every call is one row, its man-page prototype, what happens to it, how well it is supported.
//!
//! `pass` runs natively; `data(handler)` too, unless it is to be mediated; `run(handler)` reaches its handler by a
//! notification, `shared(handler)` too and then the kernel runs the call as it is, `trace(handler)` by a stop;
//! `fail(errno)` always fails. `/ files` marks a row that changes the descriptor table; `unless CONDITION` says what
//! of a mediated row passes the filter.

use super::row::{Row, syscalls};
use super::{
    credentials, dirs, events, exec, fcntl, fd, io, ioctl, limits, links, memory, meta, mqueue,
    open, passes, peers, prctl, process, signal, socket, stat, transfer,
};
use crate::guest::{Addr, DirFd, Fd, Mode, UserIn, UserOut, UserPath};

syscalls! {
    0   read(fd: Fd, buf: UserOut, count: usize) => data(io::read), Full;
    1   write(fd: Fd, buf: UserIn, count: usize) => data(io::write), Full;
    2   open(pathname: UserPath, flags: i32, mode: Mode) => run(open::open) / files, Full;
    3   close(fd: Fd) => shared(fd::close) / files, Full;
    4   stat(pathname: UserPath, statbuf: UserOut) => run(stat::stat), Full;
    5   fstat(fd: Fd, statbuf: UserOut) => data(stat::fstat), Full;
    6   lstat(pathname: UserPath, statbuf: UserOut) => run(stat::lstat), Full;
    7   poll(fds: Addr, nfds: u32, timeout: i32) => data(events::poll), Full;
    8   lseek(fd: Fd, offset: i64, whence: i32) => data(io::lseek), Full;
    9   mmap(addr: Addr, length: usize, prot: i32, flags: i32, fd: Fd, offset: u64) => data(memory::mmap), Full;
    10  mprotect(addr: Addr, len: usize, prot: i32) => pass, Host;
    11  munmap(addr: Addr, len: usize) => pass, Host;
    12  brk(addr: Addr) => pass, Host;
    13  rt_sigaction(signum: i32, act: UserIn, oldact: UserOut, sigsetsize: usize) => pass, Host;
    14  rt_sigprocmask(how: i32, set: UserIn, oldset: UserOut, sigsetsize: usize) => pass, Host;
    15  rt_sigreturn() => pass, Host;
    16  ioctl(fd: Fd, op: u64, argp: Addr) => run(ioctl::ioctl) / files unless passes::IOCTL, Partial("an allow-list: terminals, FIONREAD, FIONBIO, FIOCLEX");
    17  pread64(fd: Fd, buf: UserOut, count: usize, offset: i64) => data(io::pread64), Full;
    18  pwrite64(fd: Fd, buf: UserIn, count: usize, offset: i64) => data(io::pwrite64), Full;
    19  readv(fd: Fd, iov: UserIn, iovcnt: i32) => data(io::readv), Full;
    20  writev(fd: Fd, iov: UserIn, iovcnt: i32) => data(io::writev), Full;
    21  access(pathname: UserPath, mode: i32) => run(stat::access), Full;
    22  pipe(pipefd: UserOut) => run(fd::pipe) / files, Full;
    23  select(nfds: i32, readfds: Addr, writefds: Addr, exceptfds: Addr, timeout: Addr) => data(events::select), Full;
    24  sched_yield() => pass, Host;
    25  mremap(old_address: Addr, old_size: usize, new_size: usize, flags: i32, new_address: Addr) => pass, Host;
    26  msync(addr: Addr, length: usize, flags: i32) => pass, Host;
    27  mincore(addr: Addr, length: usize, vec: UserOut) => pass, Host;
    28  madvise(addr: Addr, length: usize, advice: i32) => pass, Host;
    29  shmget(key: i32, size: usize, shmflg: i32) => pass, Host;
    30  shmat(shmid: i32, shmaddr: Addr, shmflg: i32) => pass, Host;
    31  shmctl(shmid: i32, op: i32, buf: Addr) => pass, Host;
    32  dup(oldfd: Fd) => run(fd::dup) / files, Full;
    33  dup2(oldfd: Fd, newfd: Fd) => run(fd::dup2) / files, Full;
    34  pause() => pass, Host;
    35  nanosleep(req: UserIn, rem: UserOut) => pass, Host;
    36  getitimer(which: i32, curr_value: UserOut) => pass, Host;
    37  alarm(seconds: u32) => pass, Host;
    38  setitimer(which: i32, new_value: UserIn, old_value: UserOut) => pass, Host;
    39  getpid() => pass, Host;
    40  sendfile(out_fd: Fd, in_fd: Fd, offset: Addr, count: usize) => data(transfer::sendfile), Full;
    41  socket(domain: i32, ty: i32, protocol: i32) => run(socket::socket) / files, Partial("UNIX, INET, INET6 and NETLINK_ROUTE; raw ones of INET with CAP_NET_RAW, no packet sockets");
    42  connect(sockfd: Fd, addr: UserIn, addrlen: i32) => trace(socket::connect), Full;
    43  accept(sockfd: Fd, addr: UserOut, addrlen: Addr) => trace(socket::accept), Full;
    44  sendto(sockfd: Fd, buf: UserIn, len: usize, flags: i32, dest_addr: UserIn, addrlen: i32) => trace(socket::sendto) unless passes::NO_ADDRESS, Full;
    45  recvfrom(sockfd: Fd, buf: UserOut, len: usize, flags: i32, src_addr: UserOut, addrlen: Addr) => data(socket::recvfrom), Full;
    46  sendmsg(sockfd: Fd, msg: UserIn, flags: i32) => trace(socket::sendmsg), Full;
    47  recvmsg(sockfd: Fd, msg: Addr, flags: i32) => trace(socket::recvmsg), Full;
    48  shutdown(sockfd: Fd, how: i32) => data(socket::shutdown), Full;
    49  bind(sockfd: Fd, addr: UserIn, addrlen: i32) => trace(socket::bind), Full;
    50  listen(sockfd: Fd, backlog: i32) => data(socket::listen), Full;
    51  getsockname(sockfd: Fd, addr: UserOut, addrlen: Addr) => data(socket::getsockname), Full;
    52  getpeername(sockfd: Fd, addr: UserOut, addrlen: Addr) => data(socket::getpeername), Full;
    53  socketpair(domain: i32, ty: i32, protocol: i32, sv: UserOut) => run(socket::socketpair) / files, Full;
    54  setsockopt(sockfd: Fd, level: i32, optname: i32, optval: UserIn, optlen: i32) => data(socket::setsockopt), Host;
    55  getsockopt(sockfd: Fd, level: i32, optname: i32, optval: UserOut, optlen: Addr) => run(socket::getsockopt) / files unless passes::GETSOCKOPT, Full;
    56  clone(flags: u64, stack: Addr, parent_tid: Addr, child_tid: Addr, tls: Addr) => announce(process::clone), Partial("no new namespaces");
    57  fork() => announce(process::fork), Full;
    58  vfork() => announce(process::vfork), Full;
    59  execve(pathname: UserPath, argv: UserIn, envp: UserIn) => announce(exec::execve), Partial("a file that the caller may execute but not read is EACCES");
    60  exit(status: i32) => pass, Host;
    61  wait4(pid: i32, wstatus: UserOut, options: i32, rusage: UserOut) => pass, Host;
    62  kill(pid: i32, sig: i32) => pass, Host;
    63  uname(buf: UserOut) => pass, Host;
    64  semget(key: i32, nsems: i32, semflg: i32) => pass, Host;
    65  semop(semid: i32, sops: UserIn, nsops: usize) => pass, Host;
    66  semctl(semid: i32, semnum: i32, op: i32, arg: Addr) => pass, Host;
    67  shmdt(shmaddr: Addr) => pass, Host;
    68  msgget(key: i32, msgflg: i32) => pass, Host;
    69  msgsnd(msqid: i32, msgp: UserIn, msgsz: usize, msgflg: i32) => pass, Host;
    70  msgrcv(msqid: i32, msgp: UserOut, msgsz: usize, msgtyp: i64, msgflg: i32) => pass, Host;
    71  msgctl(msqid: i32, op: i32, buf: Addr) => pass, Host;
    72  fcntl(fd: Fd, op: i32, arg: u64) => run(fcntl::fcntl) / files unless passes::FCNTL, Partial("no leases, no F_NOTIFY");
    73  flock(fd: Fd, op: i32) => data(io::flock), Full;
    74  fsync(fd: Fd) => data(io::fsync), Full;
    75  fdatasync(fd: Fd) => data(io::fdatasync), Full;
    76  truncate(path: UserPath, length: i64) => run(meta::truncate), Full;
    77  ftruncate(fd: Fd, length: i64) => data(io::ftruncate), Full;
    78  getdents(fd: Fd, dirp: UserOut, count: u32) => data(io::getdents), Full;
    79  getcwd(buf: UserOut, size: usize) => run(dirs::getcwd), Full;
    80  chdir(path: UserPath) => run(dirs::chdir), Full;
    81  fchdir(fd: Fd) => run(dirs::fchdir), Full;
    82  rename(oldpath: UserPath, newpath: UserPath) => run(links::rename), Full;
    83  mkdir(pathname: UserPath, mode: Mode) => run(links::mkdir), Full;
    84  rmdir(pathname: UserPath) => run(links::rmdir), Full;
    85  creat(pathname: UserPath, mode: Mode) => run(open::creat) / files, Full;
    86  link(oldpath: UserPath, newpath: UserPath) => run(links::link), Full;
    87  unlink(pathname: UserPath) => run(links::unlink), Full;
    88  symlink(target: UserPath, linkpath: UserPath) => run(links::symlink), Full;
    89  readlink(pathname: UserPath, buf: UserOut, bufsiz: i32) => run(stat::readlink), Full;
    90  chmod(pathname: UserPath, mode: Mode) => run(meta::chmod), Partial("set-id bits of files are dropped");
    91  fchmod(fd: Fd, mode: Mode) => run(meta::fchmod), Partial("set-id bits of files are dropped");
    92  chown(pathname: UserPath, owner: u32, group: u32) => run(meta::chown), Full;
    93  fchown(fd: Fd, owner: u32, group: u32) => run(meta::fchown), Full;
    94  lchown(pathname: UserPath, owner: u32, group: u32) => run(meta::lchown), Full;
    95  umask(mask: Mode) => shared(dirs::umask), Full;
    96  gettimeofday(tv: UserOut, tz: UserOut) => pass, Host;
    97  getrlimit(resource: i32, rlim: UserOut) => pass, Host;
    98  getrusage(who: i32, usage: UserOut) => pass, Host;
    99  sysinfo(info: UserOut) => pass, Host;
    100 times(buf: UserOut) => pass, Host;
    101 ptrace(op: i64, pid: i32, addr: Addr, data: Addr) => run(peers::ptrace), No("a cage has one tracer; PTRACE_TRACEME pretends, but to a fork before its exec");
    102 getuid() => pass, Host;
    103 syslog(ty: i32, bufp: UserOut, len: i32) => fail(EPERM), No("the host's kernel log");
    104 getgid() => pass, Host;
    105 setuid(uid: u32) => run(credentials::setuid), Full;
    106 setgid(gid: u32) => run(credentials::setgid), Full;
    107 geteuid() => pass, Host;
    108 getegid() => pass, Host;
    109 setpgid(pid: i32, pgid: i32) => pass, Host;
    110 getppid() => pass, Host;
    111 getpgrp() => pass, Host;
    112 setsid() => pass, Host;
    113 setreuid(ruid: u32, euid: u32) => run(credentials::setreuid), Full;
    114 setregid(rgid: u32, egid: u32) => run(credentials::setregid), Full;
    115 getgroups(size: i32, list: UserOut) => pass, Host;
    116 setgroups(size: usize, list: UserIn) => pass, Host;
    117 setresuid(ruid: u32, euid: u32, suid: u32) => run(credentials::setresuid), Full;
    118 getresuid(ruid: UserOut, euid: UserOut, suid: UserOut) => pass, Host;
    119 setresgid(rgid: u32, egid: u32, sgid: u32) => run(credentials::setresgid), Full;
    120 getresgid(rgid: UserOut, egid: UserOut, sgid: UserOut) => pass, Host;
    121 getpgid(pid: i32) => pass, Host;
    122 setfsuid(fsuid: u32) => pass, Host;
    123 setfsgid(fsgid: u32) => pass, Host;
    124 getsid(pid: i32) => pass, Host;
    125 capget(hdrp: Addr, datap: Addr) => pass, Host;
    126 capset(hdrp: Addr, datap: Addr) => pass, Host;
    127 rt_sigpending(set: UserOut, sigsetsize: usize) => pass, Host;
    128 rt_sigtimedwait(set: UserIn, info: UserOut, timeout: UserIn, sigsetsize: usize) => pass, Host;
    129 rt_sigqueueinfo(tgid: i32, sig: i32, info: UserIn) => pass, Host;
    130 rt_sigsuspend(mask: UserIn, sigsetsize: usize) => pass, Host;
    131 sigaltstack(ss: UserIn, old_ss: UserOut) => pass, Host;
    132 utime(filename: UserPath, times: UserIn) => run(meta::utime), Full;
    133 mknod(pathname: UserPath, mode: Mode, dev: u32) => run(links::mknod), Partial("no devices; set-id bits are dropped");
    134 uselib(library: UserPath) => fail(ENOSYS), No("obsolete");
    135 personality(persona: u64) => pass, Host;
    136 ustat(dev: u32, ubuf: UserOut) => fail(ENOSYS), No("obsolete");
    137 statfs(path: UserPath, buf: UserOut) => run(stat::statfs), Full;
    138 fstatfs(fd: Fd, buf: UserOut) => data(stat::fstatfs), Full;
    139 sysfs(option: i32, arg1: Addr, arg2: Addr) => fail(ENOSYS), No("obsolete");
    140 getpriority(which: i32, who: i32) => pass, Host;
    141 setpriority(which: i32, who: i32, prio: i32) => pass, Host;
    142 sched_setparam(pid: i32, param: UserIn) => pass, Host;
    143 sched_getparam(pid: i32, param: UserOut) => pass, Host;
    144 sched_setscheduler(pid: i32, policy: i32, param: UserIn) => pass, Host;
    145 sched_getscheduler(pid: i32) => pass, Host;
    146 sched_get_priority_max(policy: i32) => pass, Host;
    147 sched_get_priority_min(policy: i32) => pass, Host;
    148 sched_rr_get_interval(pid: i32, tp: UserOut) => pass, Host;
    149 mlock(addr: Addr, len: usize) => pass, Host;
    150 munlock(addr: Addr, len: usize) => pass, Host;
    151 mlockall(flags: i32) => pass, Host;
    152 munlockall() => pass, Host;
    153 vhangup() => fail(EPERM), No("needs CAP_SYS_TTY_CONFIG");
    154 modify_ldt(func: i32, ptr: Addr, bytecount: u64) => fail(ENOSYS), No("segments are for 16-bit programs");
    155 pivot_root(new_root: UserPath, put_old: UserPath) => fail(EPERM), No("the world is fixed");
    156 _sysctl(args: Addr) => fail(ENOSYS), No("obsolete");
    157 prctl(op: i32, arg2: u64, arg3: u64, arg4: u64, arg5: u64) => run(prctl::prctl) unless passes::PRCTL, Partial("an allow-list");
    158 arch_prctl(op: i32, addr: Addr) => trace(prctl::arch_prctl) unless passes::ARCH_PRCTL, Full;
    159 adjtimex(buf: Addr) => pass, Host;
    160 setrlimit(resource: i32, rlim: UserIn) => run(limits::setrlimit), Full;
    161 chroot(path: UserPath) => fail(EPERM), No("needs CAP_SYS_CHROOT");
    162 sync() => fail(EPERM), No("would flush the host's disks; fsync and syncfs are there");
    163 acct(filename: UserPath) => fail(EPERM), No("needs CAP_SYS_PACCT");
    164 settimeofday(tv: UserIn, tz: UserIn) => fail(EPERM), No("needs CAP_SYS_TIME");
    165 mount(source: UserPath, target: UserPath, filesystemtype: UserPath, mountflags: u64, data: Addr) => fail(EPERM), No("the world is fixed");
    166 umount2(target: UserPath, flags: i32) => fail(EPERM), No("the world is fixed");
    167 swapon(path: UserPath, swapflags: i32) => fail(EPERM), No("needs CAP_SYS_ADMIN");
    168 swapoff(path: UserPath) => fail(EPERM), No("needs CAP_SYS_ADMIN");
    169 reboot(magic: i32, magic2: i32, op: i32, arg: Addr) => fail(EPERM), No("needs CAP_SYS_BOOT");
    170 sethostname(name: UserIn, len: usize) => fail(EPERM), No("needs CAP_SYS_ADMIN");
    171 setdomainname(name: UserIn, len: usize) => fail(EPERM), No("needs CAP_SYS_ADMIN");
    172 iopl(level: i32) => fail(EPERM), No("needs CAP_SYS_RAWIO");
    173 ioperm(from: u64, num: u64, turn_on: i32) => fail(EPERM), No("needs CAP_SYS_RAWIO");
    174 create_module(name: UserIn, size: usize) => fail(ENOSYS), No("obsolete; not in Linux since 2.6");
    175 init_module(module_image: Addr, len: u64, param_values: Addr) => fail(EPERM), No("needs CAP_SYS_MODULE");
    176 delete_module(name: Addr, flags: u32) => fail(EPERM), No("needs CAP_SYS_MODULE");
    177 get_kernel_syms(table: UserOut) => fail(ENOSYS), No("obsolete; not in Linux since 2.6");
    178 query_module(name: UserIn, which: i32, buf: UserOut, bufsize: usize, ret: UserOut) => fail(ENOSYS), No("obsolete; not in Linux since 2.6");
    179 quotactl(op: i32, special: UserPath, id: i32, addr: Addr) => fail(EPERM), No("needs CAP_SYS_ADMIN");
    180 nfsservctl(cmd: i32, argp: UserIn, resp: UserOut) => fail(ENOSYS), No("obsolete; not in Linux since 3.1");
    181 getpmsg() => fail(ENOSYS), No("never in Linux");
    182 putpmsg() => fail(ENOSYS), No("never in Linux");
    183 afs_syscall() => fail(ENOSYS), No("never in Linux");
    184 tuxcall() => fail(ENOSYS), No("never in Linux");
    185 security() => fail(ENOSYS), No("never in Linux");
    186 gettid() => pass, Host;
    187 readahead(fd: Fd, offset: i64, count: usize) => data(io::readahead), Full;
    188 setxattr(path: UserPath, name: UserIn, value: UserIn, size: usize, flags: i32) => run(meta::setxattr), Full;
    189 lsetxattr(path: UserPath, name: UserIn, value: UserIn, size: usize, flags: i32) => run(meta::lsetxattr), Full;
    190 fsetxattr(fd: Fd, name: UserIn, value: UserIn, size: usize, flags: i32) => data(meta::fsetxattr), Full;
    191 getxattr(path: UserPath, name: UserIn, value: UserOut, size: usize) => run(meta::getxattr), Full;
    192 lgetxattr(path: UserPath, name: UserIn, value: UserOut, size: usize) => run(meta::lgetxattr), Full;
    193 fgetxattr(fd: Fd, name: UserIn, value: UserOut, size: usize) => data(meta::fgetxattr), Full;
    194 listxattr(path: UserPath, list: UserOut, size: usize) => run(meta::listxattr), Full;
    195 llistxattr(path: UserPath, list: UserOut, size: usize) => run(meta::llistxattr), Full;
    196 flistxattr(fd: Fd, list: UserOut, size: usize) => data(meta::flistxattr), Full;
    197 removexattr(path: UserPath, name: UserIn) => run(meta::removexattr), Full;
    198 lremovexattr(path: UserPath, name: UserIn) => run(meta::lremovexattr), Full;
    199 fremovexattr(fd: Fd, name: UserIn) => data(meta::fremovexattr), Full;
    200 tkill(tid: i32, sig: i32) => pass, Host;
    201 time(tloc: UserOut) => pass, Host;
    202 futex(uaddr: Addr, futex_op: i32, val: u32, timeout: Addr, uaddr2: Addr, val3: u32) => pass, Host;
    203 sched_setaffinity(pid: i32, cpusetsize: usize, mask: UserIn) => pass, Host;
    204 sched_getaffinity(pid: i32, cpusetsize: usize, mask: UserOut) => pass, Host;
    205 set_thread_area(u_info: Addr) => fail(ENOSYS), No("of 32-bit programs; arch_prctl is there");
    206 io_setup(nr_events: u32, ctx: Addr) => fail(ENOSYS), No("kernel AIO acts on descriptors behind the dispatcher's back");
    207 io_destroy(ctx: u64) => fail(ENOSYS), No("no kernel AIO");
    208 io_getevents(ctx: u64, min_nr: i64, nr: i64, events: Addr, timeout: Addr) => fail(ENOSYS), No("no kernel AIO");
    209 io_submit(ctx: u64, nr: i64, iocbpp: Addr) => fail(ENOSYS), No("no kernel AIO");
    210 io_cancel(ctx: u64, iocb: Addr, result: Addr) => fail(ENOSYS), No("no kernel AIO");
    211 get_thread_area(u_info: Addr) => fail(ENOSYS), No("of 32-bit programs; arch_prctl is there");
    212 lookup_dcookie(cookie: u64, buffer: UserOut, len: usize) => fail(ENOSYS), No("obsolete");
    213 epoll_create(size: i32) => run(events::epoll_create) / files, Full;
    214 epoll_ctl_old(epfd: Fd, op: i32, fd: Fd, event: UserIn) => fail(ENOSYS), No("never in Linux; epoll_ctl is there");
    215 epoll_wait_old(epfd: Fd, events: UserOut, maxevents: i32, timeout: i32) => fail(ENOSYS), No("never in Linux; epoll_wait is there");
    216 remap_file_pages(addr: Addr, size: usize, prot: i32, pgoff: usize, flags: i32) => pass, Host;
    217 getdents64(fd: Fd, dirp: UserOut, count: u32) => data(io::getdents64), Full;
    218 set_tid_address(tidptr: Addr) => pass, Host;
    219 restart_syscall() => pass, Host;
    220 semtimedop(semid: i32, sops: UserIn, nsops: usize, timeout: UserIn) => pass, Host;
    221 fadvise64(fd: Fd, offset: i64, len: i64, advice: i32) => data(io::fadvise64), Full;
    222 timer_create(clockid: i32, sevp: UserIn, timerid: UserOut) => pass, Host;
    223 timer_settime(timerid: i32, flags: i32, new_value: UserIn, old_value: UserOut) => pass, Host;
    224 timer_gettime(timerid: i32, curr_value: UserOut) => pass, Host;
    225 timer_getoverrun(timerid: i32) => pass, Host;
    226 timer_delete(timerid: i32) => pass, Host;
    227 clock_settime(clockid: i32, tp: UserIn) => fail(EPERM), No("needs CAP_SYS_TIME");
    228 clock_gettime(clockid: i32, tp: UserOut) => pass, Host;
    229 clock_getres(clockid: i32, res: UserOut) => pass, Host;
    230 clock_nanosleep(clockid: i32, flags: i32, request: UserIn, remain: UserOut) => pass, Host;
    231 exit_group(status: i32) => pass, Host;
    232 epoll_wait(epfd: Fd, events: UserOut, maxevents: i32, timeout: i32) => data(events::epoll_wait), Full;
    233 epoll_ctl(epfd: Fd, op: i32, fd: Fd, event: UserIn) => data(events::epoll_ctl), Full;
    234 tgkill(tgid: i32, tid: i32, sig: i32) => pass, Host;
    235 utimes(filename: UserPath, times: UserIn) => run(meta::utimes), Full;
    236 vserver() => fail(ENOSYS), No("never in Linux");
    237 mbind(addr: Addr, len: u64, mode: i32, nodemask: UserIn, maxnode: u64, flags: u32) => pass, Host;
    238 set_mempolicy(mode: i32, nodemask: UserIn, maxnode: u64) => pass, Host;
    239 get_mempolicy(mode: UserOut, nodemask: UserOut, maxnode: u64, addr: Addr, flags: u64) => pass, Host;
    240 mq_open(name: UserIn, oflag: i32, mode: Mode, attr: UserIn) => run(mqueue::mq_open) / files, Full;
    241 mq_unlink(name: UserIn) => run(mqueue::mq_unlink), Full;
    242 mq_timedsend(mqdes: Fd, msg_ptr: UserIn, msg_len: usize, msg_prio: u32, abs_timeout: UserIn) => data(mqueue::mq_timedsend), Full;
    243 mq_timedreceive(mqdes: Fd, msg_ptr: UserOut, msg_len: usize, msg_prio: UserOut, abs_timeout: UserIn) => data(mqueue::mq_timedreceive), Full;
    244 mq_notify(mqdes: Fd, sevp: UserIn) => data(mqueue::mq_notify), Full;
    245 mq_getsetattr(mqdes: Fd, newattr: UserIn, oldattr: UserOut) => data(mqueue::mq_getsetattr), Full;
    246 kexec_load(entry: u64, nr_segments: u64, segments: Addr, flags: u64) => fail(EPERM), No("needs CAP_SYS_BOOT");
    247 waitid(idtype: i32, id: i32, infop: UserOut, options: i32, rusage: UserOut) => pass, Host;
    248 add_key(ty: Addr, description: Addr, payload: Addr, plen: usize, keyring: i32) => fail(ENOSYS), No("the kernel's keyrings are not namespaced");
    249 request_key(ty: Addr, description: Addr, callout_info: Addr, dest_keyring: i32) => fail(ENOSYS), No("the kernel's keyrings are not namespaced");
    250 keyctl(op: i32, arg2: u64, arg3: u64, arg4: u64, arg5: u64) => fail(ENOSYS), No("the kernel's keyrings are not namespaced");
    251 ioprio_set(which: i32, who: i32, ioprio: i32) => pass, Host;
    252 ioprio_get(which: i32, who: i32) => pass, Host;
    253 inotify_init() => run(events::inotify_init) / files, Full;
    254 inotify_add_watch(fd: Fd, pathname: UserPath, mask: u32) => run(events::inotify_add_watch), Full;
    255 inotify_rm_watch(fd: Fd, wd: i32) => data(events::inotify_rm_watch), Full;
    256 migrate_pages(pid: i32, maxnode: u64, old_nodes: Addr, new_nodes: Addr) => run(peers::migrate_pages), Partial("of the calling process alone");
    257 openat(dirfd: DirFd, pathname: UserPath, flags: i32, mode: Mode) => run(open::openat) / files, Full;
    258 mkdirat(dirfd: DirFd, pathname: UserPath, mode: Mode) => run(links::mkdirat), Full;
    259 mknodat(dirfd: DirFd, pathname: UserPath, mode: Mode, dev: u32) => run(links::mknodat), Partial("no devices; set-id bits are dropped");
    260 fchownat(dirfd: DirFd, pathname: UserPath, owner: u32, group: u32, flags: i32) => run(meta::fchownat), Full;
    261 futimesat(dirfd: DirFd, pathname: UserPath, times: UserIn) => run(meta::futimesat), Full;
    262 newfstatat(dirfd: DirFd, pathname: UserPath, statbuf: UserOut, flags: i32) => run(stat::newfstatat), Full;
    263 unlinkat(dirfd: DirFd, pathname: UserPath, flags: i32) => run(links::unlinkat), Full;
    264 renameat(olddirfd: DirFd, oldpath: UserPath, newdirfd: DirFd, newpath: UserPath) => run(links::renameat), Full;
    265 linkat(olddirfd: DirFd, oldpath: UserPath, newdirfd: DirFd, newpath: UserPath, flags: i32) => run(links::linkat), Full;
    266 symlinkat(target: UserPath, newdirfd: DirFd, linkpath: UserPath) => run(links::symlinkat), Full;
    267 readlinkat(dirfd: DirFd, pathname: UserPath, buf: UserOut, bufsiz: i32) => run(stat::readlinkat), Full;
    268 fchmodat(dirfd: DirFd, pathname: UserPath, mode: Mode) => run(meta::fchmodat), Partial("set-id bits of files are dropped");
    269 faccessat(dirfd: DirFd, pathname: UserPath, mode: i32) => run(stat::faccessat), Full;
    270 pselect6(nfds: i32, readfds: Addr, writefds: Addr, exceptfds: Addr, timeout: Addr, sig: Addr) => data(events::pselect6), Full;
    271 ppoll(fds: Addr, nfds: u32, tmo_p: Addr, sigmask: Addr, sigsetsize: usize) => data(events::ppoll), Full;
    272 unshare(flags: u64) => trace(peers::unshare), Partial("CLONE_FILES, CLONE_FS and CLONE_SYSVSEM; no new namespaces");
    273 set_robust_list(head: Addr, len: usize) => pass, Host;
    274 get_robust_list(pid: i32, head_ptr: Addr, len_ptr: Addr) => pass, Host;
    275 splice(fd_in: Fd, off_in: Addr, fd_out: Fd, off_out: Addr, len: usize, flags: u32) => data(transfer::splice), Full;
    276 tee(fd_in: Fd, fd_out: Fd, len: usize, flags: u32) => data(transfer::tee), Full;
    277 sync_file_range(fd: Fd, offset: i64, nbytes: i64, flags: u32) => data(io::sync_file_range), Full;
    278 vmsplice(fd: Fd, iov: UserIn, nr_segs: usize, flags: u32) => data(transfer::vmsplice), Full;
    279 move_pages(pid: i32, count: u64, pages: Addr, nodes: Addr, status: Addr, flags: i32) => run(peers::move_pages), Partial("of the calling process alone");
    280 utimensat(dirfd: DirFd, pathname: UserPath, times: UserIn, flags: i32) => run(meta::utimensat), Full;
    281 epoll_pwait(epfd: Fd, events: UserOut, maxevents: i32, timeout: i32, sigmask: Addr, sigsetsize: usize) => data(events::epoll_pwait), Full;
    282 signalfd(fd: Fd, mask: UserIn, sizemask: usize) => run(events::signalfd) / files, Full;
    283 timerfd_create(clockid: i32, flags: i32) => run(events::timerfd_create) / files, Full;
    284 eventfd(initval: u32) => run(events::eventfd) / files, Full;
    285 fallocate(fd: Fd, mode: i32, offset: i64, len: i64) => data(io::fallocate), Full;
    286 timerfd_settime(fd: Fd, flags: i32, new_value: UserIn, old_value: UserOut) => data(events::timerfd_settime), Full;
    287 timerfd_gettime(fd: Fd, curr_value: UserOut) => data(events::timerfd_gettime), Full;
    288 accept4(sockfd: Fd, addr: UserOut, addrlen: Addr, flags: i32) => trace(socket::accept4), Full;
    289 signalfd4(fd: Fd, mask: UserIn, sizemask: usize, flags: i32) => run(events::signalfd4) / files, Full;
    290 eventfd2(initval: u32, flags: i32) => run(events::eventfd2) / files, Full;
    291 epoll_create1(flags: i32) => run(events::epoll_create1) / files, Full;
    292 dup3(oldfd: Fd, newfd: Fd, flags: i32) => run(fd::dup3) / files, Full;
    293 pipe2(pipefd: UserOut, flags: i32) => run(fd::pipe2) / files, Full;
    294 inotify_init1(flags: i32) => run(events::inotify_init1) / files, Full;
    295 preadv(fd: Fd, iov: UserIn, iovcnt: i32, pos_l: u64, pos_h: u64) => data(io::preadv), Full;
    296 pwritev(fd: Fd, iov: UserIn, iovcnt: i32, pos_l: u64, pos_h: u64) => data(io::pwritev), Full;
    297 rt_tgsigqueueinfo(tgid: i32, tid: i32, sig: i32, info: UserIn) => pass, Host;
    298 perf_event_open(attr: Addr, pid: i32, cpu: i32, group_fd: i32, flags: u64) => fail(EACCES), No("counts the host");
    299 recvmmsg(sockfd: Fd, msgvec: Addr, vlen: u32, flags: i32, timeout: Addr) => trace(socket::recvmmsg), Full;
    300 fanotify_init(flags: u32, event_f_flags: u32) => fail(EPERM), No("needs CAP_SYS_ADMIN");
    301 fanotify_mark(fanotify_fd: Fd, flags: u32, mask: u64, dirfd: DirFd, pathname: UserPath) => fail(EPERM), No("needs CAP_SYS_ADMIN");
    302 prlimit64(pid: i32, resource: i32, new_limit: UserIn, old_limit: UserOut) => run(limits::prlimit64) unless passes::PRLIMIT_READ, Full;
    303 name_to_handle_at(dirfd: DirFd, pathname: UserPath, handle: Addr, mount_id: Addr, flags: i32) => fail(EOPNOTSUPP), No("handles name files behind the world's back");
    304 open_by_handle_at(mount_fd: Fd, handle: Addr, flags: i32) => fail(EPERM), No("needs CAP_DAC_READ_SEARCH");
    305 clock_adjtime(clk_id: i32, buf: Addr) => pass, Host;
    306 syncfs(fd: Fd) => data(io::syncfs), Full;
    307 sendmmsg(sockfd: Fd, msgvec: Addr, vlen: u32, flags: i32) => trace(socket::sendmmsg), Full;
    308 setns(fd: Fd, nstype: i32) => fail(EPERM), No("the world is fixed");
    309 getcpu(cpu: UserOut, node: UserOut, tcache: Addr) => pass, Host;
    310 process_vm_readv(pid: i32, local_iov: Addr, liovcnt: u64, remote_iov: Addr, riovcnt: u64, flags: u64) => run(peers::process_vm), Partial("of the calling process alone");
    311 process_vm_writev(pid: i32, local_iov: Addr, liovcnt: u64, remote_iov: Addr, riovcnt: u64, flags: u64) => run(peers::process_vm), Partial("of the calling process alone");
    312 kcmp(pid1: i32, pid2: i32, ty: i32, idx1: u64, idx2: u64) => run(peers::kcmp), Partial("within the calling process alone");
    313 finit_module(fd: Fd, param_values: Addr, flags: i32) => fail(EPERM), No("needs CAP_SYS_MODULE");
    314 sched_setattr(pid: i32, attr: UserIn, flags: u32) => pass, Host;
    315 sched_getattr(pid: i32, attr: UserOut, size: u32, flags: u32) => pass, Host;
    316 renameat2(olddirfd: DirFd, oldpath: UserPath, newdirfd: DirFd, newpath: UserPath, flags: u32) => run(links::renameat2), Full;
    317 seccomp(op: u32, flags: u32, args: Addr) => fail(EINVAL), No("a filter of the cage's own could shadow the run's");
    318 getrandom(buf: UserOut, buflen: usize, flags: u32) => pass, Host;
    319 memfd_create(name: UserIn, flags: u32) => run(memory::memfd_create) / files, Full;
    320 kexec_file_load(kernel_fd: Fd, initrd_fd: Fd, cmdline_len: u64, cmdline: Addr, flags: u64) => fail(EPERM), No("needs CAP_SYS_BOOT");
    321 bpf(op: i32, attr: Addr, size: u32) => fail(EPERM), No("needs CAP_BPF");
    322 execveat(dirfd: DirFd, pathname: UserPath, argv: UserIn, envp: UserIn, flags: i32) => announce(exec::execveat), Partial("a file that the caller may execute but not read is EACCES");
    323 userfaultfd(flags: i32) => fail(EPERM), No("stalls whoever copies the cage's memory");
    324 membarrier(op: i32, flags: u32, cpu_id: i32) => pass, Host;
    325 mlock2(addr: Addr, len: usize, flags: u32) => pass, Host;
    326 copy_file_range(fd_in: Fd, off_in: Addr, fd_out: Fd, off_out: Addr, len: usize, flags: u32) => data(transfer::copy_file_range), Full;
    327 preadv2(fd: Fd, iov: UserIn, iovcnt: i32, pos_l: u64, pos_h: u64, flags: i32) => data(io::preadv2), Full;
    328 pwritev2(fd: Fd, iov: UserIn, iovcnt: i32, pos_l: u64, pos_h: u64, flags: i32) => data(io::pwritev2), Full;
    329 pkey_mprotect(addr: Addr, len: usize, prot: i32, pkey: i32) => pass, Host;
    330 pkey_alloc(flags: u32, access_rights: u32) => pass, Host;
    331 pkey_free(pkey: i32) => pass, Host;
    332 statx(dirfd: DirFd, pathname: UserPath, flags: i32, mask: u32, statxbuf: UserOut) => run(stat::statx), Full;
    333 io_pgetevents(ctx: u64, min_nr: i64, nr: i64, events: Addr, timeout: Addr, sig: Addr) => fail(ENOSYS), No("no kernel AIO");
    334 rseq(rseq: Addr, rseq_len: u32, flags: i32, sig: u32) => pass, Host;
    424 pidfd_send_signal(pidfd: Fd, sig: i32, info: UserIn, flags: u32) => data(signal::pidfd_send_signal), Full;
    425 io_uring_setup(entries: u32, params: Addr) => fail(ENOSYS), No("acts on descriptors behind the dispatcher's back");
    426 io_uring_enter(fd: Fd, to_submit: u32, min_complete: u32, flags: u32, arg: Addr, argsz: usize) => fail(ENOSYS), No("no io_uring");
    427 io_uring_register(fd: Fd, opcode: u32, arg: Addr, nr_args: u32) => fail(ENOSYS), No("no io_uring");
    428 open_tree(dirfd: DirFd, filename: UserPath, flags: u32) => fail(EPERM), No("the world is fixed");
    429 move_mount(from_dfd: DirFd, from_pathname: UserPath, to_dfd: DirFd, to_pathname: UserPath, flags: u32) => fail(EPERM), No("the world is fixed");
    430 fsopen(fs_name: Addr, flags: u32) => fail(EPERM), No("the world is fixed");
    431 fsconfig(fs_fd: Fd, cmd: u32, key: Addr, value: Addr, aux: i32) => fail(EPERM), No("the world is fixed");
    432 fsmount(fs_fd: Fd, flags: u32, attr_flags: u32) => fail(EPERM), No("the world is fixed");
    433 fspick(dirfd: DirFd, path: UserPath, flags: u32) => fail(EPERM), No("the world is fixed");
    434 pidfd_open(pid: i32, flags: u32) => run(peers::pidfd_open) / files, Full;
    435 clone3(cl_args: UserIn, size: usize) => trace(process::clone3), Partial("what clone(2) can say; the rest is ENOSYS");
    436 close_range(first: u32, last: u32, flags: u32) => shared(fd::close_range) / files, Full;
    437 openat2(dirfd: DirFd, pathname: UserPath, how: UserIn, size: usize) => run(open::openat2) / files, Full;
    438 pidfd_getfd(pidfd: Fd, targetfd: i32, flags: u32) => fail(EPERM), No("another process's files");
    439 faccessat2(dirfd: DirFd, pathname: UserPath, mode: i32, flags: i32) => run(stat::faccessat2), Full;
    440 process_madvise(pidfd: Fd, iovec: Addr, vlen: usize, advice: i32, flags: u32) => fail(EPERM), No("another process's memory");
    441 epoll_pwait2(epfd: Fd, events: UserOut, maxevents: i32, timeout: Addr, sigmask: Addr, sigsetsize: usize) => data(events::epoll_pwait2), Full;
    442 mount_setattr(dirfd: DirFd, path: UserPath, flags: u32, uattr: Addr, usize_: usize) => fail(EPERM), No("the world is fixed");
    443 quotactl_fd(fd: Fd, op: u32, id: i32, addr: Addr) => fail(EPERM), No("needs CAP_SYS_ADMIN");
    444 landlock_create_ruleset(attr: Addr, size: usize, flags: u32) => fail(EOPNOTSUPP), No("the supervisor's calls would not be under the cage's rules");
    445 landlock_add_rule(ruleset_fd: Fd, rule_type: i32, rule_attr: Addr, flags: u32) => fail(EOPNOTSUPP), No("no Landlock");
    446 landlock_restrict_self(ruleset_fd: Fd, flags: u32) => fail(EOPNOTSUPP), No("no Landlock");
    447 memfd_secret(flags: u32) => fail(ENOSYS), No("memory that the supervisor could not read");
    448 process_mrelease(pidfd: Fd, flags: u32) => fail(EPERM), No("another process's memory");
    449 futex_waitv(waiters: Addr, nr_futexes: u32, flags: u32, timeout: Addr, clockid: i32) => pass, Host;
    450 set_mempolicy_home_node(start: u64, len: u64, home_node: u64, flags: u64) => pass, Host;
    451 cachestat(fd: Fd, cstat_range: UserIn, cstat: UserOut, flags: u32) => data(io::cachestat), Full;
    452 fchmodat2(dirfd: DirFd, pathname: UserPath, mode: Mode, flags: i32) => run(meta::fchmodat2), Partial("set-id bits of files are dropped");
    453 map_shadow_stack(addr: Addr, size: u64, flags: u32) => pass, Host;
    454 futex_wake(uaddr: Addr, mask: u64, nr: i32, flags: u32) => pass, Host;
    455 futex_wait(uaddr: Addr, val: u64, mask: u64, flags: u32, timeout: Addr, clockid: i32) => pass, Host;
    456 futex_requeue(waiters: Addr, flags: u32, nr_wake: i32, nr_requeue: i32) => pass, Host;
    457 statmount(req: Addr, buf: UserOut, bufsize: usize, flags: u32) => fail(ENOSYS), No("names mounts by the host's numbers; /proc/self/mountinfo is there");
    458 listmount(req: Addr, mnt_ids: UserOut, nr_mnt_ids: usize, flags: u32) => fail(ENOSYS), No("names mounts by the host's numbers; /proc/self/mountinfo is there");
    459 lsm_get_self_attr(attr: u32, ctx: UserOut, size: Addr, flags: u32) => fail(ENOSYS), No("the host's security modules");
    460 lsm_set_self_attr(attr: u32, ctx: UserIn, size: u32, flags: u32) => fail(ENOSYS), No("the host's security modules");
    461 lsm_list_modules(ids: UserOut, size: Addr, flags: u32) => fail(ENOSYS), No("the host's security modules");
    462 mseal(addr: Addr, len: usize, flags: u64) => pass, Host;
}

/// The row of a number.
#[must_use]
pub fn row(nr: u64) -> Option<&'static Row> {
    let index = ROWS
        .binary_search_by_key(&nr, |row| u64::from(row.nr))
        .ok()?;
    ROWS.get(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Sysno;

    #[test]
    fn rows_are_in_order_and_named_as_linux_names_them() {
        for pair in ROWS.windows(2) {
            assert!(
                pair[0].nr < pair[1].nr,
                "{} stands before {}",
                pair[0].name,
                pair[1].name
            );
        }
        for row in ROWS {
            if let Some(sysno) = Sysno::new(row.nr as usize) {
                assert_eq!(sysno.name(), row.name, "number {}", row.nr);
            }
        }
    }

    #[test]
    fn every_number_that_linux_has_is_a_row() {
        let missing: Vec<&str> = Sysno::iter()
            .filter(|sysno| row(sysno.id() as u64).is_none())
            .map(|sysno| sysno.name())
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_row_that_always_fails_says_why() {
        for row in ROWS {
            let refused = matches!(row.action, crate::posix::row::Action::Fail(_));
            let said = matches!(row.support, crate::posix::row::Support::No(_));
            assert!(said || !refused, "{}", row.name);
        }
    }
}
