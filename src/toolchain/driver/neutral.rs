//! Keeps this machine's paths out of code that zig compiles, both its own libraries and C code.
//!
//! zig builds its start-up code, unwinder, run-time and C++ library when a link first needs them, stores them in its
//! cache, and links them into every later program. Their debug information names zig's own directory, the cache, and
//! the directory in which this first link ran, and no option of a link affects those compilations. So for a link, both
//! directories are given to zig as descriptors with fixed numbers, whose names are the same on every machine, and the
//! current directory is named `/proc/self/cwd`. These names are only in debug information.

use std::ffi::OsString;
use std::path::Path;

use super::{PREFIXES_VARIABLE, SEPARATOR, Spec};
use crate::sys::env::Environment;
use crate::sys::process::Command;

/// The variables for the directories of zig's caches and of zig's own files.
const CACHES: [&str; 2] = ["ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"];
const LIBRARY: &str = "ZIG_LIB_DIR";
/// The name in programs for zig's own directory, if their C code includes its headers.
const LIBRARY_NAME: &str = "/zig/lib";
/// The name in programs for the directory that the C compiler was called in, if it has no other name.
const DIR_NAME: &str = "/build";

/// Only a shell can choose the descriptors' numbers: 8 is the cache, 9 zig's own directory. clang takes the current
/// directory's name from `PWD` if that resolves to it.
const SCRIPT: &str = "exec 8<\"$1\" 9<\"$2\" && shift 2 && PWD=/proc/self/cwd && export PWD && exec \"$@\"";

/// zig with its own caches, for everything except links.
pub(super) fn plain(spec: &Spec) -> Command {
    CACHES.iter().fold(Command::new(&spec.zig), |zig, name| zig.env(*name, &spec.cache))
}

/// zig for a link. If its own directory is unknown, it is called as usual.
pub(super) fn linking(spec: &Spec) -> Command {
    let Some(library) = &spec.library else { return plain(spec) };
    let shell =
        Command::new("/bin/sh").args(["-c", SCRIPT, "sh"]).arg(&spec.cache).arg(library).arg(&spec.zig);
    let shell = CACHES.iter().fold(shell, |shell, name| shell.env(*name, "/proc/self/fd/8"));
    shell.env(LIBRARY, "/proc/self/fd/9")
}

/// Arguments that keep this machine's paths out of C objects (`__FILE__`, debug information), for zig in `dir`.
pub(super) fn prefix_maps(spec: &Spec, environment: &Environment, dir: &Path) -> Vec<OsString> {
    let mut maps = project_maps(environment, dir);
    if let Some(library) = &spec.library {
        maps.push(map(library, LIBRARY_NAME));
        // zig itself names paths below the current directory relative to it.
        let below = library.strip_prefix(dir).ok();
        maps.extend(
            below.filter(|below| !below.as_os_str().is_empty()).map(|below| map(below, LIBRARY_NAME)),
        );
    }
    maps
}

/// The same for what is the project's, for a compiler that runs in `dir`.
pub(crate) fn project_maps(environment: &Environment, dir: &Path) -> Vec<OsString> {
    let prefixes = environment.var(PREFIXES_VARIABLE).unwrap_or_default();
    let prefixes: Vec<&str> = prefixes.split(SEPARATOR).filter(|prefix| !prefix.is_empty()).collect();
    let mut maps = Vec::new();
    // If several match, the last one counts: the most general come first.
    let named = prefixes
        .iter()
        .any(|prefix| dir.starts_with(prefix.split_once('=').map_or(*prefix, |(from, _)| from)));
    if !named && dir.parent().is_some() {
        maps.push(map(dir, DIR_NAME));
    }
    maps.extend(prefixes.iter().map(|prefix| format!("-ffile-prefix-map={prefix}").into()));
    maps
}

/// The argument that gives a directory another name in objects.
pub(crate) fn map(from: &Path, to: &str) -> OsString {
    let mut argument = OsString::from("-ffile-prefix-map=");
    argument.push(from);
    argument.push("=");
    argument.push(to);
    argument
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::abi::GlibcVersion;
    use crate::target::catalog::Target;
    use crate::toolchain::zig::{Zig, ZigWay};

    fn spec(library: Option<&str>) -> Spec {
        let zig =
            Zig { program: "/z/zig".into(), version: semver::Version::new(0, 17, 1), way: ZigWay::Cache };
        let target = Target::by_triple("aarch64-unknown-linux-gnu").unwrap();
        Spec::new(&zig, target, Some(GlibcVersion(2, 36)), None, Path::new("/cache"))
            .with_library(library.map(Into::into))
    }

    fn maps(dir: &str) -> Vec<String> {
        let prefixes = ["/w=/workspace", "/w/target=/target"].join(&SEPARATOR.to_string());
        let environment = [(PREFIXES_VARIABLE, prefixes.as_str())].into_iter().collect();
        let maps = prefix_maps(&spec(Some("/w/venv/zig/lib")), &environment, Path::new(dir));
        maps.into_iter()
            .map(|map| map.into_string().unwrap().strip_prefix("-ffile-prefix-map=").unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_directory_without_a_name_gets_one_and_zigs_own_always_has_one() {
        let all = ["/w=/workspace", "/w/target=/target", "/w/venv/zig/lib=/zig/lib"];
        assert_eq!(maps("/w/src"), all);
        assert_eq!(maps("/"), [&all[..], &["w/venv/zig/lib=/zig/lib"]].concat());
        assert_eq!(maps("/w"), [&all[..], &["venv/zig/lib=/zig/lib"]].concat());
        assert_eq!(maps("/else"), [&["/else=/build"], &all[..]].concat());
        assert_eq!(maps("/ww")[0], "/ww=/build");
    }

    #[test]
    fn a_link_names_no_directory_of_this_machine_to_zig() {
        let command = linking(&spec(Some("/z/lib")));
        let values: Vec<_> = command.environment.iter().filter_map(|(_, value)| value.clone()).collect();
        assert_eq!(values, ["/proc/self/fd/8", "/proc/self/fd/8", "/proc/self/fd/9"]);
        assert_eq!(linking(&spec(None)), plain(&spec(None)));
    }
}
