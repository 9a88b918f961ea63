# Three loads side by side for $1 seconds, between two quiet moments in which the test looks at the supervisor.
# Each line says how a part ended; anything but 0 is a fault.
set -u
seconds=$1
redis-server --port 6399 --bind 127.0.0.1 --save '' --appendonly no --dir . --daemonize no >redis.log 2>&1 &
server=$!
tries=0
until redis-cli -p 6399 ping >/dev/null 2>&1 || [ "$tries" -ge 100 ]; do sleep 0.1; tries=$((tries + 1)); done
redis-cli -p 6399 set warm up >/dev/null
sh -c 'true | true; wait'
echo ready
sleep 2
end=$(($(date +%s) + seconds))

(while [ "$(date +%s)" -lt "$end" ]; do
    redis-benchmark -p 6399 -q -n 2000 -c 10 -t set,get,lpush,lpop >>bench.log 2>&1 || exit 1
done) &
bench=$!

(while [ "$(date +%s)" -lt "$end" ]; do
    i=0
    while [ "$i" -lt 50 ]; do
        /bin/true || exit 1
        [ "$(echo x | cat)" = x ] || exit 2
        i=$((i + 1))
    done
done) &
forks=$!

stress-ng --verify --timeout "${seconds}s" --temp-path . \
    --pipe 1 --dup 1 --epoll 1 --fork 1 --mmap 1 --mmap-bytes 16M --open 1 --sock 1 --sigpending 1 --futex 1 >stress.log 2>&1 &
stress=$!

wait "$bench"; echo "redis-benchmark $?"
wait "$forks"; echo "forks $?"
wait "$stress"; status=$?; echo "stress-ng $status"
[ "$status" = 0 ] || grep -v 'info:' stress.log
redis-cli -p 6399 get warm
echo quiet
sleep 4
redis-cli -p 6399 shutdown nosave
wait "$server"; echo "redis-server $?"
