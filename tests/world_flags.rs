//! The flags that make the world: binds, file systems, links, what is hidden, the root, the start, the kernel's own trees.
//!
//! Each test is a shell script of harness/outer.rs.

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use harness::outer::{check, check_as, check_as_root, outer};
use harness::scratch::{User, running_as_root};
use harness::{program, skip};

/// Everyone is refused with status 125 and these words, and nothing is run.
fn check_refusal(flags: &str, words: &[&str]) {
    for user in User::all() {
        let output = outer(
            *user,
            &format!(r#"mkdir d; echo 1 >f; "$CT" -q {flags} -- echo ran"#),
        );
        let said = output.stderr_text();
        assert_eq!(
            (output.status, output.stdout_text().as_str()),
            (125, ""),
            "as {user:?}: {flags}: {said}"
        );
        for word in words {
            assert!(
                said.contains(word),
                "as {user:?}: {flags}: no {word:?} in {said}"
            );
        }
    }
}

#[test]
fn a_bind_can_show_in_another_place() {
    check(
        r#"mkdir -p d/sub; echo 1 >d/f; echo 2 >d/sub/g; echo 3 >one
           "$CT" -q --ro-bind d:/mnt/x/y --bind d/sub:/mnt/z --ro-bind one:/mnt/file -- sh -c '
               cat /mnt/x/y/f /mnt/x/y/sub/g /mnt/file; (echo no >/mnt/x/y/f) 2>/dev/null || echo kept
               echo new >/mnt/z/g; (echo no >/mnt/file) 2>/dev/null || echo kept; ls /mnt'; cat d/f d/sub/g one"#,
        "1\n2\n3\nkept\nkept\nfile\nx\nz\n1\nnew\n3\n",
    );
}

#[test]
fn a_destination_that_the_host_lacks_is_made_for_the_run_alone() {
    check(
        r#"echo 1 >f; mkdir d; echo 2 >d/g
           "$CT" -q --bind d:/cage-trace-a/b/c --ro-bind f:/usr/share/cage-trace-file -- sh -c '
               cat /cage-trace-a/b/c/g /usr/share/cage-trace-file; echo 3 >/cage-trace-a/b/c/g
               (echo x >/cage-trace-a/x) 2>/dev/null || echo kept; (echo x >/usr/share/x) 2>/dev/null || echo kept
               ls -d /etc/passwd /usr/share/. /proc/self/status /dev/null; ls -id / /.. | cut -d" " -f1 | uniq | wc -l; ls -A /tmp | wc -l'
           cat d/g; ls -d /cage-trace-a /usr/share/cage-trace-file 2>/dev/null"#,
        "1\n2\nkept\nkept\n/dev/null\n/etc/passwd\n/proc/self/status\n/usr/share/.\n1\n1\n3\n"
            .replacen("1\n2\n", "2\n1\n", 1)
            .as_str(),
    );
}

#[test]
fn what_frames_a_new_destination_is_the_hosts_and_read_only() {
    // The same names with the same links, and none of it writable.
    check(
        r#"cat >list <<'END'
ls -A / | grep -v cage-trace; for l in /bin /lib /sbin; do readlink $l || echo none; done; cat /etc/passwd; ls /usr/bin
END
           cd /; sh "$S/list" >"$S/before"; "$CT" -q --ro-bind "$S:/cage-trace-a" -- sh /cage-trace-a/list >"$S/after"
           cmp "$S/before" "$S/after" && echo same
           "$CT" -q --ro-bind "$S:/cage-trace-a" -- sh -c 'while read -r id parent dev root place options rest; do
               case "$rest" in *"- proc cage "*|*"- devpts cage "*|*"- tmpfs cage "*) continue;; esac
               case "$place,$options" in /dev/null,*|/dev/zero,*|/dev/full,*|/dev/random,*|/dev/urandom,*|/dev/tty,*) continue;; *,ro*) continue;; esac
               echo "writable: $place"; done </proc/self/mountinfo'"#,
        "same\n",
    );
}

#[test]
fn later_entries_lie_over_earlier_ones() {
    check(
        r#"mkdir -p a/in b; echo a >a/f; echo b >b/f; echo in >a/in/g
           "$CT" -q --ro-bind a:/mnt/x --ro-bind b:/mnt/x -- cat /mnt/x/f
           "$CT" -q --ro-bind a:/mnt/x --tmpfs /mnt/x/in --ro-bind b/f:/mnt/x/in/h -- sh -c 'ls /mnt/x/in; cat /mnt/x/in/h'
           "$CT" -q --ro-bind b:/mnt/x/y --ro-bind a:/mnt/x -- echo ran; echo $?"#,
        "b\nh\nb\n125\n",
    );
    check_refusal(
        "--ro-bind d:/mnt/x/y --tmpfs /mnt/x",
        &["--tmpfs /mnt/x", "--ro-bind d:/mnt/x/y", "first"],
    );
}

#[test]
fn options_of_a_bind_hold() {
    check(
        r#"mkdir d; printf '#!/bin/sh\necho ran\n' >d/run; chmod 755 d/run; cp /bin/true d/true
           "$CT" -q --bind d:/mnt:noexec -- sh -c '/mnt/run 2>/dev/null; echo $?; /mnt/true 2>/dev/null; echo $?; echo x >/mnt/x; sh /mnt/run'
           "$CT" -q --bind d:/mnt -- sh -c '/mnt/run; /mnt/true; echo $?'
           "$CT" -q --bind d:/mnt:ro -- sh -c '(echo x >/mnt/y) 2>/dev/null || echo kept'
           "$CT" -q --ro-bind d:/mnt:rw -- sh -c 'echo x >/mnt/y'; cat d/y
           "$CT" -q --bind nothing::try --bind "$S/nothing:/mnt/n:try" -- ls /mnt; echo $?
           "$CT" -q --mount "bind:$S/d:/mnt/m:ro" -- sh -c '(echo x >/mnt/m/z) 2>/dev/null || echo kept; ls /mnt/m'"#,
        "126\n126\nran\nran\n0\nkept\nx\n0\nkept\nrun\ntrue\nx\ny\n",
    );
}

#[test]
fn what_cannot_be_bound_is_refused() {
    check_refusal(
        "--bind /no/such:/mnt/x",
        &[
            "--bind /no/such:/mnt/x",
            "no such file",
            "exists on the host",
        ],
    );
    check_refusal(
        "--ro-bind d:/proc/x",
        &["--ro-bind d:/proc/x", "the run's own"],
    );
    check_refusal(
        "--ro-bind f:/usr",
        &[
            "--ro-bind f:/usr",
            "a directory inside",
            "another destination",
        ],
    );
    check_refusal(
        "--ro-bind d:/etc/passwd",
        &["--ro-bind d:/etc/passwd", "a file inside"],
    );
    check_refusal(
        "--ro-bind d:/etc/passwd/x",
        &["--ro-bind d:/etc/passwd/x", "another destination"],
    );
    // What is bound read-write would keep the mount point.
    check_refusal(
        r#"--bind d --ro-bind f:"$S/d/new/f""#,
        &["mkdir -p", "bound read-write"],
    );
    check(
        r#"mkdir d; "$CT" -q --bind d --tmpfs "$S/d/new" -- true 2>/dev/null; ls -A d"#,
        "",
    );
}

#[test]
fn secrets_and_kernel_trees_stay_hidden_where_a_bind_shows_them_elsewhere() {
    check(
        r#""$CT" -q --ro-bind /:/mnt/host -- sh -c 'ls /mnt/host/etc/passwd; for d in proc sys; do ls -A /mnt/host/$d 2>&1 | grep -c -v denied; done
               cat /mnt/host/etc/shadow 2>/dev/null | wc -l; ls -d /mnt/host/base /mnt/host/frame 2>/dev/null; (echo x >/mnt/host/tmp/cage-trace-x) 2>/dev/null || echo kept'"#,
        "/mnt/host/etc/passwd\n0\n0\n0\nkept\n",
    );
}

#[test]
fn sockets_of_a_run_work_where_it_may_write_and_nowhere_else() {
    if program("python3").is_none() {
        return skip(
            "sockets_of_a_run_work_where_it_may_write_and_nowhere_else",
            "python3",
        );
    }
    check(
        r#"mkdir d low; cat >talk.py <<'END'
import os, socket, sys
for place in sys.argv[1:]:
    try:
        server = socket.socket(socket.AF_UNIX); server.bind(place + "/s"); server.listen(1)
        client = socket.socket(socket.AF_UNIX); client.connect(place + "/s")
        os.mkfifo(place + "/fifo"); os.close(os.open(place + "/fifo", os.O_RDWR)); print(place, "works")
    except OSError as error: print(place, os.strerror(error.errno))
END
           "$CT" -q --bind d:/mnt/d --tmpfs /mnt/t --mount "overlay:none:/mnt/o:lowerdir=$S/low" -- python3 talk.py /mnt/d /mnt/t /mnt/o /usr
           python3 - <<'END'
import socket, subprocess, os
S = os.environ["S"]
server = socket.socket(socket.AF_UNIX); server.bind(S + "/d/host"); server.listen(1)
code = "import socket, sys\nfor p in sys.argv[1:]:\n  try: socket.socket(socket.AF_UNIX).connect(p + '/host'); print(p, 'reached')\n  except OSError as e: print(p, e.strerror)"
subprocess.run([os.environ["CT"], "-q", "--ro-bind", "d:/mnt/r", "--bind", "d:/mnt/w", "--mount", f"overlay:none:/mnt/o:lowerdir={S}/d", "--", "python3", "-c", code, "/mnt/r", "/mnt/w", "/mnt/o"])
END"#,
        "/mnt/d works\n/mnt/t works\n/mnt/o works\n/usr Read-only file system\n/mnt/r Connection refused\n/mnt/w reached\n/mnt/o Connection refused\n",
    );
}

#[test]
fn a_tmpfs_is_empty_private_and_bounded() {
    check(
        r#"fill='head -c 300k /dev/zero >$0/a 2>/dev/null; echo $?; stat -c %s $0/a'
           cd /; "$CT" -q -t 64k -- sh -c "$fill" /tmp; "$CT" -q --tmpfs=/mnt/x:size=64k -- sh -c "$fill" /mnt/x
           "$CT" -q -m tmpfs:none:/mnt/x:size=128k,mode=0700,noexec -- sh -c "$fill; stat -c %a /mnt/x; cp /bin/true /mnt/x/a; /mnt/x/a 2>/dev/null; echo \$?" /mnt/x
           "$CT" -q -t 1m -- sh -c "$fill" /tmp; "$CT" -q --tmpfs=/etc -- ls -A /etc
           "$CT" -q --mount tmpfs:none:/mnt/x:ro --ro-bind /etc/passwd:/mnt/x/y -- sh -c 'ls /mnt/x; (echo >/mnt/x/z) 2>/dev/null || echo kept'"#,
        "1\n65536\n1\n65536\n1\n131072\n700\n126\n0\n307200\ny\nkept\n",
    );
    // The working directory still shows in it.
    check(
        r#"echo 1 >f; "$CT" -q -t 1m -- sh -c 'cat f; (echo 2 >f) 2>/dev/null || echo kept'"#,
        "1\nkept\n",
    );
    check_refusal(
        "--mount tmpfs:none:/mnt:size=lots",
        &["--tmpfs /mnt:size=lots", "size"],
    );
    check_refusal(
        "--mount tmpfs:none:/mnt:colour=red",
        &["--tmpfs /mnt:colour=red", "colour", "size=10m"],
    );
    check_refusal(
        "--mount tmpfs:none:/mnt:suid",
        &["--tmpfs /mnt:suid", "leave that option out"],
    );
    check_refusal(
        "--mount tmpfs:none:/",
        &["only a directory can be the root", "--root"],
    );
}

#[test]
fn kernel_file_systems_can_be_mounted() {
    check(
        r#""$CT" -q --mount devpts:none:/mnt/p:ptmxmode=0666 --mount mqueue:none:/mnt/q -- sh -c '
               ls /mnt/p; stat -f -c %T /mnt/q /mnt/p; ls -A /mnt/q | wc -l; true'
           "$CT" -q --no-proc --mount proc:none:/proc -- sh -c 'ls -d /proc/self/status'"#,
        "ptmx\nmqueue\ndevpts\n0\n/proc/self/status\n",
    );
    check_refusal(
        "--mount proc:none:/mnt/x",
        &["--mount proc:none:/mnt/x", "only be at /proc"],
    );
    check_refusal(
        "--mount sysfs:none:/mnt/x",
        &["--mount sysfs:none:/mnt/x", "only be at /sys"],
    );
}

#[test]
fn an_overlay_shows_layers_and_keeps_changes_above() {
    check(
        r#"mkdir low1 low2 up work; echo 1 >low1/a; echo 2 >low2/b; echo old >low2/c
           run() { "$CT" -q -m "$1" -- sh -c 'cat /mnt/o/a /mnt/o/b; echo new >/mnt/o/c; echo d >/mnt/o/d; rm /mnt/o/a; ls /mnt/o; cat /mnt/o/c'; }
           echo thrown away; run "overlay:none:/mnt/o:lowerdir=$S/low1\:$S/low2"; cat low2/c; ls up
           echo kept; run "overlay:none:/mnt/o:lowerdir=$S/low1,lower=$S/low2,upperdir=$S/up,workdir=$S/work"; cat low2/c low1/a up/c; ls up/d
           "$CT" -q -m "overlay:none:/mnt/o:lowerdir=low1,ro" -- sh -c 'cat /mnt/o/a; (echo x >/mnt/o/a) 2>/dev/null || echo read-only'"#,
        "thrown away\n1\n2\nb\nc\nd\nnew\nold\nkept\n1\n2\nb\nc\nd\nnew\nold\n1\nnew\nup/d\n1\nread-only\n",
    );
    check_refusal(
        "-m overlay:none:/mnt:size=1",
        &["no option \"size=1\"", "lowerdir="],
    );
    check_refusal("-m overlay:none:/mnt", &["add lowerdir="]);
    check_refusal("-m overlay:none:/mnt:lowerdir=d,upperdir=d", &["workdir="]);
    check_refusal(
        "-m overlay:none:/mnt:lowerdir=nothing",
        &["nothing", "no such file", "on the host"],
    );
    check_refusal("-m overlay:none:/mnt:lowerdir=f", &["f is no directory"]);
}

#[test]
fn root_can_mount_a_device_and_others_are_told() {
    let script = r#"dd if=/dev/zero of=image bs=1M count=4 2>/dev/null; mkfs.ext4 -q image 2>/dev/null || { echo none; exit; }; loop=$(losetup -f --show image 2>/dev/null) || { echo none; exit; }
        "$CT" -q -m "ext4:$loop:/mnt/e" -- sh -c 'echo 1 >/mnt/e/f; cat /mnt/e/f; stat -f -c %T /mnt/e; mkfifo /mnt/e/p; : <>/mnt/e/p && echo fifo'
        "$CT" -q -m "ext4:$loop:/mnt/e:ro" -- sh -c 'cat /mnt/e/f; (echo 2 >/mnt/e/f) 2>/dev/null || echo kept'
        losetup -d "$loop"; "$CT" -q -m ext4:image:/mnt/e -- true 2>&1 | grep -c losetup"#;
    let name = "root_can_mount_a_device_and_others_are_told";
    if running_as_root() {
        let output = outer(User::Own, script);
        if output.stdout_text() == "none\n" {
            skip(name, "mkfs.ext4 or a loop device");
        } else {
            assert_eq!(
                output.stdout_text(),
                "1\next2/ext3\nfifo\n1\nkept\n1\n",
                "{}",
                output.stderr_text()
            );
        }
    } else {
        skip(name, "root");
    }
    let ordinary = User::all().last().copied().unwrap_or(User::Own);
    if ordinary != User::Own || !running_as_root() {
        check_as(
            ordinary,
            r#""$CT" -m ext4:/dev/x:/mnt -- true 2>&1; echo $?"#,
            "cage-trace: --mount ext4:/dev/x:/mnt: only root can mount ext4: mount it first and --bind it, or take one of tmpfs, ramfs, devpts, mqueue, overlay, proc, sysfs, bind\n125\n",
        );
    }
}

#[test]
fn links_are_made_where_they_are_named() {
    check(
        r#"cd /; "$CT" -q --symlink /etc/passwd:/mnt/a/b --symlink=../x:/cage-trace-link --symlink /usr/bin:/usr/share/cage-trace-link -- sh -c '
               readlink /mnt/a/b /cage-trace-link /usr/share/cage-trace-link; head -c4 /mnt/a/b; echo; ls -d /usr/share/cage-trace-link/env'
           ls -d /cage-trace-link 2>/dev/null"#,
        "/etc/passwd\n../x\n/usr/bin\nroot\n/usr/share/cage-trace-link/env\n",
    );
    check_refusal(
        "--symlink x:/etc/passwd",
        &["--symlink x:/etc/passwd", "exists already", "another link"],
    );
    check_refusal(
        "--symlink x:/proc/y",
        &["--symlink x:/proc/y", "the run's own"],
    );
    check_refusal(
        r#"--bind d --symlink x:"$S/d/y""#,
        &["bound read-write", "ln -s"],
    );
}

#[test]
fn what_is_hidden_is_empty_and_cannot_be_read() {
    check(
        r#"mkdir -p d/sub/deep d/.git; echo 1 >d/a.key; echo 2 >d/b.txt; echo 3 >d/sub/c.key; echo 4 >d/sub/deep/x; echo 5 >d/.git/config; ln -s b.txt d/link; mkfifo d/p
           look='cd "$0"; for f in a.key b.txt sub/c.key sub/deep/x .git/config link; do cat $f 2>/dev/null || echo "$f hidden"; done; for f in a.key .git; do stat -c "%F %a" $f; done; ls -A .git 2>/dev/null; ls -A'
           for flags in --bind --ro-bind; do "$CT" -q $flags "$S/d" --hide "$S/d/**/*.key" --hide "$S/d/su?/deep" --hide '**/.git' -- sh -c "$look" "$S/d"; done
           echo direct; "$CT" -q --bind d --hide "$S/d/link" -- sh -c 'cat d/b.txt d/link' 2>/dev/null; echo $?
           "$CT" -q --bind d --hide "$S/d/*.key" -- sh -c 'chmod 644 d/a.key 2>/dev/null || echo kept; (echo x >d/a.key) 2>/dev/null || echo kept; rm -f d/a.key 2>/dev/null || echo kept; mv d/a.key d/z 2>/dev/null || echo kept'; cat d/a.key"#,
        &format!(
            "{0}{0}direct\n1\nkept\nkept\nkept\nkept\n1\n",
            "a.key hidden\n2\nsub/c.key hidden\nsub/deep/x hidden\n.git/config hidden\n2\nregular empty file 0\ndirectory 555\n.git\na.key\nb.txt\nlink\np\nsub\n"
        ),
    );
}

#[test]
fn patterns_begin_at_the_home_and_hold_for_binds_elsewhere() {
    check(
        r#"mkdir -p ~/.keys ~/open; echo 1 >~/.keys/a; echo 2 >~/open/b
           "$CT" -q --bind ~ --hide '~/.keys' -- sh -c 'cat ~/.keys/a 2>/dev/null || echo hidden; cat ~/open/b'
           "$CT" -q --bind "$HOME:/mnt/h" --hide '~/.keys' -- sh -c 'cat /mnt/h/.keys/a 2>/dev/null || echo hidden; cat /mnt/h/open/b'
           "$CT" -q --bind "$HOME:/mnt/h" --hide '/mnt/*/open' -- sh -c 'cat /mnt/h/.keys/a; cat /mnt/h/open/b 2>/dev/null || echo hidden'
           "$CT" -q --hide /etc/passwd --hide /dev/full --hide /usr/share -- sh -c 'cat /etc/passwd 2>/dev/null || echo hidden; (echo >/dev/full) 2>/dev/null || echo hidden; ls -A /usr/share 2>/dev/null; cat /etc/group >/dev/null && echo shown'
           "$CT" -q --hide '/no/such/*' --hide /etc/nothing -- echo runs"#,
        "hidden\n2\nhidden\n2\n1\nhidden\nhidden\nhidden\nshown\nruns\n",
    );
    // In every layer of an overlay too, by its name inside and by the host's.
    check(
        r#"mkdir -p low1/x low2; echo 1 >low1/a; echo 2 >low2/b; echo 3 >low1/x/c; echo 4 >low2/d; chmod 400 low1/a
           "$CT" -q --mount "overlay:none:/mnt/o:lowerdir=$S/low1,lowerdir=$S/low2" --hide /mnt/o/a --hide "$S/low2/b" --hide '/mnt/*/x' -- sh -c '
               for f in a b x/c d; do cat /mnt/o/$f 2>/dev/null || echo hidden; done; ls /mnt/o'
           "$CT" -q --ro-bind low2:/cage-trace-new/d --hide /cage-trace-new/d/b --hide '/cage-trace-new/*/d' -- sh -c 'cat /cage-trace-new/d/b 2>/dev/null || echo hidden; cat /cage-trace-new/d/d 2>/dev/null || echo hidden'"#,
        "hidden\nhidden\nhidden\n4\na\nb\nd\nx\nhidden\nhidden\n",
    );
    // What cannot be listed might still be opened by name.
    check_as(
        *User::all().last().unwrap_or(&User::Own),
        r#"mkdir d; echo 1 >d/x; chmod 311 d; test -r d && { echo hidden; exit; }; "$CT" -q --bind d --hide "$S/d/*" -- sh -c 'cat d/x 2>/dev/null || echo hidden'; chmod 755 d"#,
        "hidden\n",
    );
    check_refusal(
        r#"--bind d --hide "$S/d""#,
        &["--hide", "would hide --bind d", "narrower"],
    );
    check_refusal(
        r#"--bind d:/mnt/d --hide "/mnt/**""#,
        &["--hide /mnt/**", "would hide --bind d:/mnt/d", "narrower"],
    );
    check_refusal("--hide '/**'", &["--hide /**", "whole world"]);
    check_refusal(
        "--hide '/proc/cpuinfo'",
        &["--hide /proc/cpuinfo", "--no-proc"],
    );
    check_refusal("--hide x", &["--hide", "begins with"]);
}

#[test]
fn another_directory_can_be_the_root() {
    // The host's programs, brought in by read-only binds; the root itself has next to nothing.
    let root = r#"mkdir -p r/etc r/data r/usr; echo mine >r/etc/passwd; echo 1 >r/data/f; ln -s data r/link; echo secret >outside
        set -- --ro-bind /usr; for d in bin lib lib64; do if test -L /$d; then ln -s "$(readlink /$d)" r/$d; else mkdir r/$d; set -- "$@" --ro-bind /$d; fi; done"#;
    check(
        &format!(
            r#"{root}
            "$CT" -q --root r "$@" -- sh -c 'pwd; ls /; cat /etc/passwd link/f; (echo x >/data/f) 2>/dev/null || echo kept; (echo x >/x) 2>/dev/null || echo kept
                ls -id / /.. | cut -d" " -f1 | uniq | wc -l; cat "$0"/outside 2>/dev/null; cat /../outside 2>/dev/null; echo x >/dev/null; cat /proc/self/comm' "$S" | grep -v -e '^lib' -e '^sbin'
            "$CT" -q --root="$S/r" "$@" --bind r/data:/data --chdir /link -- sh -c 'pwd -P; echo 2 >f'; cat r/data/f
            "$CT" -q "$@" --bind r:/ -- true 2>&1 | grep -c -e "--bind r:/: .*mkdir -p $S/r/dev"
            mkdir r/dev r/proc; "$CT" -q "$@" --bind r:/ -- sh -c 'echo 3 >/etc/new'; cat r/etc/new"#
        ),
        "/\nbin\ndata\ndev\netc\nlink\nproc\nusr\nmine\n1\nkept\nkept\n1\ncat\n/data\n2\n1\n3\n",
    );
    check_refusal(
        "--root nothing",
        &["--root nothing", "no such file", "exists on the host"],
    );
    check_refusal(
        "--root f",
        &["--root f", "not a directory", "name a directory"],
    );
    check_refusal("--root /proc", &["--root /proc", "the run's own"]);
}

#[test]
fn a_run_starts_where_it_is_told() {
    check(
        r#"mkdir d; ln -s d l; "$CT" -q --chdir /usr/share/.. -- sh -c 'pwd; ls -d share; readlink /proc/self/cwd'; "$CT" -q -w "$S/l" -- /bin/pwd | sed "s,.*/,,"
           "$CT" -q --chdir /mnt/x --bind d:/mnt/x -- sh -c 'pwd; echo 1 >f'; cat d/f"#,
        "/usr\nshare\n/usr\nd\n/mnt/x\n1\n",
    );
    check_refusal(
        "--chdir /no/such",
        &["--chdir /no/such", "no such file", "--ro-bind"],
    );
    check_refusal(
        "--chdir /etc/passwd",
        &["--chdir /etc/passwd", "not a directory"],
    );
    check_refusal(
        "--chdir /home/nobody-has-this",
        &["--chdir /home/nobody-has-this", "shows inside"],
    );
    check_refusal("--chdir usr", &["--chdir", "absolute"]);
}

#[test]
fn the_host_name_is_the_runs_own() {
    check(
        r#""$CT" -q --hostname=box.example -- uname -n; "$CT" -q -- uname -n; "$CT" -q --hostname 'a b' -- true 2>/dev/null; echo $?; test "$(uname -n)" = box.example || echo other"#,
        "box.example\ncage\n125\nother\n",
    );
}

#[test]
fn proc_and_dev_can_be_left_out() {
    check(
        r#""$CT" -q --no-proc -- sh -c 'ls -A /proc; readlink /proc/self /proc/self/exe /proc/thread-self; stat /proc/self/status /proc/1 2>/dev/null; cat /proc/self/maps /dev/stdin 2>/dev/null </dev/null; (echo x >/proc/x) 2>/dev/null || echo kept; echo $?' 
           "$CT" -q --no-devfs -- sh -c 'ls -A /dev; (echo x >/dev/null) 2>/dev/null || echo none; (echo x >/dev/x) 2>/dev/null || echo kept; ls -d /proc/self/status'
           "$CT" -q --no-devfs --bind /dev/null -- sh -c 'echo x >/dev/null; ls /dev'
           "$CT" -q --no-proc --no-devfs -- /bin/echo both"#,
        "kept\n0\nnone\nkept\n/proc/self/status\nnull\nboth\n",
    );
}

#[test]
fn without_proc_a_program_is_told_nothing_of_itself() {
    if program("python3").is_none() {
        return skip(
            "without_proc_a_program_is_told_nothing_of_itself",
            "python3",
        );
    }
    check(
        r#"cat >ask.py <<'END'
import os
for path in ["/proc/self", "/proc/self/exe", "/proc/thread-self", "/proc/self/fd/0", "/proc/%d/exe" % os.getpid(), "/dev/fd/0", "/dev/stdin"]:
    for call in (os.readlink, os.stat, lambda p: os.open(p, os.O_RDONLY), os.listdir):
        try: print(path, call(path))
        except OSError as error:
            if error.errno not in (2, 22): print(path, error)
END
           "$CT" -q --no-proc -- python3 ask.py </dev/null; "$CT" -q -- python3 ask.py </dev/null | grep -c /proc/self/exe"#,
        "/dev/stdin /proc/self/fd/0\n4\n",
    );
}

#[test]
fn the_whole_of_sys_is_the_runs_own_and_read_only() {
    check(
        r#""$CT" -q -- ls /sys/class 2>/dev/null; "$CT" -q --sysfs -- sh -c 'ls -d /sys/class/mem /sys/kernel; ls /sys/class/net; ls -A /sys/firmware /sys/fs/cgroup /sys/kernel/security 2>/dev/null | grep -v -e : -e "^$"
               (echo 1 >/sys/kernel/profiling) 2>/dev/null || echo kept; cat /sys/devices/system/cpu/online >/dev/null && echo read'
           "$CT" -q --mount sysfs:none:/sys -- ls -d /sys/class/mem"#,
        "/sys/class/mem\n/sys/kernel\nlo\nkept\nread\n/sys/class/mem\n",
    );
}

#[test]
fn where_the_kernel_refuses_a_new_sys_the_hosts_shows_without_its_network() {
    check_as_root(
        "where_the_kernel_refuses_a_new_sys_the_hosts_shows_without_its_network",
        r#"unshare -m sh -c 'mount -t tmpfs none /sys/kernel && "$CT" -q --sysfs -- sh -c "ls -d /sys/class/mem; ls -A /sys/class/net /sys/devices/virtual/net 2>/dev/null | grep -v -e : -e "^\$"; ls -A /sys/fs/cgroup 2>/dev/null; (echo x >/sys/kernel/x) 2>/dev/null || echo kept"'"#,
        "/sys/class/mem\nkept\n",
    );
}
