//! Determines for whom a compiler is called: for a program of the image, or for one that runs on the host during the
//! build. Pure.
//!
//! If the host's triple is also a platform's, build scripts of both kinds use the same variables, and cargo does not
//! tell them apart. But cargo gives them different directories: `<target directory>/<triple>/<profile>` for the target,
//! `<target directory>/<profile>` for the host. This also holds for a cargo that a build script starts, with or without
//! `--target`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::rustc;
use crate::sys::env::Environment;

/// The variable with cargo's target directory. The names in this path itself do not count.
pub(crate) const DIR_VARIABLE: &str = "XBUILD_TARGET_DIR";

/// True if the compiled code runs on the host, whose triple is `triple`.
pub(crate) fn is_for_host(triple: &str, environment: &Environment) -> bool {
    // Without a build script, a user calls it.
    let Some(out) = environment.path("OUT_DIR") else { return false };
    let dir = environment.path(DIR_VARIABLE).unwrap_or_default();
    match is_below_triple(out.strip_prefix(&dir).unwrap_or(&out), triple) {
        Some(below) => !below,
        None => !rustc::is_marked(environment.var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default()),
    }
}

/// True if `out`, a build script's directory, belongs to the triple; `None` if it does not have cargo's known form:
/// `…/[<triple>/]<profile>/build/<package>-<hash>/out` or `…/build/<package>/<hash>/out`.
fn is_below_triple(out: &Path, triple: &str) -> Option<bool> {
    let mut names = out.iter().rev();
    (names.next()? == "out").then_some(())?;
    let names: Vec<&OsStr> = names.collect();
    let build = [1, 2].into_iter().find(|index| names.get(*index).is_some_and(|name| *name == "build"))?;
    Some(names.get(build + 2).is_some_and(|name| *name == triple))
}

/// The tools that a wrapper replaces, the variable that names each, and the default program.
const TOOLS: [(&str, &str, &str); 5] = [
    ("cc", "CC", "cc"),
    ("c++", "CXX", "c++"),
    ("ar", "AR", "ar"),
    ("ranlib", "RANLIB", "ranlib"),
    ("pkg-config", "PKG_CONFIG", "pkg-config"),
];

/// Variables with the programs that the user calls on the host. Build systems set `CC` and the like to the programs
/// that they were told to call, which are our wrappers. `value` returns the user's own setting.
pub(crate) fn host_variables(value: &dyn Fn(&str) -> Option<OsString>) -> Vec<(OsString, OsString)> {
    let found = TOOLS.iter().filter_map(|(_, variable, _)| {
        let given = value(&format!("HOST_{variable}")).or_else(|| value(variable))?;
        Some((kept(variable).into(), given))
    });
    found.collect()
}

fn kept(variable: &str) -> String {
    format!("XBUILD_HOST_{variable}")
}

/// The program that a build for the host would call as a tool, and its first arguments. `wrappers` is the directory of
/// all wrappers, which are excluded.
pub(crate) fn host_tool(tool: &str, wrappers: &Path, environment: &Environment) -> (PathBuf, Vec<String>) {
    let (_, variable, default) = TOOLS.iter().find(|(name, ..)| *name == tool).unwrap_or(&TOOLS[0]);
    let names = [format!("HOST_{variable}"), (*variable).to_owned(), kept(variable)];
    let given = names.iter().filter_map(|name| environment.var(name));
    let mut given = given.map(|value| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let words = given
        .find(|words| !words.is_empty() && !words.iter().any(|word| Path::new(word).starts_with(wrappers)));
    let mut words = words.unwrap_or_else(|| vec![(*default).to_owned()]).into_iter();
    (words.next().unwrap_or_default().into(), words.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIPLE: &str = "x86_64-unknown-linux-gnu";

    fn for_host(variables: &[(&str, &str)]) -> bool {
        is_for_host(TRIPLE, &variables.iter().copied().collect())
    }

    #[test]
    fn where_a_build_script_writes_tells_for_whom_it_builds() {
        for (out, expected) in [
            ("/w/target/release/build/a-1/out", true),
            ("/w/target/x86_64-unknown-linux-gnu/release/build/a-1/out", false),
            // cargo's coming layout.
            ("/w/target/x86_64-unknown-linux-gnu/release/build/a/1/out", false),
            ("/w/target/release/build/a/1/out", true),
            // A cargo that a build script has started, without and with --target.
            ("/w/target/x86_64-unknown-linux-gnu/release/build/a-1/out/t/release/build/b-2/out", true),
            (
                "/w/target/x86_64-unknown-linux-gnu/release/build/a-1/out/t/x86_64-unknown-linux-gnu/debug/build/b-2/out",
                false,
            ),
            ("/w/target/release/build/a-1/out/t/x86_64-unknown-linux-gnu/debug/build/b-2/out", false),
            // A package with this name.
            ("/w/target/release/build/build-1/out", true),
        ] {
            assert_eq!(for_host(&[("OUT_DIR", out), (DIR_VARIABLE, "/w/target")]), expected, "{out}");
        }
    }

    #[test]
    fn a_target_directory_named_like_the_triple_says_nothing() {
        let dir = (DIR_VARIABLE, "/w/x86_64-unknown-linux-gnu");
        let out = |below: &str| format!("/w/x86_64-unknown-linux-gnu/{below}release/build/a-1/out");
        assert!(for_host(&[dir, ("OUT_DIR", &out(""))]));
        assert!(!for_host(&[dir, ("OUT_DIR", &out("x86_64-unknown-linux-gnu/"))]));
    }

    #[test]
    fn where_the_directory_says_nothing_the_flags_do() {
        let marker = rustc::marker(&[]);
        let out = ("OUT_DIR", "/elsewhere");
        assert!(for_host(&[out]));
        assert!(for_host(&[out, ("CARGO_ENCODED_RUSTFLAGS", "")]));
        assert!(!for_host(&[out, ("CARGO_ENCODED_RUSTFLAGS", &marker)]));
        assert!(!for_host(&[]));
    }

    #[test]
    fn the_hosts_tools_are_those_that_its_own_build_would_call() {
        let tool = |tool: &str, variables: &[(&str, &str)]| {
            let environment = variables.iter().copied().collect();
            let (program, arguments) = host_tool(tool, Path::new("/c/wrappers"), &environment);
            (program.to_str().unwrap().to_owned(), arguments)
        };
        let none: Vec<String> = Vec::new();
        assert_eq!(tool("cc", &[]), ("cc".into(), none.clone()));
        assert_eq!(tool("c++", &[("CC", "gcc-12")]), ("c++".into(), none.clone()));
        assert_eq!(tool("ar", &[("AR", "gcc-ar")]), ("gcc-ar".into(), none));
        assert_eq!(
            tool("cc", &[("CC", "gcc-12"), ("HOST_CC", "ccache gcc")]),
            ("ccache".into(), vec!["gcc".into()])
        );
        // What build systems set for the programs that they start.
        let ours = ("CC", "/c/wrappers/12/zig-cc -O2");
        assert_eq!(tool("cc", &[ours]).0, "cc");
        assert_eq!(tool("cc", &[ours, ("XBUILD_HOST_CC", "clang")]).0, "clang");
    }

    #[test]
    fn what_the_user_calls_on_the_host_is_kept() {
        let value = |name: &str| ["HOST_CC", "CC", "AR"].contains(&name).then(|| name.to_lowercase().into());
        let expected = [("XBUILD_HOST_CC", "host_cc"), ("XBUILD_HOST_AR", "ar")];
        assert_eq!(host_variables(&value), expected.map(|(name, value)| (name.into(), value.into())));
    }
}
