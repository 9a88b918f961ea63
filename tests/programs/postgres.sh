# PostgreSQL from initdb to the end: both sockets, parallel workers, a sort that spills, listen and notify, pgbench, a
# crash of a backend and the recovery from it, a dump read back.
port=$(free_port)
PATH=$POSTGRES:$PATH
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=owner PGDATABASE=postgres PGCONNECT_TIMEOUT=20
initdb -D data -A trust -U owner --locale=C -E UTF8 >initdb.log 2>&1
echo "initdb: $?"
tail -n 3 initdb.log
cat >>data/postgresql.conf <<END
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$PWD'
checkpoint_timeout = 30s
END
server() { pg_ctl -D data -l server.log -w -t 50 -s "$@"; }
sql() { psql -AtqX -v ON_ERROR_STOP=1 "$@"; }
trap '[ -e data/postmaster.pid ] && server stop -m immediate' EXIT
server start
echo "started: $?"

sql -c 'select 6 * 7'
sql -h "$PWD" <<'END'
create table t as select g, md5(g::text) m from generate_series(1, 20000) g;
create index on t (m);
analyze t;
select count(*), max(m) from t;
set max_parallel_workers_per_gather = 2;
set min_parallel_table_scan_size = 0;
set parallel_setup_cost = 0;
set parallel_tuple_cost = 0;
explain (costs off) select count(*) from t where m like 'a%';
select count(*) from t where m like 'a%';
set work_mem = '64kB';
select g from t order by m desc, g offset 10000 limit 1;
copy t to stdout \g copied
begin; delete from t; rollback;
select count(*) from t;
END
sql -c 'listen news' -c "notify news, 'today'" | sed 's/PID.*//'
wc -l <copied
sql -c 'select pg_backend_pid() <> pg_backend_pid()' -c "select pg_sleep(0.01)" -c 'select 1 / 0' 2>&1
sql -c "set statement_timeout = '100ms'" -c 'select pg_sleep(20)' 2>&1

createdb bench
pgbench -i -s 1 -q bench >pgbench.log 2>&1
echo "pgbench -i: $?"
bench() { pgbench -T "$LOAD" "$@" bench >pgbench.log 2>&1 && sed -n 's/(.*//; /failed/p' pgbench.log || cat pgbench.log; }
bench -c 4 -j 2
bench -n -c 4 -j 2 -S -M prepared
bench -n -c 2 -C -S
sql -d bench -c 'select (select sum(abalance) from pgbench_accounts) = (select sum(tbalance) from pgbench_tellers), (select count(*) > 0 from pgbench_history)'

dump() { pg_dump "$1" | grep -v '^.\(un\)\?restrict '; }
dump bench >dump.sql
createdb copy
sql -d copy -o /dev/null <dump.sql
dump copy | cmp - dump.sql && echo 'the dump is whole'

# A backend that dies makes the server end all others and recover.
(sql -c 'select pg_sleep(20)' >slept 2>&1; echo "client: $?") &
sleeper() { sql -c "select pid from pg_stat_activity where query = 'select pg_sleep(20)'"; }
sleeps() { [ -n "$(sleeper)" ]; }
wait_for sleeps
kill -KILL "$(sleeper)"
wait "$!"
wait_for sql -c 'select 1'
sql -c 'select count(*) from t'

server restart
echo "restarted: $?"
sql -c 'select count(*) from t'
server stop
echo "stopped: $?"
sed -n 's/.*\(PANIC\|ERROR\): /\1: /p' server.log
rm -r data dump.sql ./*.log
ls -A
