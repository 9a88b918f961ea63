# sqlite3: a journal, a WAL, locks between two connections and two processes, a backup.
import os, sqlite3, sys
c = sqlite3.connect("a.db"); c.execute("create table t(id integer primary key, name text, n real)")
with c: c.executemany("insert into t(name, n) values(?, ?)", ((f"name {i % 97}", i / 3) for i in range(5000)))
print(c.execute("select count(*), sum(n), max(name) from t").fetchone(), c.execute("select name, count(*) from t group by name order by 2 desc, 1 limit 3").fetchall())
try:
    with c: c.execute("delete from t"); raise KeyError
except KeyError: print("rolled back", c.execute("select count(*) from t").fetchone())
c.execute("create index i on t(name)"); c.execute("pragma journal_mode=wal"); d = sqlite3.connect("a.db", timeout=.1); c.execute("begin immediate"); c.execute("update t set n = 0 where id < 10"); print(d.execute("select n from t where id = 6").fetchone())
try: d.execute("insert into t(name) values('x')")
except sqlite3.OperationalError as e: print(e)
c.commit(); print(d.execute("select n from t where id = 6").fetchone()); print(sorted(os.listdir(".")))
sys.stdout.flush()
if not (pid := os.fork()):
    e = sqlite3.connect("a.db"); e.execute("insert into t(name) values('from a child')"); e.commit(); e.close(); os._exit(0)
print(os.waitpid(pid, 0)[1], c.execute("select count(*) from t where name like 'from%'").fetchone())
b = sqlite3.connect("b.db"); c.backup(b); print(b.execute("pragma integrity_check").fetchone()); b.execute("pragma journal_mode=delete"); b.execute("vacuum"); b.close(); d.close(); c.close(); print(sorted(os.listdir(".")))
m = sqlite3.connect(":memory:"); print(m.execute("with recursive f(a, b) as (values(0, 1) union all select b, a + b from f limit 30) select max(a) from f").fetchone())
