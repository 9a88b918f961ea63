# A repository from nothing to a collected pack, a merge, a clone, a fetch.
set -e
git init -q -b main r; cd r
for i in 1 2 3 4 5 6; do seq $i 100 >f$i; mkdir -p d/$i; echo "$i" >d/$i/n; git add -A; GIT_COMMITTER_DATE="2020-01-0$i 00:00 +0000" git commit -q --date="2020-01-0$i 00:00 +0000" -m "commit $i"; done
git log --oneline --stat | cat; git status --short --branch; echo change >>f1; rm f2; echo new >f7; git status --short; git diff --stat | cat; git stash -q -u; git status --short; git stash pop -q; git checkout -q -- f1 f2
git checkout -q -b topic HEAD~2; echo topic >t; git add t; git commit -q -m topic --date=@1600000000; git checkout -q main; git merge -q --no-edit topic; git log --graph --format='%h %an %s' | cat
git tag -a v1 -m one; git describe; git grep -n '^99$' -- f3; git blame -s f6 | head -n 2; git show --stat HEAD~1 | cat; git archive HEAD | tar -tf - | sort | tail -n 3
git gc -q; git count-objects -v | grep -v size; git fsck --full --strict 2>/dev/null; git rev-parse HEAD HEAD^{tree}
cd ..; git clone -q r c; git clone -q --bare --no-local r b.git; cd c; echo more >more; git add more; git commit -q -m more --date=@1600000001; git push -q ../b.git HEAD:refs/heads/next; cd ../r; git fetch -q ../b.git next; git log -1 --format=%H%n%s FETCH_HEAD; git worktree add -q ../w HEAD~1 2>/dev/null; git worktree list | wc -l; git bisect start -q HEAD HEAD~4 >/dev/null; git bisect run sh -c 'test ! -e f6' >/dev/null 2>&1 || echo "bisect $?"; git bisect log | tail -n 1; git bisect reset -q 2>/dev/null || true; git rebase -q topic 2>&1 | head -n 3; git log -1 --format=%T; git rm -q no-such 2>&1 || echo "git rm $?"
