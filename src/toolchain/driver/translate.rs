//! Translates the arguments of a compiler driver for zig's driver. Pure.
//!
//! rustc, cc-rs, `CMake` and others expect GCC or Clang. zig's driver is Clang's with exceptions, which
//! `toolchains/zig.toml` and `targets/*.toml` list with the reason for each. Arguments that are in no list are passed
//! on unchanged.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use semver::Version;

use crate::target::catalog::{Libc, Target};
use crate::toolchain::objcopy::Strip;
use crate::toolchain::zig::data::{Action, Form, Rule, ZigData};

/// The arguments for zig, and what must be done after zig has linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Translation {
    /// The purpose of the call.
    pub task: Task,
    /// The arguments, without those that the wrapper itself adds.
    pub arguments: Vec<OsString>,
    /// What must be stripped from the linked file.
    pub strip: Option<Strip>,
    /// True if the linked file must have RPATH and not RUNPATH.
    pub rpath: bool,
    /// What was dropped or translated.
    pub remarks: Vec<Remark>,
}

/// The purpose of a call of the compiler driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// It links this file.
    Link(PathBuf),
    /// It compiles or preprocesses.
    Compile,
    /// It only queries, for example the version.
    Ask,
}

/// An argument that zig does not get, or gets in another form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    /// The argument.
    pub argument: String,
    /// Why.
    pub reason: String,
}

/// An argument that zig does not support and without which the program would not be as requested.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("zig cannot take `{argument}`: {reason}")]
pub(crate) struct Refused {
    /// The argument.
    pub argument: String,
    /// Why.
    pub reason: String,
}

/// Driver options that end before linking.
const NO_LINK: &[&str] = &["-c", "-S", "-E", "-M", "-MM", "-fsyntax-only"];
/// Driver options that only query. Options that start with `-print-` or `-dump` do so, too.
const ASK: &[&str] = &["--version", "--help", "-###", "-qversion"];
/// The linker's names for stripping debug information only. zig strips all symbols for them.
const STRIP_DEBUG: &[&str] = &["strip-debug", "S"];
/// The linker's names for stripping all symbols.
const STRIP_ALL: &[&str] = &["strip-all", "s"];

/// Translates `arguments` for zig. `can_strip` is true if the caller can strip programs itself; otherwise zig does,
/// which strips all symbols together with debug information.
pub(crate) fn translate(
    arguments: &[OsString],
    target: &Target,
    version: &Version,
    can_strip: bool,
) -> Result<Translation, Refused> {
    let mut state = State {
        data: ZigData::get(),
        target,
        version,
        can_strip,
        out: Vec::new(),
        remarks: Vec::new(),
        instead_of: Vec::new(),
        strip: None,
        rpath: false,
        version_script: false,
        undefined_versions: None,
    };
    state.driver(arguments)?;
    state.tolerate_undefined_versions();
    let task = task(arguments);
    if matches!(task, Task::Link(_)) && target.libc == Libc::Gnu && state.says_static() {
        return Err(Refused {
            argument: "-static".into(),
            reason:
                "it links glibc dynamically only; for a static program build for a musl target, or remove \
                     `-Ctarget-feature=+crt-static`"
                    .into(),
        });
    }
    Ok(Translation {
        strip: state.strip,
        rpath: state.rpath,
        arguments: state.written(),
        remarks: state.remarks,
        task,
    })
}

/// The purpose of a call with these arguments.
pub(crate) fn task(arguments: &[OsString]) -> Task {
    let words = || arguments.iter().filter_map(|argument| argument.to_str());
    let asks = |word: &str| ASK.contains(&word) || word.starts_with("-print-") || word.starts_with("-dump");
    if words().any(asks) {
        return Task::Ask;
    }
    if words().any(|word| NO_LINK.contains(&word)) {
        return Task::Compile;
    }
    if words().all(|word| word.starts_with('-')) {
        return Task::Ask;
    }
    let mut output = PathBuf::from("a.out");
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "-o" {
            output = rest.next().map_or(output, PathBuf::from);
        } else if let Some(joined) = argument.to_str().and_then(|word| word.strip_prefix("-o")) {
            output = joined.into();
        }
    }
    Task::Link(output)
}

/// An argument for zig.
enum Out {
    /// For its driver.
    Driver(OsString),
    /// For its linker: an option, and its value if that is a separate argument.
    Linker(Vec<String>),
}

struct State<'a> {
    data: &'a ZigData,
    target: &'a Target,
    version: &'a Version,
    can_strip: bool,
    out: Vec<Out>,
    remarks: Vec<Remark>,
    /// Linker options that were replaced by others.
    instead_of: Vec<&'a str>,
    strip: Option<Strip>,
    rpath: bool,
    /// True if a version script is among the arguments.
    version_script: bool,
    /// Whether a version script may contain undefined names, if an option sets it.
    undefined_versions: Option<bool>,
}

impl State<'_> {
    fn driver(&mut self, arguments: &[OsString]) -> Result<(), Refused> {
        // Consecutive linker options are collected, since an option and its value may be in two arguments: `-Wl,-z
        // -Wl,now`.
        let mut linker: Vec<String> = Vec::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(word) = argument.to_str() else {
                self.linker(std::mem::take(&mut linker))?;
                self.out.push(Out::Driver(argument.clone()));
                continue;
            };
            if let Some(list) = word.strip_prefix("-Wl,") {
                linker.extend(list.split(',').map(str::to_owned));
                continue;
            }
            if word == "-Xlinker" {
                linker.extend(rest.next().map(|value| value.to_string_lossy().into_owned()));
                continue;
            }
            self.linker(std::mem::take(&mut linker))?;
            let mut next = || rest.next().map(|value| value.to_string_lossy().into_owned());
            self.driver_option(word, &mut next)?;
        }
        self.linker(linker)
    }

    fn driver_option(&mut self, word: &str, next: &mut dyn FnMut() -> Option<String>) -> Result<(), Refused> {
        if matches!(word, "-o" | "-L" | "-I" | "-x" | "-l" | "-u" | "-z" | "-T" | "-MF" | "-MT" | "-MQ") {
            // The next argument is a value, even if it looks like an option.
            self.out.push(Out::Driver(word.into()));
            self.out.extend(next().map(|value| Out::Driver(value.into())));
            return Ok(());
        }
        if word == "-s" && self.strip(word) {
            return Ok(());
        }
        if let Some(replacement) = self.target.zig.arguments.get(word) {
            let reason = format!("zig uses other arguments for {}", self.target.triple);
            self.remark(word, &reason);
            self.out.extend(replacement.iter().map(|argument| Out::Driver(argument.into())));
            return Ok(());
        }
        if let Some(cpu) = word.strip_prefix("-march=").or_else(|| word.strip_prefix("-mcpu=")) {
            let cpu = format!("-mcpu={}", self.cpu(cpu));
            if cpu != word {
                self.remark(word, &format!("zig names processors differently: {cpu}"));
            }
            self.out.push(Out::Driver(cpu.into()));
            return Ok(());
        }
        let found = self.data.driver.argument.iter().find_map(|rule| Some((rule, self.matches(rule, word)?)));
        let Some((rule, value)) = found else {
            self.out.push(Out::Driver(word.into()));
            return Ok(());
        };
        let value = match value {
            Match::Whole(value) => value,
            Match::ValueFollows => next().unwrap_or_default(),
        };
        let said = self.apply(rule, word, &value)?;
        self.out.extend(said.into_iter().map(|argument| Out::Driver(argument.into())));
        Ok(())
    }

    fn linker(&mut self, options: Vec<String>) -> Result<(), Refused> {
        let mut rest = options.into_iter();
        while let Some(mut option) = rest.next() {
            if !option.starts_with('-') {
                // `-Wl,file.o` is a way to name an input file.
                if !option.is_empty() {
                    self.out.push(Out::Driver(option.into()));
                }
                continue;
            }
            if option == "-z" {
                option = format!("-z {}", rest.next().unwrap_or_default());
            } else if let Some(word) = option.strip_prefix("-z").filter(|word| !word.is_empty()) {
                option = format!("-z {word}");
            }
            if self.strip(&option) || self.dynamic_tags(&option) {
                continue;
            }
            self.look_at_versions(&option);
            let data = self.data;
            let found =
                data.linker.argument.iter().find_map(|rule| Some((rule, self.matches(rule, &option)?)));
            let Some((rule, value)) = found else {
                let value = if self.has_separate_value(&option) { rest.next() } else { None };
                // `-z word` is one option of two words.
                let words = match option.split_once(' ') {
                    Some((z, word)) if z == "-z" => vec![z.to_owned(), word.to_owned()],
                    _ => std::iter::once(option).chain(value).collect(),
                };
                self.out.push(Out::Linker(words));
                continue;
            };
            let value = match value {
                Match::Whole(value) => value,
                Match::ValueFollows if self.has_separate_value(&option) => rest.next().unwrap_or_default(),
                Match::ValueFollows => String::new(),
            };
            let said = self.apply(rule, &option, &value)?;
            self.instead_of.extend(rule.instead_of.iter().map(String::as_str));
            if !said.is_empty() {
                self.out.push(Out::Linker(said));
            }
        }
        Ok(())
    }

    /// Records whether symbols or debug information must be stripped. True if zig does not get the option.
    fn strip(&mut self, option: &str) -> bool {
        let (what, reason) = if STRIP_ALL.contains(&bare(option)) {
            (Strip::All, "zig would build its own libraries again for it; symbols are stripped afterwards")
        } else if !STRIP_DEBUG.contains(&bare(option)) {
            return false;
        } else if self.can_strip {
            (
                Strip::Debug,
                "zig would strip all symbols with the debug information; it is stripped afterwards",
            )
        } else {
            (
                Strip::Debug,
                "zig strips all symbols with the debug information, and this Rust has no rust-objcopy",
            )
        };
        if self.can_strip || what == Strip::Debug {
            self.remark(option, reason);
        }
        if self.can_strip {
            self.strip = self.strip.max(Some(what));
        }
        self.can_strip
    }

    /// Records which of the two tags the run path must have. True if zig does not get the option.
    fn dynamic_tags(&mut self, option: &str) -> bool {
        match bare(option) {
            "enable-new-dtags" => self.rpath = false,
            "disable-new-dtags" => {
                self.rpath = true;
                self.remark(option, "zig always writes RUNPATH; it is changed to RPATH afterwards");
                return true;
            }
            _ => {}
        }
        false
    }

    fn look_at_versions(&mut self, option: &str) {
        let name = option.split_once('=').map_or(option, |(name, _)| name);
        match bare(name) {
            "version-script" => self.version_script = true,
            "undefined-version" => self.undefined_versions = Some(true),
            "no-undefined-version" => self.undefined_versions = Some(false),
            _ => {}
        }
    }

    /// GNU ld accepts undefined names in a version script, and scripts for several configurations have them; zig's
    /// linker needs an option for it.
    fn tolerate_undefined_versions(&mut self) {
        if self.version_script && self.undefined_versions.is_none() {
            self.out.push(Out::Linker(vec!["--undefined-version".to_owned()]));
        }
    }

    fn has_separate_value(&self, option: &str) -> bool {
        !option.contains('=') && self.data.linker.separate.iter().any(|name| same_option(name, option))
    }

    fn matches(&self, rule: &Rule, word: &str) -> Option<Match> {
        if rule.until.as_ref().is_some_and(|until| self.version >= until) {
            return None;
        }
        match rule.form {
            Form::Flag => same_option(&rule.name, word).then(|| Match::Whole(String::new())),
            Form::Value if same_option(&rule.name, word) => Some(Match::ValueFollows),
            Form::Value => {
                let (name, value) = word.split_once('=')?;
                same_option(&rule.name, name).then(|| Match::Whole(value.to_owned()))
            }
            Form::Prefix => {
                let name = word.split_once('=').map_or(word, |(name, _)| name);
                let value = word.strip_prefix(rule.name.as_str())?;
                // zig supports `-e NAME`.
                let alone = value.is_empty() && rule.action == Action::Replace;
                (!alone && !rule.except.iter().any(|other| other == name))
                    .then(|| Match::Whole(value.to_owned()))
            }
        }
    }

    fn apply(&mut self, rule: &Rule, word: &str, value: &str) -> Result<Vec<String>, Refused> {
        if rule.action == Action::Refuse {
            return Err(Refused { argument: word.to_owned(), reason: rule.reason.clone() });
        }
        self.remark(word, &rule.reason);
        Ok(rule.with.iter().map(|argument| argument.replace("{value}", value)).collect())
    }

    fn remark(&mut self, argument: &str, reason: &str) {
        self.remarks.push(Remark { argument: argument.to_owned(), reason: reason.to_owned() });
    }

    /// zig's name of a processor and its features: `armv8.2-a+fp16` → `generic+v8_2a+fullfp16`.
    fn cpu(&self, name: &str) -> String {
        // zig's own names are passed on; only they contain `_` and features removed by `-`.
        if name.contains('_') || name.starts_with("generic+") {
            return name.to_owned();
        }
        let mut parts = name.split('+');
        let base = parts.next().unwrap_or_default();
        let mut cpu = match self.target.zig.cpus.get(base) {
            Some(cpu) => cpu.clone(),
            None => base.replace(['-', '.'], "_"),
        };
        for feature in parts {
            let (sign, feature) = match feature.strip_prefix("no") {
                Some(without) if !without.is_empty() => ('-', without),
                _ => ('+', feature),
            };
            cpu.push(sign);
            match self.target.zig.features.get(feature) {
                Some(feature) => cpu.push_str(feature),
                None => cpu.push_str(&feature.replace('-', "_")),
            }
        }
        cpu
    }

    fn says_static(&self) -> bool {
        self.out.iter().any(|out| matches!(out, Out::Driver(argument) if argument == "-static"))
    }

    fn written(&mut self) -> Vec<OsString> {
        let instead_of = &self.instead_of;
        let gone = |option: &str| instead_of.iter().any(|name| same_option(name, option));
        let mut arguments = Vec::new();
        for out in self.out.drain(..) {
            match out {
                Out::Driver(argument) => arguments.push(argument),
                Out::Linker(words) if words.first().is_some_and(|option| gone(option)) => {}
                Out::Linker(words) if words.iter().any(|word| word.contains(',')) => {
                    for word in words {
                        arguments.extend([OsStr::new("-Xlinker").to_owned(), word.into()]);
                    }
                }
                Out::Linker(words) => arguments.push(format!("-Wl,{}", words.join(",")).into()),
            }
        }
        arguments
    }
}

/// How a word matches a rule.
enum Match {
    /// With its value.
    Whole(String),
    /// The value is the next word.
    ValueFollows,
}

/// An option without its dashes.
fn bare(option: &str) -> &str {
    option.trim_start_matches('-')
}

/// Linkers accept long options with one or two dashes, but short ones only with one.
fn same_option(name: &str, word: &str) -> bool {
    let long = bare(name).len() > 1;
    word.starts_with('-') && if long { bare(name) == bare(word) } else { name == word }
}

#[cfg(test)]
mod tests;
