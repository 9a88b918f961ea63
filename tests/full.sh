#!/bin/bash
# Everything: the whole test suite on every platform, nothing skipped, then the benches against other tools.
# CI runs the same suite on the default platform, the fixtures and a named third of the programs on each, and of other people's suites a
# sample.
set -euo pipefail
cd "$(dirname "$0")/.."

export CAGE_TRACE_TESTS=all CAGE_TRACE_PLATFORMS=hybrid,fast,ptrace CAGE_TRACE_SUITES=all
# Half an hour of mixed load on each platform; a shorter soak is said in the output.
export CAGE_TRACE_SOAK="${CAGE_TRACE_SOAK:-1800}"
# Each server is under load for twenty seconds.
export CAGE_TRACE_LOAD=20
cargo fmt --check
cargo clippy --all-targets -- -D warnings
cargo test --no-fail-fast
cargo build --release
benches/compare.sh
