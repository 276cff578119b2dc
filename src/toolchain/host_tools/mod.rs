//! Programs and libraries of this machine that build scripts need: which there are, how a dependency graph shows that
//! one is needed, and how to install it. All of that is data, in `toolchains/host-tools.toml`.
//!
//! A sign in the graph is not a proof: a build script may have a reason not to run the program that it could run. So a
//! tool that is missing is a warning before the build, and an explanation if the build fails. Nothing is installed.

pub(crate) mod search;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use semver::VersionReq;
use serde::{Deserialize, Serialize};

/// At most this many packages that need a tool are named.
const MOST_PACKAGES: usize = 3;

/// `toolchains/host-tools.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct HostToolsData {
    /// The file's stem.
    pub name: String,
    /// The distributions whose packages are known.
    pub distribution: Vec<Distribution>,
    /// Where packages look for libraries, by the names of the packages.
    pub search: BTreeMap<String, Search>,
    /// The tools.
    pub tool: Vec<Tool>,
}

/// A distribution and how it installs packages.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Distribution {
    /// Its name.
    pub name: String,
    /// The values of `ID` and `ID_LIKE` in os-release for it and its derivatives.
    pub ids: Vec<String>,
    /// The command, with `{packages}`.
    pub install: String,
}

/// A program or a library of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Tool {
    /// Its name.
    pub name: String,
    /// The names of the program, of which one is enough. Empty for a library.
    #[serde(default)]
    pub programs: Vec<String>,
    /// What is known of the library, if it is one.
    pub library: Option<Library>,
    /// The variables that name another program or, for a library, its file or directory. The first one that is set counts.
    #[serde(default)]
    pub variables: Vec<String>,
    /// True if each variable also exists for one target, as those of cc-rs do: `CMAKE_<triple>`, `TARGET_CMAKE`.
    #[serde(default)]
    pub scoped: bool,
    /// Its packages, separated by spaces, by the name of the distribution.
    #[serde(default)]
    pub packages: BTreeMap<String, String>,
    /// What shows that it is needed.
    #[serde(default)]
    pub sign: Vec<Sign>,
}

/// How a library is recognised.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Library {
    /// Patterns for the names of its files.
    pub files: Vec<String>,
    /// A text that names of other files contain which the patterns match.
    pub except: Option<String>,
    /// The name of the search for it.
    pub search: String,
}

/// Where a package looks for libraries.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Search {
    /// A program that prints the prefix of an installation.
    pub prefix: Prefix,
    /// The variables with lists of further directories.
    pub paths: Vec<String>,
    /// Patterns for absolute directories.
    pub directories: Vec<String>,
}

/// A program that prints the prefix of an installation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Prefix {
    /// The program.
    pub program: String,
    /// The variable that names another program.
    pub variable: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The directories below the prefix.
    pub below: Vec<String>,
}

/// What shows in a dependency graph that a tool is needed. Everything that is given must be true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Sign {
    /// Packages that run the tool when a build script or a procedural macro calls them.
    pub used: Vec<String>,
    /// Packages whose own build scripts run the tool.
    pub built: Vec<String>,
    /// The versions of these packages that do.
    pub versions: Option<VersionReq>,
    /// The features of these packages that must be enabled.
    pub features: Vec<String>,
    /// The features of these packages that must not be enabled.
    pub without_features: Vec<String>,
    /// Packages that provide the tool, or do its work, for the build script that uses them.
    pub unless: Vec<String>,
    /// Packages that do not need the tool, though their build scripts use one of `used`.
    pub except: Vec<String>,
    /// The beginnings of the triples that it is needed for; all if there are none.
    pub only_for: Vec<String>,
    /// The beginnings of triples that it is not needed for.
    pub not_for: Vec<String>,
    /// Variables, and a text that each must contain.
    pub when: BTreeMap<String, String>,
    /// Variables that must not be set.
    pub unless_set: Vec<String>,
}

static DATA: LazyLock<HostToolsData> = LazyLock::new(|| {
    toml::from_str(include_str!("../../../toolchains/host-tools.toml"))
        .expect("host-tools.toml is part of the program and tested")
});

impl HostToolsData {
    /// The embedded data.
    #[must_use]
    pub(crate) fn get() -> &'static Self {
        &DATA
    }

    /// The distribution that an os-release describes, or that it is derived from.
    #[must_use]
    pub(crate) fn distribution_of(&self, os_release: &str) -> Option<&Distribution> {
        let field = |name: &str| {
            let mut values = os_release.lines().filter_map(|line| line.trim().split_once('='));
            let value = values.rfind(|(known, _)| *known == name).map_or("", |(_, value)| value);
            value.trim_matches(['"', '\'']).split_whitespace()
        };
        let known = |id: &str| self.distribution.iter().find(|known| known.ids.iter().any(|own| own == id));
        field("ID").chain(field("ID_LIKE")).find_map(known)
    }
}

impl Distribution {
    /// The command that installs packages.
    #[must_use]
    pub(crate) fn install_command(&self, packages: &str) -> String {
        self.install.replace("{packages}", packages)
    }
}

impl Tool {
    /// The first tool with a name; another one of the name differs in who needs it and where they look.
    #[must_use]
    pub(crate) fn by_name(name: &str) -> Option<&'static Self> {
        HostToolsData::get().tool.iter().find(|tool| tool.name == name)
    }

    /// The command that installs it on a distribution, if the distribution has it.
    #[must_use]
    pub(crate) fn install(&self, distribution: &Distribution) -> Option<String> {
        let packages = self.packages.get(&distribution.name)?;
        Some(distribution.install_command(packages))
    }

    /// What to do if it is missing, on a machine of which nothing is known.
    #[must_use]
    pub(crate) fn remedy(&self) -> String {
        let commands: Vec<String> = HostToolsData::get()
            .distribution
            .iter()
            .filter_map(|known| Some(format!("`{}` on {}", self.install(known)?, known.name)))
            .collect();
        let commands =
            if commands.is_empty() { String::new() } else { format!(" ({})", commands.join(", ")) };
        format!("install it{commands}{}", or_set(&self.variables, self.library.is_some()))
    }
}

/// How a variable can provide a tool, as the end of a sentence.
fn or_set(variables: &[String], is_library: bool) -> String {
    let what = if is_library { "the directory that has it" } else { "its path" };
    variables.first().map_or_else(String::new, |variable| format!(", or set {variable} to {what}"))
}

/// A tool that a build may need, and whether this machine has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostTool {
    /// The program's or the library's name.
    pub name: String,
    /// True if it is a library.
    #[serde(skip)]
    pub is_library: bool,
    /// The packages whose builds may need it, sorted.
    pub needed_by: Vec<NeededBy>,
    /// Where it is; `None` if it is missing.
    pub path: Option<PathBuf>,
    /// A variable that names a program, file or directory that does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misnamed: Option<Misnamed>,
    /// The variables that may name another one.
    pub variables: Vec<String>,
    /// The command that installs it on this machine, if that is known.
    pub install: Option<String>,
}

/// A package whose build may need a tool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NeededBy {
    /// The package.
    pub package: String,
    /// Its dependency that shows that, unless it is the package itself.
    pub through: Option<String>,
}

/// A variable with a value that cannot be found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Misnamed {
    /// Its name.
    pub variable: String,
    /// Its value.
    pub value: PathBuf,
}

impl HostTool {
    /// True if it was not found.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.path.is_none()
    }

    /// That it is missing, what for, and what to do about it.
    #[must_use]
    pub fn warning(&self) -> String {
        let needed = |by: &NeededBy| match &by.through {
            Some(through) => format!("`{}` (through `{through}`)", by.package),
            None => format!("`{}`", by.package),
        };
        let (first, rest) = self.needed_by.split_at(self.needed_by.len().min(MOST_PACKAGES));
        let mut packages: Vec<String> = first.iter().map(needed).collect();
        if !rest.is_empty() {
            packages.push(format!("{} more", rest.len()));
        }
        let packages = match packages.split_last() {
            Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
            _ => packages.concat(),
        };
        format!("{}, and building {packages} may need it: {}", self.lack(), self.remedy())
    }

    /// That it is missing.
    #[must_use]
    pub fn lack(&self) -> String {
        match &self.misnamed {
            Some(Misnamed { variable, value }) => {
                format!("`{}` is not at `{}`, which {variable} names", self.name, value.display())
            }
            None => format!("`{}` is not installed on this machine", self.name),
        }
    }

    /// What to do if it is missing.
    #[must_use]
    pub fn remedy(&self) -> String {
        let install = match &self.install {
            Some(command) => format!("install it with `{command}`"),
            None => "install it".to_owned(),
        };
        if let Some(Misnamed { variable, .. }) = &self.misnamed {
            return format!("correct {variable}, or unset it and {install}");
        }
        format!("{install}{}", or_set(&self.variables, self.is_library))
    }
}

#[cfg(test)]
mod tests;
