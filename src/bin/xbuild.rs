//! The `xbuild` command.

fn main() -> std::process::ExitCode {
    xbuild::cli::main(xbuild::cli::Program::Xbuild, std::env::args_os()).into()
}
