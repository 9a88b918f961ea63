# tmux with shells inside: what they print, their terminals, windows and panes, jobs, resizing, ends; floods as the load.
export TERM=screen SHELL=/bin/sh PS1='$ ' ENV=
t() { tmux -S tmux.sock -f /dev/null "$@"; }
trap 't kill-server 2>/dev/null' EXIT
shows() { t capture-pane -p -t "$1" | grep -q "$2"; }
screen() { t capture-pane -p -t "$1" | sed '/^$/d'; }
type_in() { t send-keys -t "$1" "$2" Enter; }

t new-session -d -s main -n shell -x 80 -y 24 'exec sh'
wait_for shows main '\$'
type_in main 'stty size; test -t 0 && echo a terminal; tty | grep -c pts; echo done $((1 + 1))'
wait_for shows main '^done 2'
screen main
t resize-window -t main -x 60 -y 10
type_in main 'clear; stty size; echo resi''zed'
wait_for shows main '^resized'
screen main

# Jobs: a key that stops, one that interrupts, and what goes on in the background.
type_in main 'clear; sleep 100'
running() { t display-message -p -t main '#{pane_current_command}' | grep -qx "$1"; }
wait_for running sleep
t send-keys -t main C-z
wait_for shows main Stopped
wait_for running sh
type_in main 'clear; jobs; fg'
wait_for running sleep
t send-keys -t main C-c
wait_for running sh
type_in main 'echo "status $?"'
wait_for shows main 'status 130'
screen main | tail -n 2

# A second pane, a window of its own for a program, input for all panes.
t split-window -t main -h 'exec sh'
t list-panes -t main -F '#{pane_index} #{pane_width}x#{pane_height}'
t set-option -w -t main synchronize-panes on
type_in main:.1 'clear; echo both | tr a-z A-Z'
wait_for shows main:.0 '^BOTH'
wait_for shows main:.1 '^BOTH'
t set-option -w -t main synchronize-panes off
t kill-pane -t main:.1
t new-window -d -t main -n counts 'seq 5; read line; echo "got $line"; read line'
wait_for shows main:counts 5
type_in main:counts 'a line'
wait_for shows main:counts 'got a line'
screen main:counts
t list-windows -t main -F '#{window_name} #{window_panes}'
t send-keys -t main:counts Enter
closed() { [ "$(t list-windows -t main | wc -l)" = 1 ]; }
wait_for closed
printf 'pasted text' | t load-buffer -
type_in main 'clear; echo rea''dy'
wait_for shows main '^ready'
t send-keys -t main 'echo '
t paste-buffer -t main
t send-keys -t main Enter
wait_for shows main '^pasted text'

round() {
    t new-window -d -t main -n "flood" "seq 20000; echo; echo 'the end'; sleep 30" || return
    wait_for shows main:flood '^the end'
    t kill-window -t main:flood
    t new-window -d -t main 'exit 3'
    wait_for closed
}
load round

# A client that is attached to a terminal sees it too.
t resize-window -t main -A
mkfifo keys
exec 7<>keys
timeout 40 script -qfec 'stty cols 70 rows 12; tmux -S tmux.sock attach -t main' typescript <&7 >attached &
attached() { [ "$(t list-clients | wc -l)" = 1 ]; }
wait_for attached
type_in main 'echo seen by "$(expr 5 + 5)"'
wait_for grep -q 'seen by 10' typescript
t detach-client -s main
wait "$!"
echo "detached: $?"
type_in main 'exit'
ended() { ! t has-session; }
wait_for ended
rm tmux.sock typescript attached keys
ls
