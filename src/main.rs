//! The `hallpass` executable: parse, run, exit status.

/// A task is thousands of small allocations on one thread and as many releases on another, which this one serves best.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    hallpass::cli::main()
}
