# Signals: handlers, masks, timers, interrupted calls, wake-ups, sigwait, stop and continue, job control by hand.
import errno, os, select, signal, sys, threading, time
seen = []; h = lambda n, _: seen.append(signal.Signals(n).name)
for s in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGCHLD, signal.SIGWINCH): signal.signal(s, h)
os.kill(os.getpid(), signal.SIGUSR1); signal.raise_signal(signal.SIGUSR2); print(seen); seen.clear()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); os.kill(os.getpid(), signal.SIGUSR1); print(seen, signal.sigpending()); signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1]); print(seen); seen.clear()
signal.setitimer(signal.ITIMER_REAL, .02, .02); t = time.monotonic(); time.sleep(.2); signal.setitimer(signal.ITIMER_REAL, 0); print(time.monotonic() - t >= .2, seen.count("SIGALRM") >= 5); seen.clear()
r, w = os.pipe(); signal.setitimer(signal.ITIMER_REAL, .05); threading.Timer(.15, lambda: os.write(w, b"data")).start(); print(os.read(r, 9), seen); seen.clear()
class Stop(Exception): pass
def stop(*_): raise Stop
signal.signal(signal.SIGALRM, stop)
for name, f in (("read", lambda: os.read(r, 1)), ("select", lambda: select.select([r], [], [])), ("sleep", lambda: time.sleep(20)), ("wait", lambda: os.wait()), ("pause", signal.pause)):
    pid = os.fork()
    if not pid: signal.pause(); os._exit(0)
    signal.setitimer(signal.ITIMER_REAL, .05)
    try: f(); print(name, "returned")
    except Stop: print(name, "interrupted")
    os.kill(pid, signal.SIGKILL); print(os.waitpid(pid, 0)[1], end=" ")
print(); a, b = os.pipe(); os.set_blocking(b, False); signal.set_wakeup_fd(b); signal.signal(signal.SIGALRM, h); signal.raise_signal(signal.SIGALRM); print(os.read(a, 9)); signal.set_wakeup_fd(-1)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]); os.kill(os.getpid(), signal.SIGUSR2); i = signal.sigwaitinfo([signal.SIGUSR2]); print(i.si_signo, i.si_pid == os.getpid(), i.si_uid == os.getuid()); print(signal.sigtimedwait([signal.SIGUSR2], .02)); sys.stdout.flush()
c, d = os.pipe() # the child lives until it was seen to go on: wait(2) reports an end before anything else
if not (pid := os.fork()):
    signal.signal(signal.SIGTERM, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGSTOP); os.read(c, 1); os._exit(5)
print(os.WSTOPSIG(os.waitpid(pid, os.WUNTRACED)[1])); os.kill(pid, signal.SIGCONT); print(os.WIFCONTINUED(os.waitpid(pid, os.WCONTINUED)[1]), os.write(d, b"x"), os.waitpid(pid, 0)[1] >> 8)
for s in (signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGPIPE):
    pid = os.fork()
    if not pid: import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); signal.signal(s, signal.SIG_DFL) if s != 9 else 0; os.kill(os.getpid(), s); os._exit(0)
    print(s.name, os.WTERMSIG(os.waitpid(pid, 0)[1]), end=" ")
print(); signal.signal(signal.SIGHUP, signal.SIG_IGN); print(os.system("kill -HUP $$; echo ignored over exec")); os.setpgid(0, 0) if os.getpgid(0) != os.getpid() else 0; print(os.getpgrp() == os.getpid())
try: os.kill(1 << 22, 0)
except ProcessLookupError as e: print(e)
try: os.kill(os.getpid(), 99)
except OSError as e: print(e)
tid = threading.get_native_id(); t = threading.Thread(target=lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGWINCH)); seen.clear(); t.start(); t.join(); print(seen); signal.signal(signal.SIGTERM, signal.SIG_DFL); sys.stdout.flush(); os.kill(os.getpid(), signal.SIGTERM)
