//! `XBUILD_LOG`: a value that selects nothing to log is an error.

use xbuild::error::ExitCode;

use crate::support::command::xbuild;

#[test]
fn what_says_nothing_to_log_is_refused() {
    let run = |value: &str| xbuild().env("XBUILD_LOG", value).words("targets").run();
    run("nonsense")
        .fails(ExitCode::Config, &["`nonsense` is not a level of the log", "hint: known: error, warn"]);
    run("regystry=debug").fails(ExitCode::Config, &["`regystry` is not a room", "process, registry"]);
    assert_eq!(run("off").success().stderr, "");
}
