//! rustc's flags for a target, and the paths that are kept out of programs. Pure.
//!
//! The linker is set by a flag and not by `target.<triple>.linker`: cargo links build scripts and procedural
//! macros with the latter, too, where the host's triple is the target, while flags of a target never reach them.

use std::path::{Path, PathBuf};

use super::configuration::{FlagSource, UserFlags};

/// A prefix of paths, and what programs have in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) from: PathBuf,
    pub(super) to: String,
}

impl Prefix {
    pub(super) fn new(from: &Path, to: impl Into<String>) -> Self {
        Self { from: from.to_owned(), to: to.into() }
    }

    /// `from=to`, as compilers take it.
    pub(super) fn text(&self) -> String {
        format!("{}={}", self.from.display(), self.to)
    }
}

/// Sorted so that a folder comes before those inside of it: of several prefixes that fit a path, compilers take
/// the last.
pub(super) fn sorted(mut prefixes: Vec<Prefix>) -> Vec<Prefix> {
    prefixes.retain(|prefix| prefix.from.parent().is_some() && prefix.from.is_absolute());
    prefixes
        .sort_by(|a, b| (a.from.components().count(), &a.from).cmp(&(b.from.components().count(), &b.from)));
    prefixes.dedup_by(|a, b| a.from == b.from);
    prefixes
}

/// What to give to cargo as `target.<triple>.rustflags`, which it adds to those that the target has.
pub(super) fn for_target(user: &UserFlags, linker: &[String], prefixes: &[Prefix]) -> Vec<String> {
    let mut flags = Vec::new();
    // Whoever remaps paths means to have theirs, and rustc takes the last that fits.
    if !user.flags.iter().any(|flag| flag.starts_with("--remap-path-prefix")) {
        flags.extend(prefixes.iter().map(|prefix| format!("--remap-path-prefix={}", prefix.text())));
    }
    if user.source != FlagSource::Target {
        flags.extend(user.flags.iter().cloned());
    }
    // Last, for the last linker counts.
    flags.extend(linker.iter().cloned());
    flags
}

/// The value of cargo's `--config` that sets a target's flags.
pub(super) fn config_argument(triple: &str, flags: &[String]) -> String {
    let flags: Vec<_> = flags.iter().cloned().map(toml::Value::String).collect();
    format!("target.{triple}.rustflags={}", toml::Value::Array(flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(flags: &[&str], source: FlagSource) -> UserFlags {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        UserFlags { flags, source, overridden: Vec::new() }
    }

    #[test]
    fn flags_that_cargo_would_forget_are_folded_in() {
        let prefixes = [Prefix::new(Path::new("/w"), "/workspace")];
        let linker = ["-Clinker=zig-cc".to_owned()];
        let flags = |user: UserFlags| for_target(&user, &linker, &prefixes);
        let remap = "--remap-path-prefix=/w=/workspace";
        assert_eq!(flags(user(&["-Cx"], FlagSource::Environment)), [remap, "-Cx", "-Clinker=zig-cc"]);
        assert_eq!(flags(user(&["-Cx"], FlagSource::Build)), [remap, "-Cx", "-Clinker=zig-cc"]);
        assert_eq!(flags(user(&["-Cx"], FlagSource::Target)), [remap, "-Clinker=zig-cc"]);
        let own = user(&["--remap-path-prefix=/w=/mine"], FlagSource::Build);
        assert_eq!(flags(own), ["--remap-path-prefix=/w=/mine", "-Clinker=zig-cc"]);
    }

    #[test]
    fn inner_folders_come_after_outer_ones() {
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

    #[test]
    fn odd_characters_survive_cargos_parser() {
        let flags = vec!["-Clinker=/a b/\"c\\d'".to_owned()];
        let argument = config_argument("x-y-z", &flags);
        let parsed: toml::Table = argument.parse().unwrap();
        assert_eq!(parsed["target"]["x-y-z"]["rustflags"][0].as_str(), Some(flags[0].as_str()));
    }
}
