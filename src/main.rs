//! The binary: hands the command line to [`cage_trace::cli`] and exits with what it says.

use std::process::ExitCode;

fn main() -> ExitCode {
    cage_trace::cli::main()
}
