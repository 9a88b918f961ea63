# rsync from one directory to another, and with a daemon over the loopback: both ways, changes only, deletions, links.
port=$(free_port)
tree() { (cd "$1" && find . -printf '%P %y %m %s %n %l\n' | sort | md5sum; find . -type f | sort | xargs cat | md5sum); }
mkdir -p from/sub/deep from/empty
seq 50000 >from/numbers
head -c 300000 /dev/zero >from/zeros
for i in {1..200}; do echo "file $i" >"from/sub/$i"; done
ln -s ../numbers from/sub/link
ln from/numbers from/sub/deep/hard
mkfifo from/fifo
chmod 604 from/numbers
chmod 705 from/sub
touch -d @1000000000 from/sub/1 from/empty

rsync -aH from/ local && diff -r --exclude=fifo from local && echo local
stat -c '%a %Y %n' local/sub/1 local/empty
tree from >wanted
tree local | cmp - wanted && echo same
rsync -aHi from/ local
echo changed >>from/sub/2
rm from/sub/3
chmod 606 from/sub/4
touch -d @1500000000 from/sub/2 from/sub
rsync -aHi --delete from/ local
rsync -aHin --checksum local/ from
rsync -a --sparse --inplace from/zeros sparse && cmp sparse from/zeros
rsync -a --exclude='[0-9]*' --include='*/' from/ some && ls -R some
rsync -a from/none to 2>&1 | sed 's/(.*//; s|"/.*/|"|'
echo "missing: ${PIPESTATUS[0]}"

cat >daemon.conf <<END
pid file = $PWD/daemon.pid
log file = $PWD/daemon.log
use chroot = no
[up]
path = $PWD/up
read only = no
[down]
path = $PWD/from
comment = what is read
[secret]
path = $PWD/from
auth users = somebody
secrets file = $PWD/secrets
END
mkdir up
chmod 777 up
echo 'somebody:word' >secrets
chmod 600 secrets
rsync --daemon --port="$port" --address=127.0.0.1 --config=daemon.conf
trap '[ -e daemon.pid ] && kill "$(cat daemon.pid)"' EXIT
at() { echo "rsync://127.0.0.1:$port/${1-}"; }
to() { rsync --timeout=30 "$@"; }
wait_for to "$(at)"
to "$(at)"
to -a "$(at down/)" got && echo down
diff -r --exclude=fifo from got && echo 'the same'
to -rlO --chmod=F644,D755 --exclude=fifo from/ "$(at up/)" && diff -r --exclude=fifo --exclude=link from up && echo up
to -rlOz --delete --itemize-changes --exclude=fifo --exclude='sub/1*' --delete-excluded --chmod=F644,D755 from/ "$(at up/)" | sort | md5sum
# The server ends while the client may still be writing, and a reset can take the message away: then once more.
tries=0
until to -a from/ "$(at down/)" 2>&1 | grep -o 'module is read only' || [ "$tries" -ge 20 ]; do tries=$((tries + 1)); done
RSYNC_PASSWORD=wrong to "$(at secret/)" 2>&1 | grep -o 'auth failed'

round() {
    rm -rf load
    to -a --exclude=fifo "$(at down/)" load && diff -r --exclude=fifo from load
    to -rlOz --ignore-times --chmod=F644,D755 --exclude=fifo from/ "$(at up/)"
}
load round

kill "$(cat daemon.pid)"
ended() { [ ! -e daemon.pid ]; }
wait_for ended
sed 's/^[^]]*\] //' daemon.log | grep -i 'error\|fail' | sed 's/ (.*//; s/ at .*//' | sort -u
rm daemon.conf daemon.log
