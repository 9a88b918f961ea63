//! Sockets over a cage without a process. Where an errno is expected Linux gave it: the fixtures `sock_*` make the same
//! calls natively.

mod receive;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use zerocopy::IntoBytes;

use crate::abi::layout::{Iovec, Msghdr};
use crate::abi::{Errno, Sysno};
use crate::cage::FileKind;
use crate::guest::{Guest, GuestMemory};
use crate::posix::bench_cage::{NOWHERE, TestCage, fails};
use crate::posix::{Ctx, Forward, Kernel, Outcome, SysResult};

const UNIX: u64 = libc::AF_UNIX as u64;
const INET: u64 = libc::AF_INET as u64;
const STREAM: u64 = libc::SOCK_STREAM as u64;
const DGRAM: u64 = libc::SOCK_DGRAM as u64;

fn forwarded(outcome: SysResult) -> Forward {
    match outcome {
        Ok(Outcome::Forward(forward)) => forward,
        other => panic!("not forwarded: {other:?}"),
    }
}

/// What the cage sees after the kernel answered the forwarded call with `result`.
fn answered(cage: &TestCage, forward: Forward, result: i64) -> SysResult {
    let then = forward.then.expect("nobody looks at the result");
    let cx = Ctx::new(&cage.kernel, &cage.thread, &cage.ram, 0, [0; 6]);
    let outcome = then(&cx, result);
    for install in cx.take_installs() {
        cage.ram.install(install.fd, install.file);
    }
    outcome
}

fn value(outcome: &SysResult) -> i64 {
    match outcome {
        Ok(Outcome::Emulated(value)) => value.cast_signed(),
        Err(errno) => fails(*errno),
        other => panic!("no result: {other:?}"),
    }
}

/// Two connected sockets; the first is in the cage.
fn pair(cage: &TestCage, ty: SockType) -> (u64, OwnedFd) {
    let (a, b) = socketpair(AddressFamily::Unix, ty, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let fd = cage.adopt(FileKind::Socket, "socket:", a);
    (u64::try_from(fd).unwrap(), b)
}

struct Header {
    at: u64,
    data: u64,
    control: u64,
    name: u64,
}

/// A message header in the cage: one buffer, control data, room for a name.
fn header(cage: &TestCage, data: &[u8], control: &[u8]) -> Header {
    let data_at = cage.put(data);
    let iov = Iovec {
        base: data_at,
        len: data.len() as u64,
    };
    let name = cage.room(128);
    let control_at = cage.put(control);
    let header = Msghdr {
        name,
        namelen: 128,
        iov: cage.put(iov.as_bytes()),
        iovlen: 1,
        control: if control.is_empty() { 0 } else { control_at },
        controllen: control.len() as u64,
        ..Msghdr::default()
    };
    Header {
        at: cage.put(header.as_bytes()),
        data: data_at,
        control: control_at,
        name,
    }
}

fn unix(path: &[u8]) -> Vec<u8> {
    [&1u16.to_ne_bytes()[..], path].concat()
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("cage-sock-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A cage in a directory whose file system is the run's own.
fn at_home(dir: &Path) -> TestCage {
    let mut cage = TestCage::at(dir);
    let mount = crate::sys::mount::mount_id(File::open(dir).unwrap().as_fd()).unwrap();
    let kernel = Arc::get_mut(&mut cage.kernel).unwrap();
    let Kernel { private_mounts, .. } = kernel;
    private_mounts.insert(mount);
    cage
}

#[test]
fn the_families_there_are() {
    let cage = TestCage::new();
    let nonblock = libc::SOCK_NONBLOCK as u64;
    let cloexec = libc::SOCK_CLOEXEC as u64;
    assert_eq!(cage.call("socket", &[UNIX, STREAM | cloexec, 0]), 0);
    assert_eq!(cage.call("socket", &[INET, DGRAM | nonblock, 0]), 1);
    assert_eq!(cage.call("socket", &[16, 3, 0]), 2);
    assert!(cage.cloexec(0) && !cage.cloexec(1));
    let flags = |fd| {
        let file = cage.ram.borrow_file(fd).unwrap();
        crate::sys::socket::nonblocking(file.as_fd()).unwrap()
    };
    assert!(!flags(0) && flags(1));
    for (domain, ty, protocol, errno) in [
        (libc::AF_UNIX, 1 | 0x40_0000, 0, Errno::EINVAL),
        (libc::AF_UNIX, 1, 5, Errno::EPROTONOSUPPORT),
        (libc::AF_UNIX, 9, 0, Errno::ESOCKTNOSUPPORT),
        (libc::AF_INET, 3, 1, Errno::EPERM),
        (libc::AF_INET, 1, 17, Errno::EPROTONOSUPPORT),
        (libc::AF_INET, 1, 132, Errno::EPROTONOSUPPORT),
        (libc::AF_INET, 1, -1, Errno::EINVAL),
        (libc::AF_INET, 11, 0, Errno::EINVAL),
        (libc::AF_PACKET, 3, 0, Errno::EPERM),
        (libc::AF_ALG, 5, 0, Errno::EAFNOSUPPORT),
        (libc::AF_VSOCK, 1, 0, Errno::EAFNOSUPPORT),
        (libc::AF_NETLINK, 1, 0, Errno::ESOCKTNOSUPPORT),
        (libc::AF_NETLINK, 3, 9, Errno::EPROTONOSUPPORT),
        (-1, 1, 0, Errno::EAFNOSUPPORT),
        (4711, 1, 0, Errno::EAFNOSUPPORT),
    ] {
        let args = [domain, ty, protocol].map(|arg: i32| u64::from(arg.cast_unsigned()));
        assert_eq!(cage.call("socket", &args), fails(errno), "{args:?}");
    }
    assert_eq!(cage.numbers(), vec![0, 1, 2]);
}

#[test]
fn a_pair_names_its_maker() {
    let cage = TestCage::new();
    let sv = cage.room(8);
    assert_eq!(cage.call("socketpair", &[UNIX, STREAM, 0, sv]), 0);
    assert_eq!((cage.int(sv), cage.int(sv + 4)), (0, 1));
    assert_eq!(cage.ram.open_numbers(), vec![0, 1]);
    let (value_at, len_at) = (cage.room(12), cage.put(&12u32.to_ne_bytes()));
    let peercred = libc::SO_PEERCRED as u64;
    let ask = |fd, value, len| cage.call("getsockopt", &[fd, 1, peercred, value, len]);
    assert_eq!(ask(1, value_at, len_at), 0);
    let pid = i32::try_from(std::process::id()).unwrap();
    assert_eq!(cage.int(value_at), pid);
    let uid = nix::unistd::geteuid().as_raw();
    assert_eq!(cage.int(value_at + 4).cast_unsigned(), uid);
    let short = cage.put(&2u32.to_ne_bytes());
    assert_eq!((ask(1, value_at, short), cage.int(short)), (0, 2));
    let bad = cage.put(&(-1i32).to_ne_bytes());
    assert_eq!(ask(1, value_at, bad), fails(Errno::EINVAL));
    assert_eq!(ask(1, value_at, NOWHERE), fails(Errno::EFAULT));
    assert_eq!(ask(1, NOWHERE, len_at), fails(Errno::EFAULT));
    assert_eq!(ask(9, value_at, len_at), fails(Errno::EBADF));
    let pidfd = cage.call("getsockopt", &[1, 1, 77, value_at, len_at]);
    assert_eq!(pidfd, fails(Errno::ENOPROTOOPT));
}

#[test]
fn a_pair_that_cannot_be_leaves_nothing() {
    let cage = TestCage::new();
    let sv = cage.room(8);
    let call = |domain, ty, sv| cage.call("socketpair", &[domain, ty, 0, sv]);
    assert_eq!(call(UNIX, STREAM, NOWHERE), fails(Errno::EFAULT));
    assert_eq!(
        call(UNIX, STREAM | 0x40_0000, NOWHERE),
        fails(Errno::EINVAL)
    );
    assert_eq!(call(INET, STREAM, sv), fails(Errno::EOPNOTSUPP));
    assert_eq!(call(INET, STREAM, NOWHERE), fails(Errno::EFAULT));
    assert_eq!(call(99, STREAM, sv), fails(Errno::EAFNOSUPPORT));
    cage.thread.cage.set_nofile(1);
    assert_eq!(call(UNIX, STREAM, NOWHERE), fails(Errno::EMFILE));
    assert_eq!((cage.numbers(), cage.ram.open_numbers()), (vec![], vec![]));
}

#[test]
fn an_address_is_lent_as_it_was_judged() {
    let cage = TestCage::new();
    assert_eq!(cage.call("socket", &[INET, STREAM, 0]), 0);
    assert_eq!(cage.call("socket", &[UNIX, DGRAM, 0]), 1);
    let inet = [2, 0, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let at = cage.put(&inet);
    let forward = forwarded(cage.outcome("connect", &[0, at, 16]));
    assert_eq!((forward.nr, forward.args[0], forward.args[2]), (42, 0, 16));
    assert_eq!(
        (forward.lent[0].arg, &forward.lent[0].bytes[..]),
        (1, &inet[..])
    );
    // A path on a socket that looks up none does not reach the kernel, which may find another socket at the number.
    let path = unix(b"/run/host");
    let at = cage.put(&path);
    let forward = forwarded(cage.outcome("connect", &[0, at, path.len() as u64]));
    assert_eq!(forward.lent[0].bytes, unix(&[0; 9]));
    assert!(forward.lent_file.is_none());
    // Abstract names stay as they are.
    let name = unix(b"\0name");
    let at = cage.put(&name);
    let forward = forwarded(cage.outcome("connect", &[1, at, 7]));
    assert_eq!(forward.lent[0].bytes, name);
    let forward = forwarded(cage.outcome("sendto", &[1, at, 1, 0, at, 7]));
    assert_eq!((forward.args[5], &forward.lent[0].bytes), (7, &name));
    assert_eq!(forward.lent[0].arg, 4);

    for (args, errno) in [
        ([9, NOWHERE, 16], Errno::EBADF),
        ([0, NOWHERE, 16], Errno::EFAULT),
        ([0, at, 129], Errno::EINVAL),
        ([0, at, 0xffff_ffff], Errno::EINVAL),
    ] {
        assert_eq!(cage.call("connect", &args), fails(errno));
        assert_eq!(cage.call("bind", &args), fails(errno));
    }
    let file = cage.adopt(
        FileKind::File,
        "/dev/null",
        File::open("/dev/null").unwrap().into(),
    );
    let file = u64::try_from(file).unwrap();
    assert_eq!(
        cage.call("bind", &[file, NOWHERE, 16]),
        fails(Errno::ENOTSOCK)
    );
    assert_eq!(
        cage.call("connect", &[file, NOWHERE, 16]),
        fails(Errno::EFAULT)
    );
    assert_eq!(cage.call("connect", &[file, at, 7]), fails(Errno::ENOTSOCK));
    assert!(matches!(
        cage.outcome("sendto", &[1, NOWHERE, 1, 0, 0, 0]),
        Ok(Outcome::Continue)
    ));
}

#[test]
fn a_path_is_lent_as_a_place_of_the_run() {
    let dir = scratch("place");
    let _listener = UnixListener::bind(dir.join("sock")).unwrap();
    let cage = at_home(&dir);
    assert_eq!(cage.call("socket", &[UNIX, STREAM, 0]), 0);
    let address = unix(b"sock");
    let at = cage.put(&address);
    let forward = forwarded(cage.outcome("connect", &[0, at, address.len() as u64]));
    let place = forward.lent_file.unwrap();
    let identity = |stat: nix::sys::stat::FileStat| (stat.st_dev, stat.st_ino);
    assert_eq!(
        identity(nix::sys::stat::fstat(&place).unwrap()),
        identity(nix::sys::stat::stat(&dir.join("sock")).unwrap())
    );
    let lent = &forward.lent[0];
    assert_eq!(
        (lent.bytes.len(), lent.path_at, forward.args[2]),
        (110, Some(2), 110)
    );
    assert!(lent.bytes[2..].iter().all(|&byte| byte == 0));
    let noted = dir.join("sock").to_str().unwrap().as_bytes().to_vec();
    assert_eq!(*cage.paths.lock(), vec![noted]);

    let missing = unix(b"missing\0");
    let at_missing = cage.put(&missing);
    let result = cage.call("connect", &[0, at_missing, missing.len() as u64]);
    assert_eq!(result, fails(Errno::ENOENT));

    // The same socket on a file system of the host's.
    let outside = TestCage::at(&dir);
    assert_eq!(outside.call("socket", &[UNIX, STREAM, 0]), 0);
    let at = outside.put(&address);
    let result = outside.call("connect", &[0, at, address.len() as u64]);
    assert_eq!(result, fails(Errno::ECONNREFUSED));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn bind_keeps_the_spelling() {
    let dir = scratch("bind");
    let cage = at_home(&dir);
    assert_eq!(cage.call("socket", &[UNIX, STREAM, 0]), 0);
    let address = unix(b"./a/../b");
    let at = cage.put(&address);
    let forward = forwarded(cage.outcome("bind", &[0, at, address.len() as u64]));
    assert_eq!(forward.lent[0].bytes, address);
    assert!(forward.at_cwd.is_some() && forward.lent_file.is_none());
    let forward = forwarded(cage.outcome("bind", &[0, at, 2]));
    assert_eq!(
        (forward.lent[0].bytes.len(), forward.at_cwd.is_none()),
        (2, true)
    );
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_header_is_lent_with_its_name() {
    let dir = scratch("header");
    let _receiver = std::os::unix::net::UnixDatagram::bind(dir.join("sock")).unwrap();
    let cage = at_home(&dir);
    assert_eq!(cage.call("socket", &[UNIX, DGRAM, 0]), 0);
    let message = header(&cage, b"data", b"");
    cage.ram.write(message.name, &unix(b"sock\0")).unwrap();
    cage.ram.write(message.at + 8, &7u32.to_ne_bytes()).unwrap();
    let forward = forwarded(cage.outcome("sendmsg", &[0, message.at, 0]));
    assert_eq!(forward.nr, Sysno::sendmsg.id() as u64);
    let lent = &forward.lent[0];
    assert_eq!((lent.arg, &lent.relocations[..]), (1, &[0][..]));
    assert_eq!((lent.path_at, lent.bytes.len()), (Some(58), 56 + 110));
    assert!(forward.lent_file.is_some());
    // The buffers stay where they are.
    assert_eq!(&lent.bytes[16..32], cage.bytes(message.at + 16, 16));
    // Without a name and control data registers are enough.
    cage.ram.write(message.at, &[0; 8]).unwrap();
    let forward = forwarded(cage.outcome("sendmsg", &[0, message.at, 64]));
    assert_eq!(forward.nr, Sysno::sendto.id() as u64);
    assert_eq!(forward.args, [0, message.data, 4, 64, 0, 0]);
    assert!(forward.lent.is_empty());

    let compat = 1 << 31;
    for (args, errno) in [
        ([9, message.at, compat], Errno::EINVAL),
        ([9, NOWHERE, 0], Errno::EBADF),
        ([0, NOWHERE, 0], Errno::EFAULT),
    ] {
        assert_eq!(cage.call("sendmsg", &args), fails(errno));
        assert_eq!(cage.call("recvmsg", &args), fails(errno));
    }
    cage.ram.write(message.at, &NOWHERE.to_ne_bytes()).unwrap();
    assert_eq!(
        cage.call("sendmsg", &[0, message.at, 0]),
        fails(Errno::EFAULT)
    );
    let negative = (-1i32).to_ne_bytes();
    cage.ram.write(message.at + 8, &negative).unwrap();
    assert_eq!(
        cage.call("sendmsg", &[0, message.at, 0]),
        fails(Errno::EINVAL)
    );
    assert_eq!(
        cage.call("recvmsg", &[0, message.at, 0]),
        fails(Errno::EINVAL)
    );
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn many_messages_go_one_after_the_other() {
    let cage = TestCage::new();
    let (fd, _peer) = pair(&cage, SockType::Datagram);
    let data = cage.put(b"data");
    let mut entries = Vec::new();
    for len in [1u64, 2, 3] {
        let iov = Iovec { base: data, len };
        let header = Msghdr {
            iov: cage.put(iov.as_bytes()),
            iovlen: 1,
            ..Msghdr::default()
        };
        entries.extend_from_slice(header.as_bytes());
        entries.extend_from_slice(&[0; 8]);
    }
    let at = cage.put(&entries);
    let first = forwarded(cage.outcome("sendmmsg", &[fd, at, 3, 0]));
    assert_eq!(first.args[2], 1);
    let second = forwarded(answered(&cage, first, 1));
    let third = forwarded(answered(&cage, second, 2));
    assert_eq!(value(&answered(&cage, third, 3)), 3);
    let lengths = [0, 1, 2].map(|index| cage.int(at + index * 64 + 56));
    assert_eq!(lengths, [1, 2, 3]);
    // An error after the first message is told by the count; before it, as it is.
    let first = forwarded(cage.outcome("sendmmsg", &[fd, at, 3, 0]));
    let second = forwarded(answered(&cage, first, 1));
    assert_eq!(value(&answered(&cage, second, -11)), 1);
    let first = forwarded(cage.outcome("sendmmsg", &[fd, at, 3, 0]));
    assert!(matches!(
        answered(&cage, first, -512),
        Ok(Outcome::Continue)
    ));
    assert_eq!(cage.call("sendmmsg", &[fd, at, 0, 0]), 0);
    assert_eq!(
        cage.call("sendmmsg", &[fd, NOWHERE, 1, 0]),
        fails(Errno::EFAULT)
    );
    assert_eq!(
        cage.call("sendmmsg", &[9, NOWHERE, 1, 0]),
        fails(Errno::EBADF)
    );
}

#[test]
fn connections_are_accepted_without_waiting() {
    let dir = scratch("accept");
    let cage = TestCage::new();
    let path = dir.join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    let fd = cage.adopt(FileKind::Socket, "socket:", listener.into());
    let fd = u64::try_from(fd).unwrap();
    let (addr, len) = (cage.room(110), cage.put(&110u32.to_ne_bytes()));
    let forward = forwarded(cage.outcome("accept4", &[fd, addr, len, 0o2_000_000]));
    assert_eq!(forward.nr, Sysno::poll.id() as u64);
    let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    assert_eq!(value(&answered(&cage, forward, 1)), 1);
    assert!(cage.cloexec(1) && cage.ram.borrow_file(1).is_ok());
    // The client has no name: a family and nothing else.
    assert_eq!(cage.int(len), 2);
    assert_eq!(cage.bytes(addr, 2), 1u16.to_ne_bytes());

    let forward = forwarded(cage.outcome("accept", &[fd, 0, 0]));
    assert_eq!(value(&answered(&cage, forward, -516)), -512);
    let _second = std::os::unix::net::UnixStream::connect(&path).unwrap();
    assert_eq!(
        cage.call("accept4", &[fd, 0, 0, 0x1000_0000]),
        fails(Errno::EINVAL)
    );
    let bad = cage.put(&(-1i32).to_ne_bytes());
    assert_eq!(cage.call("accept", &[fd, addr, bad]), fails(Errno::EINVAL));
    let (other, _peer) = pair(&cage, SockType::Stream);
    assert_eq!(cage.call("accept", &[other, 0, 0]), fails(Errno::EINVAL));
    let (dgram, _peer) = pair(&cage, SockType::Datagram);
    assert_eq!(
        cage.call("accept", &[dgram, 0, 0]),
        fails(Errno::EOPNOTSUPP)
    );
    let null = File::open("/dev/null").unwrap().into();
    let file = cage.adopt(FileKind::File, "/dev/null", null);
    let file = u64::try_from(file).unwrap();
    assert_eq!(cage.call("accept", &[file, 0, 0]), fails(Errno::ENOTSOCK));
    cage.thread.cage.set_nofile(2);
    assert_eq!(cage.call("accept", &[file, 0, 0]), fails(Errno::EMFILE));
    assert_eq!(cage.call("accept", &[99, 0, 0]), fails(Errno::EBADF));
    std::fs::remove_dir_all(dir).unwrap();
}
