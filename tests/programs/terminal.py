# A pseudo-terminal: line discipline, window size, a session with a controlling terminal, ^C, hang-up.
import errno, fcntl, os, pty, select, signal, struct, sys, termios, time, tty
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP): signal.signal(number, signal.SIG_DFL) # what was started in the background ignores them
m, s = os.openpty(); print(os.isatty(s), os.isatty(m), os.ttyname(s).startswith("/dev/pts/")); os.write(s, b"up\n"); print(os.read(m, 99)); os.write(m, b"typed\n"); print(os.read(s, 99), os.read(m, 99))
fcntl.ioctl(m, termios.TIOCSWINSZ, struct.pack("4H", 33, 101, 0, 0)); print(os.get_terminal_size(s)); a = termios.tcgetattr(s); tty.setraw(s); os.write(m, b"r"); print(os.read(s, 9), select.select([m], [], [], .05)[0]); termios.tcsetattr(s, termios.TCSANOW, a); os.close(m)
try: print(os.write(s, b"x"))
except OSError as e: print(errno.errorcode[e.errno])
os.close(s); sys.stdout.flush()
def session(script, keys):
    pid, fd = pty.fork()
    if not pid: os.execlp("sh", "sh", "-c", script)
    out = b""
    while True:
        try: data = os.read(fd, 999)
        except OSError: break
        if not data: break
        out += data
        if b"ready" in out and keys: time.sleep(.1); os.write(fd, keys); keys = b""
    os.close(fd); return out, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(session("stty size; tty >/dev/null && echo tty; test -t 0 && echo < /dev/tty yes; echo to the terminal >/dev/tty", b""))
print(session("trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep .05; done", b"\x03"))
print(session("echo ready; cat; echo eof", b"line\n\x04")); print(session("stty -echo; echo ready; read x; echo \"<$x>\"", b"quiet\n"))
p = os.fork()
if not p:
    os.setsid()
    try: os.open("/dev/tty", os.O_RDWR)
    except OSError as e: os._exit(e.errno == errno.ENXIO)
    os._exit(7)
print("no terminal", os.waitpid(p, 0)[1] >> 8)
