# Applets and the shell of one static binary. (Whether the shell says "Terminated" of a child that was killed depends on when
# it is told: natively too it sometimes does not.)
echo "a static shell"; seq 5 | sed 's/^/n/' | grep -v 3 | sort -r | tr '\n' ,; echo; mkdir -p a/b; echo hi >a/b/c; find a | sort; cat <<E | awk '{ print NF, $2 }'
one two three
E
(trap 'echo bye' EXIT; exit 3); echo "$?"; for i in 1 2 3; do (exit $i) & done; wait; tar -cf - a | tar -tf - | sort; gzip -c a/b/c | gunzip; md5sum a/b/c; ls -l a/b | awk 'NR > 1 { print $1, $5, $9 }'; stat -c %a a/b/c; ln -s b a/l; readlink a/l; dd if=/dev/zero bs=1k count=3 2>/dev/null | wc -c; test -d a && rm -r a; ls; date -u -d @0; expr 6 \* 7; sh -c 'echo $0' again; (sleep 9 & kill $!; wait $!) 2>/dev/null; echo "$?"; printf 'x\ny\n' | xargs -n1 echo got; find /no/such; echo "$?"
