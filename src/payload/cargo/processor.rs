//! Finds flags of the user's that compile for better processors than the platform promises. Pure.
//!
//! rustc and C compilers obey such flags without a warning, and a program for newer processors dies of an illegal
//! instruction on others.

use std::ffi::{OsStr, OsString};

use serde::Serialize;

use super::configuration::UserFlags;
use crate::sys::env::Environment;
use crate::target::catalog::{Target, Variant};
use crate::target::platform::Platform;
use crate::toolchain::rust::flags::{codegen, named};

/// rustc's features that are not features of the processor.
const NOT_OF_THE_PROCESSOR: [&str; 14] = [
    "crt-static",
    "outline-atomics",
    "strict-align",
    "unaligned-scalar-mem",
    "reserve-x18",
    "reserve-x16",
    "soft-float",
    "retpoline",
    "retpoline-external-thunk",
    "retpoline-indirect-branches",
    "retpoline-indirect-calls",
    "lvi-cfi",
    "relax",
    "fix-cortex-a53-835769",
];

/// A flag that requires more than the platform's processors have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProcessorFlag {
    /// The flag, reduced to what is about the processor.
    pub flag: String,
    /// Where it is set.
    pub from: String,
    /// True if it is for the build machine's processor, whatever that is.
    pub native: bool,
}

/// The flags that require more than the processors of a platform have. `configured` looks up variables in cargo's
/// configuration, and `sources` says where flags are set that contain a word.
#[must_use]
pub(crate) fn beyond(
    target: &Target,
    platform: &Platform,
    user: &UserFlags,
    environment: &Environment,
    configured: &dyn Fn(&str) -> Option<OsString>,
    sources: &dyn Fn(&str) -> Option<String>,
) -> Vec<ProcessorFlag> {
    let promised = Promised::of(target, platform);
    let mut found = Vec::new();
    let source = |word: &str| {
        let other = || sources(&word.replace('-', "_"));
        sources(word).or_else(other).unwrap_or_else(|| "cargo's configuration".to_owned())
    };
    found.extend(promised.of_rustc(&user.flags, &source));
    found.extend(promised.of_rustc(&user.overridden, &source));
    for variable in ["CFLAGS", "CXXFLAGS"] {
        for name in [
            format!("{variable}_{}", target.triple),
            format!("{variable}_{}", target.underscored()),
            format!("TARGET_{variable}"),
            variable.to_owned(),
        ] {
            let set = environment.var_os(&name).map(OsStr::to_owned);
            let of_configuration =
                || configured(&name).map(|text| (text, format!("`env.{name}` of cargo's configuration")));
            let Some((text, from)) = set.map(|text| (text, format!("${name}"))).or_else(of_configuration)
            else {
                continue;
            };
            let text = text.to_string_lossy().into_owned();
            found.extend(text.split_whitespace().filter_map(|word| promised.of_c(word, &from)));
        }
    }
    found
}

/// rustc's flags for a variant's processors, unless the user's flags name processors.
#[must_use]
pub(crate) fn flags(variant: Option<&Variant>, user: &UserFlags) -> Vec<String> {
    variant
        .filter(|_| named(&user.flags).is_none())
        .map(|variant| format!("-Ctarget-cpu={}", variant.cpu))
        .into_iter()
        .collect()
}

/// rustc's name for the processors of a variant of a platform; `None` for a platform without a variant.
#[must_use]
pub(crate) fn cpu(variant: Option<&Variant>, user: &UserFlags) -> Option<String> {
    variant.map(|variant| named(&user.flags).unwrap_or_else(|| variant.cpu.clone()))
}

/// What a platform's processors have at least.
struct Promised<'a> {
    target: &'a Target,
    variants: Vec<&'a Variant>,
}

impl<'a> Promised<'a> {
    fn of(target: &'a Target, platform: &Platform) -> Self {
        let last = target.variant(platform);
        // Variants are sorted by name, and each includes those before it.
        let all = target.processor.variants.values();
        let until =
            last.and_then(|last| all.clone().position(|variant| variant == last)).map_or(0, |at| at + 1);
        Self { target, variants: all.take(until).collect() }
    }

    fn has_cpu(&self, name: &str) -> bool {
        let known = |known: &str| known == name;
        self.target.processor.cpus.iter().any(|cpu| known(cpu))
            || self.variants.iter().any(|variant| variant.cpu_names().into_iter().any(known))
    }

    fn has_feature(&self, name: &str) -> bool {
        let features = self.variants.iter().flat_map(|variant| &variant.features);
        self.target.processor.features.iter().chain(features).any(|known| known == name)
            || NOT_OF_THE_PROCESSOR.contains(&name)
    }

    fn of_rustc(&self, flags: &[String], source: &dyn Fn(&str) -> String) -> Vec<ProcessorFlag> {
        let options = codegen(flags);
        let mut found = Vec::new();
        let cpu = named(flags).filter(|cpu| !self.has_cpu(cpu) && cpu != "help");
        found.extend(cpu.map(|cpu| ProcessorFlag {
            flag: format!("-Ctarget-cpu={cpu}"),
            from: source("target-cpu="),
            native: cpu == "native",
        }));
        let features = options.iter().filter(|(name, _)| name == "target-feature").map(|(_, value)| *value);
        let more: Vec<&str> = features
            .flat_map(|list| list.split(','))
            .filter(|feature| feature.strip_prefix('+').is_some_and(|name| !self.has_feature(name)))
            .collect();
        if !more.is_empty() {
            let flag = format!("-Ctarget-feature={}", more.join(","));
            found.push(ProcessorFlag { flag, from: source("target-feature="), native: false });
        }
        found
    }

    fn of_c(&self, word: &str, from: &str) -> Option<ProcessorFlag> {
        let named = word.strip_prefix("-march=").or_else(|| word.strip_prefix("-mcpu="));
        let more = match named {
            Some(name) => !self.has_cpu(name),
            None => word.strip_prefix("-m").is_some_and(|name| {
                let rustc = match name {
                    "bmi" => "bmi1",
                    other => other,
                };
                let newer =
                    self.target.processor.c_features.iter().any(|begin| name.starts_with(begin.as_str()));
                newer && !self.has_feature(rustc)
            }),
        };
        let (flag, native) = (word.to_owned(), named == Some("native"));
        more.then(|| ProcessorFlag { flag, from: from.to_owned(), native })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::cargo::configuration::FlagSource;

    fn found(platform: &str, rustc: &[&str], variables: &[(&str, &str)]) -> Vec<(String, String, bool)> {
        let platform: Platform = platform.parse().unwrap();
        let target = Target::all().iter().find(|target| target.serves(&platform)).unwrap();
        let flags = rustc.iter().map(|flag| (*flag).to_owned()).collect();
        let user = UserFlags { flags, source: FlagSource::Environment, overridden: Vec::new() };
        let environment = variables.iter().copied().collect();
        let found = beyond(target, &platform, &user, &environment, &|_| None, &|_| Some("$RUSTFLAGS".into()));
        found.into_iter().map(|flag| (flag.flag, flag.from, flag.native)).collect()
    }

    #[test]
    fn whatever_way_native_is_said_it_is_found() {
        for flags in [
            &["-Ctarget-cpu=native"][..],
            &["-C", "target-cpu=native"],
            &["--codegen", "target-cpu=native"],
            &["--codegen=target-cpu=native"],
            &["-Ctarget-cpu=x86-64", "-Ctarget-cpu=native"],
            // rustc accepts either spelling.
            &["-Ctarget_cpu=native"],
            &["-C", "target_cpu=native"],
        ] {
            let expected = ("-Ctarget-cpu=native".to_owned(), "$RUSTFLAGS".to_owned(), true);
            assert_eq!(found("linux/amd64", flags, &[]), [expected], "{flags:?}");
        }
        // The last flag is used.
        assert_eq!(found("linux/amd64", &["-Ctarget-cpu=native", "-Ctarget-cpu=x86-64"], &[]), []);
        for name in [
            "CFLAGS",
            "TARGET_CFLAGS",
            "CXXFLAGS_x86_64_unknown_linux_gnu",
            "CFLAGS_x86_64-unknown-linux-gnu",
        ] {
            let expected = ("-march=native".to_owned(), format!("${name}"), true);
            assert_eq!(found("linux/amd64", &[], &[(name, "-O2 -march=native -mtune=native")]), [expected]);
        }
        assert_eq!(found("linux/amd64", &[], &[("CFLAGS_aarch64_unknown_linux_gnu", "-mcpu=native")]), []);
    }

    #[test]
    fn what_the_platform_promises_is_nothing_to_tell() {
        let flag = |platform: &str, rustc: &[&str]| {
            found(platform, rustc, &[]).into_iter().map(|(flag, ..)| flag).collect::<Vec<_>>()
        };
        for (platform, flags, expected) in [
            ("linux/amd64", &["-Ctarget-cpu=x86-64"][..], &[][..]),
            ("linux/amd64", &["-Ctarget-cpu=x86-64-v3"], &["-Ctarget-cpu=x86-64-v3"]),
            ("linux/amd64/v3", &["-Ctarget-cpu=x86-64-v3"], &[]),
            ("linux/amd64/v3", &["-Ctarget-cpu=x86-64-v2"], &[]),
            ("linux/amd64/v2", &["-Ctarget-cpu=haswell"], &["-Ctarget-cpu=haswell"]),
            ("linux/amd64", &["-Ctarget-feature=+crt-static,-sse3,+sse2"], &[]),
            ("linux/amd64", &["-Ctarget-feature=+avx2,+crt-static,+fma"], &["-Ctarget-feature=+avx2,+fma"]),
            ("linux/amd64/v3", &["-Ctarget-feature=+avx2,+aes"], &["-Ctarget-feature=+aes"]),
            ("linux/amd64", &["-C", "target_feature=+avx2"], &["-Ctarget-feature=+avx2"]),
            ("linux/amd64", &["-Ctarget_cpu=x86-64-v3"], &["-Ctarget-cpu=x86-64-v3"]),
            ("linux/arm64", &["-Ctarget-cpu=cortex-a53", "-Ctarget-feature=+neon"], &[]),
            ("linux/arm64", &["-Ctarget-cpu=neoverse-n1"], &["-Ctarget-cpu=neoverse-n1"]),
            ("linux/arm64", &["-Ctarget-feature=+lse"], &["-Ctarget-feature=+lse"]),
            ("linux/ppc64le", &["-Ctarget-cpu=pwr9"], &["-Ctarget-cpu=pwr9"]),
            ("linux/riscv64", &["-Ctarget-feature=+v"], &["-Ctarget-feature=+v"]),
        ] {
            assert_eq!(flag(platform, flags), expected, "{platform} {flags:?}");
        }
        let c = |platform: &str, text: &str| found(platform, &[], &[("CFLAGS", text)]).len();
        assert_eq!(c("linux/amd64", "-mavx2 -O3 -m64 -msse2 -mno-avx"), 1);
        assert_eq!((c("linux/amd64/v3", "-mavx2 -mbmi"), c("linux/arm64", "-march=armv8-a")), (0, 0));
    }

    #[test]
    fn a_variant_is_compiled_for_unless_a_processor_is_named() {
        let target = Target::by_triple("x86_64-unknown-linux-gnu").unwrap();
        let variant = target.variant(&"linux/amd64/v3".parse().unwrap());
        let user = |flags: &[&str]| {
            let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
            UserFlags { flags, source: FlagSource::Build, overridden: Vec::new() }
        };
        assert_eq!(flags(variant, &user(&["-Clto"])), ["-Ctarget-cpu=x86-64-v3"]);
        for haswell in [["-C", "target-cpu=haswell"], ["-C", "target_cpu=haswell"]] {
            assert!(flags(variant, &user(&haswell)).is_empty());
        }
        assert!(flags(None, &user(&[])).is_empty());
        let told = |variant, flags: &[&str]| cpu(variant, &user(flags));
        assert_eq!(told(variant, &["-Clto"]).as_deref(), Some("x86-64-v3"));
        assert_eq!(told(variant, &["-Ctarget-cpu=x86-64-v2"]).as_deref(), Some("x86-64-v2"));
        assert_eq!(told(None, &["-Ctarget-cpu=x86-64-v2"]), None);
    }
}
