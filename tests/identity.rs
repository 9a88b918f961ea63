//! Who one is inside: users and groups, id maps, capabilities, `--noroot`; as root and as an ordinary user.
//!
//! Each test is a shell script of harness/outer.rs; `$P` is the probe of identity/probe.c.

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use harness::outer::{outer_with, said};
use harness::process::compile;
use harness::scratch::{Installed, User, running_as_root};
use harness::{program, skip};

/// Defines `ct`: cage-trace on each platform and with each mediation, the scratch directory bound, results compared.
const EVERY_WAY: &str = r#"
    ct() { "$CT" -q --check-invariants --bind "$S" "$@" >first 2>&1; first=$?; cat first
           for way in --mediate=all --platform=ptrace; do
               eval "$AGAIN"; "$CT" -q --check-invariants $way --bind "$S" "$@" >other 2>&1; [ $? = $first ] || echo "$way: another status"
               cmp -s first other || { echo "$way:"; cat other; }
           done; rm -f first other; [ $first = 0 ] || echo "status $first"; }
"#;

fn probe() -> Option<PathBuf> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    program("gcc")?;
    Some(
        BUILT
            .get_or_init(|| {
                let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/identity/probe.c");
                let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("identity-probe");
                compile(
                    Command::new("gcc")
                        .args(["-O1", "-Wall", "-Wno-unused-result", "-std=gnu11", "-o"])
                        .arg(&target)
                        .arg(source),
                );
                target
            })
            .clone(),
    )
}

/// Runs `script` as these users and compares its standard output.
fn check_as(name: &str, users: &[User], script: &str, expected: &str) {
    let Some(probe) = probe() else {
        return skip(name, "gcc");
    };
    let installed = Installed::get();
    let probe = installed.add(&probe);
    let script = format!("{EVERY_WAY}{script}");
    for &user in users {
        let variables = [("P", probe.clone().into()), ("HOME", "/nonexistent".into())];
        let output = outer_with(user, &script, &variables);
        said(user, &script, &output, expected);
    }
}

fn check(name: &str, script: &str, expected: &str) {
    check_as(name, User::all(), script, expected);
}

/// As [`check`], for what only root can try.
fn check_as_root(name: &str, script: &str, expected: &str) {
    if running_as_root() {
        check_as(name, &[User::Own], script, expected);
    } else {
        skip(name, "root");
    }
}

#[test]
fn the_caller_appears_as_user_and_group() {
    check(
        "the_caller_appears_as_user_and_group",
        r#"AGAIN='rm -f new'; ct -u 7 -g 8 -- "$P" ids peer status Uid create new owner new owner . setuid 7 setuid 0 setgid 0
           # Outside nothing has changed.
           [ "$(stat -c %u:%g new)" = "$(id -u):$(id -g)" ] && echo same"#,
        "ids 7 7 8 8\npeer 7 8\nUid:\t7\t7\t7\t7\ncreate ok\nowner 7 8\nowner 7 8\nsetuid ok\nsetuid EPERM\nsetgid EPERM\nsame\n",
    );
    check(
        "the_caller_appears_as_user_and_group",
        r#"ct -u 0 -g 0 -- "$P" ids peer owner . setuid 0 setuid 5 setuid 4294967294"#,
        "ids 0 0 0 0\npeer 0 0\nowner 0 0\nsetuid ok\nsetuid EPERM\nsetuid EPERM\n",
    );
}

#[test]
fn names_are_looked_up_and_the_environment_follows_them() {
    check(
        "names_are_looked_up_and_the_environment_follows_them",
        r#"show='id -u; echo "$USER $LOGNAME $HOME"'
           USER=me LOGNAME=me; export USER LOGNAME
           [ "$("$CT" -q -u daemon -g daemon -- id -un)" = daemon ] && [ "$("$CT" -q -g daemon -- id -gn)" = daemon ] && echo named
           daemon=$(getent passwd daemon | cut -d: -f3,6)
           [ "$("$CT" -q -u daemon -- sh -c 'echo $(id -u):$HOME $USER $LOGNAME')" = "$daemon daemon daemon" ] && echo follows
           "$CT" -q -u daemon -e HOME=/mine -- sh -c 'echo $HOME $USER'
           "$CT" -q -u daemon --keep-env -- sh -c 'echo $USER $S' | sed "s,$S,S,"
           "$CT" -q -u daemon --clear-env -- /usr/bin/env
           "$CT" -q -u 54321 -- sh -c 'echo $(id -u) $HOME $USER'"#,
        "named\nfollows\n/mine daemon\ndaemon S\n54321 /nonexistent me\n",
    );
}

#[test]
fn who_is_not_there_is_refused() {
    check(
        "who_is_not_there_is_refused",
        r#"for flag in "-u no-such-user" "-g no-such-group" "-u 4294967295" "-g 99999999999" "-u +5"; do
               "$CT" -q $flag -- true 2>&1; echo $?; done"#,
        "cage-trace: -u no-such-user: the host has no such user (give a name that /etc/passwd of the host has, or a number)\n125\n\
         cage-trace: -g no-such-group: the host has no such group (give a name that /etc/group of the host has, or a number)\n125\n\
         cage-trace: -u 4294967295: no uid is so great (give a number below 4294967295, or a name)\n125\n\
         cage-trace: -g 99999999999: no gid is so great (give a number below 4294967295, or a name)\n125\n\
         cage-trace: -u +5: the host has no such user (give a name that /etc/passwd of the host has, or a number)\n125\n",
    );
}

#[test]
fn the_callers_own_id_can_be_mapped_by_range() {
    check(
        "the_callers_own_id_can_be_mapped_by_range",
        r#"ct --uid-map=$(id -u):7:1 --gid-map=$(id -g):8:1 -- "$P" ids owner . setuid 8
           ct --uid-map=cage=5,host=$(id -u),count=1 -u 5 -- "$P" ids | cut -d' ' -f-3"#,
        "ids 7 7 8 8\nowner 7 8\nsetuid EPERM\nids 5 5\n",
    );
}

#[test]
fn maps_that_contradict_themselves_are_refused() {
    check(
        "maps_that_contradict_themselves_are_refused",
        r#"u=$(id -u)
           for flags in "--uid-map=$u:6:1 --uid-map=$u:9:1" "--gid-map=7:6:10 --gid-map=50:9:1" "--uid-map=$u:3:1 -u 4"; do
               "$CT" -q $flags -- true 2>&1 | sed "s,\b$u\b,ME,g"; "$CT" -q $flags -- true 2>/dev/null; echo $?; done"#,
        "cage-trace: --uid-map=ME:9:1 (host ME, cage 9, count 1) overlaps --uid-map=ME:6:1 (host ME, cage 6, count 1) on the host's side (an id is mapped once: change one of them)\n125\n\
         cage-trace: --gid-map=50:9:1 (host 50, cage 9, count 1) overlaps --gid-map=7:6:10 (host 7, cage 6, count 10) on the inside (an id is mapped once: change one of them)\n125\n\
         cage-trace: -u 4: --uid-map maps nobody to 4, and the caller (ME) to 3 (map somebody to 4, or leave -u out)\n125\n",
    );
}

#[test]
fn root_maps_ranges_and_becomes_one_of_them() {
    check_as_root(
        "root_maps_ranges_and_becomes_one_of_them",
        r#"chmod 777 .; AGAIN='rm -f new'
           ct --uid-map=100000:0:65536 --gid-map=200000:0:65536 -- "$P" ids peer create new owner new owner /etc/passwd read /etc/shadow
           stat -c %u:%g new; rm new
           ct --uid-map=0:0:1 --uid-map=100000:1:10 -u 3 -- "$P" ids create new owner new
           stat -c %u new
           "$CT" -q --uid-map=0:0:1 --uid-map=100000:1:10 -- cat /proc/self/uid_map | tr -s ' '
           mkdir -p closed/in; chmod 700 closed; "$CT" -q --uid-map=100000:0:65536 --bind closed/in -- true 2>&1 | sed "s/.*closed/closed/""#,
        "ids 0 0 0 0\npeer 0 0\ncreate ok\nowner 0 0\nowner 65534 65534\nread EACCES\n100000:200000\n\
         ids 3 3 0 0\ncreate ok\nowner 3 0\n100002\n 0 0 1\n 1 100000 10\n\
         closed/in: permission denied (by --uid-map the run is another user of the host's, who may not go there)\n",
    );
}

#[test]
fn an_ordinary_user_is_told_what_was_tried() {
    let script = r#"[ -n "$O" ] || set -- setpriv --reuid 60999 --regid 60999 --clear-groups
        PATH=/nowhere:$S; mkdir -m 755 bin; /bin/ln -s "$(command -v setpriv || echo /usr/bin/setpriv)" setpriv 2>/dev/null
        "$@" "$CT" -q --uid-map=5:0:3 -- /bin/true 2>&1; echo $?"#;
    check(
        "an_ordinary_user_is_told_what_was_tried",
        &script.replace("mkdir", "/bin/mkdir"),
        "cage-trace: --uid-map=5:0:3: an ordinary user maps other ids than its own by newuidmap, which is not installed (install the package uidmap, or run as root)\n125\n",
    );
    if program("newuidmap").is_none() {
        return skip("an_ordinary_user_is_told_what_was_tried", "newuidmap");
    }
    check(
        "an_ordinary_user_is_told_what_was_tried",
        r#"[ -n "$O" ] || set -- setpriv --reuid 60999 --regid 60999 --clear-groups
           "$@" "$CT" -q --uid-map=5:0:3 -- true >said 2>&1; echo $?
           grep -c 'uid-map=5:0:3: refused; tried `newuidmap PID 0 5 3`, which said: newuidmap: .* of /etc/subuid' said"#,
        "125\n1\n",
    );
}

#[test]
fn subordinate_ids_are_mapped_by_the_helpers() {
    const NAME: &str = "subordinate_ids_are_mapped_by_the_helpers";
    for needed in ["newuidmap", "newgidmap", "unshare", "setpriv"] {
        if program(needed).is_none() {
            return skip(NAME, needed);
        }
    }
    // An account of its own, in a mount namespace of its own.
    let script = r#"cat >inner <<'EOF'
            mount --bind passwd /etc/passwd && mount --bind sub /etc/subuid && mount --bind sub /etc/subgid || exit
            chmod 777 .
            as() { setpriv --reuid 60999 --regid 60999 --groups 60999,54321 "$CT" -q --check-invariants --bind "$S" "$@" 2>&1; }
            both='--uid-map=60999:0:1 --uid-map=200000:1:99 --gid-map=60999:0:1 --gid-map=200000:1:99'
            as $both -- "$P" ids create a setuid 5
            as $both --cap-add=setuid --cap-add=setgid --cap-add=chown -- "$P" group 6 setgid 5 setuid 7 create b owner b owner a
            as $both --cap-add=chown -- "$P" create c chown c 9 10 owner c chown c 100 100
            as --uid-map=200000:0:99 -- "$P" ids create d
            stat -c %u:%g a b c d
            as --uid-map=200000:0:101 -- true; echo $?
EOF
        cp /etc/passwd passwd; echo "tester:x:60999:60999::/:/bin/sh" >>passwd; echo "tester:200000:100" >sub
        unshare -m --propagation private sh ./inner"#;
    if !Path::new("/etc/subuid").exists() || !Path::new("/etc/subgid").exists() {
        return skip(NAME, "/etc/subuid and /etc/subgid");
    }
    check_as_root(
        NAME,
        script,
        "ids 0 0 0 0\ncreate ok\nsetuid EPERM\n\
         group ok\nsetgid ok\nsetuid ok\ncreate ok\nowner 7 5\nowner 0 0\n\
         create ok\nchown ok\nowner 9 10\nchown EPERM\n\
         ids 0 0 60999 60999\ncreate ok\n\
         60999:60999\n200006:200004\n200008:200009\n200000:60999\n\
         cage-trace: --uid-map=200000:0:101: refused; tried `newuidmap PID 0 200000 101`, which said: newuidmap: uid range [0-101) -> [200000-200101) not allowed (the host ids must be the caller's own or in a line USER:FIRST:COUNT of /etc/subuid; the administrator can add one, or run as root)\n125\n",
    );
}

#[test]
fn noroot_is_for_good() {
    check(
        "noroot_is_for_good",
        r#"ct --noroot -- "$P" securebits setuid 0 setreuid -1 0 setresuid -1 0 -1 ambient 1 status CapBnd
           ct --noroot -- "$P" exec "$P" securebits setuid 0 status CapEff
           ct --noroot -u 0 -- "$P" setuid 0 securebits ambient 1 exec "$P" status CapEff
           "$CT" -q -- "$P" securebits
           "$CT" -q --noroot --cap-add=kill -- true 2>&1 | grep -c -e "--noroot.*--cap-add"
           "$CT" -q --noroot --cap-add=kill -- true 2>/dev/null; echo $?"#,
        "securebits 0xef\nsetuid EPERM\nsetreuid EPERM\nsetresuid EPERM\nambient EPERM\nCapBnd:\t0000000000000000\n\
         securebits 0xef\nsetuid EPERM\nCapEff:\t0000000000000000\n\
         setuid ok\nsecurebits 0xef\nambient EPERM\nCapEff:\t0000000000000000\n\
         securebits 0\n1\n125\n",
    );
}

#[test]
fn capabilities_are_those_that_were_asked_for() {
    check(
        "capabilities_are_those_that_were_asked_for",
        r#""$CT" -q -- "$P" status Cap
           ct --cap-add=net_raw --cap-add=CAP_CHOWN -- "$P" exec "$P" status Cap
           "$CT" -q -u 0 --cap-drop=net_raw --cap-add=net_raw -- "$P" exec "$P" status CapEff
           "$CT" -q --cap-add=ALL --cap-drop=ALL --cap-add=kill -- "$P" status CapEff
           "$CT" -q --cap-add=kill --cap-drop=kill -- "$P" status CapEff
           "$CT" -q --cap-add=ALL -- "$P" status CapBnd | sed 's/:.*1ff7fffffff/: all but one/'
           "$CT" -q --cap-add=setfcap -- true 2>&1; echo $?
           "$CT" -q --cap-add=fly -- true 2>/dev/null; echo $?"#,
        "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\n\
         CapInh:\t0000000000002001\nCapPrm:\t0000000000002001\nCapEff:\t0000000000002001\nCapBnd:\t0000000000002001\nCapAmb:\t0000000000002001\n\
         CapEff:\t0000000000002000\nCapEff:\t0000000000000020\nCapEff:\t0000000000000000\nCapBnd: all but one\n\
         cage-trace: --cap-add=setfcap: a run never has it, since the file capabilities that it wrote could count outside (leave it out)\n125\n125\n",
    );
}

#[test]
fn capabilities_take_effect_where_the_supervisor_acts() {
    const NAME: &str = "capabilities_take_effect_where_the_supervisor_acts";
    check(
        NAME,
        r#"AGAIN='rm -f f'
           ct -- "$P" bind 80 raw create f chmod f 0 read f; rm -f f
           ct --cap-add=net_bind_service -- "$P" bind 80 raw
           ct --cap-add=net_raw -- "$P" bind 80 raw packet
           ct --cap-add=dac_override -- "$P" create f chmod f 0 read f write f eaccess f; rm -f f
           ct --cap-add=dac_read_search -- "$P" create f chmod f 0 read f write f"#,
        "bind EACCES\nraw EPERM\ncreate ok\nchmod ok\nread EACCES\n\
         bind ok\nraw EPERM\nbind EACCES\nraw ok\npacket EPERM\n\
         create ok\nchmod ok\nread ok\nwrite ok\neaccess ok\n\
         create ok\nchmod ok\nread ok\nwrite EACCES\n",
    );
    check_as_root(
        NAME,
        r#"chmod 777 .; AGAIN='rm -f f; chown 5:5 g; chmod 600 g'; : >g; eval "$AGAIN"
           ct -- "$P" create f chown f 5 6 owner f chmod g 0640; eval "$AGAIN"
           ct --cap-add=chown -- "$P" create f chown f 5 6 owner f chmod g 0640; eval "$AGAIN"
           ct --cap-add=fowner -- "$P" create f chown f 5 6 chmod g 0640; stat -c %a g"#,
        "create ok\nchown EPERM\nowner 0 0\nchmod EPERM\n\
         create ok\nchown ok\nowner 5 6\nchmod EPERM\n\
         create ok\nchown EPERM\nchmod ok\n640\n",
    );
}

#[test]
fn the_supervisor_follows_a_cage_that_changes_its_ids() {
    const NAME: &str = "the_supervisor_follows_a_cage_that_changes_its_ids";
    check_as_root(
        NAME,
        r#"chmod 777 .; echo x >secret; chmod 600 secret; AGAIN='rm -f mine'
           ct --cap-add=setuid --cap-add=setgid -- "$P" read secret nogroups setgid 1000 setuid 1000 ids peer \
               read secret access secret chmod secret 0666 create mine owner mine status CapEff \
               exec "$P" read secret setuid 0 ids
           stat -c %u:%g mine"#,
        "read ok\nnogroups ok\nsetgid ok\nsetuid ok\nids 1000 1000 1000 1000\npeer 1000 1000\n\
         read EACCES\naccess EACCES\nchmod EPERM\ncreate ok\nowner 1000 1000\nCapEff:\t0000000000000000\n\
         read EACCES\nsetuid EPERM\nids 1000 1000 1000 1000\n1000:1000\n",
    );
    // Real and effective ids apart; access(2) looks at the real ones.
    check_as_root(
        NAME,
        r#"chmod 777 .; echo x >secret; chmod 600 secret
           ct --cap-add=setuid -- "$P" setreuid 0 1000 read secret access secret eaccess secret \
               setreuid 1000 0 read secret access secret eaccess secret"#,
        "setreuid ok\nread EACCES\naccess ok\neaccess EACCES\nsetreuid ok\nread ok\naccess EACCES\neaccess ok\n",
    );
    // By a group alone.
    check_as_root(
        NAME,
        r#"chmod 777 .; echo x >secret; chgrp 4321 secret; chmod 040 secret
           for groups in "group 4321" nogroups; do
               ct --cap-add=setuid --cap-add=setgid -- "$P" $groups setuid 1000 read secret; done"#,
        "group ok\nsetuid ok\nread ok\nnogroups ok\nsetuid ok\nread EACCES\n",
    );
    // What the supervisor does to a cage that is another user's by now: limits, signals, /proc, descriptors, exec.
    check_as_root(
        NAME,
        r#"ct --cap-add=setuid -- "$P" foreign-limit
           ct --cap-add=setuid -- "$P" setuid 1000 exec /bin/sh -c 'readlink /proc/$$/exe | grep -c sh; ls /proc/self/fd >/dev/null && echo fd
               ulimit -n 20; ulimit -n; (echo pipe | cat) & wait; { /bin/true; } 2>&1; kill -TERM $$; echo alive'
           "$CT" -q --cap-add=setuid -- "$P" setuid 1000 exec /bin/sleep 50 & sleep 1; kill -TERM $!; wait $!; echo $?"#,
        "prlimit of another EPERM\nprlimit of itself ok\n\
         setuid ok\n1\nfd\n20\npipe\nstatus 143\nsetuid ok\n143\n",
    );
}

#[test]
fn no_capability_changes_what_is_refused() {
    check(
        "no_capability_changes_what_is_refused",
        r#"for who in "-u 7" "-u 0"; do
               ct $who --cap-add=ALL -- "$P" mount umount unshare newuser setns hostname chroot ptrace seize-init readv module bpf \
                   ioperm handle device dev read /proc/1/environ read /proc/self/mem write /etc/passwd write /proc/sys/kernel/hostname |
                   sed '/write/s/EACCES/EROFS/' | tr '\n' ' '; echo; done"#,
        &"mount EPERM umount EPERM unshare EPERM newuser EPERM setns EPERM hostname EPERM chroot EPERM ptrace EPERM \
          seize-init EPERM readv EPERM module EPERM bpf EPERM ioperm EPERM handle EPERM device EPERM read EACCES read EACCES \
          write EROFS write EROFS \n"
            .repeat(2),
    );
}

#[test]
fn the_own_proc_can_be_read_with_capabilities() {
    check(
        "the_own_proc_can_be_read_with_capabilities",
        r#"ct --cap-add=ALL -- "$P" read /proc/self/maps read /proc/self/environ read /proc/self/exe exec /bin/sh -c 'readlink /proc/$$/exe | grep -c sh'"#,
        "read ok\nread ok\nread ok\n1\n",
    );
}

#[test]
fn a_run_that_is_another_user_leaves_no_control_group() {
    check_as_root(
        "a_run_that_is_another_user_leaves_no_control_group",
        r#"left() { find /sys/fs/cgroup -name "cage-trace-*-$1-*" 2>/dev/null | wc -l; }
           "$CT" -q --memory=200M --pids-limit=20 --uid-map=100000:0:65536 -- "$P" exec /bin/true 2>&1 & wait $!; echo $?; left $!
           "$CT" -q --memory=200M --pids-limit=20 --uid-map=100000:0:65536 -- "$P" exec /bin/sleep 50 2>/dev/null & sleep 1
           kill -9 $!; wait $! 2>/dev/null; for try in 1 2 3 4 5 6; do [ "$(left $!)" = 0 ] || sleep 0.5; done; left $!"#,
        "0\n0\n0\n",
    );
}
