# tar, gzip and xz there and back, as streams and as files.
mkdir -p src/deep/er; seq 5000 >src/numbers; head -c 200000 /dev/zero >src/zeros; printf 'x' >src/deep/er/x; ln -s ../numbers src/deep/link; ln src/numbers src/hard; chmod 640 src/zeros; chmod 700 src/deep
reproducible="--sort=name --mtime=@1000000000 --owner=7 --group=7 --numeric-owner --format=gnu"
tar $reproducible -cf a.tar src && tar -tvf a.tar --full-time | cut -c1-10,30-; sha256sum a.tar
gzip -n -9 -k a.tar; xz -T1 -k a.tar; xz -T2 -c a.tar >b.tar.xz; gzip -t a.tar.gz && xz -t a.tar.xz && echo whole; gzip -dc a.tar.gz | cmp - a.tar && xz -dc b.tar.xz | cmp - a.tar && echo same
mkdir out1 out2; tar -C out1 --no-same-owner -xzf a.tar.gz; xz -dc a.tar.xz | tar -C out2 --no-same-owner -xf -; diff -r src out1/src && diff -r out1 out2 && echo extracted; stat -c '%n %a %h %Y' out1/src/zeros out1/src/numbers; readlink out2/src/deep/link
tar -cf - src | tar -tf - | wc -l; tar $reproducible -rf a.tar --transform=s,src,added, src/numbers; tar -xOf a.tar added/numbers | tail -n 1; tar --delete -f a.tar src/zeros; tar -df a.tar src/deep 2>&1 | grep -v 'differs$'; printf 'garbage' >bad.gz; gzip -d bad.gz; echo "gzip $?"; tar -xf no-such.tar 2>/dev/null; echo "tar $?"
zcat a.tar.gz | head -c 100 | wc -c; rm -r out1 out2 a.tar.* b.tar.xz
