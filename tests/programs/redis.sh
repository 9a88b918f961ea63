# redis-server over TCP and a Unix socket; both kinds of persistence, which fork; redis-benchmark as its load.
port=$(free_port)
redis-server --port "$port" --unixsocket redis.sock --save '' --appendonly yes --logfile redis.log &
server=$!
tcp() { redis-cli -e -p "$port" "$@"; }
unix() { redis-cli -e -s redis.sock "$@"; }
field() { tcp info "$1" | tr -d '\r' | sed -n "s/^$2://p"; }
idle() { [ "$(field persistence "$1")" = 0 ]; }
wait_for tcp ping

tcp set greeting hello
tcp get greeting
tcp incrby n 41
unix incr n
unix rpush list a b c
tcp lrange list 1 -1
tcp eval 'return redis.call("get", KEYS[1]) + 1' 1 n
tcp set short x px 1
sleep 0.05
tcp exists short
seq 1000 | sed 's/.*/set key:& value-&/' | unix --pipe | tail -n 1
tcp dbsize
(timeout 20 redis-cli -p "$port" blpop queue 15) &
blocked() { [ "$(field clients blocked_clients)" = 1 ]; }
wait_for blocked
tcp rpush queue job >pushed
wait "$!"
cat pushed
timeout 20 redis-cli -p "$port" subscribe news >heard &
subscriber=$!
told() { [ "$(tcp publish news today)" = 1 ]; }
wait_for told
wait_for grep -q today heard
kill "$subscriber"
cat heard

tcp bgsave
wait_for idle rdb_bgsave_in_progress
tcp bgrewriteaof
wait_for idle aof_rewrite_in_progress
field persistence rdb_last_bgsave_status
field persistence aof_last_bgrewrite_status

bench() { redis-benchmark -q -n 5000 -r 1000 "$@" >bench.log 2>&1 || cat bench.log; }
round() {
    bench -p "$port" -c 20 -t ping,set,get,lpush,lrange_100
    bench -p "$port" -c 50 -P 16 --threads 2 -t set,get
    bench -s redis.sock -c 20 -t mset,spop
    bench -p "$port" -k 0 -n 500 -t set
}
load round
field stats total_error_replies

tcp flushall
tcp set kept 'over a restart'
tcp shutdown
wait "$server"
echo "ended with $?"
redis-server --port "$port" --unixsocket redis.sock --save '' --appendonly yes --logfile redis.log --daemonize yes
wait_for tcp ping
tcp get kept
tcp shutdown
gone() { [ ! -e redis.sock ]; }
wait_for gone
grep -c '# Redis is now ready to exit' redis.log
grep -i 'panic\|crash\|assert\|can.t\|failed' redis.log
rm -r appendonlydir dump.rdb redis.log bench.log
ls
