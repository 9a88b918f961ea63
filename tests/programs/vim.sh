# The editor without a screen: ranges, substitutions, filters, undo, several files, swap and backup files, recovery.
set -u
vim=vim.tiny
seq 40 >numbers; cp numbers copy; printf 'alpha beta\nbeta gamma\n\tdelta\n' >words
$vim -es -u NONE -i NONE -c '%s/1/one/g' -c '5,8delete' -c 'g/7/move 0' -c '$put =' -c 'wq' numbers; echo "status $?"; head -n 5 numbers; wc numbers
# From a file: what stands on its input is also handed to the shells that it starts.
cat >commands <<'COMMANDS'
2,3>
1copy $
%!sort -r
r !echo from a command
$r copy
w! out
undo
1,2join
w >> out
!echo shell
w
q
COMMANDS
$vim -es -u NONE -i NONE -S commands words </dev/null; echo "status $?"; cat words; cksum out
$vim -es -u NONE -i NONE -c 'argdo %s/^/> /e | update' -c 'qa' copy words; echo "status $?"; tail -n 2 copy words
$vim -es -u NONE -i NONE -c '%!no-such-program' -c 'q!' words; echo "status $?"
$vim -es -u NONE -i NONE -c 'w /no/such/file' -c 'q!' words; echo "status $?"
$vim -es -R -u NONE -i NONE -c '1s/>/#/' -c 'w' -c 'q!' words; echo "status $?"; head -n 1 words
$vim -es -R -u NONE -i NONE -c '1s/>/#/' -c 'w!' -c 'q' words; echo "status $?"; head -n 1 words; stat -c %a words
# A swap file that an ended editor left behind holds the change that was never written.
mkfifo ready on
$vim -es -u NONE -i NONE -c 'set updatecount=1' -c '1s/.*/unsaved/' -c 'preserve' -c '!echo there >ready; read -r word <on' copy & editor=$!
read -r word <ready; echo "$word"; ls -A | grep -c swp
{ kill -9 $editor; wait $editor; } 2>/dev/null; echo "killed $?"; echo >on
$vim -es -u NONE -i NONE -r -c 'w recovered' -c 'q!' copy >recovery 2>&1; echo "status $?"; head -n 1 recovered
rm -f .copy.swp recovery ready on
