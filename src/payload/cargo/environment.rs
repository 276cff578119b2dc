//! Variables that give build scripts a C compiler for the target, and hide the host's libraries from them. Pure.
//!
//! cc-rs, the `cmake` and `pkg-config` crates and bindgen all look first for a variable with the target's triple. What
//! the user has set for a target stays as it is, in the environment and in `[env]` of cargo's configuration.
//!
//! If the host has the target's triple, build scripts that compile for the host look for the same names. So the
//! variables then name programs and files that find out which side calls them.

use std::ffi::OsString;
use std::path::Path;

use crate::target::catalog::Target;
use crate::toolchain::driver::Tools;

/// The variables for one target. `bindgen` has Clang's arguments for its headers, if a crate uses bindgen. `is_set`
/// says whether the user has set a variable.
pub(super) fn for_target(
    target: &Target,
    tools: &Tools,
    bindgen: Option<&str>,
    is_set: &dyn Fn(&str) -> bool,
) -> Vec<(OsString, OsString)> {
    let on_host = tools.pkg_config.is_some();
    let scope = Scope { target, is_set, on_host };
    let mut variables: Vec<(String, OsString)> = Vec::new();
    let programs: [(&str, &Path); 5] = [
        ("CC", &tools.cc),
        ("CXX", &tools.cxx),
        ("AR", &tools.ar),
        ("RANLIB", &tools.ranlib),
        ("CMAKE_TOOLCHAIN_FILE", &tools.cmake),
    ];
    for (name, path) in programs {
        if !scope.is_set(name) {
            variables.push((scope.name(name), path.into()));
        }
    }
    if let Some(arguments) = bindgen
        && !scope.is_set("BINDGEN_EXTRA_CLANG_ARGS")
    {
        variables.push((scope.name("BINDGEN_EXTRA_CLANG_ARGS"), arguments.into()));
    }
    // Without these, pkg-config finds the host's libraries for the host's triple, and refuses to look for any other.
    // With those of a sysroot it finds what is there. With an empty directory it looks, finds nothing, and crates fall back
    // to their bundled libraries.
    let pkg_config = [
        "PKG_CONFIG",
        "PKG_CONFIG_ALLOW_CROSS",
        "PKG_CONFIG_LIBDIR",
        "PKG_CONFIG_PATH",
        "PKG_CONFIG_SYSROOT_DIR",
    ];
    if !pkg_config.iter().any(|name| scope.is_set(name)) {
        if let Some(program) = &tools.pkg_config {
            variables.push((scope.name("PKG_CONFIG"), program.into()));
        } else {
            variables.push((scope.name("PKG_CONFIG_ALLOW_CROSS"), "1".into()));
            let set = tools.pkg_config_variables().into_iter();
            variables.extend(set.filter_map(|(name, value)| Some((scope.name(name), value?))));
        }
    }
    let data = target.environment.iter().filter(|(name, _)| !is_set(name));
    variables.extend(data.map(|(name, value)| (name.clone(), value.into())));
    variables.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

struct Scope<'a> {
    target: &'a Target,
    is_set: &'a dyn Fn(&str) -> bool,
    /// True if the host has the target's triple.
    on_host: bool,
}

impl Scope<'_> {
    /// The variable's name for this target. Underscores, since a shell cannot set names with dashes.
    fn name(&self, variable: &str) -> String {
        format!("{variable}_{}", self.target.underscored())
    }

    /// True if the user has set it for this target or for all targets other than the host. The bare name does not
    /// count, since users set it for the host.
    fn is_set(&self, variable: &str) -> bool {
        let own = [format!("{variable}_{}", self.target.triple), self.name(variable)];
        // Nothing reads this variable if the target's triple is the host's.
        let all = format!("TARGET_{variable}");
        own.iter().any(|name| (self.is_set)(name)) || !self.on_host && (self.is_set)(&all)
    }
}

/// Clang's arguments that make bindgen read zig's headers, taken from the output of `zig cc -E -v`; `None` if it does
/// not list the directories.
pub(super) fn bindgen_arguments(said: &str) -> Option<String> {
    let start = said.find("#include <...> search starts here:")?;
    let dirs = said[start..].lines().skip(1).take_while(|line| !line.starts_with("End of search list"));
    let mut arguments = vec!["-nostdinc".to_owned()];
    arguments.extend(dirs.map(|dir| format!("-isystem{}", dir.trim())));
    // A macro tells zig's headers the version of glibc.
    let minor = said.split_whitespace().map(|word| word.trim_matches('"')).find_map(|word| {
        let word = word.strip_prefix("-D").unwrap_or(word);
        word.strip_prefix("__GLIBC_MINOR__=").map(str::to_owned)
    });
    arguments.extend(minor.map(|minor| format!("-D__GLIBC_MINOR__={minor}")));
    (arguments.len() > 1).then(|| shell_words::join(arguments))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::target::abi::GlibcVersion;
    use crate::toolchain::driver::scripts::Root;
    use crate::toolchain::driver::{Spec, Wrapper};
    use crate::toolchain::zig::{Zig, ZigWay};

    const HOST: &str = "x86_64-unknown-linux-gnu";

    fn variables(triple: &str, set: &[(&str, &str)]) -> Vec<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::by_triple(triple).unwrap();
        let zig =
            Zig { program: "/z/zig".into(), version: semver::Version::new(0, 17, 1), way: ZigWay::Cache };
        let spec = Spec::new(&zig, target, Some(GlibcVersion(2, 36)), None, dir.path()).on(HOST);
        let wrapper = Wrapper::install(spec, target, Path::new("/x"), dir.path()).unwrap();
        let is_set = |name: &str| set.iter().any(|(set, _)| *set == name);
        for_target(target, &wrapper.tools(), Some("-nostdinc"), &is_set)
            .into_iter()
            .map(|(name, value)| (name.into_string().unwrap(), value.into_string().unwrap()))
            .collect()
    }

    fn names(triple: &str, set: &[(&str, &str)]) -> Vec<String> {
        variables(triple, set).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn every_tool_is_named_for_the_target_only() {
        let all = variables("armv7-unknown-linux-gnueabihf", &[("CC", "gcc")]);
        for tool in ["CC", "CXX", "AR", "RANLIB"] {
            let name = format!("{tool}_armv7_unknown_linux_gnueabihf");
            assert!(all.iter().any(|(n, value)| *n == name && value.contains("/zig-")), "{name}");
        }
        assert!(all.iter().all(|(name, _)| name.ends_with("armv7_unknown_linux_gnueabihf")), "{all:?}");
    }

    #[test]
    fn what_the_user_has_set_is_left_alone() {
        let triple = "aarch64-unknown-linux-gnu";
        let under = "aarch64_unknown_linux_gnu";
        for name in [format!("CC_{triple}"), format!("CC_{under}"), "TARGET_CC".to_owned()] {
            let names = names(triple, &[(&name, "mine")]);
            assert!(!names.contains(&format!("CC_{under}")), "{name}");
            assert!(names.contains(&format!("CXX_{under}")), "{name}");
        }
        let names = names(triple, &[(&format!("PKG_CONFIG_PATH_{under}"), "/mine")]);
        assert!(!names.iter().any(|name| name.starts_with("PKG_CONFIG")), "{names:?}");
    }

    #[test]
    fn what_the_host_looks_for_too_is_named_by_programs_only() {
        let all = variables(HOST, &[("TARGET_CC", "for others")]);
        let value = |name: &str| all.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        assert!(value("CC_x86_64_unknown_linux_gnu").unwrap().ends_with("/zig-cc"));
        assert!(value("PKG_CONFIG_x86_64_unknown_linux_gnu").unwrap().ends_with("/pkg-config"));
        assert!(!all.iter().any(|(name, _)| name.contains("LIBDIR") || name.contains("PKG_CONFIG_PATH")));
        for own in ["PKG_CONFIG_x86_64_unknown_linux_gnu", "PKG_CONFIG_LIBDIR_x86_64-unknown-linux-gnu"] {
            let names = names(HOST, &[(own, "mine")]);
            assert!(!names.iter().any(|name| name.starts_with("PKG_CONFIG")), "{own}: {names:?}");
        }
    }

    #[test]
    fn pkg_config_searches_a_sysroot_if_there_is_one() {
        let path = |name: &str| PathBuf::from("/w").join(name);
        let root = Root { path: "/s".into(), multiarch: "aarch64-linux-gnu".into() };
        let tools = Tools {
            cc: path("cc"),
            cxx: path("c++"),
            ar: path("ar"),
            ranlib: path("ranlib"),
            cmake: path("toolchain.cmake"),
            empty: path("empty"),
            pkg_config: None,
            root: Some(root),
        };
        let target = Target::by_triple("aarch64-unknown-linux-gnu").unwrap();
        let all = for_target(target, &tools, None, &|_| false);
        for (name, expected) in [
            ("PKG_CONFIG_LIBDIR", "/s/usr/lib/aarch64-linux-gnu/pkgconfig:/s/usr/share/pkgconfig"),
            ("PKG_CONFIG_SYSROOT_DIR", "/s"),
            ("PKG_CONFIG_PATH", ""),
        ] {
            let name = format!("{name}_aarch64_unknown_linux_gnu");
            assert!(all.contains(&(name.clone().into(), expected.into())), "{name}: {all:?}");
        }
    }

    #[test]
    fn a_targets_own_variables_come_from_its_data() {
        let name = "AARCH64_UNKNOWN_LINUX_GNU_JEMALLOC_SYS_WITH_LG_PAGE";
        let triple = "aarch64-unknown-linux-gnu";
        assert!(variables(triple, &[]).contains(&(name.to_owned(), "16".to_owned())));
        assert!(!names(triple, &[(name, "14")]).contains(&name.to_owned()));
    }

    #[test]
    fn bindgen_reads_zigs_headers() {
        let said = "clang -cc1 -D __GLIBC_MINOR__=36 -x c\n#include \"...\" search starts here:\n\
            #include <...> search starts here:\n /z/lib/include\n /z/lib/libc/include/a b\nEnd of search list.\n";
        assert_eq!(
            bindgen_arguments(said).unwrap(),
            "-nostdinc -isystem/z/lib/include '-isystem/z/lib/libc/include/a b' '-D__GLIBC_MINOR__=36'"
        );
        assert_eq!(bindgen_arguments("nothing of the kind"), None);
    }
}
