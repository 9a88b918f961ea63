//! The network of a run: none, the host's, and ports that lead inside.

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::thread;
use std::time::{Duration, Instant};

use harness::case::{run_caged, start_cage_trace};
use harness::flags::{everyone, refused};
use harness::scratch::{Installed, Scratch, User};

/// A port of this machine that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .expect("a port of the loopback interface")
}

const CONNECT: &str = "import socket, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)
print(s.recv(100).decode())";

#[test]
fn the_hosts_network_is_there_only_when_asked_for() {
    if harness::program("python3").is_none() {
        return harness::skip("the_hosts_network_is_there_only_when_asked_for", "python3");
    }
    everyone(|scratch| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let server = thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(b"from the host").unwrap();
        });
        let python = ["/usr/bin/python3", "-c", CONNECT, &port];
        for flags in [&[][..], &["--net=none"], &["--unshare-net"]] {
            let output = run_caged(flags, &python, scratch);
            assert_ne!(output.status, 0, "{flags:?} reached the host");
        }
        let output = run_caged(&["--net=host"], &python, scratch);
        assert_eq!(
            output.stdout_text(),
            "from the host\n",
            "{}",
            output.stderr_text()
        );
        server.join().unwrap();
        refused(
            &run_caged(&["--net=some"], &["true"], scratch),
            &["--net", "some"],
        );
        refused(
            &run_caged(&["--net=host", "--unshare-net"], &["true"], scratch),
            &["--unshare-net"],
        );
    });
}

#[test]
fn abstract_sockets_of_the_host_stay_out_of_reach() {
    if harness::program("python3").is_none() {
        return harness::skip("abstract_sockets_of_the_host_stay_out_of_reach", "python3");
    }
    everyone(|scratch| {
        let name = format!("cage-trace-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let _listener = UnixListener::bind_addr(&address).unwrap();
        let script = format!(
            "import socket
def errno(kind, call):
    try:
        call(socket.socket(socket.AF_UNIX, kind))
        return 0
    except OSError as e:
        return e.errno
print(errno(socket.SOCK_STREAM, lambda s: s.connect('\\0{name}')) != 0)
print(errno(socket.SOCK_DGRAM, lambda s: s.sendto(b'x', '\\0{name}')) != 0)
server = socket.socket(socket.AF_UNIX)
server.bind('\\0of-the-run')
server.listen()
print(errno(socket.SOCK_STREAM, lambda s: s.connect('\\0of-the-run')))
"
        );
        for net in ["--net=none", "--net=host"] {
            let output = run_caged(&[net], &["/usr/bin/python3", "-c", &script], scratch);
            assert_eq!(
                output.stdout_text(),
                "True\nTrue\n0\n",
                "{net}: {}",
                output.stderr_text()
            );
        }
    });
}

const SERVER: &str = "import socket, sys
s = socket.create_server(('127.0.0.1', 80 if len(sys.argv) < 2 else int(sys.argv[1])))
print('ready', flush=True)
while True:
    c, _ = s.accept()
    data = b''
    while True:
        part = c.recv(65536)
        if not part: break
        data += part
    c.sendall(data[::-1])
    c.close()
";

#[test]
fn a_published_port_leads_to_a_server_inside() {
    if harness::program("python3").is_none() {
        return harness::skip("a_published_port_leads_to_a_server_inside", "python3");
    }
    everyone(|scratch| {
        let port = free_port();
        let publish = format!("--publish={port}:80");
        let run = start_cage_trace(
            &["-q", &publish, "--", "/usr/bin/python3", "-c", SERVER, "80"],
            scratch,
        );
        assert!(run.wait_for("ready"));
        let ask = |size: usize| {
            let sent: Vec<u8> = (0..size).map(|i| (i * 7 % 251) as u8).collect();
            let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let mut writer = peer.try_clone().unwrap();
            let bytes = sent.clone();
            let writing = thread::spawn(move || {
                writer.write_all(&bytes).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            writing.join().unwrap();
            got.reverse();
            assert!(got == sent, "{size} bytes came back as {}", got.len());
        };
        ask(0);
        ask(1);
        ask(3_000_000);
        // One that connects and says nothing is in nobody's way.
        let _idle: Vec<TcpStream> = (0..4)
            .map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap())
            .collect();
        let pid = run.pid();
        run.signal(nix::sys::signal::Signal::SIGTERM);
        let began = Instant::now();
        let output = run.finish();
        assert!(
            output.hung.is_none() && began.elapsed() < Duration::from_secs(20),
            "{pid} goes on"
        );
        assert!(
            TcpStream::connect(("127.0.0.1", port)).is_err(),
            "somebody still listens"
        );

        // Without the flag nothing of the run is reached.
        let run = start_cage_trace(
            &[
                "-q",
                "--",
                "/usr/bin/python3",
                "-c",
                SERVER,
                &port.to_string(),
            ],
            scratch,
        );
        assert!(run.wait_for("ready"));
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        run.signal(nix::sys::signal::Signal::SIGTERM);
        run.finish();

        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = taken.local_addr().map(|at| (taken, at.port())).unwrap();
        let flag = format!("--publish={}:80", taken.1);
        refused(
            &run_caged(&[&flag], &["true"], scratch),
            &["--publish", "port that is free"],
        );
        refused(
            &run_caged(&["--publish=80"], &["true"], scratch),
            &["--publish", "HOST_PORT"],
        );
        refused(
            &run_caged(&["--net=host", "--publish=1234:80"], &["true"], scratch),
            &["--publish", "host's network"],
        );
    });
}

/// On many systems /etc/resolv.conf leads into /run, which a run does not see.
#[test]
fn the_hosts_resolver_is_shown_with_its_network() {
    if !harness::scratch::running_as_root() {
        return harness::skip("the_hosts_resolver_is_shown_with_its_network", "root");
    }
    let scratch = Scratch::new(User::Own);
    let installed = Installed::get();
    let program = installed.cage_trace();
    let script = format!(
        "cp -a /etc etc && mkdir run && echo 'nameserver 192.0.2.1' >run/resolv.conf &&
        ln -sf ../run/resolv.conf etc/resolv.conf && mount --bind etc /etc && mount --bind run /run &&
        for net in none host; do {} -q --net=$net -- sh -c 'cat /etc/resolv.conf 2>/dev/null || echo nothing; ls /run'; done",
        program.display()
    );
    let output = harness::case::run_native(
        &[
            "unshare",
            "-m",
            "--propagation",
            "private",
            "sh",
            "-c",
            &script,
        ],
        &scratch,
    );
    assert_eq!(
        output.stdout_text(),
        "nothing\nnameserver 192.0.2.1\nresolv.conf\n",
        "{}",
        output.stderr_text()
    );
}
