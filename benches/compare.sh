#!/bin/bash
# The same work natively and under cage-trace, strace, proot and bwrap, in turns, in one run: system call loops
# (benches/loops.c), whole programs, start-up, the supervisor's size. Prints medians and their ratios. Nothing is pinned;
# it wants two idle CPUs, and says how idle they were.
#
#   benches/compare.sh [--quick] [--raw FILE]     CAGE_TRACE=path of the binary (target/release/cage-trace)
#                                                 CAGE_TRACE_FLAGS=its options   TOOLS="native cage-trace strace …"
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C

rounds=7 milliseconds=60 raw=
while [ $# -gt 0 ]; do
    case $1 in
        --quick) rounds=3 milliseconds=10 ;;
        --raw) raw=$2; shift ;;
        *) echo "usage: benches/compare.sh [--quick] [--raw FILE]" >&2; exit 2 ;;
    esac
    shift
done

cage_trace=$(realpath "${CAGE_TRACE:-target/release/cage-trace}")
[ -x "$cage_trace" ] || { echo "compare.sh: $cage_trace is not there: cargo build --release" >&2; exit 1; }
read -ra flags <<<"${CAGE_TRACE_FLAGS:-}"

work=$(mktemp -d /tmp/cage-trace-bench.XXXXXX)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
gcc -O1 -Wall -static -o "$work/loops" benches/loops.c
results=$work/results
cd "$work"

# What the whole programs work on.
{
    echo '#include <stdio.h>'; echo '#include <stdlib.h>'; echo '#include <string.h>'; echo '#include <sys/socket.h>'
    for i in $(seq 150); do echo "int f$i(int x) { char b[64]; snprintf(b, sizeof b, \"%d\", x * $i); return atoi(b) + (int)strlen(b); }"; done
} >unit.c
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
if command -v git >/dev/null; then
    mkdir repository
    for i in $(seq 20); do mkdir -p "repository/d$i"; for j in $(seq 40); do echo "$i $j" >"repository/d$i/f$j"; done; done
    git -C repository init -q -b main
    git -C repository add -A
    git -C repository -c user.name=x -c user.email=x@example.org commit -q -m x
fi
python=python3
[ -x /usr/bin/python3 ] && python=/usr/bin/python3

programs=(
    "python3-imports|$python -B -c 'import json, asyncio, http.client'"
    "find-usr-share|find /usr/share -name '*.x' | wc -l"
    "tar-to-cat|tar -cf - /usr/include/linux 2>/dev/null | cat >/dev/null"
    "gcc-O1|gcc -O1 -c -o unit.o unit.c"
    "sh-200-trues|i=0; while [ \$i -lt 200 ]; do /bin/true; i=\$((i + 1)); done"
    "git-status|git -C repository -c core.untrackedCache=false -c core.preloadIndex=false status --short"
)

# Runs a command under a tool, in the work directory.
under() {
    local tool=$1
    shift
    case $tool in
        native) "$@" ;;
        cage-trace) "$cage_trace" -q "${flags[@]}" --keep-env --bind "$work" -- "$@" ;;
        strace) strace -f -qq -o /dev/null -- "$@" ;;
        proot) proot -w "$work" "$@" ;;
        bwrap) bwrap --unshare-all --die-with-parent --bind / / --dev /dev --proc /proc --chdir "$work" -- "$@" ;;
    esac
}

tools=()
for tool in ${TOOLS:-native cage-trace strace proot bwrap}; do
    case $tool in native | cage-trace) ;; *) command -v "$tool" >/dev/null || { echo "compare.sh: no $tool here, left out" >&2; continue; } ;; esac
    if ! under "$tool" /bin/true </dev/null >/dev/null 2>"$work/error"; then
        echo "compare.sh: $tool cannot run /bin/true, left out: $(head -n 1 "$work/error")" >&2
        continue
    fi
    tools+=("$tool")
done

# Seconds of one command, in microseconds, as a result line.
timed() {
    local name=$1 tool=$2 began=${EPOCHREALTIME/./} status=0
    shift 2
    under "$tool" "$@" </dev/null >/dev/null 2>"$work/error" || status=$?
    local took=$((${EPOCHREALTIME/./} - began))
    if [ "$status" != 0 ]; then
        echo "compare.sh: $name under $tool ends with $status: $(head -n 1 "$work/error")" >&2
    else
        echo "$name $tool $((took * 1000))" >>"$results"
    fi
}

printf 'kernel %s, %s CPUs, load %s, %s rounds of %s ms loops\n' "$(uname -r)" "$(nproc)" "$(cut -d' ' -f1-3 /proc/loadavg)" "$rounds" "$milliseconds"
for ((round = 0; round < rounds; round++)); do
    for tool in "${tools[@]}"; do
        status=0
        under "$tool" "$work/loops" "$milliseconds" </dev/null >"$work/out" 2>"$work/error" || status=$?
        [ "$status" = 0 ] || echo "compare.sh: loops under $tool end with $status: $(head -n 1 "$work/error")" >&2
        awk -v tool="$tool" 'NF == 2 { print $1, tool, $2 }' "$work/out" >>"$results"
    done
    for program in "${programs[@]}"; do
        case $program in git-*) [ -d repository ] || continue ;; esac
        for tool in "${tools[@]}"; do timed "${program%%|*}" "$tool" /bin/sh -c "${program#*|}"; done
    done
    for _ in 1 2 3; do
        for tool in "${tools[@]}"; do timed start-up "$tool" /bin/true; done
    done
done
printf 'load afterwards %s\n\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
[ -z "$raw" ] || cp "$results" "$OLDPWD/$raw"

# Medians and least values in microseconds, then the ratios of the medians.
awk -v tools="${tools[*]}" '
    function sort(values, n,   i, j, x) {
        for (i = 2; i <= n; i++) { x = values[i]; for (j = i - 1; j >= 1 && values[j] > x; j--) values[j + 1] = values[j]; values[j + 1] = x }
    }
    { key = $1 SUBSEP $2; if (!($1 in seen)) { seen[$1] = 1; rows[++count] = $1 } all[key, ++n[key]] = $3 }
    END {
        width = split(tools, names, " ")
        printf "%-24s", "median µs (least)"; for (t = 1; t <= width; t++) printf "%22s", names[t]; print ""
        for (r = 1; r <= count; r++) {
            printf "%-24s", rows[r]
            for (t = 1; t <= width; t++) {
                key = rows[r] SUBSEP names[t]
                if (!n[key]) { printf "%22s", "-"; continue }
                for (i = 1; i <= n[key]; i++) values[i] = all[key, i]
                sort(values, n[key]); m = n[key] % 2 ? values[(n[key] + 1) / 2] : (values[n[key] / 2] + values[n[key] / 2 + 1]) / 2
                median[rows[r], names[t]] = m
                printf "%22s", sprintf(m < 1e6 ? "%.2f (%.2f)" : "%.0f (%.0f)", m / 1000, values[1] / 1000)
            }
            print ""
        }
        printf "\n%-24s%12s%12s%12s%12s%12s%12s\n", "ratio of medians", "cage/native", "cage/strace", "cage/proot", "cage/bwrap", "strace/nat.", "bwrap/nat."
        for (r = 1; r <= count; r++) {
            printf "%-24s", rows[r]
            split("cage-trace native cage-trace strace cage-trace proot cage-trace bwrap strace native bwrap native", of, " ")
            for (i = 1; i <= 12; i += 2) {
                a = median[rows[r], of[i]]; b = median[rows[r], of[i + 1]]
                if (a && b) printf "%12.2f", a / b; else printf "%12s", "-"
            }
            print ""
        }
    }' "$results"

# The supervisor's largest size, while it serves a busy run.
"$cage_trace" -q "${flags[@]}" --bind "$work" -- /bin/sh -c 'i=0; while [ $i -lt 60 ]; do cat /etc/passwd | sort >/dev/null; i=$((i + 1)); done; sleep 1' </dev/null >/dev/null 2>&1 &
supervisor=$!
size=0
while [ -d "/proc/$supervisor" ]; do
    seen=$(awk '/^VmHWM/ { print $2 }' "/proc/$supervisor/status" 2>/dev/null || true)
    [ -z "$seen" ] || size=$seen
    sleep 0.05
done
wait "$supervisor" || echo "compare.sh: the run whose supervisor was measured ends with $?" >&2
printf '\nsupervisor: %s KiB resident at most\n' "$size"
