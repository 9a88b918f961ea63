# Child processes in every way: run, Popen, pipes, groups, time-outs, environment, descriptors, multiprocessing.
import multiprocessing as mp, os, signal, subprocess as sp, sys
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
def worker(c, q): c.send(os.getpid() != os.getppid()); q.put("queued"); sys.exit(3)
def main():
    print(sp.run(["sh", "-c", "echo out; echo err >&2; exit 3"], capture_output=True, text=True))
    print(sp.check_output("tr a-z A-Z | rev", shell=True, input=b"piped"))
    a = sp.Popen(["seq", "100"], stdout=sp.PIPE); b = sp.Popen(["tail", "-n1"], stdin=a.stdout, stdout=sp.PIPE); a.stdout.close(); print(b.communicate()[0], a.wait(), b.returncode)
    try: sp.run(["sleep", "20"], timeout=.2)
    except sp.TimeoutExpired as e: print("timeout", round(e.timeout, 1))
    try: sp.run(["/no/such"])
    except FileNotFoundError as e: print(e)
    try: sp.run(["true"], cwd="/no/such")
    except FileNotFoundError as e: print(e)
    print(sp.run(["sh", "-c", "echo $A; pwd"], env={"A": "b", "PATH": "/usr/bin:/bin"}, cwd="/", stdout=sp.PIPE).stdout)
    p = sp.Popen(["sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep .05; done"], stdout=sp.PIPE, stderr=sp.DEVNULL, start_new_session=True); p.stdout.readline(); print(os.getsid(p.pid) == p.pid); os.killpg(p.pid, signal.SIGTERM); print(p.wait()); p = sp.Popen(["sleep", "20"]); p.kill(); print(p.wait())
    r, w = os.pipe(); os.set_inheritable(w, True); p = sp.Popen(["sh", "-c", f"echo inherited >&{w}"], close_fds=False); os.close(w); print(os.read(r, 99), p.wait()); print(sp.run(["sh", "-c", f"ls /proc/self/fd | wc -l"], stdout=sp.PIPE).stdout, sp.run(["sh", "-c", f": >&{r}"], stderr=sp.DEVNULL).returncode != 0)
    with open("log", "w") as f: sp.run(["sh", "-c", "echo 1; echo 2 >&2"], stdout=f, stderr=sp.STDOUT)
    print(open("log").read(), [p.wait() for p in [sp.Popen(["sh", "-c", f"exit {n}"]) for n in range(12)]])
    print(os.WEXITSTATUS(os.system("exit 4")), os.popen("echo popen").read(), os.spawnlp(os.P_WAIT, "sh", "sh", "-c", "exit 6"), os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], os.environ), 0)[1] >> 8)
    q = mp.Queue(); c, d = mp.Pipe(); p = mp.Process(target=worker, args=(d, q)); p.start(); print(c.recv(), q.get(), p.join(), p.exitcode)
    with mp.Pool(2) as pool: print(pool.map(fib, range(15)))
    v = mp.Value("i", 0); ps = [mp.Process(target=add, args=(v,)) for _ in range(4)]; [p.start() for p in ps]; [p.join() for p in ps]; print(v.value)
    ctx = mp.get_context("spawn"); p = ctx.Process(target=print, args=("spawned",)); sys.stdout.flush(); p.start(); p.join(); print(p.exitcode)
def add(v):
    for _ in range(250):
        with v.get_lock(): v.value += 1
if __name__ == "__main__": main()
