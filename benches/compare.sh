#!/bin/bash
# The same work natively and under cage-trace, strace, proot, bwrap and gVisor's runsc, in turns (A B A B), in one run: system call
# loops (benches/loops.c), whole programs, start-up, the supervisor's size. benches/figures.py prints the tables and draws the
# plots. Nothing is pinned; it wants two idle CPUs, and says how idle they were.
#
#   benches/compare.sh [--quick] [--rounds N] [--patient] [--raw FILE] [--docs]
#
#   --quick   three short rounds instead of seven: enough to see that all of it runs, and for ratios to be roughly right
#   --rounds  so many rounds instead of seven, and a third of Redis's requests
#   --patient before each loop or program, wait up to two minutes until the CPUs are idle: for a machine that others use too
#   --raw     the single measurements go to FILE, for figures.py
#   --docs    the tables and plots in docs/ are replaced by this run's
#
#   TOOLS="native cage-trace:fast strace …"   which tools, in which order. A cage-trace is followed by a platform and what else it
#                                             is to do: cage-trace (its defaults), cage-trace:fast, cage-trace:hybrid+all (--mediate=all),
#                                             cage-trace:fast+audit (-o FILE)
#   WORK="loops programs"                     or one of them alone
#   CAGE_TRACE=FILE                           its binary (target/release/cage-trace); CAGE_TRACE_FLAGS: more of its options
#
# Debian's packages for all of it: bubblewrap gcc git proot python3 redis-server redis-tools runsc sqlite3 strace. What is not there is
# left out, and said.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C

rounds=7 milliseconds=60 requests=50000 patient='' raw='' docs=''
while [ $# -gt 0 ]; do
    case $1 in
        --quick) rounds=3 milliseconds=15 requests=10000 ;;
        --rounds) rounds=$2 requests=16000; shift ;;
        --patient) patient=1 ;;
        --raw) raw=$(realpath "$2"); shift ;;
        --docs) docs=$PWD/docs ;;
        *) echo "usage: benches/compare.sh [--quick] [--rounds N] [--patient] [--raw FILE] [--docs]" >&2; exit 2 ;;
    esac
    shift
done
say() { echo "compare.sh: $*" >&2; }

cage_trace=$(realpath "${CAGE_TRACE:-target/release/cage-trace}")
[ -x "$cage_trace" ] || { say "$cage_trace is not there: cargo build --release"; exit 1; }
[ -z "$(find src -newer "$cage_trace" -print -quit)" ] || say "$cage_trace is older than src/, so it may be another commit's"
read -ra flags <<<"${CAGE_TRACE_FLAGS:-}"
figures=$PWD/benches/figures.py
python=python3
# A version manager's python3 is a shell script, which would be measured instead.
[ -x /usr/bin/python3 ] && python=/usr/bin/python3

# The work directory is the one that the cages may write to; logs and results are out of their reach.
work=$(mktemp -d /tmp/cage-trace-bench.XXXXXX)
logs=$(mktemp -d /tmp/cage-trace-bench-logs.XXXXXX)
trap 'rm -rf "$work" "$logs"' EXIT
chmod 755 "$work"
gcc -O1 -Wall -o "$work/loops" benches/loops.c
gcc -O1 -Wall -o "$logs/stopwatch" benches/stopwatch.c
echo 'int main(void) { return 0; }' | gcc -O1 -static -o "$work/true" -x c -
commit=unknown
if head=$(git rev-parse --short HEAD 2>/dev/null); then
    commit=$head
    git diff --quiet HEAD -- src Cargo.toml Cargo.lock || commit+=' with changes'
fi
results=$logs/results
cd "$work"

# What the whole programs work on, and what they are: name, what it needs, command of a shell. (Root's find and tar may see what
# they may not in a cage; both then end with a status of their own.)
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
{
    echo '#include <stdio.h>'; echo '#include <stdlib.h>'; echo '#include <string.h>'; echo '#include <sys/socket.h>'
    for i in $(seq 150); do echo "int f$i(int x) { char b[64]; snprintf(b, sizeof b, \"%d\", x * $i); return atoi(b) + (int)strlen(b); }"; done
} >unit.c
if command -v git >/dev/null; then
    for i in $(seq 100); do
        mkdir -p "tree/d$i"
        for j in $(seq 100); do echo "$i $j" >"tree/d$i/f$j"; done
    done
    git -C tree init -q -b main
    git -C tree add -A
    git -C tree -c user.name=x -c user.email=x@example.org commit -q -m x
    git -C tree status --short
fi
# 100,000 statements, a thousand in a transaction; the disk is not waited for, which would take as long under every tool.
awk 'BEGIN {
    print "PRAGMA synchronous=off; DROP TABLE IF EXISTS t; CREATE TABLE t(a INTEGER PRIMARY KEY, b INTEGER, c TEXT);"
    for (i = 0; i < 100; i++) {
        print "BEGIN;"
        for (j = 0; j < 1000; j++) printf "INSERT INTO t(b, c) VALUES(%d, \047%s row\047);\n", (i * 7919 + j * 104729) % 1000003, i * j
        print "COMMIT;"
    }
}' >inserts.sql
programs=(
    "python3-imports|$python|$python -B -c 'import json, asyncio, http.server'"
    "find-usr-share|find|find /usr/share >/dev/null 2>&1 || [ \$? = 1 ]"
    "tar-to-cat|tar|tar -cf - /usr/share/doc 2>/dev/null | cat >/dev/null"
    "gcc-O1|gcc|gcc -O1 -c -o unit.o unit.c"
    "sh-200-trues|sh|i=0; while [ \$i -lt 200 ]; do /bin/true; i=\$((i + 1)); done"
    "sqlite3-inserts|sqlite3|sqlite3 inserts.db <inserts.sql"
    "git-status|git|git -C tree status --short"
)
# Measures itself, as the loops do: nanoseconds for a request, of fifty clients at once. Server and clients are both under the tool.
cat >redis.sh <<END
redis-server --port 0 --unixsocket redis.sock --save '' --appendonly no >/dev/null &
until redis-cli -s redis.sock ping >/dev/null 2>&1; do sleep 0.05; done
redis-benchmark -s redis.sock -t set,get -n $requests -q --csv | awk -F'"' '\$4 + 0 > 0 { printf "redis-%s %.0f\n", tolower(\$2), 1e9 / \$4 }'
redis-cli -s redis.sock shutdown nosave
wait
END

# The command line that runs what follows it under a tool.
runner() {
    case $1 in
        native) prefix=() ;;
        cage-trace*)
            prefix=("$cage_trace" -q "${flags[@]}" --keep-env --bind "$work")
            local variant=${1#cage-trace} word
            for word in ${variant//[:+]/ }; do
                case $word in
                    all) prefix+=(--mediate=all) ;;
                    audit) prefix+=(-o "$logs/audit.jsonl") ;;
                    *) prefix+=(--platform="$word") ;;
                esac
            done
            prefix+=(--) ;;
        strace) prefix=(strace -f -qq -o "$logs/strace.out" --) ;;
        proot) prefix=(proot -w "$work") ;;
        bwrap) prefix=(bwrap --unshare-all --die-with-parent --bind / / --dev /dev --proc /proc --chdir "$work" --) ;;
        runsc) prefix=(runsc --rootless --network=none --platform=ptrace do -force-overlay=false --) ;;
        *) say "no such tool: $1"; exit 2 ;;
    esac
}

# Runs a command under a tool, for ten minutes at most, with what it prints in $logs/out and its time in $logs/time.
under() {
    local tool=$1 status=0
    shift
    runner "$tool"
    rm -f "$logs/audit.jsonl" "$logs/strace.out" "$logs/time" redis.sock
    "$logs/stopwatch" 600 "$logs/time" "${prefix[@]}" "$@" </dev/null >"$logs/out" 2>"$logs/error" || status=$?
    [ "$status" = 0 ] || say "$tool: ends with $status: ${*: -1}: $(head -n 1 "$logs/error")"
    return "$status"
}

# One command, timed from outside.
timed() {
    local name=$1 tool=$2
    shift 2
    if under "$tool" "$@"; then echo "program $name $tool $(cat "$logs/time")" >>"$results"; fi
}

# One command that prints names and nanoseconds itself.
told() {
    local kind=$1 tool=$2
    shift 2
    under "$tool" "$@" || true
    awk -v kind="$kind" -v tool="$tool" '
        NF == 2 && $2 + 0 > 0 { print kind, $1, tool, $2; some = 1 }
        END { exit !some }' "$logs/out" >>"$results" || say "$tool: nothing was measured: ${*: -1}"
}

version() {
    case $1 in
        native) ;;
        cage-trace*) "$cage_trace" --version ;;
        strace) strace --version | awk 'NR == 1 { print "strace " $NF }' ;;
        proot) proot --version | awk '/[0-9]+\.[0-9]+/ && !seen++ { sub(/^[^0-9]*/, ""); print "proot " $1 }' ;;
        bwrap) bwrap --version ;;
        runsc) runsc --version | awk 'NR == 1 { print "runsc " $NF }' ;;
    esac 2>/dev/null || true
}

# How much of the CPUs nobody wants, in percent, over so many seconds.
idle() {
    awk 'NR == FNR { if (/^cpu /) for (i = 2; i <= 9; i++) before[i] = $i; next }
        /^cpu / { for (i = 2; i <= 9; i++) all += $i - before[i]; printf "%.0f", 100 * ($5 - before[5]) / all }' \
        <(cat /proc/stat; sleep "$1") /proc/stat
}

# With --patient, waits until the CPUs are idle. What begins on busy ones all the same is counted.
groups=0 busy=0
calm() {
    [ "$patient" ] || return 0
    local tries=0
    groups=$((groups + 1))
    while [ "$(idle 1)" -lt 85 ]; do
        tries=$((tries + 1))
        if [ "$tries" -ge 120 ]; then busy=$((busy + 1)); return 0; fi
    done
}

{
    echo "# date $(date -u '+%Y-%m-%d')"
    echo "# commit $commit"
    echo "# kernel $(uname -s) $(uname -r | sed 's/-.*//')"
    echo "# cpu $(awk -F': *' '/^model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) CPUs"
    echo "# rounds $rounds, of $milliseconds ms for a loop"
    echo "# idle-before $(idle 2) %"
} >"$results"
tools=()
for tool in ${TOOLS:-native cage-trace:fast cage-trace:hybrid cage-trace:fast+all cage-trace:fast+audit strace proot bwrap runsc}; do
    runner "$tool"
    if [ "$tool" != native ] && ! command -v "${prefix[0]}" >/dev/null; then say "no $tool here, left out"; continue; fi
    if ! under "$tool" /bin/true; then say "$tool left out"; continue; fi
    tools+=("$tool")
    echo "# tool $tool $(version "$tool")" >>"$results"
done

work_on=" ${WORK:-loops programs} "
for ((round = 0; round < rounds; round++)); do
    if [[ $work_on == *' loops '* ]]; then
        calm
        for tool in "${tools[@]}"; do told call "$tool" "$work/loops" "$milliseconds"; done
    fi
    [[ $work_on == *' programs '* ]] || continue
    for program in "${programs[@]}"; do
        IFS='|' read -r name needs shell <<<"$program"
        if ! command -v "$needs" >/dev/null; then [ "$round" != 0 ] || say "no $needs here, $name left out"; continue; fi
        calm
        for tool in "${tools[@]}"; do timed "$name" "$tool" /bin/sh -c "$shell"; done
    done
    if command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null; then
        calm
        for tool in "${tools[@]}"; do told request "$tool" /bin/sh redis.sh; done
    elif [ "$round" = 0 ]; then
        say "no redis-server or redis-benchmark here, left out"
    fi
    calm
    for _ in 1 2 3; do
        for tool in "${tools[@]}"; do timed start-up "$tool" /bin/true; done
    done
done
[ -z "$patient" ] || echo "# waited for idle CPUs before each of $groups groups, in vain before $busy" >>"$results"
echo "# idle-after $(idle 2) %" >>"$results"

# The supervisor's largest size, while it serves a busy run.
for tool in "${tools[@]}"; do
    case $tool in cage-trace*) runner "$tool" ;; *) continue ;; esac
    "${prefix[@]}" /bin/sh -c 'i=0; while [ $i -lt 60 ]; do cat /etc/passwd | sort >/dev/null; i=$((i + 1)); done; sleep 1' </dev/null >/dev/null 2>&1 &
    supervisor=$!
    size=0
    while [ -d "/proc/$supervisor" ]; do
        seen=$(awk '/^VmHWM/ { print $2 }' "/proc/$supervisor/status" 2>/dev/null || true)
        [ -z "$seen" ] || size=$seen
        sleep 0.05
    done
    wait "$supervisor" || say "the run whose supervisor was measured ends with $?"
    echo "size supervisor $tool $size" >>"$results"
done

[ -z "$raw" ] || cp "$results" "$raw"
"$python" -B "$figures" "$results" ${docs:+--docs "$docs"}
