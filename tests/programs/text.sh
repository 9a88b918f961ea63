# find, grep, sed and awk over a small tree.
mkdir -p t/a/b t/c; printf 'alpha\nbeta\ngamma\n' >t/a/one.txt; printf 'beta\n42\n' >t/a/b/two.txt; printf '#!/bin/sh\n' >t/c/run.sh; chmod 755 t/c/run.sh; ln -s ../a/one.txt t/c/link; : >t/empty
find t | sort; find t -type f -name '*.txt' -size -1k -print | sort; find t -type l -printf '%p -> %l\n'; find t -perm -111 -type f; find t -empty
find t -name '*.txt' -exec wc -l {} + | sort; find t -type f -print0 | sort -z | xargs -0 -n1 basename; find t -name 'one*' -execdir cat {} \; | head -n 1; find t -depth -name c -exec rm -r {} \; ; ls t
grep -rn beta t | sort; grep -c a t/a/one.txt; grep -v a t/a/b/two.txt; grep -E '^[0-9]+$' -r t; grep -q zeta t/a/one.txt; echo "grep $?"; grep x no-such-file; echo "grep $?"
sed -n '2,3p;$=' t/a/one.txt; sed -i.bak 's/beta/BETA/;3d' t/a/one.txt; cat t/a/one.txt; ls t/a; sed 'y/abc/ABC/;G;N;P;D' t/a/one.txt.bak; sed -f - t/a/one.txt <<'S'
1i\
inserted
s/\(.\)\(.\)/\2\1/
w written
S
cat written
awk '{ n[$1]++ } END { for (k in n) print k, n[k] | "sort"; close("sort"); print NR }' t/a/one.txt t/a/b/two.txt
seq 1000 | awk '{ s += $1; q += $1 * $1 } END { printf "%d %d %.3f\n", s, q, sqrt(q) }'; awk 'BEGIN { while (("seq 3" | getline x) > 0) print "line " x; print "to file" > "awk.out"; close("awk.out"); while ((getline y < "awk.out") > 0) print y; exit 3 }'; echo "awk $?"
diff -u t/a/one.txt.bak t/a/one.txt | tail -n +3; cmp t/a/one.txt t/a/b/two.txt; echo "cmp $?"
seq 20 | xargs -n 5 -P 2 sh -c 'echo $#' x | sort | uniq -c
