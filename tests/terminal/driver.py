"""A person at a terminal: starts programs on a pseudo-terminal, types, waits for what is shown.

Run as `driver.py SCENARIO CAGE_TRACE FLAG...`; ends with 0 if all that the scenario says came true."""
import errno, fcntl, os, pty, re, select, signal, struct, subprocess, sys, termios, time, tty

LIMIT = 20
CT = ""


class Screen:
    """A program in a session of its own, on a terminal that we hold the other end of."""

    def __init__(self, argv, size=(24, 80), raw=False):
        self.seen = bytearray()
        self.at = 0
        hold, go = os.pipe()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.close(go)
            os.read(hold, 1)
            try:
                os.execvp(argv[0], argv)
            finally:
                os._exit(127)
        os.close(hold)
        self.resize(*size)
        if raw:
            tty.setraw(self.fd, termios.TCSANOW)
        os.close(go)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def modes(self):
        return termios.tcgetattr(self.fd)

    def pull(self, seconds):
        """Takes what is there; False at the end."""
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                data = os.read(self.fd, 1 << 16)
            except OSError as e:
                if e.errno != errno.EIO:
                    raise
                data = b""
            self.seen += data
            return bool(data)
        return True

    def type(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        while data:
            data = data[os.write(self.fd, data):]

    def expect(self, pattern, limit=LIMIT):
        """Waits until the pattern is shown after what was last waited for."""
        pattern = pattern if isinstance(pattern, bytes) else pattern.encode()
        end = time.monotonic() + limit
        while True:
            found = re.compile(pattern, re.S).search(self.seen, self.at)
            if found:
                self.at = found.end()
                return found
            more = time.monotonic() < end and self.pull(0.2)
            if not more and not re.compile(pattern, re.S).search(self.seen, self.at):
                raise AssertionError(f"{pattern!r} is not shown after {self.seen[:self.at][-300:]!r}, but {self.seen[self.at:][-1500:]!r}")

    def until(self, what, limit=LIMIT):
        end = time.monotonic() + limit
        while not what():
            if time.monotonic() > end:
                raise AssertionError(f"waited in vain; shown: {self.seen[-1500:]!r}")
            self.pull(0.02)

    def run(self, line):
        """A command of a shell with the prompt below, and what it prints."""
        self.type(line + "\r")
        return self.expect(r"\r\n(.*?)" + PROMPT).group(1).decode()

    def status(self):
        """Reads to the end, and how the program ended, as a shell would say it."""
        end = time.monotonic() + LIMIT
        while self.pull(0.2):
            assert time.monotonic() < end, f"does not end: {self.seen[-1500:]!r}"
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                while self.pull(0) and select.select([self.fd], [], [], 0)[0]:
                    pass
                break
        else:
            status = os.waitpid(self.pid, 0)[1]
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def close(self):
        os.close(self.fd)


PROMPT = r"outer> "
INNER = r"inner> "


def shell():
    """A shell of the person's own, with job control."""
    os.environ.update(PS1="outer> ", HISTFILE="", TERM="dumb")
    screen = Screen(["/bin/bash", "--norc", "--noprofile", "-i"])
    screen.expect(PROMPT)
    screen.run("bind 'set enable-bracketed-paste off'; bind 'set horizontal-scroll-mode off'; stty columns 4000")
    return screen


def equal(found, expected, what=""):
    assert found == expected, f"{what}: {found!r} instead of {expected!r}"


def stty(screen):
    return screen.run("stty -g").strip()


def caged_bash(screen):
    screen.type(f"{CT} -e PS1='inn''er> ' -e TERM=dumb -- bash --norc --noprofile -i\r")
    screen.expect(INNER)


def terminal_of_its_own():
    screen = shell()
    screen.run("stty rows 33 columns 4001")
    script = "tty; ls -x /dev/pts; stty size; test -t 0 && test -t 1 && test -t 2 && echo all; readlink /proc/$$/fd/1; echo /dev/tty > /dev/tty; ps -o pid=,tty=,stat= $$"
    shown = screen.run(f"{CT} -- sh -c '{script}'").split("\r\n")
    equal(shown[0], "/dev/pts/0")
    equal(sorted(shown[1].split()), ["0", "ptmx"])
    equal(shown[2:6], ["33 4001", "all", "/dev/pts/0", "/dev/tty"])
    assert re.match(r" *\d+ pts/0 +S.*\+$", shown[6]), shown
    # The caller's own is lent instead, and what goes into a pipe or comes out of one is no terminal.
    shown = screen.run(f"{CT} --no-pty -- sh -c 'ls -x /dev/pts; stty size; test -t 0 && test -t 1 && echo both'").split("\r\n")
    equal(shown[:3], ["ptmx", "33 4001", "both"])
    equal(screen.run(f"{CT} -- sh -c 'ls /dev/pts; test -t 1 || echo none' | cat"), "ptmx\r\nnone\r\n")
    equal(screen.run(f"{CT} -- sh -c 'ls /dev/pts; test -t 0 || echo none' </dev/null"), "ptmx\r\nnone\r\n")
    # Errors that go elsewhere stay there.
    equal(screen.run(f"{CT} -- sh -c 'tty; test -t 2 || echo apart >&2' 2>err; cat err; rm err"), "/dev/pts/0\r\napart\r\n")


def jobs_inside():
    screen = shell()
    before = stty(screen)
    # At a prompt a terminal has other modes: a return that is typed too early is none.
    with open("echoes", "w") as file:
        file.write("#!/bin/sh\necho ready\nexec cat\n")
    os.chmod("echoes", 0o755)
    caged_bash(screen)
    screen.type("./echoes\r")
    screen.expect("ready\r\n")
    screen.type("line\r")
    screen.expect("line\r\nline\r\n")
    screen.type("\x1a")
    screen.expect(r"Stopped +./echoes\r\n" + INNER)
    screen.type("jobs\r")
    screen.expect(r"\[1\]\+ +Stopped +./echoes")
    screen.type("fg\r")
    screen.expect(r"fg\r\n./echoes\r\n")
    screen.type("again\r")
    screen.expect("again\r\nagain\r\n")
    screen.type("\x03")
    screen.expect(r"\^C\r\n" + INNER)
    screen.type("echo =$?=\r")
    screen.expect("=130=")
    # A job that goes on behind, and is brought back.
    screen.type("sleep 1000\r")
    screen.expect("sleep 1000\r\n")
    time.sleep(0.3)
    screen.type("\x1a")
    screen.expect("Stopped")
    screen.type("bg; jobs\r")
    screen.expect(r"Running +sleep 1000")
    screen.type("fg\r")
    screen.expect(r"fg\r\nsleep 1000\r\n")
    time.sleep(0.3)
    screen.type("\x1c")
    screen.expect(r"Quit")
    # ^C goes to the whole pipeline, and to nobody else.
    screen.expect(INNER)
    screen.type("sleep 1000 | cat | sleep 1000\r")
    time.sleep(0.5)
    screen.type("\x03")
    screen.expect(r"\^C.*" + INNER)
    screen.type("echo =${PIPESTATUS[*]}=\r")
    screen.expect("=130 130 130=")
    screen.type("exit 7\r")
    screen.expect(PROMPT)
    equal(screen.run("echo $?"), "7\r\n")
    equal(stty(screen), before)
    equal(screen.run("jobs"), "")
    os.unlink("echoes")


def job_of_the_callers_shell():
    screen = shell()
    before = stty(screen)
    screen.type(f"{CT} -- sh -c 'echo rea\"\"dy; exec cat'\r")
    screen.expect("ready\r\n")
    screen.type("one\r")
    screen.expect("one\r\none\r\n")
    screen.type("\x1a")
    screen.expect(r"\[1\]\+ +Stopped.*" + PROMPT)
    equal(stty(screen), before)
    # Stopped means stopped: what is typed is the shell's.
    equal(screen.run("echo mine"), "mine\r\n")
    screen.run("stty rows 40")
    screen.type("fg\r")
    screen.expect("cat'\r\n")
    screen.type("two\r")
    screen.expect("two\r\ntwo\r\n")
    screen.type("\x04")
    screen.expect(PROMPT)
    equal(screen.run("echo $?"), "0\r\n")
    equal(stty(screen), before)
    # Stopped twice and ended by ^C. Not a shell: what such signals do to one depends on what its child is at.
    program = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCONT})
signal.signal(signal.SIGINT, signal.SIG_DFL)
print("ready", flush=True)
while True:
    signal.sigwait({signal.SIGCONT})
    print("went", *reversed(os.get_terminal_size()), flush=True)
"""
    with open("waits.py", "w") as file:
        file.write(program)
    screen.type(f"{CT} -- /usr/bin/python3 waits.py\r")
    for rows in (41, 42):
        screen.expect("ready\r\n" if rows == 41 else "went 41 4000\r\n")
        screen.type("\x1a")
        screen.expect("Stopped.*" + PROMPT)
        screen.run(f"stty rows {rows}")
        screen.type("fg\r")
    screen.expect("went 42 4000\r\n")
    os.unlink("waits.py")
    screen.type("\x03")
    screen.expect(PROMPT)
    equal(screen.run("echo $?"), "130\r\n")
    equal(stty(screen), before)
    # The shell that is stopped by its own hand.
    caged_bash(screen)
    screen.type("suspend\r")
    screen.expect("Stopped.*" + PROMPT)
    equal(stty(screen), before)
    screen.type("fg\r")
    screen.expect("bash .*\r\n")
    screen.type("\recho back\r")
    screen.expect(r"echo back\r\nback\r\n" + INNER)
    screen.type("exit\r")
    screen.expect(PROMPT)
    equal(stty(screen), before)


def in_the_background():
    screen = shell()
    before = stty(screen)
    screen.run(f"{CT} -- sh -c 'echo be\"\"gun; read x; echo \"got <$x>\"' &")
    screen.until(lambda: b"begun" in screen.seen)
    screen.type("\r")
    screen.expect(PROMPT)
    # It takes nothing of what is typed for others, and leaves the terminal alone.
    equal(screen.run("echo mine").splitlines()[-1], "mine")
    equal(stty(screen), before)
    time.sleep(0.6)
    equal(screen.run("echo mine"), "mine\r\n")
    equal(stty(screen), before)
    screen.type("fg\r")
    screen.expect("sh -c .*\r\n")
    screen.until(lambda: not screen.modes()[3] & termios.ICANON)
    screen.type("yours\r")
    screen.expect("got <yours>")
    screen.expect(PROMPT)
    equal(stty(screen), before)


def nobody_to_stop_for():
    # The leader of a session: a ^Z that stopped it would stop it for good.
    screen = Screen(CT.split() + ["--", "sh", "-c", "echo ready; cat; echo over"])
    screen.expect("ready")
    screen.type("one\r")
    screen.expect("one\r\none\r\n")
    screen.type("\x1a")
    time.sleep(0.5)
    screen.type("two\r")
    screen.expect("two\r\ntwo\r\n")
    screen.type("\x04")
    screen.expect("over")
    equal(screen.status(), 0)


def typed_ahead():
    # Lines, half a line that was pushed, and the end of input are what they were typed as.
    screen = Screen(["/bin/bash", "-c", f"echo go; sleep .7; exec {CT} -- sh -c 'cat; echo over; cat'"])
    screen.expect("go")
    screen.type("one\rtwo\x04\x04")
    screen.expect("one\r\ntwo.*one\r\ntwo.*over\r\n")
    screen.type("three\r\x04")
    screen.expect("three\r\nthree\r\n")
    equal(screen.status(), 0)


def window_size():
    # A shell's trap would miss a signal that comes while it runs.
    program = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
signal.signal(signal.SIGINT, signal.SIG_DFL)
while True:
    print(*reversed(os.get_terminal_size()), flush=True)
    signal.sigwait({signal.SIGWINCH})
"""
    screen = Screen(CT.split() + ["--", "/usr/bin/python3", "-c", program], size=(31, 91))
    screen.expect("31 91\r\n")
    for rows, columns in ((50, 132), (10, 20), (24, 80)):
        screen.resize(rows, columns)
        screen.expect(f"{rows} {columns}\r\n")
    # Once, not once by the kernel and once by us.
    time.sleep(0.4)
    screen.pull(0.1)
    equal(screen.seen.count(b"24 80"), 1, screen.seen)
    screen.type("\x03")
    equal(screen.status(), 130)
    # Sent by hand, with the window as it was, it is passed on like another signal.
    screen = Screen(CT.split() + ["--", "bash", "-c", "trap 'echo told; exit 3' WINCH; echo ready; while :; do sleep .05; done"])
    screen.expect("ready")
    os.kill(screen.pid, signal.SIGWINCH)
    screen.expect("told")
    equal(screen.status(), 3)


def modes_come_back():
    screen = shell()
    before = stty(screen)
    for end, status in (
        ("exit 5", 5), ("kill -SEGV $$; sleep 5", 139), ("kill -KILL $$; sleep 5", 137), ("exec /nonexistent", 127), ("kill -ABRT $$; sleep 5", 134),
    ):
        screen.type(f"{CT} -- sh -c 'ulimit -c 0; stty raw -echo; printf \"%s\\n\" ready; {end}' 2>/dev/null\r")
        screen.expect("ready\n.*" + PROMPT)
        equal(screen.run("echo $?"), f"{status}\r\n", end)
        equal(stty(screen), before, end)
    screen.run(f"{CT} -- /nonexistent 2>/dev/null")
    equal(screen.run("echo $?"), "127\r\n")
    equal(stty(screen), before)
    # From outside: SIGTERM to the supervisor, SIGKILL to the program.
    for name, victim, status in (("TERM", "cage-trace", 143), ("KILL", "sleep", 137), ("HUP", "cage-trace", 129)):
        screen.type(f"{CT} -- sleep 1234.5\r")
        screen.until(lambda: not screen.modes()[3] & termios.ICANON)
        screen.until(lambda: processes(screen.pid, victim, "1234.5"))
        os.kill(processes(screen.pid, victim, "1234.5")[0], getattr(signal, "SIG" + name))
        screen.expect(PROMPT)
        equal(screen.run("echo $?"), f"{status}\r\n", name)
        equal(stty(screen), before, name)
        screen.until(lambda: not processes(screen.pid, "sleep", "1234.5"))
    # What is raw meanwhile is the caller's terminal, not only the run's.
    screen.type(f"{CT} -- sleep 1\r")
    screen.until(lambda: not screen.modes()[3] & (termios.ICANON | termios.ISIG | termios.ECHO))
    screen.expect(PROMPT)


def processes(root, name, word):
    """Pids of the processes below `root` whose program is called `name`."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                argv = file.read().decode(errors="replace").split("\0")
            with open(f"/proc/{pid}/stat") as file:
                state = file.read().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state != "Z" and os.path.basename(argv[0]) == name and word in argv and below(int(pid), root):
            found.append(int(pid))
    return sorted(found)


def below(pid, root):
    while pid > 1:
        if pid == root:
            return True
        try:
            with open(f"/proc/{pid}/stat") as file:
                pid = int(file.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            return False
    return False


def every_byte():
    everything = bytes(range(256))
    screen = Screen(CT.split() + ["--", "sh", "-c", "stty raw -echo; echo ready; exec head -c 1024"])
    screen.expect("ready\n")
    for _ in range(4):
        screen.type(everything)
    equal(screen.status(), 0)
    equal(bytes(screen.seen[screen.at:]), everything * 4)
    # A line discipline outside, which would have eaten and doubled some, is back.
    screen = Screen(CT.split() + ["--", "sh", "-c", "stty -opost; head -c 100000 /dev/zero | tr '\\0' '\\n'"])
    equal(screen.status(), 0)
    equal(screen.seen, b"\n" * 100000)


def fast_writer():
    program = "import os; part = bytes(range(256)) * 40; [os.write(1, part) for _ in range(1024)]"
    screen = Screen(CT.split() + ["--", "/usr/bin/python3", "-c", "import tty; tty.setraw(1); " + program])
    began = time.monotonic()
    equal(screen.status(), 0)
    print(f"{len(screen.seen) / (time.monotonic() - began) / 1e6:.1f} MB/s")
    assert screen.seen == bytes(range(256)) * 40 * 1024, f"{len(screen.seen)} bytes, not {10 << 20}"
    # The end of what a program wrote is not lost by its end, however it comes.
    for number in range(20):
        screen = Screen(CT.split() + ["--", "sh", "-c", "seq 500; echo the end; kill -9 $$"])
        equal(screen.status(), 137)
        assert screen.seen.endswith(b"\r\n500\r\nthe end\r\n"), f"{number}: {screen.seen[-99:]!r}"


def forced():
    def run(line, **more):
        done = subprocess.run(["/bin/bash", "-c", line], capture_output=True, timeout=LIMIT, **more)
        return done.stdout, done.stderr, done.returncode

    # The end of the input is one that the program sees: after a whole line, after half a line, after nothing.
    for given, shown in (("one\\n", b"one\r\none\r\n"), ("one\\ntwo", b"one\r\ntwoone\r\ntwo"), ("", b"")):
        out, err, status = run(f"printf '{given}' | {CT} --pty -- sh -c 'cat; echo over; tty; exit 3'")
        assert out.endswith(b"over\r\n/dev/pts/0\r\n") and shown[-3:] in out, out
        equal(out.count(b"one"), 2 * given.count("one"))
        equal((err, status), (b"", 3))
    # Files are relayed too, and errors stay apart unless they go where the output goes.
    out, err, _ = run(f"seq 3 >in; {CT} --pty -- sh -c 'stty -echo; cat; echo apart >&2' <in >out; cat out; rm in out")
    equal(out.replace(b"1\r\n2\r\n3\r\n", b"", 1).count(b"3\r\n"), out.count(b"3\r\n") - 1)
    equal(err, b"apart\n")
    out, err, _ = run(f"{CT} --pty -- sh -c 'test -t 2 && echo together >&2' </dev/null 2>&1")
    equal((out, err), (b"together\r\n", b""))
    # Closed stays closed, and the terminal is there all the same.
    out, _, _ = run(f"{CT} --pty -- sh -c 'test -e /proc/self/fd/0 || echo closed; echo own >/dev/tty' <&-")
    equal(out, b"closed\r\nown\r\n")
    # There is one without a /dev, too, and it is of the devpts that a flag mounts.
    out, _, _ = run(f"{CT} --no-devfs --pty -- sh -c 'test -t 0 && echo yes; ls /dev/pts 2>&1' </dev/null")
    equal(out.splitlines()[0], b"yes")
    out, _, _ = run(f"{CT} --mount=devpts:none:/dev/pts:ptmxmode=0666 --pty -- tty </dev/null")
    equal(out, b"/dev/pts/0\r\n")
    # A reader that goes away hangs it up.
    out, _, status = run(f"set -o pipefail; {CT} --pty -- yes | head -n 1", stdin=subprocess.DEVNULL)
    equal(out, b"y\r\n")
    assert status in (1, 129), status
    # And a reader that waits gets it all, also what was written before the end.
    out, _, _ = run(f"{CT} --pty -- sh -c 'stty -opost; seq 40000' </dev/null | (sleep 1; cksum)")
    equal(out, run("seq 40000 | cksum")[0])
    # Of the two, none is silently the stronger.
    out, err, status = run(f"{CT} --pty --no-pty -- true")
    equal(status, 125)
    assert b"--pty" in err and b"--no-pty" in err, err


def gone_for_good():
    screen = Screen(CT.split() + ["--", "sh", "-c", "trap 'echo hung up >said; exit' HUP; echo ready; while :; do sleep .05; done"])
    screen.expect("ready")
    screen.close()
    end = time.monotonic() + LIMIT
    done = 0
    while not done:
        assert time.monotonic() < end, "the run outlives its terminal"
        time.sleep(0.02)
        done, _ = os.waitpid(screen.pid, os.WNOHANG)
    with open("said") as file:
        equal(file.read(), "hung up\n")
    os.unlink("said")


def nobody_types_for_another():
    program = r'''
import errno, fcntl, os, termios
for fd in (0, 1, 2, os.open("/dev/tty", os.O_RDWR)):
    for request, argument in ((termios.TIOCSTI, b"\n"), (0x541c, b"\3")):
        for letter in b"echo INJECTED\n" if request == termios.TIOCSTI else argument:
            try:
                fcntl.ioctl(fd, request, bytes([letter]))
                print("done")
            except OSError as e:
                print(errno.errorcode[e.errno], end=" ")
print()
'''
    with open("types.py", "w") as file:
        file.write(program)
    screen = shell()
    for flag in ("", "--no-pty", "--pty"):
        shown = screen.run(f"{CT} {flag} -- /usr/bin/python3 types.py")
        equal(set(shown.split()), {"EPERM"}, flag)
        equal(len(shown.split()), 4 * 15)
        equal(screen.run("echo nothing"), "nothing\r\n")
    assert b"INJECTED" not in screen.seen, screen.seen
    # Nor by way of a window, modes or a foreground that are not the run's: the caller's are as they were.
    before = stty(screen)
    size = screen.run("stty size")
    screen.run(f"{CT} -- sh -c 'stty raw -echo rows 5 columns 6'")
    equal((stty(screen), screen.run("stty size")), (before, size))
    os.unlink("types.py")


class Tmux:
    """A terminal that understands what full-screen programs write."""

    def __init__(self, command):
        self.name = f"cage-trace-{os.getpid()}"
        os.environ.update(TMUX_TMPDIR=os.getcwd(), TERM="xterm", SHELL="/bin/bash")
        os.environ.pop("TMUX", None)
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", command)

    def tmux(self, *words):
        done = subprocess.run(["tmux", "-L", self.name, *words], capture_output=True, timeout=LIMIT)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout.decode()

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def expect(self, pattern):
        end = time.monotonic() + LIMIT
        while True:
            shown = self.tmux("capture-pane", "-p")
            if re.search(pattern, shown, re.S):
                return shown
            assert time.monotonic() < end, f"{pattern!r} is not shown, but\n{shown}"
            time.sleep(0.05)

    def close(self):
        subprocess.run(["tmux", "-L", self.name, "kill-server"], capture_output=True)


def full_screen():
    with open("numbers", "w") as file:
        file.write("".join(f"line {n}\n" for n in range(1, 1001)))
    screen = Tmux("PS1='outer> ' HISTFILE= bash --norc --noprofile -i")
    try:
        screen.expect("outer>")
        screen.keys("stty -g >before", "Enter")
        screen.keys(f"{CT} -e PS1='inn''er> ' -e TERM=screen -- bash --norc --noprofile -i", "Enter")
        screen.expect("inner>")
        screen.keys("clear; less numbers", "Enter")
        screen.expect("line 1\n.*line 23\n")
        screen.keys("G")
        screen.expect("line 978\n.*line 1000\n")
        screen.keys("g")
        screen.expect("line 1\n.*line 23\n")
        screen.keys("/line 500", "Enter")
        screen.expect("line 500\n.*line 522\n")
        # A larger window is a larger page, and a stopped pager comes back.
        screen.tmux("resize-window", "-x", "100", "-y", "40")
        screen.expect("line 500\n.*line 538\n")
        screen.keys("g")
        screen.expect("line 1\n.*line 39\n")
        screen.keys("C-z")
        screen.expect(r"Stopped +less numbers")
        screen.keys("stty size; fg", "Enter")
        screen.expect("line 1\n.*line 39\n")
        screen.keys("q")
        screen.expect(r"40 100\n")
        screen.keys("clear; vi -u NONE -n numbers", "Enter")
        screen.expect("line 1\n.*line 38\n")
        screen.keys("dd", "ihello ", "Escape", ":w! changed", "Enter")
        screen.expect("changed.*999")
        screen.keys(":q!", "Enter")
        screen.expect(r"inner>")
        screen.keys("clear; head -n 2 changed", "Enter")
        screen.expect("hello line 2\nline 3\n")
        screen.keys("exit", "Enter")
        screen.expect("outer>")
        screen.keys("stty -g | cmp before - && echo sa''me", "Enter")
        screen.expect("same\n")
        # Directly: ^Z stops the run as a job of the outer shell.
        screen.keys(f"clear; {CT} -e TERM=screen -- less numbers", "Enter")
        screen.expect("line 1\n.*line 39\n")
        screen.keys("C-z")
        screen.expect(r"Stopped.*outer>")
        screen.keys("clear; fg", "Enter")
        screen.expect("line 1\n.*line 39\n")
        screen.keys("q")
        screen.expect("outer>")
        screen.keys("stty -g | cmp before - && echo sa''me as ever", "Enter")
        screen.expect("same as ever\n")
    finally:
        screen.close()


def main():
    global CT
    scenario, *words = sys.argv[1:]
    CT = " ".join(words)
    signal.alarm(200)
    globals()[scenario]()


main()
