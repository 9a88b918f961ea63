//! Real programs, natively and caged: coreutils, shells, text tools, git, perl, python, sqlite, compilers, static
//! binaries. The longer scripts lie in tests/programs/; what a case expects is what the native run does.

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;
#[path = "programs/runtimes.rs"]
mod runtimes;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use harness::case::Case;
use harness::process::compile;
use harness::scratch::Installed;

/// Where there is a distribution's python it is this one; a version manager's may lie in somebody's home.
const PYTHON: &str = "/usr/bin/python3";

fn sh(script: &str) -> Case {
    Case::script("sh", script)
}

/// A case over three small files and a folder.
fn tree(script: &str) -> Case {
    sh(script)
        .file("a.txt", "alpha 3\nbeta 1\ngamma 2\nbeta 1\n")
        .file("b.txt", "beta x\ndelta y\ngamma z\n")
        .file_with_mode("d/run.sh", "#!/bin/sh\necho \"$0 ran\"\n", 0o755)
        .file_with_mode("d/e/locked", "secret\n", 0o600)
}

fn python(script: &str) -> Case {
    Case::new(&[PYTHON, "-B", "program.py"])
        .file("program.py", script)
        .env("PYTHONHASHSEED=0")
}

fn git(script: &str) -> Case {
    sh(script)
        .needs(&["git"])
        .env("GIT_CONFIG_GLOBAL=/dev/null")
        .env("GIT_CONFIG_NOSYSTEM=1")
        // The scratch directory is a mount in a cage, where git would stop looking upwards and say so.
        .env("GIT_DISCOVERY_ACROSS_FILESYSTEM=1")
        .env("GIT_AUTHOR_NAME=A U Thor")
        .env("GIT_AUTHOR_EMAIL=author@example.org")
        .env("GIT_COMMITTER_NAME=C O Mitter")
        .env("GIT_COMMITTER_EMAIL=committer@example.org")
        .env("GIT_AUTHOR_DATE=2020-02-02T02:02:02 +0000")
        .env("GIT_COMMITTER_DATE=2020-02-02T02:02:02 +0000")
}

/// Builds the Rust program with the compiler that builds these tests; it runs caged, the compiler does not.
fn rust_program() -> Case {
    static BUILDING: Mutex<()> = Mutex::new(());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/threads.rs");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rust-threads");
    let _alone = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let rustc = env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
    compile(
        Command::new(rustc)
            .args(["--edition=2024", "-O", "-o"])
            .arg(&target)
            .arg(&source),
    );
    let installed = Installed::get();
    let program = installed.add(&target);
    Case::new(&[&program.to_string_lossy()])
}

/// A script with a server in it and a load of `CAGE_TRACE_LOAD` seconds, or of two.
fn server(script: &str) -> Case {
    let load = env::var("CAGE_TRACE_LOAD")
        .ok()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(2_u64);
    let whole = format!("{}\n{script}", include_str!("programs/server.sh"));
    Case::script("bash", &whole)
        .env(&format!("LOAD={load}"))
        .limit(180 + 4 * load)
}

/// PostgreSQL's programs lie apart, in a directory for each version.
fn postgres() -> Case {
    let newest = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .unwrap_or(0);
    let programs = format!("/usr/lib/postgresql/{newest}/bin");
    server(include_str!("programs/postgres.sh"))
        .env(&format!("POSTGRES={programs}"))
        .needs(&[
            &format!("{programs}/initdb"),
            &format!("{programs}/pgbench"),
        ])
        .with_account()
}

/// What a server of root's needs to become another user, to end its workers, which then are that user's, and to write
/// the logs that it gave them.
const DROPS_ROOT: &[&str] = &[
    "--cap-add=setuid",
    "--cap-add=setgid",
    "--cap-add=chown",
    "--cap-add=kill",
    "--cap-add=dac_override",
];

cases! {
    // Coreutils.
    echo: Case::new(&["/bin/echo", "-e", "hello\\tworld", "*", "$HOME"]).on_each_platform();
    printf_formats: Case::new(&["/usr/bin/printf", "%5d|%-5s|%x|%b\\n", "42", "ab", "255", "a\\nb"]);
    cat: tree("cat a.txt - b.txt; cat -nAs a.txt; cat d; cat no-such; cat <a.txt >copy; cat a.txt >>a.txt").stdin("from stdin\n").fails_alike().on_each_platform();
    ls: tree("ls -aF; ls -R; ls -1S a.txt b.txt; ls -ln --time-style=+ . d; ls -i a.txt | wc -w; ls no-such; ls -d */; ls --color=always");
    cp: tree("cp -v a.txt c; cp -r d f; cp -a d g; cp --sparse=always a.txt s; cp -l a.txt hard; cp -s \"$PWD/a.txt\" soft; cp -u b.txt c; cp a.txt no/such; cp d x; stat -c '%n %a %h' c f/e/locked g/run.sh hard; cat c").on_each_platform();
    mv: tree("mv -v a.txt z; mv d dd; mv z b.txt dd; ls -R; mv no-such x; mv -n dd/z dd/b.txt; mv dd dd/in").fails_alike();
    rm: tree("rm -v a.txt; rm d; rm -rv d | sort; rm no-such; rm -f no-such; ls; rm -r .").fails_alike();
    mkdir_rmdir: sh("mkdir -pv a/b/c; mkdir a; mkdir -m 700 m; stat -c %a m; rmdir a; rmdir -pv a/b/c; ls");
    links: tree("ln -v a.txt h; ln -sv a.txt s; ln -sr d/e/locked r; readlink s r; readlink -f r | grep -o '[^/]*/[^/]*$'; readlink -e nope; ln a.txt h; ln -f b.txt h; link a.txt l2; unlink l2; stat -c '%h %F' h s; realpath --relative-to=d b.txt").on_each_platform();
    stat: tree("stat -c '%n %F %a %s %h' a.txt d d/run.sh /dev/null /; stat -L -c %F /proc/self/exe; stat no-such; stat -c %t:%T /dev/null /dev/zero; touch -d @1000000000.5 a.txt; stat -c '%Y %y' a.txt").on_each_platform();
    touch: tree("touch -d '2001-02-03 04:05:06' a.txt new; date -r new +%s; touch -r a.txt b.txt; touch -c never; touch -h -d @5 a.txt; test new -nt a.txt && echo newer; ls; stat -c %Y a.txt b.txt; touch no/such").fails_alike();
    head_tail: tree("head -n 2 a.txt b.txt; head -c 5 a.txt; tail -n +3 a.txt; tail -c 4 b.txt; tail -n 1 -q a.txt b.txt; head -n -1 <b.txt; seq 100000 | tail -n 2; (tail -f a.txt & p=$!; sleep 0.2; echo more >>a.txt; sleep 1.5; kill $p)");
    wc: tree("wc a.txt b.txt; wc -L <a.txt; wc -c no-such; wc -l --files0-from=- ").stdin("a.txt\0b.txt\0");
    sort_keys: tree("sort a.txt; sort -k2n -u a.txt; sort -t' ' -k1,1r a.txt; sort -c a.txt; sort -o b.txt b.txt a.txt; sort -m a.txt b.txt; sort no-such").fails_alike().on_each_platform();
    uniq_comm_join: tree("sort a.txt | uniq -c; sort a.txt | uniq -d; sort a.txt >s; comm s b.txt; join s b.txt; join -v1 s b.txt; join -a 2 -o 0,1.2,2.2 -e none s b.txt");
    cut_paste_tr: tree("cut -d' ' -f2 a.txt | paste -sd+ ; cut -c2-4 a.txt; paste a.txt b.txt; tr a-z A-Z <a.txt; tr -d '\\n' <a.txt; tr -s a <b.txt; tr -c '[:alnum:]\\n' _ <a.txt; paste - - <a.txt");
    tee: tree("tee one two <a.txt; echo x | tee -a one | wc -c; cat one; tee no/such <b.txt; seq 100000 | tee big | tail -n 1; seq 9 | tee /dev/full 2>&1 >/dev/null | cat");
    split: sh("seq 1000 >n; split -l 300 n part.; wc -l part.*; split -b 1k -d n num.; ls; cat num.* | cmp - n && echo same; split -n l/3 n chunk. ; wc -c chunk.*; split -l 500 --filter='md5sum' n; csplit -s n 100 '/^5/' && wc -l xx*").on_each_platform();
    dd: sh("dd if=/dev/zero of=z bs=1k count=8 status=none; printf XYZ | dd of=z bs=1 seek=100 conv=notrunc status=none; dd if=z bs=1 skip=98 count=7 status=none | od -c; dd if=z bs=3 count=2 2>&1 >/dev/null | head -n 2; dd if=no-such; dd of=sparse bs=1 seek=1M count=0 status=none; stat -c %s sparse; seq 9 | dd conv=ucase,swab iflag=fullblock status=none; dd if=z of=z2 oflag=append conv=fsync,notrunc bs=4k status=none; cmp z z2 && echo same").on_each_platform();
    truncate: tree("truncate -s 5 a.txt; cat a.txt; truncate -s +10 a.txt; od -c a.txt; truncate -s 1G big; stat -c %s big; rm big; truncate -s '<3' b.txt; truncate -r b.txt new; stat -c %s new; truncate -s 1 no/such; truncate -s x a.txt; fallocate -l 1000 fall && stat -c %s fall");
    checksums: tree("sha256sum a.txt b.txt | tee sums; sha256sum -c sums; md5sum <a.txt; sha1sum a.txt; cksum a.txt; sum a.txt; b2sum b.txt; echo >>b.txt; sha256sum -c sums; sha512sum d").fails_alike();
    encodings: tree("base64 a.txt | tee e; base64 -d e; base32 <b.txt; basenc --base16 b.txt; od -An -tx1 a.txt | head -n 1; echo '!!' | base64 -d; seq 300 | base64 -w 40 | tail -n 1").on_each_platform();
    numbers: sh("seq -w 8 11; seq -s, 1 0.5 3; expr 7 '*' 6; expr length hello; factor 1234567 97; numfmt --to=iec 1048576; echo 1 2 | numfmt --field=2 --to-unit=1; shuf -i 1-5 --random-source=/dev/zero; expr 1 / 0; test 3 -gt 2; echo $?; [ x = y ]; echo $?");
    lines: tree("tac a.txt; rev a.txt; nl b.txt; fold -w 3 a.txt; seq 20 | fmt -w 30; seq 6 | pr -2 -t; expand -t 4 e; unexpand -a a.txt; printf 'a b\\nb c\\nc d\\n' | tsort; ptx -w 30 b.txt; printf 'a\\tb\\n' | expand");
    names: tree("basename /a/b.c .c; dirname /a/b.c d/e; realpath -m /no/../such; pathchk -p 'a b'; pwd -P | tr -dc / ; cd d/e && pwd | grep -o 'd/e$'; realpath -s ../run.sh | grep -o 'd/run.sh'; dirname -z a/b | od -c; mktemp -u -p . x.XXXXXX | wc -c; f=$(mktemp) && test -O $f && rm $f && echo mine");
    environment: sh("env -i A=b C=d env | sort; printenv A; env -u A printenv A; echo $?; env -C / pwd; env -S 'printf %s-%s\\n x y'; printenv PATH TZ; env no-such-program; echo $?; env /; echo $?").env("A=from the harness").on_each_platform();
    identity: sh("id -u; id -g; id -G; test -O . && echo owner; touch f; stat -c '%u %g' f; chown \"$(id -u)\" f && chgrp \"$(id -g)\" f && echo kept; chown 4294967294 f 2>/dev/null; groups | wc -w; logname 2>/dev/null; nice; nice -n 3 nice; umask");
    dates: sh("date -u -d @86399 +%FT%T; date -d '2024-02-29 + 1 year' +%F; TZ=Europe/Berlin date -d @0 +%T%z; date +%Y | wc -c; test $(date +%s) -gt 1600000000 && echo now; date -d nonsense; sleep 0.01; date -I -r /no/such").fails_alike();
    usage: tree("du -ab --apparent-size d | sort; du -sc --apparent-size a.txt b.txt; df --output=target / | tail -n 1; du no-such; stat -f -c %l .; sync a.txt; sync; tty; uname -sm; nproc | grep -c '[1-9]'; arch; hostid | wc -c").on_each_platform();
    fifos: sh("mkfifo -m 600 p; stat -c '%F %a' p; cat p >out & echo via >p; wait; cat out; mkfifo p; mknod q p && rm q; (echo 1; echo 2) >p & sort -r p; timeout 0.1 cat p; echo $?; timeout 0.1 sh -c ': >p'; echo $?");
    modes: tree("chmod 751 d; chmod -R u=rwX,go= d/e; chmod -v +x a.txt; stat -c '%a %n' a.txt d d/e d/e/locked; umask 077; touch t; mkdir u; stat -c %a t u; chmod 0 t; test -r t; chmod --reference=a.txt b.txt; stat -c %a b.txt; chmod 644 no-such; umask -S").on_each_platform();
    install: tree("install -vDm 750 a.txt x/y/z; install -d p/q; install -t p/q a.txt b.txt; find p x | sort; stat -c %a x/y/z p/q; install -C a.txt x/y/z; install no-such x; install -p -m 400 b.txt ro; cat ro");
    time_limits: sh("timeout 0.2 sleep 5; echo $?; timeout -s KILL 0.2 sleep 5; echo $?; timeout 5 sh -c 'exit 3'; echo $?; timeout -k 0.2 0.2 sh -c 'trap \"\" TERM; sleep 3; sleep 3'; echo $?; timeout 1 no-such; echo $?; sleep 0.01 0.02; sleep x; echo $?").on_each_platform();
    background: sh("nohup sh -c 'echo kept' >n 2>/dev/null; cat n; setsid -w sh -c 'echo session; exit 4'; echo $?; stdbuf -oL printf 'line\\n' | cat; (sleep 0.1; echo late) & wait; chroot / true 2>/dev/null || true; nice -n 19 true && echo nice; ionice -c 3 true; echo $?");
    endless: sh("yes | head -n 2; yes x | head -c 1000000 | md5sum; cat /dev/zero | head -c 300000 | wc -c; seq inf 2>/dev/null | head -n 3 | tail -n 1; head -c 16 /dev/urandom | wc -c; echo x >/dev/full; echo $?; true | cat; false | cat; echo $?; cat /dev/null; head -c 5 </dev/zero | od -c");
    big_copy: sh("seq 400000 >big; cp big c1; cat big | cat | cat >c2; dd if=big of=c3 bs=64k status=none; cmp c1 c2 && cmp c2 c3 && echo same; sha256sum big; head -c 1000000 big | tail -c 10; split -n 5 big s.; cat s.? | cmp - big && echo whole; rm -f s.?").on_each_platform();
    factor_pipes: sh("seq 2 400 | factor | awk 'NF == 2' | cut -d: -f1 | paste -sd' ' | fold -sw 60 | nl -ba | tac | tail -n 3; seq 50 | xargs -n 10 echo | rev | sort | uniq | wc; ls /usr/bin | head -n 5 | tr a-z A-Z; ls /etc | wc -l");
    deep_paths: sh("d=$(seq -s/ 1 60); mkdir -p $d && cd $d && pwd | tr / '\\n' | tail -n 1; echo deep >f; cd ..; cat 60/f; cd - >/dev/null; cat ../60/../60/./f; l=$(printf 'x%.0s' $(seq 255)); touch $l && ls | wc -c; touch ${l}y; cd /; pwd; cat etc/../etc/hostname >/dev/null && echo read; ls -d /usr/../usr/./bin");
    proc_files: sh("cat /proc/self/comm; readlink /proc/self/cwd | grep -c .; ls -l /proc/self/fd 2>/dev/null | wc -l; tr '\\0' ' ' </proc/self/cmdline; echo; readlink /proc/self/exe; grep -c . /proc/self/maps | grep -c .; head -n 1 /proc/self/status; test -e /proc/1 && echo init; cat </proc/self/fd/0; echo x >/dev/stdout; echo y | cat /dev/fd/0; grep -o '^MemTotal' /proc/meminfo; grep TracerPid /proc/self/status; ls /proc/self/task | wc -l").stdin("stdin\n").on_each_platform();
    odd_invocations: sh("cat --no-such-flag; echo $?; /bin/false; echo $?; cat - <&-; echo $?; echo x >&-; echo $?; sh -c 'echo $0 $@' a b c; ls -l /proc/self/exe >/dev/null; echo \"$(printf 'a%.0s' $(seq 20000))\" | wc -c; printf '%s\\n' \"$0\"; exec /bin/echo last");

    // Shells.
    dash_script: Case::script("dash", include_str!("programs/shell.sh")).on_each_platform();
    bash_script: Case::script("bash", include_str!("programs/shell.sh"));
    bash_only: Case::script("bash", include_str!("programs/bash.sh")).on_each_platform();
    dash_300_forks: Case::script("dash", include_str!("programs/forks.sh")).on_each_platform();
    bash_300_forks: Case::script("bash", include_str!("programs/forks.sh"));
    script_by_name: tree("d/run.sh; cd d; ./run.sh; PATH=.:$PATH run.sh; cp run.sh e/; cd e; ./run.sh; ../run.sh; sh run.sh; printf '#!/usr/bin/env -S sh -e\\necho env $0\\n' >env.sh; chmod +x env.sh; ./env.sh; printf '#!/no/interpreter\\n' >bad; chmod +x bad; ./bad; echo $?; printf 'echo no shebang $0\\n' >plain; chmod +x plain; ./plain; chmod -x plain; ./plain; echo $?").on_each_platform();
    shell_from_stdin: Case::new(&["bash"]).stdin("echo one\nread x\nthe next line\necho \"got $x\"\ncat\nthe rest\ngoes to cat\n");

    // Text, archives.
    text_tools: sh(include_str!("programs/text.sh")).on_each_platform();
    find_usr: sh("find /usr/share/zoneinfo /usr/include 2>/dev/null -type f | sort | sha256sum; find /usr/lib -maxdepth 2 -name '*.so*' | wc -l; grep -rl 'define.EINTR' /usr/include 2>/dev/null | sort | head -n 3; find /etc -maxdepth 1 -type l | sort | head -n 3");
    big_sort: sh(include_str!("programs/sort.sh"));
    archives: sh(include_str!("programs/archive.sh")).needs(&["xz", "gzip", "tar"]).on_each_platform();
    calculators: sh("echo '2^100; scale=20; 4*a(1)' | bc -l; awk 'BEGIN { srand(1); print int(2^31), substr(\"hello\", 2, 3), toupper(\"x\"); exit }'").needs(&["bc"]);

    // git.
    git_history: git(include_str!("programs/git.sh")).ignoring("r").ignoring("c").ignoring("b.git").ignoring("w").limit(120).on_each_platform();
    git_refusals: git("git status; echo $?; git init -q -b main; git log; echo $?; git commit -m nothing; echo $?; git clone no-such x; echo $?; git config user.name X; git config --list --local | sort | tail -n 1; git add no-such; echo $?").ignoring(".git");

    // Interpreters and databases.
    perl_program: Case::new(&["perl", "program.pl"]).file("program.pl", include_str!("programs/program.pl")).on_each_platform();
    python_threads: python(include_str!("programs/threads.py")).on_each_platform();
    python_processes: python(include_str!("programs/processes.py"));
    python_sqlite3: python(include_str!("programs/database.py")).ignoring("a.db").ignoring("b.db");
    python_asyncio: python(include_str!("programs/async.py")).on_each_platform();
    python_sockets: python(include_str!("programs/sockets.py"));
    python_mmap: python(include_str!("programs/memory.py")).on_each_platform();
    python_signals: python(include_str!("programs/signals.py")).fails_alike();
    python_terminal: python(include_str!("programs/terminal.py"));
    python_files: python(include_str!("programs/files.py")).on_each_platform();
    sqlite3_shell: Case::new(&["sqlite3", "x.db"]).stdin("create table t(a integer primary key, b text);\nwith recursive n(i) as (select 1 union all select i + 1 from n where i < 3000) insert into t select i, 'row ' || (i * 7 % 100) from n;\ncreate index i on t(b);\nselect count(*), sum(a), max(b) from t;\nselect b, count(*) from t group by b order by 2 desc, 1 limit 3;\nbegin; delete from t where a > 10; rollback;\n.mode csv\nselect * from t limit 3;\n.output dump.sql\n.dump\n.output stdout\nvacuum;\npragma integrity_check;\npragma journal_mode=wal;\ninsert into t values(9999, 'last');\nselect * from t where a > 2999;\nselect * from absent;\n.tables\n").ignoring("x.db").fails_alike().on_each_platform();

    // Compilers.
    gcc_and_make: sh(include_str!("programs/make.sh")).needs(&["gcc", "make", "ar", "objdump"]).limit(120).on_each_platform();

    // Other C libraries, other ways to make calls.
    busybox_shell: Case::new(&["busybox", "sh", "-c", include_str!("programs/busybox.sh")]).on_each_platform();
    musl_static: sh("musl-gcc -O1 -static -o prog musl.c -pthread && ./prog a b; ./prog").needs(&["musl-gcc"]).file("musl.c", include_str!("programs/musl.c")).on_each_platform();
    rust_threads: rust_program().on_each_platform();

    // Servers with their clients, under load.
    redis: server(include_str!("programs/redis.sh")).needs(&["redis-server", "redis-cli", "redis-benchmark"]).on_each_platform();
    nginx_and_curl: server(include_str!("programs/nginx.sh")).needs(&["/usr/sbin/nginx", "curl", "pgrep"]).root_with(DROPS_ROOT).on_each_platform();
    postgresql: postgres().on_each_platform();
    rsync: server(include_str!("programs/rsync.sh")).needs(&["rsync"]).root_with(DROPS_ROOT).on_each_platform();
    openssl_server: server(include_str!("programs/openssl.sh")).needs(&["openssl", "curl"]).on_each_platform();
    tmux: server(include_str!("programs/tmux.sh")).needs(&["tmux", "script"]).on_each_platform();
}

/// A script that no case includes would never run.
#[test]
fn every_script_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let folder = root.join("programs");
    // The cases are here and in the modules that lie beside the scripts.
    let text: String = [root.join("programs.rs")]
        .into_iter()
        .chain(
            fs::read_dir(&folder)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path()),
        )
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()))
        })
        .collect();
    for entry in fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("read {}: {e}", folder.display()))
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(
            text.contains(&format!("\"{name}\"")) || text.contains(&format!("programs/{name}\"")),
            "no case runs tests/programs/{name}"
        );
    }
}
