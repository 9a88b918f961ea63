//! Receiving, over a cage without a process: whole, cut, waited for, with descriptors and credentials.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, SockType, sendmsg, setsockopt, sockopt};
use zerocopy::IntoBytes;

use super::{Header, answered, forwarded, header, pair, value};
use crate::abi::layout::{Iovec, Msghdr, Timespec};
use crate::abi::{Errno, Sysno};
use crate::cage::FileKind;
use crate::guest::{Guest, GuestMemory};
use crate::posix::bench_cage::{NOWHERE, TestCage, fails};

const DONTWAIT: u64 = libc::MSG_DONTWAIT as u64;

fn flags_of(cage: &TestCage, header: &Header) -> i32 {
    cage.int(header.at + 48)
}

fn controllen_of(cage: &TestCage, header: &Header) -> i32 {
    cage.int(header.at + 40)
}

fn send_fds(from: &OwnedFd, fds: &[i32]) {
    let iov = [std::io::IoSlice::new(b"x")];
    let rights = [ControlMessage::ScmRights(fds)];
    sendmsg::<()>(from.as_raw_fd(), &iov, &rights, MsgFlags::empty(), None).unwrap();
}

#[test]
fn a_message_is_received_whole_or_cut() {
    let cage = TestCage::new();
    let (fd, peer) = pair(&cage, SockType::Datagram);
    nix::unistd::write(&peer, b"longer").unwrap();
    let message = header(&cage, b"....", b"");
    assert_eq!(
        cage.call("recvmsg", &[fd, message.at, libc::MSG_PEEK as u64]),
        4
    );
    assert_eq!(flags_of(&cage, &message), libc::MSG_TRUNC);
    assert_eq!(
        cage.call("recvmsg", &[fd, message.at, libc::MSG_TRUNC as u64]),
        6
    );
    assert_eq!(cage.bytes(message.data, 4), b"long");
    assert_eq!(cage.int(message.at + 8), 0);
    assert_eq!(
        cage.call("recvmsg", &[fd, message.at, DONTWAIT]),
        fails(Errno::EAGAIN)
    );
    // A wait stands in: poll, and then the message.
    let forward = forwarded(cage.outcome("recvmsg", &[fd, message.at, 0]));
    assert_eq!((forward.nr, forward.args[1]), (Sysno::poll.id() as u64, 1));
    assert_eq!(forward.args[2], u64::from(u32::MAX));
    assert!(forward.lent[0].writable);
    let forward = forwarded(answered(&cage, forward, 1));
    nix::unistd::write(&peer, b"ab").unwrap();
    assert_eq!(value(&answered(&cage, forward, 1)), 2);
    // A signal: run again or EINTR, as the kernel decides; with a time-out always EINTR.
    let forward = forwarded(cage.outcome("recvmsg", &[fd, message.at, 0]));
    assert_eq!(value(&answered(&cage, forward, -516)), -512);
    let file = cage.ram.borrow_file(i32::try_from(fd).unwrap()).unwrap();
    let timeout = nix::sys::time::TimeVal::new(0, 40_000);
    setsockopt(&file, sockopt::ReceiveTimeout, &timeout).unwrap();
    let forward = forwarded(cage.outcome("recvmsg", &[fd, message.at, 0]));
    // The kernel rounds up to its ticks.
    assert!((40..=50).contains(&forward.args[2]));
    assert_eq!(value(&answered(&cage, forward, -516)), fails(Errno::EINTR));
    let forward = forwarded(cage.outcome("recvmsg", &[fd, message.at, 0]));
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(value(&answered(&cage, forward, 0)), fails(Errno::EAGAIN));
}

#[test]
fn another_socket_at_the_number_is_left_alone() {
    let cage = TestCage::new();
    let (fd, _peer) = pair(&cage, SockType::Datagram);
    let message = header(&cage, b"....", b"");
    let forward = forwarded(cage.outcome("recvmsg", &[fd, message.at, 0]));
    assert!(cage.thread.files().lock().remove(0).is_ok() && cage.ram.close(0));
    let (again, other) = pair(&cage, SockType::Datagram);
    assert_eq!(again, fd);
    nix::unistd::write(&other, b"not yours").unwrap();
    assert_eq!(value(&answered(&cage, forward, 1)), fails(Errno::EBADF));
    assert_eq!(cage.call("recvmsg", &[fd, message.at, 0]), 4);
}

#[test]
fn wake_ups_for_nothing_do_not_spin() {
    let cage = TestCage::new();
    let (fd, _peer) = pair(&cage, SockType::Datagram);
    let message = header(&cage, b"....", b"");
    let mut outcome = cage.outcome("recvmsg", &[fd, message.at, 0]);
    let mut pauses = 0;
    for _ in 0..40 {
        let forward = forwarded(outcome);
        let paused = forward.args[1] == 0;
        pauses += u32::from(paused);
        outcome = answered(&cage, forward, i64::from(!paused));
    }
    assert!((10..=20).contains(&pauses), "{pauses} pauses");
}

#[test]
fn a_stream_is_waited_for_until_all_is_there() {
    let cage = TestCage::new();
    let (fd, peer) = pair(&cage, SockType::Stream);
    let message = header(&cage, b"......", b"");
    let all = libc::MSG_WAITALL as u64;
    nix::unistd::write(&peer, b"ab").unwrap();
    let forward = forwarded(cage.outcome("recvmsg", &[fd, message.at, all]));
    nix::unistd::write(&peer, b"cdefgh").unwrap();
    assert_eq!(value(&answered(&cage, forward, 1)), 6);
    assert_eq!(cage.bytes(message.data, 6), b"abcdef");
    let forward = forwarded(cage.outcome("recvmsg", &[fd, message.at, all]));
    assert_eq!(value(&answered(&cage, forward, -516)), 2);
    drop(peer);
    assert_eq!(cage.call("recvmsg", &[fd, message.at, all]), 0);
}

#[test]
fn received_descriptors_get_the_lowest_numbers() {
    let cage = TestCage::new();
    let (fd, peer) = pair(&cage, SockType::Stream);
    let dir = File::open("/").unwrap();
    let null = File::open("/dev/null").unwrap();
    send_fds(
        &peer,
        &[dir.as_raw_fd(), null.as_raw_fd(), peer.as_raw_fd()],
    );
    let message = header(&cage, b".", &[0; 64]);
    let cloexec = libc::MSG_CMSG_CLOEXEC as u64;
    assert_eq!(cage.call("recvmsg", &[fd, message.at, cloexec]), 1);
    assert_eq!(flags_of(&cage, &message), libc::MSG_CMSG_CLOEXEC);
    assert_eq!(controllen_of(&cage, &message), 32);
    assert_eq!(cage.int(message.control), 16 + 12);
    let numbers = [0, 4, 8].map(|at| cage.int(message.control + 16 + at));
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(cage.ram.open_numbers(), vec![0, 1, 2, 3]);
    assert!(cage.cloexec(1) && cage.cloexec(3));
    let file = |fd| cage.thread.files().get(fd).unwrap().file;
    assert_eq!(file(1).kind(), FileKind::Directory);
    assert!(file(1).host().is_some() && file(1).label() == b"/");
    assert_eq!(
        (file(2).kind(), file(2).label()),
        (FileKind::File, &b"/dev/null"[..])
    );
    assert_eq!(file(3).kind(), FileKind::Socket);
}

#[test]
fn an_end_of_a_pair_keeps_its_maker_on_the_way() {
    let cage = TestCage::new();
    let (fd, peer) = pair(&cage, SockType::Stream);
    let sv = cage.room(8);
    let unix = libc::AF_UNIX as u64;
    assert_eq!(cage.call("socketpair", &[unix, 1, 0, sv]), 0);
    let file = |fd| cage.thread.files().get(fd).unwrap().file;
    let maker = file(1).peer();
    assert!(maker.is_some() && file(0).peer().is_none());
    let end = cage.ram.borrow_file(1).unwrap();
    send_fds(&peer, &[end.as_raw_fd(), peer.as_raw_fd()]);
    let message = header(&cage, b".", &[0; 64]);
    assert_eq!(cage.call("recvmsg", &[fd, message.at, 0]), 1);
    assert_eq!((file(3).peer(), file(4).peer()), (maker, None));
}

#[test]
fn descriptors_without_room_are_closed() {
    let cage = TestCage::new();
    let (fd, peer) = pair(&cage, SockType::Stream);
    let (read, write) = nix::unistd::pipe().unwrap();
    let fds = [read.as_raw_fd(), write.as_raw_fd()];
    let receive = |control: &[u8]| {
        send_fds(&peer, &fds);
        let message = header(&cage, b".", control);
        assert_eq!(cage.call("recvmsg", &[fd, message.at, 0]), 1);
        (flags_of(&cage, &message), controllen_of(&cage, &message))
    };
    assert_eq!(receive(b""), (libc::MSG_CTRUNC, 0));
    assert_eq!(receive(&[0; 8]), (libc::MSG_CTRUNC, 0));
    assert_eq!(receive(&[0; 16]), (libc::MSG_CTRUNC, 0));
    assert_eq!(cage.numbers(), vec![0]);
    assert_eq!(receive(&[0; 20]), (libc::MSG_CTRUNC, 20));
    assert_eq!(cage.numbers(), vec![0, 1]);
    cage.thread.cage.set_nofile(3);
    assert_eq!(receive(&[0; 64]), (libc::MSG_CTRUNC, 24));
    assert_eq!(receive(&[0; 64]), (libc::MSG_CTRUNC, 0));
    assert_eq!(cage.numbers(), vec![0, 1, 2]);
    // Bad memory for the numbers: none is given.
    cage.thread.cage.set_nofile(30);
    send_fds(&peer, &fds);
    let message = header(&cage, b".", &[0; 64]);
    cage.ram
        .write(message.at + 32, &NOWHERE.to_ne_bytes())
        .unwrap();
    assert_eq!(cage.call("recvmsg", &[fd, message.at, 0]), 1);
    assert_eq!(cage.numbers(), vec![0, 1, 2]);
    drop(write);
    assert_eq!(nix::unistd::read(&read, &mut [0]), Ok(0));
}

#[test]
fn credentials_are_of_the_run() {
    let cage = TestCage::new();
    let (fd, peer) = pair(&cage, SockType::Datagram);
    let file = cage.ram.borrow_file(0).unwrap();
    setsockopt(&file, sockopt::PassCred, &true).unwrap();
    // The cage's number inside the run is another than outside.
    assert_eq!(cage.thread.cage.inner_pid(|| 7), 7);
    nix::unistd::write(&peer, b"x").unwrap();
    let message = header(&cage, b".", &[0; 32]);
    assert_eq!(cage.call("recvmsg", &[fd, message.at, 0]), 1);
    assert_eq!(controllen_of(&cage, &message), 32);
    assert_eq!(cage.int(message.control + 12), libc::SCM_CREDENTIALS);
    assert_eq!(cage.int(message.control + 16), 7);
    nix::unistd::write(&peer, b"x").unwrap();
    let message = header(&cage, b".", &[0; 21]);
    assert_eq!(cage.call("recvmsg", &[fd, message.at, 0]), 1);
    assert_eq!(cage.int(message.control), 21);
    assert_eq!(flags_of(&cage, &message), libc::MSG_CTRUNC);
    assert_eq!(controllen_of(&cage, &message), 21);
}

#[test]
fn many_messages_are_received_until_one_is_missing() {
    let cage = TestCage::new();
    let (fd, peer) = pair(&cage, SockType::Datagram);
    let mut entries = Vec::new();
    for _ in 0..3 {
        let iov = Iovec {
            base: cage.room(8),
            len: 8,
        };
        let header = Msghdr {
            iov: cage.put(iov.as_bytes()),
            iovlen: 1,
            ..Msghdr::default()
        };
        entries.extend_from_slice(header.as_bytes());
        entries.extend_from_slice(&[0; 8]);
    }
    let at = cage.put(&entries);
    let call = |flags: i32, timeout| {
        let flags = u64::from(flags.cast_unsigned());
        cage.outcome("recvmmsg", &[fd, at, 3, flags, timeout])
    };
    assert_eq!(value(&call(libc::MSG_DONTWAIT, 0)), fails(Errno::EAGAIN));
    nix::unistd::write(&peer, b"ab").unwrap();
    nix::unistd::write(&peer, b"cde").unwrap();
    assert_eq!(value(&call(libc::MSG_WAITFORONE, 0)), 2);
    assert_eq!((cage.int(at + 56), cage.int(at + 120)), (2, 3));
    nix::unistd::write(&peer, b"f").unwrap();
    let forward = forwarded(call(0, 0));
    assert_eq!(cage.int(at + 56), 1);
    nix::unistd::write(&peer, b"gh").unwrap();
    let forward = forwarded(answered(&cage, forward, 1));
    assert_eq!(value(&answered(&cage, forward, -516)), 2);
    let second = |sec, nsec| cage.put(Timespec { sec, nsec }.as_bytes());
    assert_eq!(
        value(&call(0, second(0, 2_000_000_000))),
        fails(Errno::EINVAL)
    );
    assert_eq!(value(&call(0, second(-1, 0))), fails(Errno::EINVAL));
    assert_eq!(value(&call(0, NOWHERE)), fails(Errno::EFAULT));
    nix::unistd::write(&peer, b"i").unwrap();
    let at_once = second(0, 0);
    assert_eq!(value(&call(0, at_once)), 1);
}
