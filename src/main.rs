//! The `hallpass` executable: parse, run, exit status.

fn main() -> std::process::ExitCode {
    hallpass::cli::main()
}
