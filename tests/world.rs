//! The world around a run, bullet by bullet: what is private, what is read-only, what is hidden, who one is in there.
//!
//! Each test is a shell script of harness/outer.rs.

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use harness::outer::{check, check_as_root};
use harness::{program, skip};

#[test]
fn temporary_directories_are_private_and_empty() {
    check(
        r#"cd /; HOME=/ "$CT" -q -- sh -c 'for d in /tmp /var/tmp /run /dev/shm /mnt /media; do
               echo "$d: $(ls -A $d)"; echo private >$d/cage-trace-world || echo "cannot write"; cat $d/cage-trace-world; done'
           ls -d /tmp/cage-trace-world /var/tmp/cage-trace-world /run/cage-trace-world 2>/dev/null"#,
        "/tmp: \nprivate\n/var/tmp: \nprivate\n/run: \nprivate\n/dev/shm: \nprivate\n/mnt: \nprivate\n/media: \nprivate\n",
    );
}

#[test]
fn the_host_is_read_only() {
    check(
        r#""$CT" -q -- sh -c 'for f in /x /usr/x /etc/x /var/x /dev/x /sys/x /proc/x; do (echo x >$f) 2>/dev/null && echo "wrote $f"; done
               ls /usr/bin >/dev/null && echo visible; rm -f /etc/passwd 2>/dev/null || echo kept
               chmod 777 /etc/passwd 2>/dev/null || echo kept'"#,
        "visible\nkept\nkept\n",
    );
}

#[test]
fn no_mount_of_the_host_is_writable_or_behind_the_root() {
    check(
        r#"cd /; "$CT" -q -- sh -c 'ls -id / /.. | cut -d" " -f1 | uniq | wc -l
               # Everything but the kernel file systems and the tmpfs made for the run must be read-only in its mount options.
               while read -r id parent dev root place options rest; do
                   case "$rest" in *"- proc cage "*|*"- devpts cage "*|*"- tmpfs cage "*) continue;; esac
                   case "$place,$options" in /dev/null,*|/dev/zero,*|/dev/full,*|/dev/random,*|/dev/urandom,*|/dev/tty,*) continue;; *,ro*) continue;; esac
                   echo "writable: $place $options $rest"; done </proc/self/mountinfo'"#,
        "1\n",
    );
}

#[test]
fn a_home_is_empty_private_and_writable() {
    check(
        r#"cd /; "$CT" -q -- sh -c 'ls -A ~; echo new >~/new && cat ~/new; stat -c %a ~'; ls -A ~"#,
        "new\n700\nfile\n",
    );
    check(
        r#"cd; "$CT" -q -- sh -c 'pwd | sed "s,.*/,,"; ls -A; echo new >new; ls -A'; ls -A"#,
        "home\nnew\nfile\n",
    );
}

#[test]
fn the_working_directory_is_visible_and_read_only() {
    check(
        r#"mkdir -p d/e; echo inside >d/e/f; cd d/e; HOME=/ "$CT" -q -- sh -c 'pwd | sed "s,.*/d/,d/,"; cat f; (echo x >f) 2>/dev/null || echo kept
               ls -A /tmp | wc -l; ls -A "$(dirname "$(dirname "$PWD")")"'; cat f"#,
        "d/e\ninside\nkept\n1\nd\ninside\n",
    );
    check(
        r#"mkdir -p ~/project; echo hers >~/project/f; cd ~/project; "$CT" -q -- sh -c 'cat f; ls -A ~'"#,
        "hers\nproject\n",
    );
    // A home below the working directory stays hidden.
    check(
        r#""$CT" -q -- sh -c 'ls -A; ls -A home; echo x >home/x && echo own'; ls home"#,
        "home\nown\nfile\n",
    );
}

#[test]
fn without_a_visible_working_directory_a_run_starts_in_the_root() {
    check(
        r#"mkdir gone; cd gone; rmdir ../gone; "$CT" -q -- /bin/pwd"#,
        "/\n",
    );
}

/// Makes an executable script `$1` that prints its directory's name and runs the rest.
const SCRIPTS: &str = r#"
    script() { mkdir -p "$(dirname "$1")"; printf '#!/bin/sh\n%s\n' "$2" >"$1"; chmod 755 "$1"; }
    cd /
"#;

#[test]
fn a_command_brings_its_directory_along() {
    let check = |script: &str, expected: &str| check(&format!("{SCRIPTS}{script}"), expected);
    // A tool with bin and lib shows both, but never its secrets.
    check(
        r#"mkdir -p ~/tool/lib ~/tool/.ssh; echo data >~/tool/lib/data; echo secret >~/tool/credentials.toml; echo secret >~/tool/.ssh/key
           script ~/tool/bin/run 'cat ~/tool/lib/data; cat ~/tool/credentials.toml ~/tool/.ssh/key 2>/dev/null; ls -A ~; (echo x >~/tool/x) 2>/dev/null || echo kept'
           PATH=$PATH:$HOME/tool/bin "$CT" -q -- run"#,
        "data\ntool\nkept\n",
    );
    // Of ~/bin only that, of a file in the home only the file.
    check(
        r#"script ~/bin/run 'ls -A ~ ~/bin'; PATH=$PATH:$HOME/bin "$CT" -q -- run | sed "s,^/.*/,,""#,
        "home:\nbin\n\nbin:\nrun\n",
    );
    check(r#"script ~/run 'ls -A ~'; "$CT" -q -- ~/run"#, "run\n");
    check(
        r#"mkdir -p ~/.local/lib ~/.local/share; script ~/.local/bin/run 'ls -A ~ ~/.local'; "$CT" -q -- ~/.local/bin/run | sed "s,^/.*/,,""#,
        "home:\n.local\n\n.local:\nbin\nlib\n",
    );
    check(
        r#"mkdir -p ~/.config/d; echo secret >~/.config/d/other; script ~/.config/d/run 'ls -A ~/.config/d'; "$CT" -q -- ~/.config/d/run"#,
        "run\n",
    );
}

#[test]
fn a_command_behind_symlinks_is_found() {
    let script = r#"script ~/opt/real/prog 'echo it runs; cat ~/opt/real/data'; echo data >~/opt/real/data; mkdir -p ~/bin
        ln -s ../opt/real/prog ~/bin/link; ln -s opt/real ~/short
        "$CT" -q -- ~/bin/link; PATH=$PATH:$HOME/short "$CT" -q -- prog"#;
    check(
        &format!("{SCRIPTS}{script}"),
        "it runs\ndata\nit runs\ndata\n",
    );
}

#[test]
fn the_message_says_what_would_show_a_missing_interpreter() {
    let script = r##"mkdir -p ~/i ~/bin; cp /bin/sh ~/i/sh; printf '#!%s/i/sh\necho runs\n' "$HOME" >~/bin/run; chmod 755 ~/bin/run
        "$CT" -q -- ~/bin/run 2>&1 | sed "s,$HOME,H,g"; "$CT" -q --ro-bind ~/i -- ~/bin/run
        "$CT" -q -- no-such-command-here 2>/dev/null; echo $?"##;
    check(
        &format!("{SCRIPTS}{script}"),
        "cage-trace: H/bin/run: its interpreter H/i/sh was not found inside; it exists on the host: --ro-bind H/i would show it\nruns\n127\n",
    );
}

#[test]
fn binds_show_what_they_name() {
    check(
        r#"mkdir -p rw/ro ro; echo 1 >rw/f; echo 2 >ro/f; cd /; HOME=/
           "$CT" -q --bind "$S/rw" --ro-bind "$S/ro" --ro-bind "$S/rw/ro" -- sh -c 'cd "$0"; cat rw/f ro/f; echo 3 >rw/f; echo 4 >rw/new
               (echo 5 >ro/f) 2>/dev/null || echo kept; (echo 6 >rw/ro/f) 2>/dev/null || echo kept; ls -A' "$S"
           cat "$S"/rw/f "$S"/rw/new "$S"/ro/f"#,
        "1\n2\nkept\nkept\nro\nrw\n3\n4\n2\n",
    );
    // By a relative name, through a symlink, one file, and a whole home.
    check(
        r#"mkdir d; echo 1 >d/f; ln -s d l; "$CT" -q --bind l -- sh -c 'echo 2 >l/f; cat d/f'; cat d/f"#,
        "2\n2\n",
    );
    check(
        r#"echo 1 >f; cd /; HOME=/ "$CT" -q --bind "$S/f" -- sh -c 'echo 2 >"$0"/f; ls -A "$0"' "$S"; cat "$S/f""#,
        "f\n2\n",
    );
    check(
        r#"cd /; "$CT" -q --bind ~ -- sh -c 'cat ~/file; echo 2 >~/file'; cat ~/file"#,
        "mine\n2\n",
    );
}

#[test]
fn binds_that_cannot_be_are_refused() {
    check(
        r#""$CT" --bind /no/such/dir -- true 2>&1; echo $?; "$CT" --bind /proc/self -- true 2>/dev/null; echo $?"#,
        "cage-trace: --bind /no/such/dir: no such file or directory (name a file or directory that exists on the host)\n125\n125\n",
    );
}

#[test]
fn a_bind_brings_the_mounts_below_it() {
    check_as_root(
        "a_bind_brings_the_mounts_below_it",
        r#"mkdir -p d/sub; unshare -m sh -c 'mount -t tmpfs none d/sub && echo below >d/sub/f && cd / &&
               "$CT" -q --bind "$S/d" -- sh -c "cat $S/d/sub/f; echo new >$S/d/sub/g; cat $S/d/sub/g" &&
               "$CT" -q --ro-bind "$S/d" -- sh -c "cat $S/d/sub/f; (echo new >$S/d/sub/g) 2>/dev/null || echo kept"'"#,
        "below\nnew\nbelow\nkept\n",
    );
}

#[test]
fn proc_is_the_runs_own_and_cannot_change_the_machine() {
    check(
        r#""$CT" -q -- sh -c 'cat /proc/1/comm; ls -d /proc/[0-9]* | wc -l | { read n; [ $n -lt 8 ] && echo few; }
               find /proc/sys /proc/irq /proc/bus /proc/fs /proc/acpi /proc/sysrq-trigger /proc/mtrr /proc/scsi /proc/driver -type f 2>/dev/null |
                   while read -r f; do (: >>"$f") 2>/dev/null && echo "writable: $f"; done
               for f in kcore keys timer_list sched_debug kmsg; do [ "$(head -c 1 /proc/$f 2>/dev/null | wc -c)" = 0 ] || echo "readable: $f"; done
               cat /proc/1/environ 2>/dev/null; (echo 1 >/proc/self/coredump_filter) && echo own'"#,
        "cage-init\nfew\nown\n",
    );
}

#[test]
fn sys_is_nearly_empty() {
    check(
        r#""$CT" -q -- sh -c 'cd /sys; find . -maxdepth 3 | sort | grep -v -e "^\./devices/system/node$" -e "^\./kernel/mm/transparent_hugepage$"
               cat devices/system/cpu/online | wc -l
               find . -type f 2>/dev/null | while read -r f; do (: >>"$f") 2>/dev/null && echo "writable: $f"; done'"#,
        ".\n./devices\n./devices/system\n./devices/system/cpu\n./kernel\n./kernel/mm\n1\n",
    );
}

#[test]
fn dev_is_minimal_and_works() {
    check(
        r#""$CT" -q -- sh -c 'ls /dev; echo gone >/dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo x >/dev/full 2>/dev/null || echo full
               echo through >/dev/stdout; echo read | cat /dev/stdin; ls /dev/pts; stat -c %a /dev/pts/ptmx' | cat"#,
        "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n3\n3\nfull\nthrough\nread\nptmx\n666\n",
    );
}

#[test]
fn a_run_of_root_cannot_read_what_is_root_s() {
    check_as_root(
        "a_run_of_root_cannot_read_what_is_root_s",
        r#""$CT" -q -- sh -c 'for f in /etc/shadow /etc/gshadow /etc/shadow- /etc/sudoers /etc/ssh/*_key; do cat $f >/dev/null 2>&1 && echo "readable: $f"; done
               for d in /boot /etc/ssl/private /var/lib/docker /var/lib/containerd /root; do ls -A $d 2>/dev/null; done; echo done'"#,
        "done\n",
    );
}

#[test]
fn identity_without_power() {
    check(
        r#"id -u >ids; id -g >>ids; "$CT" -q -- sh -c '{ id -u; id -g; } | cmp - ids && echo same; hostname 2>/dev/null || uname -n
               grep -E "^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs)" /proc/self/status | tr -d "\t" | tr "\n" " "'"#,
        "same\ncage\nCapInh:0000000000000000 CapPrm:0000000000000000 CapEff:0000000000000000 CapBnd:0000000000000000 CapAmb:0000000000000000 NoNewPrivs:1 ",
    );
}

#[test]
fn the_environment_is_a_harmless_part() {
    check(
        r#"export SECRET=1 LC_TIME=C TERM=dumb TZ=UTC COLORTERM=1; "$CT" -q -- env | cut -d= -f1 | sort | tr "\n" " "
           "$CT" -q --keep-env -- env | grep SECRET"#,
        "COLORTERM HOME LC_ALL LC_TIME PATH TERM TZ SECRET=1\n",
    );
}

#[test]
fn only_stdio_is_inherited() {
    check(
        r#"exec 5</etc/passwd 9>/dev/null; "$CT" -q -- ls /proc/self/fd"#,
        "0\n1\n2\n3\n",
    );
    check(r#""$CT" -q -- sh -c 'ls /proc/self/fd' <&- 2>&-"#, "0\n1\n");
}

#[test]
fn signals_arrive_as_the_caller_left_them() {
    check(
        r#"trap '' HUP USR1; grep -E '^Sig(Blk|Ign)' /proc/self/status >native; "$CT" -q -- grep -E '^Sig(Blk|Ign)' /proc/self/status >caged
           cmp native caged && echo same; trap - HUP USR1
           "$CT" -q -- sh -c '(yes; echo "yes: $?" >&2) | head -n 1 >/dev/null' 2>&1"#,
        "same\nyes: 141\n",
    );
}

#[test]
fn the_network_is_only_the_loopback() {
    if program("bash").is_none() {
        return skip("the_network_is_only_the_loopback", "bash");
    }
    check(
        r#""$CT" -q -- bash -c 'echo x >/dev/udp/127.0.0.1/9 && echo up; echo x 2>/dev/null >/dev/udp/192.0.2.1/9 || echo none
               tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d " "' 2>/dev/null"#,
        "up\nnone\nlo\n",
    );
}

#[test]
fn signals_to_the_group_stay_inside() {
    check(r#""$CT" -q -- sh -c 'kill -9 0'; echo $?"#, "137\n");
    check(
        r#""$CT" -q -- sh -c 'kill -9 -1 2>/dev/null; kill -9 1; echo alive'"#,
        "alive\n",
    );
}

#[test]
fn the_audit_file_is_covered() {
    check(
        r#"mkdir d; echo earlier >d/a.jsonl; cd /; "$CT" -q -o "$S/d/a.jsonl" --bind "$S/d" -- sh -c 'cd "$0/d"; ls; cat a.jsonl
               (: >a.jsonl); (: >>a.jsonl); chmod 777 a.jsonl; rm -f a.jsonl; mv a.jsonl b.jsonl; ln a.jsonl c.jsonl; echo x >new; mv new a.jsonl; ls' "$S" 2>/dev/null
           ls "$S/d"; test -s "$S/d/a.jsonl" && echo kept"#,
        "a.jsonl\na.jsonl\nnew\na.jsonl\nnew\nkept\n",
    );
}

#[test]
fn the_audit_file_is_covered_under_all_its_names() {
    check_as_root(
        "the_audit_file_is_covered_under_all_its_names",
        r#"mkdir d e; echo earlier >d/a.jsonl; unshare -m sh -c 'mount --bind d e && "$CT" -q -o d/a.jsonl -- sh -c "cat d/a.jsonl e/a.jsonl"' 2>/dev/null
           ln d/a.jsonl d/b.jsonl; "$CT" -q -o d/a.jsonl -- true 2>/dev/null; echo $?"#,
        "125\n",
    );
}

#[test]
fn the_name_of_the_run_has_an_address() {
    check(
        r#"for name in cage other; do
               "$CT" -q --hostname=$name -- sh -c 'getent hosts "$(uname -n)"; head -c -1 /etc/hosts | tail -n 1; echo; (echo x >/etc/hosts) 2>/dev/null || echo fixed'
           done
           "$CT" -q --ro-bind /etc -- cmp /etc/hosts - </etc/hosts && echo "the host's"
           "$CT" -q --hide /etc/hosts -- cat /etc/hosts 2>/dev/null || echo hidden"#,
        "127.0.1.1       cage\n127.0.1.1\tcage\nfixed\n127.0.1.1       other\n127.0.1.1\tother\nfixed\nthe host's\nhidden\n",
    );
}

#[test]
fn nothing_survives_a_killed_supervisor() {
    check(
        r#""$CT" -q -- sh -c 'sleep 73.0625 & sleep 73.0625' & until pgrep -f "^sleep 73.0625" >/dev/null; do sleep 0.05; done
           kill -9 $!; wait $! 2>/dev/null; for i in 1 2 3 4 5 6 7 8 9 10; do pgrep -f "^sleep 73.0625" >/dev/null || break; sleep 0.1; done
           pgrep -f "^sleep 73.0625" || echo none"#,
        "none\n",
    );
}

#[test]
fn where_namespaces_are_forbidden_the_message_says_so() {
    check_as_root(
        "where_namespaces_are_forbidden_the_message_says_so",
        r#"unshare -U -r sh -c 'echo 0 >/proc/sys/user/max_user_namespaces; "$CT" -- true' 2>&1; echo $?"#,
        "cage-trace: cannot make new namespaces: no space left on device (raise /proc/sys/user/max_user_namespaces and its like)\n125\n",
    );
}

#[test]
fn the_program_is_in_the_foreground_of_the_terminal() {
    if program("script").is_none() {
        return skip("the_program_is_in_the_foreground_of_the_terminal", "script");
    }
    // Fields 5 and 8 of stat(5) in proc: the process group, and the terminal's foreground group.
    check(
        r#"script -qec "\"$CT\" -q -- sh -c 'read -r stat </proc/self/stat; set -- \$stat; test \$5 = \$8 && echo foreground; echo x >/dev/tty'; read -r stat </proc/self/stat; set -- \$stat; test \$5 = \$8 && echo back" /dev/null </dev/null | tr -d "\r""#,
        "foreground\nx\nback\n",
    );
}
