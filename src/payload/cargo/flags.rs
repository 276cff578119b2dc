//! rustc's flags for a target, and the paths that are kept out of programs. Pure.
//!
//! It matters which program gets a flag. What cargo gets also reaches a target's build scripts, and whatever is
//! compiled by a cargo that a build script starts. That is right for the user's flags and for prefixes of paths, but
//! wrong for the linker, so only rustc gets that ([`crate::toolchain::driver::rustc`]).

use std::path::{Path, PathBuf};

use super::configuration::{FlagSource, UserFlags};
use crate::toolchain::driver::rustc;

/// A prefix of paths, and its replacement in programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) from: PathBuf,
    pub(super) to: String,
}

impl Prefix {
    pub(super) fn new(from: &Path, to: impl Into<String>) -> Self {
        Self { from: from.to_owned(), to: to.into() }
    }

    /// `from=to`, the form that compilers accept.
    pub(super) fn text(&self) -> String {
        format!("{}={}", self.from.display(), self.to)
    }
}

/// Sorts prefixes so that a directory comes before the directories in it: if several match a path, compilers use the
/// last.
pub(super) fn sorted(mut prefixes: Vec<Prefix>) -> Vec<Prefix> {
    prefixes.retain(|prefix| prefix.from.parent().is_some() && prefix.from.is_absolute());
    prefixes
        .sort_by(|a, b| (a.from.components().count(), &a.from).cmp(&(b.from.components().count(), &b.from)));
    prefixes.dedup_by(|a, b| a.from == b.from);
    prefixes
}

/// A target's flags, in addition to those that cargo itself finds for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// For cargo, passed in a variable, in which white space separates flags.
    pub(super) cargo: Vec<String>,
    /// For rustc, after all others.
    pub(super) rustc: Vec<String>,
}

/// The flags to add to those that cargo finds for a target.
pub(super) fn for_target(user: &UserFlags, linker: &[String], prefixes: &[Prefix]) -> Flags {
    let mut cargo: Vec<String> =
        prefixes.iter().map(|prefix| format!("--remap-path-prefix={}", prefix.text())).collect();
    if user.source == FlagSource::Target {
        // cargo puts ours after the user's, and rustc uses the last prefix that matches.
        cargo.extend(remaps(&user.flags));
    } else {
        cargo.extend(user.flags.iter().cloned());
    }
    let mut rustc = Vec::new();
    if cargo.iter().any(|flag| flag.is_empty() || flag.contains(char::is_whitespace)) {
        // A variable cannot hold these flags, and an array in `--config` would conflict with a string in the user's
        // file.
        rustc = std::mem::take(&mut cargo);
    }
    // Last, since the last linker is used.
    rustc.extend(linker.iter().cloned());
    if !rustc.is_empty() {
        cargo.push(rustc::marker(&rustc));
    }
    Flags { cargo, rustc }
}

/// The user's own prefixes among flags, in both forms.
fn remaps(flags: &[String]) -> Vec<String> {
    const OPTION: &str = "--remap-path-prefix";
    let mut found = Vec::new();
    let mut rest = flags.iter();
    while let Some(flag) = rest.next() {
        if flag == OPTION {
            found.extend(rest.next().map(|value| format!("{OPTION}={value}")));
        } else if flag.strip_prefix(OPTION).is_some_and(|rest| rest.starts_with('=')) {
            found.push(flag.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(flags: &[&str], source: FlagSource) -> UserFlags {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        UserFlags { flags, source, overridden: Vec::new() }
    }

    fn of(flags: &UserFlags, prefix: &str) -> (Vec<String>, Vec<String>) {
        let linker = ["-Clinker=zig-cc".to_owned()];
        let flags = for_target(flags, &linker, &[Prefix::new(Path::new(prefix), "/workspace")]);
        let mut cargo = flags.cargo;
        assert_eq!(cargo.pop().unwrap(), rustc::marker(&flags.rustc));
        (cargo, flags.rustc)
    }

    #[test]
    fn flags_that_cargo_would_forget_are_folded_in() {
        let remap = "--remap-path-prefix=/w=/workspace";
        let cargo = |flags: &[&str], source: FlagSource| of(&user(flags, source), "/w").0;
        assert_eq!(cargo(&["-Cx"], FlagSource::Environment), [remap, "-Cx"]);
        assert_eq!(cargo(&["-Cx"], FlagSource::Build), [remap, "-Cx"]);
        assert_eq!(cargo(&["-Cx"], FlagSource::Target), [remap]);
    }

    #[test]
    fn the_linker_is_rustcs_business_and_comes_last() {
        assert_eq!(of(&user(&["-Clinker=x"], FlagSource::Build), "/w").1, ["-Clinker=zig-cc"]);
        let none = for_target(&user(&[], FlagSource::Build), &[], &[]);
        assert_eq!(none, Flags::default());
    }

    #[test]
    fn the_users_prefixes_come_after_ours_wherever_they_stand() {
        let remap = "--remap-path-prefix=/w=/workspace";
        let own = "--remap-path-prefix=/w=/mine";
        for source in [FlagSource::Build, FlagSource::Environment, FlagSource::Target] {
            assert_eq!(of(&user(&[own], source), "/w").0, [remap, own], "{source:?}");
        }
        let apart = user(&["-Cx", "--remap-path-prefix", "/w=/mine"], FlagSource::Target);
        assert_eq!(of(&apart, "/w").0, [remap, own]);
    }

    #[test]
    fn what_a_variable_cannot_say_rustc_is_told() {
        let own = user(&["-Cx", "-Clink-arg=a b"], FlagSource::Build);
        let remap = "--remap-path-prefix=/w=/workspace".to_owned();
        let expected = [remap.as_str(), "-Cx", "-Clink-arg=a b", "-Clinker=zig-cc"];
        let (cargo, rustc) = of(&own, "/w");
        assert!(cargo.is_empty());
        assert_eq!(rustc, expected);
        let (cargo, rustc) = of(&user(&[], FlagSource::Build), "/my project");
        assert!(cargo.is_empty());
        assert_eq!(rustc, ["--remap-path-prefix=/my project=/workspace", "-Clinker=zig-cc"]);
    }

    #[test]
    fn inner_directories_come_after_outer_ones() {
        let prefixes = sorted(vec![
            Prefix::new(Path::new("/w/target"), "/target"),
            Prefix::new(Path::new("/w/.cargo"), "/cargo"),
            Prefix::new(Path::new("/"), "/root"),
            Prefix::new(Path::new("relative"), "/r"),
            Prefix::new(Path::new("/w"), "/workspace"),
            Prefix::new(Path::new("/w"), "/again"),
        ]);
        let from: Vec<_> = prefixes.iter().map(|prefix| prefix.from.to_str().unwrap()).collect();
        assert_eq!(from, ["/w", "/w/.cargo", "/w/target"]);
        assert_eq!(prefixes[0].to, "/workspace");
    }
}
