# What only bash does: process substitution, coprocesses, arrays, wait -n, here-strings, /dev/tcp-free networking.
set -uo pipefail
declare -A m=([one]=1 [two]=2); a=(x y "z w"); echo "${#a[@]} ${a[2]} ${m[two]} ${!a[*]}"
diff <(printf 'a\nb\n') <(printf 'a\nc\n'); echo "diff $?"
printf 'to a substitution\n' > >(cat >sub.out); wait $! 2>/dev/null; for _ in 1 2 3 4 5 6 7 8 9 10; do [[ -s sub.out ]] && break; sleep 0.1; done; cat sub.out
coproc BC { while read -r n; do echo $((n * n)); done; }
echo 12 >&"${BC[1]}"; read -r sq <&"${BC[0]}"; echo "square $sq"; eval "exec ${BC[1]}>&-"; wait "$BC_PID"; echo "coproc $?"
read -r w1 w2 <<<"here string"; echo "$w2 $w1"
(exit 3) & (sleep 0.3; exit 4) & wait -n; echo "first $?"; wait -n; echo "second $?"
false | true; echo "pipefail $?"; echo "${PIPESTATUS[*]}"
exec {fd}>named; echo "to {fd}" >&$fd; exec {fd}>&-; cat named
mapfile -t lines < <(seq 4); echo "${lines[@]:1:2}"
trap 'echo "ERR at a command"' ERR; false; trap - ERR
trap 'echo EXIT trap' EXIT
( set -e; false; echo unreachable ); echo "set -e: $?"
[[ abc123 =~ ^([a-z]+)([0-9]+)$ ]] && echo "${BASH_REMATCH[1]}-${BASH_REMATCH[2]}"
set -m; sleep 0.2 & jobs | sed 's/ *$//'; fg >/dev/null 2>&1; echo "fg $?"; set +m
ls /dev/fd/0 /dev/stdin >/dev/null && echo "dev fd"
echo x | cat /dev/stdin; echo err 2>&1 >/dev/stderr | cat
timeout 0.2 bash -c 'while :; do :; done'; echo "timeout $?"
printf -v v '%03d' 7; echo "$v ${v^^} ${v/0/-} ${v: -1}"
shopt -s nullglob globstar; mkdir -p g/h/i; : >g/h/i/f; echo g/**; for f in nothing*; do echo "$f"; done
{ time -p true; } 2>/dev/null; kill -l 15; type -t cd; echo "$BASHPID" | grep -c '^[0-9]*$'
exec -a renamed bash -c 'echo "argv0 $0"'
