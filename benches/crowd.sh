#!/bin/bash
# How cages get on beside each other, and on one CPU: calls of stat(2) in a second, in turns (A B A B); the most of several rounds. Then what
# the supervisor's own CPU time is while sixty-four cages sleep.
#
#   benches/crowd.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
rounds=${1:-5}
cage_trace=$(realpath "${CAGE_TRACE:-target/release/cage-trace}")
work=$(mktemp -d /tmp/cage-trace-crowd.XXXXXX)
trap 'rm -rf "$work"' EXIT
gcc -O1 -Wall -o "$work/crowd" benches/crowd.c

under() {
    local tool=$1
    shift
    case $tool in
        native) "$@" ;;
        *) "$cage_trace" -q --platform="$tool" -- "$@" ;;
    esac
}
# name, what stands before the tool, busy ones, idle ones
crowds=("64-busy||64|0" "1-alone||1|0" "1-beside-63-idle||1|63" "1-on-one-CPU|taskset 1|1|0")
for ((round = 0; round < rounds; round++)); do
    for crowd in "${crowds[@]}"; do
        IFS='|' read -r name before busy idle <<<"$crowd"
        for tool in native hybrid fast; do
            if [ -n "$before" ]; then
                # A shell function cannot be run by another program.
                rate=$($before bash -c "$(declare -f under); cage_trace=$cage_trace; under $tool $work/crowd $busy $idle 500")
            else
                rate=$(under "$tool" "$work/crowd" "$busy" "$idle" 500)
            fi
            echo "$name $tool $rate"
        done
    done
done | awk '
    { key = $1 " " $2; if ($3 > most[key]) most[key] = $3; if (!($1 in seen)) { seen[$1] = 1; names[++n] = $1 } }
    END {
        print "| calls a second | native | hybrid | fast | fast / hybrid |"
        print "|---|---:|---:|---:|---:|"
        for (i = 1; i <= n; i++) {
            name = names[i]
            printf "| %s | %d | %d | %d | %.2f |\n", name, most[name " native"], most[name " hybrid"], most[name " fast"], most[name " fast"] / most[name " hybrid"]
        }
    }'

# Each of the sleepers has been busy first, so that its thread has all that the fast path gives.
sleepers='for i in $(seq 64); do (find /usr/share/doc -maxdepth 2 >/dev/null 2>&1; exec sleep 30) & done; wait'
"$cage_trace" -q --platform=fast -- bash -c "$sleepers" &
supervisor=$!
sleep 20
spent() { awk '{ print $14 + $15 }' "/proc/$supervisor/stat"; }
before=$(spent)
sleep 2
echo "CPU time of the supervisor in 2 s of 64 sleeping cages: $(( ($(spent) - before) * 1000 / $(getconf CLK_TCK) )) ms"
wait "$supervisor"
