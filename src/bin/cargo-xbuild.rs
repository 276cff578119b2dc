//! The `cargo xbuild` subcommand.

fn main() -> std::process::ExitCode {
    xbuild::cli::main(xbuild::cli::Program::Subcommand, std::env::args_os()).into()
}
