//! Languages' runtimes and large programs, natively and caged: node, Go, Java, cargo, ImageMagick, vim. Servers are
//! elsewhere.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::cases;
use crate::harness::case::Case;
use crate::harness::process::while_nothing_starts;
use crate::harness::scratch::Installed;

/// Go without modules: nothing is looked for on a network.
fn golang(script: &str) -> Case {
    Case::script("sh", script)
        .needs(&["go"])
        .env("GO111MODULE=off")
        .env("GOFLAGS=-mod=mod")
        .env("GOTOOLCHAIN=local")
        .file("runtime.go", include_str!("runtime.go"))
        .ignoring("cache")
        .limit(240)
}

fn cargo() -> Case {
    Case::script("bash", include_str!("cargo.sh"))
        .needs(&["cc"])
        .env(&format!("TOOLCHAIN={}", toolchain().display()))
        .ignoring("target")
        .ignoring("home")
        .limit(240)
}

/// The directory of the cargo and the rustc that build these tests, where an ordinary user and a cage may read them:
/// where they are if that is below /usr, else as hard links next to cage-trace.
fn toolchain() -> PathBuf {
    static LINKING: Mutex<()> = Mutex::new(());
    let _alone = LINKING.lock().unwrap_or_else(PoisonError::into_inner);
    let rustc = env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
    let said = Command::new(&rustc)
        .args(["--print", "sysroot"])
        .output()
        .unwrap_or_else(|e| panic!("ask {} for its sysroot: {e}", rustc.display()));
    let sysroot = PathBuf::from(String::from_utf8_lossy(&said.stdout).trim());
    if sysroot.starts_with("/usr") {
        return sysroot.join("bin");
    }
    let target = Installed::get().directory().join("toolchain");
    if !target.exists() {
        let wanted = [
            "bin/cargo",
            "bin/rustc",
            "lib",
            "lib/rustlib",
            "lib/rustlib/x86_64-unknown-linux-gnu/bin",
            "lib/rustlib/x86_64-unknown-linux-gnu/lib",
        ];
        for name in wanted {
            // `lib` itself has the compiler's libraries, and other things that no crate needs.
            let deep = name.contains("linux-gnu");
            while_nothing_starts(|| link(&sysroot.join(name), &target.join(name), deep));
        }
    }
    target.join("bin")
}

/// Links a file, or a directory's files, and with `deep` all that lies below it; copies where no link can be made.
fn link(from: &Path, to: &Path, deep: bool) {
    let failed = |what: &str, e| panic!("{what} {} to {}: {e}", from.display(), to.display());
    let parent = if from.is_dir() { Some(to) } else { to.parent() };
    if let Some(Err(error)) = parent.map(fs::create_dir_all) {
        failed("make the directory that takes", error);
    }
    if !from.is_dir() {
        if fs::hard_link(from, to).is_err()
            && let Err(error) = fs::copy(from, to)
        {
            failed("copy", error);
        }
        return;
    }
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let path = entry.path();
        if deep || !path.is_dir() {
            link(&path, &to.join(entry.file_name()), deep);
        }
    }
}

cases! {
    node: Case::new(&["node", "node.js"]).file("node.js", include_str!("node.js")).limit(120).on_each_platform();
    go: golang("GOCACHE=$PWD/cache go build -o program runtime.go && ./program").on_each_platform();
    java: Case::script("sh", "javac -d classes Main.java && java -Xmx256m -cp classes Main a b; echo $?").needs(&["javac", "java"]).file("Main.java", include_str!("Main.java")).limit(240).on_each_platform();
    cargo_build: cargo();
    imagemagick: Case::script("sh", include_str!("picture.sh")).needs(&["/usr/bin/convert", "/usr/bin/montage"]).limit(120).on_each_platform();
    vim: Case::script("bash", include_str!("vim.sh")).needs(&["vim.tiny"]).on_each_platform();
}
