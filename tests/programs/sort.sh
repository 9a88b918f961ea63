# A sort that spills to temporary files and uses two threads, checked against another way to the same order.
seq 120000 | awk '{ printf "%05d %d\n", ($1 * 7919) % 100003, $1 }' >in
mkdir tmp; sort -S 1M -T tmp --parallel=2 in >out; ls -A tmp
sort -c out && wc -l <out; sha256sum out; sort -S 64M in | cmp - out && echo same
sort -k2,2nr -S 1M -T tmp in | head -n 3; sort -u -k1,1 in | wc -l; split -l 40000 out part.; sort -m part.?? | sha256sum; sort -R --random-source=in -o shuffled part.aa; sort shuffled | cmp - part.aa && echo shuffled back
rm in out part.* shuffled
