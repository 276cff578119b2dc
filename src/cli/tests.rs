//! What the command line accepts, and what it prints.
#![allow(clippy::needless_raw_string_hashes, reason = "snapbox writes snapshots in this form")]

use snapbox::{assert_data_eq, file, str};

use super::*;
use crate::config::ProjectFile;
use crate::config::document::parse_project;
use crate::origin::Source;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn normalised(program: Program, line: &str) -> String {
    let words = normalise(program, words(line));
    words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
}

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    // A fixed width, independent of the terminal that the tests run in.
    let command = command(Program::Xbuild).term_width(100);
    let matches = command.try_get_matches_from(normalise(Program::Xbuild, words(line)))?;
    Arguments::from_arg_matches(&matches)
}

#[test]
fn clap_finds_no_fault_with_the_definition() {
    Arguments::command().debug_assert();
}

#[test]
fn build_is_the_default_command() {
    for (given, meant) in [
        ("xbuild", "xbuild build"),
        ("xbuild .", "xbuild build ."),
        ("xbuild --platform arm64 ../p", "xbuild build --platform arm64 ../p"),
        ("xbuild ./plan", "xbuild build ./plan"),
        ("xbuild plan", "xbuild plan"),
        ("xbuild b -t x", "xbuild b -t x"),
        ("xbuild -q --color never plan", "xbuild -q --color never plan"),
        ("xbuild --progress=json -vv", "xbuild build --progress=json -vv"),
        ("xbuild --color plan .", "xbuild build --color plan ."),
        ("xbuild --help", "xbuild --help"),
        ("xbuild -V", "xbuild -V"),
        // Only a call by cargo contains the subcommand's name; here it is a directory.
        ("xbuild xbuild", "xbuild build xbuild"),
    ] {
        assert_eq!(normalised(Program::Xbuild, given), meant, "{given}");
    }
    for (given, meant) in [
        ("cargo-xbuild xbuild --locked", "cargo-xbuild build --locked"),
        ("cargo-xbuild xbuild targets", "cargo-xbuild targets"),
        ("cargo-xbuild xbuild xbuild", "cargo-xbuild build xbuild"),
        ("cargo-xbuild plan", "cargo-xbuild plan"),
    ] {
        assert_eq!(normalised(Program::Subcommand, given), meant, "{given}");
    }
    assert_eq!(normalise(Program::Xbuild, Vec::new()), ["build"]);
}

#[test]
fn options_reach_the_settings() {
    let arguments = parse(
        "xbuild -p a -p b --bin x -F one,two --no-default-features -r --frozen -j -2 --platform arm64 \
         --platform amd64,armhf --base scratch -t n:1 -o out -o type=oci,dest=f --toolchain zig --fail-fast \
         --allow-partial --timeout 45m --label k=v --compression zstd:9 -vv examples/hello",
    )
    .unwrap();
    let Command::Build(options) = &arguments.command else { panic!("{arguments:?}") };
    let options = &options.options;
    let flags = options.flags(&arguments.view);
    assert_eq!(options.path.as_deref(), Some(std::path::Path::new("examples/hello")));
    assert_eq!((flags.packages, flags.bins), (vec!["a".into(), "b".into()], vec!["x".into()]));
    assert_eq!((flags.profile.as_deref(), flags.frozen, flags.jobs), (Some("release"), true, Some(-2)));
    assert_eq!(flags.platforms, ["arm64", "amd64,armhf"]);
    assert_eq!(flags.outputs, ["out", "type=oci,dest=f"]);
    assert_eq!(flags.on_failure, Some(crate::config::OnFailure::FailFast));
    assert_eq!(flags.partial, crate::settings::Partial::Allow);
    assert_eq!(flags.verbose, 1);
    // As with every pair of opposites, the last one counts.
    let arguments = parse("xbuild --fail-fast --keep-going").unwrap();
    let Command::Build(options) = &arguments.command else { panic!("{arguments:?}") };
    assert_eq!(options.options.flags(&arguments.view).on_failure, Some(crate::config::OnFailure::KeepGoing));
}

#[test]
fn usage_errors_suggest_what_was_meant() {
    let error = parse("xbuild --platfrom arm64").unwrap_err();
    assert!(error.use_stderr());
    assert_data_eq!(
        error.to_string(),
        str![[r#"
error: unexpected argument '--platfrom' found

  tip: a similar argument exists: '--platform'

Usage: xbuild build --platform <PLATFORM> [PATH]

For more information, try '--help'.

"#]]
    );
    assert!(parse("xbuild --bin a --bins").is_err());
    assert!(parse("xbuild --release --profile dev").is_err());
    assert!(parse("xbuild . --manifest-path x/Cargo.toml").is_err());
    assert!(parse("xbuild -q --progress json").is_err());
}

/// The help of a command, long or short, on a terminal of 100 columns.
fn help(path: &[&str], flag: &str) -> String {
    let line = format!("xbuild {} {flag}", path.join(" "));
    let error = parse(&line).unwrap_err();
    assert!(!error.use_stderr(), "{error}");
    error.to_string()
}

#[test]
fn help_reads_well() {
    assert_data_eq!(help(&[], "-h"), file!["snapshots/xbuild-short.txt"].raw());
    assert_data_eq!(help(&["build"], "--help"), file!["snapshots/build.txt"].raw());
    assert_data_eq!(help(&["plan"], "-h"), file!["snapshots/plan-short.txt"].raw());
    assert_data_eq!(help(&["cache", "prune"], "-h"), file!["snapshots/cache-prune-short.txt"].raw());
    assert_data_eq!(help(&["copy"], "-h"), file!["snapshots/copy-short.txt"].raw());
    assert_data_eq!(help(&["index", "create"], "-h"), file!["snapshots/index-create-short.txt"].raw());
    assert_data_eq!(help(&["inspect"], "-h"), file!["snapshots/inspect-short.txt"].raw());
    assert_data_eq!(help(&["ls"], "-h"), file!["snapshots/ls-short.txt"].raw());
    assert_data_eq!(help(&["pull"], "-h"), file!["snapshots/pull-short.txt"].raw());
    assert_data_eq!(help(&["push"], "-h"), file!["snapshots/push-short.txt"].raw());
    assert_data_eq!(help(&["resolve"], "-h"), file!["snapshots/resolve-short.txt"].raw());
    assert_data_eq!(help(&["tag"], "-h"), file!["snapshots/tag-short.txt"].raw());
    assert_data_eq!(help(&["toolchain"], "-h"), file!["snapshots/toolchain-short.txt"].raw());
}

fn project(text: &str) -> Result<crate::config::Document<ProjectFile>, crate::config::Error> {
    let (path, shown) = ("/p/xbuild.toml".into(), "xbuild.toml".into());
    parse_project(Source { path, shown, text: text.to_owned(), foreign: false })
}

#[test]
fn a_fault_in_a_file_is_shown_with_its_line() {
    let error =
        project("base = \"scratch\"\nplatfroms = [\"linux/amd64\"]\n\n[image]\ncommand = []\n").unwrap_err();
    assert_data_eq!(
        render::error(&error, false),
        str![[r#"
error: unknown key `platfroms`
 --> xbuild.toml:2:1
  |
2 | platfroms = ["linux/amd64"]
  | ^^^^^^^^^ did you mean `platforms`?
error: unknown key `command`
 --> xbuild.toml:5:1
  |
5 | command = []
  | ^^^^^^^ it belongs under `[image.healthcheck]`
hint: every key is described in docs/configuration.md

"#]]
    );
}

#[test]
fn a_wrong_value_in_a_file_is_shown_with_its_line() {
    let document = project("platforms = [\"linux/amd46\"]").unwrap();
    let project = crate::config::Project { manifest_path: "/p/Cargo.toml".into(), documents: vec![document] };
    let host =
        crate::settings::Host { platform: "linux/amd64".parse().unwrap(), dir: "/p".into(), color: false };
    let environment = [("HOME", "/h")].into_iter().collect();
    let error =
        crate::settings::resolve(&crate::settings::Flags::default(), &environment, &project, None, &host)
            .unwrap_err();
    assert_data_eq!(
        render::error(&error, false),
        str![[r#"
error: unknown platform `linux/amd46`
 --> xbuild.toml:1:14
  |
1 | platforms = ["linux/amd46"]
  |              ^^^^^^^^^^^^^
hint: did you mean `linux/amd64`?

"#]]
    );
}

#[test]
fn other_errors_have_their_causes_and_the_next_step() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot do it")]
    struct Outer(#[source] std::io::Error);
    impl Explain for Outer {
        fn exit_code(&self) -> ExitCode {
            ExitCode::of_io(&self.0)
        }
        fn hint(&self) -> Option<String> {
            crate::error::io_hint(&self.0)
        }
    }
    let error = Outer(std::io::Error::from(std::io::ErrorKind::StorageFull));
    assert_data_eq!(
        render::error(&error, false),
        str![[r#"
error: cannot do it
  caused by: no storage space
hint: free some space, or point the output or the cache elsewhere

"#]]
    );
    assert!(render::error(&error, true).contains("\u{1b}["));
}

#[test]
fn the_manuals_table_of_exit_codes_is_the_codes() {
    let manual = include_str!("../../docs/troubleshooting.md");
    let rows: Vec<&str> =
        manual.lines().filter(|line| line.starts_with("| ") && line.contains(" | `")).collect();
    let expected: Vec<String> = ExitCode::ALL
        .iter()
        .map(|code| format!("| {} | `{}` | {} |", code.number(), code.name(), code.meaning()))
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn the_manual_names_every_variable_and_option() {
    let manual = include_str!("../../docs/configuration.md");
    for variable in crate::settings::VARIABLES {
        assert!(manual.contains(&format!("`{}`", variable.name)), "{}", variable.name);
    }
    let command = Arguments::command();
    let build = command.find_subcommand("build").unwrap();
    for option in build.get_arguments().filter_map(clap::Arg::get_long).filter(|long| *long != "help") {
        assert!(manual.contains(&format!("--{option}")), "--{option}");
    }
    let schema = crate::config::schema::project_schema();
    for key in schema["properties"].as_object().unwrap().keys() {
        assert!(manual.contains(&format!("`{key}`")) || manual.contains(&format!("[{key}")), "{key}");
    }
}
