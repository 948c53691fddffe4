//! The `branchfs` binary: hands its arguments to [`branchfs::cli`].

fn main() -> std::process::ExitCode {
    branchfs::cli::run()
}
