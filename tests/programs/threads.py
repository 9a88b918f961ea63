# Threads: queues, locks, conditions, pools, thread-local data, many files at once.
import concurrent.futures, os, queue, threading, time
q, out, lock = queue.Queue(), [], threading.Lock()
def work():
    while (n := q.get()) is not None:
        with open(f"f{n}", "w") as f: f.write("x" * n)
        with lock: out.append(os.path.getsize(f"f{n}"))
        q.task_done()
ts = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in ts]; [q.put(n) for n in range(100)]; q.join(); [q.put(None) for _ in ts]; [t.join() for t in ts]
print(sum(out), len(out), threading.active_count())
with concurrent.futures.ThreadPoolExecutor(6) as pool: print(sum(pool.map(lambda n: len(open(f"f{n}").read()), range(100))))
c, flag = threading.Condition(), []
def waiter():
    with c: c.wait_for(lambda: flag); out.append("woken")
ts = [threading.Thread(target=waiter) for _ in range(4)]; [t.start() for t in ts]; time.sleep(.05)
with c: flag.append(1); c.notify_all()
[t.join() for t in ts]; print(out.count("woken"))
local = threading.local(); local.x = 1; seen = []
t = threading.Thread(target=lambda: seen.append(hasattr(local, "x"))); t.start(); t.join(); print(seen)
e = threading.Event(); print(e.wait(.03)); threading.Timer(.03, e.set).start(); print(e.wait(5))
r, w = os.pipe(); t = threading.Thread(target=lambda: seen.append(os.read(r, 10))); t.start(); time.sleep(.05); os.write(w, b"late"); t.join(); print(seen[-1])
b = threading.Barrier(5); ids = set()
def meet(): b.wait(); ids.add(threading.get_native_id())
ts = [threading.Thread(target=meet) for _ in range(5)]; [t.start() for t in ts]; [t.join() for t in ts]; print(len(ids), b.broken)
pids = [os.fork() or os._exit(n) for n in range(5)]; print([os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in pids])
for n in range(100): os.unlink(f"f{n}")
