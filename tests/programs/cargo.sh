# A crate with a dependency by path, a build script, tests and a documentation test, built without a network.
set -u
export CARGO_HOME=$PWD/home CARGO_TERM_COLOR=never PATH=$TOOLCHAIN:$PATH
mkdir -p src greet/src
cat >Cargo.toml <<'FILE'
[package]
name = "small"
version = "0.1.0"
edition = "2021"

[dependencies]
greet = { path = "greet" }
FILE
printf '[package]\nname = "greet"\nversion = "0.2.0"\nedition = "2021"\n' >greet/Cargo.toml
cat >build.rs <<'FILE'
fn main() {
    let out = std::env::var("OUT_DIR").unwrap();
    std::fs::write(format!("{out}/made.rs"), "const MADE: &str = \"made by the build script\";").unwrap();
    println!("cargo:rerun-if-changed=build.rs");
}
FILE
printf '//! Greets.\npub fn greet(whom: &str) -> String {\n    format!("hello, {whom}")\n}\n' >greet/src/lib.rs
cat >src/main.rs <<'FILE'
include!(concat!(env!("OUT_DIR"), "/made.rs"));
fn main() {
    println!("{}, {MADE}", greet::greet("world"));
}
#[test]
fn greets() {
    assert!(greet::greet("a").ends_with('a'));
}
#[test]
#[should_panic(expected = "told")]
fn panics() {
    panic!("as it was told");
}
FILE
cargo build --offline --quiet && target/debug/small
# Nothing changed: all is fresh. Then one file is newer.
cargo build --offline -v 2>&1 | sed 's/ in [0-9.]*s//'
echo >>src/main.rs; cargo test --offline -- --test-threads=1 2>&1 | sed 's/ in [0-9.]*s//; s/-[0-9a-f]*)/)/'
echo 'fn main() { let x: u8 = 300; }' >src/main.rs; cargo build --offline --quiet; echo "status $?"
echo 'no toml' >Cargo.toml; cargo build --offline 2>/dev/null; echo "status $?"
