# Sockets: TCP, UDP, AF_UNIX with names, abstract names, passed descriptors and credentials; select, poll, epoll.
import array, errno, os, select, socket, struct, threading
def err(f, *a):
    try: return f(*a)
    except OSError as e: return errno.errorcode[e.errno]
s = socket.create_server(("127.0.0.1", 0)); addr = s.getsockname()
def serve():
    for _ in range(3):
        c, peer = s.accept()
        with c: c.sendall(c.recv(99)[::-1])
t = threading.Thread(target=serve); t.start()
for n in range(3):
    with socket.create_connection(addr) as c: c.sendall(b"message %d" % n); print(c.recv(99), c.getpeername() == addr, c.recv(9))
t.join(); s.close(); print(err(socket.create_connection, addr))
s = socket.create_server(("127.0.0.1", 0)); s.setblocking(False); print(err(s.accept)); s.settimeout(.05)
try: s.accept()
except TimeoutError as e: print("timeout", e)
print(err(socket.socket().bind, s.getsockname()), s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), s.family.name)
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); print("ipv6", err(six.bind, ("::1", 0)), err(six.connect, six.getsockname()), err(six.send, b"six"), err(six.recv, 9))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 0)); v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); v.sendto(b"datagram", u.getsockname()); print(u.recvfrom(4)[0], err(u.recv, 9, socket.MSG_DONTWAIT), v.sendmsg([b"a", b"b"], [], 0, u.getsockname())); print(u.recvmsg(9)[0])
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    a, b = socket.socketpair(socket.AF_UNIX, kind); a.send(b"one"); a.send(b"two"); print(kind.name, b.recv(99, socket.MSG_PEEK), b.recv(99)); a.close(); b.close()
l = socket.socket(socket.AF_UNIX); l.bind("path.sock"); l.listen(); print(l.getsockname(), oct(os.stat("path.sock").st_mode & 0o170000)); c = socket.socket(socket.AF_UNIX); c.connect("path.sock"); p, name = l.accept(); print(repr(name), repr(c.getpeername())); c.send(b"hello"); print(p.recv(9)); pid, uid, gid = struct.unpack("3i", p.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)); print(pid == os.getpid(), uid == os.getuid(), gid == os.getgid())
print(err(socket.socket(socket.AF_UNIX).connect, "absent.sock"), err(socket.socket(socket.AF_UNIX).bind, "path.sock")); l.close(); print(err(socket.socket(socket.AF_UNIX).connect, "path.sock")); os.unlink("path.sock")
l = socket.socket(socket.AF_UNIX); l.bind("\0abstract-of-the-test"); l.listen(); d = socket.socket(socket.AF_UNIX); d.connect("\0abstract-of-the-test"); print(l.accept()[0].getsockname(), err(d.send, b"x"))
a, b = socket.socketpair(); f = open("passed", "w+"); f.write("content"); f.flush(); socket.send_fds(a, [b"with fd"], [f.fileno(), a.fileno()]); data, fds, flags, _ = socket.recv_fds(b, 99, 4); print(data, len(fds), os.pread(fds[0], 99, 0), flags & socket.MSG_CTRUNC); os.lseek(fds[0], 3, os.SEEK_SET); print(f.tell() if False else os.lseek(f.fileno(), 0, os.SEEK_CUR)); [os.close(x) for x in fds]
b.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1); a.send(b"cred"); m, anc, *_ = b.recvmsg(9, 99); print(m, [struct.unpack("3i", x[2])[0] == os.getpid() for x in anc])
r, w = os.pipe(); print(select.select([r, a], [w], [], 0)[1] == [w]); os.write(w, b"x"); p = select.poll(); p.register(r, select.POLLIN); p.register(b, select.POLLIN | select.POLLOUT); print(p.poll(0) == [(r, 1), (b.fileno(), 4)])
e = select.epoll(); e.register(r, select.EPOLLIN | select.EPOLLET, ); e.register(b.fileno(), select.EPOLLIN); print(e.poll(1) == [(r, 1)], e.poll(.02)); a.send(b"y"); print(e.poll(1) == [(b.fileno(), 1)], err(e.register, r)); e.unregister(r); a.close(); print(e.poll(1) == [(b.fileno(), 1 | 0x10)] or e.poll(1)); print(b.recv(9), b.recv(9), err(b.send, b"z"))
print(err(socket.socket, socket.AF_INET, socket.SOCK_STREAM, 99), err(os.read, 999, 1), socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)[0][4], socket.inet_ntoa(socket.inet_aton("127.1")))
