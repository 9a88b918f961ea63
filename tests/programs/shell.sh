# What both dash and bash can do: pipes, here-documents, traps, subshells, descriptors, jobs.
set -u
printf 'pipe: '; printf 'c\na\nb\n' | sort | tr '\n' ' '; echo
cat <<HERE
here: $((6 * 7)) $(echo substituted)
HERE
cat <<'RAW' | sed 's/^/raw: /'
$not $(expanded)
RAW
(cd / && pwd); pwd | sed 's,.*/,,' | grep -c .
x=outer; (x=inner; echo "subshell $x"); echo "shell $x"
{ echo one; echo two >&2; } >both 2>&1; cat both
exec 3>three 4<both; echo via3 >&3; read -r line <&4; echo "read $line"; exec 3>&- 4<&-; cat three
(echo closed >&7) 2>/dev/null || echo "no descriptor 7"
exec 5<>rw; echo abc >&5; exec 5>&-; cat rw
trap 'echo got USR1' USR1; kill -USR1 $$; echo after
(trap 'echo cleanup; exit 4' EXIT; trap 'exit 5' TERM; exit 0); echo "subshell said $?"
sh -c 'kill -TERM $$'; echo "killed: $?"
sleep 30 & kill $!; wait $! 2>/dev/null; echo "waited: $?"
(exit 7) & wait $!; echo "job: $?"
false | true; echo "pipe status $?"
i=0; while [ $i -lt 5 ]; do echo $i; i=$((i + 1)); done | { s=0; while read -r n; do s=$((s + n)); done; echo "sum $s"; }
for f in a b c; do echo "$f" >"file.$f"; done; echo file.*; for f in file.*; do [ -s "$f" ] && echo "$f"; done
yes | head -n 3; echo "yes: $?"
umask 027; : >masked; mkdir dmask; ls -ld masked dmask | cut -c1-10
test -r /etc/passwd && test ! -e /no/such && echo tests
./no-such-program 2>/dev/null; echo "missing: $?"; : >plain; ./plain 2>/dev/null; echo "not executable: $?"
printf '#!/bin/sh\necho "script $0 $# $1"\n' >s.sh; chmod +x s.sh; ./s.sh arg; mkdir d; cp s.sh d; (cd d; ./s.sh x y); sh ./s.sh
mkfifo p; (echo through the fifo >p) & cat p; wait
ulimit -n 64; ulimit -n; (ulimit -n 8; exec 9>x) 2>/dev/null || echo "descriptor limit holds"
set -- -a val -b rest; while getopts a:b o; do echo "opt $o ${OPTARG-}"; done; shift $((OPTIND - 1)); echo "left $*"
eval 'echo evaluated'; command -v cat >/dev/null && echo found; case abc in a*) echo matched;; esac
sh -c 'exit 300'; echo "exit 300 is $?"
