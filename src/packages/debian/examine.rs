//! An image that packages are to be added to, by its own files: whether it is Debian, of which release, and what is
//! installed in it.

use super::database::Database;
use super::options::DebianSources;
use super::sources::is_of_release;
use crate::error::{ExitCode, Explain};
use crate::rootfs::{self, Root};

/// The `ID` in Debian's os-release. Derivatives have another, and archives of their own.
const ID: &str = "debian";

/// Why packages cannot be added to an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdditionsError {
    /// It is another distribution, or unknown.
    #[error("Debian's packages ({}) cannot be added to the base `{base}`: {found}", packages.join(", "))]
    NotDebian {
        /// The base.
        base: String,
        /// What it is instead, as a sentence.
        found: String,
        /// The packages.
        packages: Vec<String>,
    },
    /// It does not name its release.
    #[error("the base `{base}` is Debian, but its os-release does not name the release")]
    NoRelease {
        /// The base.
        base: String,
    },
    /// It has no database of packages.
    #[error(
        "the base `{base}` is Debian {release}, but has neither /var/lib/dpkg/status nor /var/lib/dpkg/status.d, so \
         its installed packages are unknown"
    )]
    NoDatabase {
        /// The base.
        base: String,
        /// Its release.
        release: String,
    },
    /// The project's suites are those of another release.
    #[error("the base `{base}` is Debian {release}, and the suite `{suite}` does not belong to that release")]
    ForeignSuite {
        /// The base.
        base: String,
        /// Its release.
        release: String,
        /// The suite.
        suite: String,
    },
}

impl Explain for AdditionsError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::ForeignSuite { .. } => ExitCode::Config,
            Self::NotDebian { .. } | Self::NoRelease { .. } | Self::NoDatabase { .. } => ExitCode::Package,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotDebian { .. } => "use a base that is Debian, such as apt:bookworm, or install the packages of \
                                       its own distribution in the base image; a package for some platforms only belongs \
                                       under [platform.\"…\"]"
                .into(),
            Self::NoRelease { .. } | Self::NoDatabase { .. } => {
                "use a base image that has them, or apt:SUITE".into()
            }
            Self::ForeignSuite { release, .. } => {
                format!("name suites like `{release}` and `{release}-security`, or none")
            }
        })
    }
}

/// What is known about an image from its own files.
#[derive(Clone, Debug)]
pub(crate) struct Examined {
    /// The release's codename.
    pub(crate) release: String,
    /// What is installed.
    pub(crate) database: Database,
    /// The suites to choose packages from; empty for the default.
    pub(crate) suites: Vec<String>,
}

/// Determines the Debian release and the installed packages of a root filesystem.
pub(crate) fn examine(
    root: &Root,
    base: &str,
    packages: &[String],
    sources: &DebianSources,
) -> Result<Examined, AdditionsError> {
    let base = base.to_owned();
    let system = root.system();
    let Some(system) = system.as_ref().filter(|system| system.id == ID) else {
        let found = system
            .map_or_else(|| "it has no /etc/os-release".into(), |system| format!("it is {}", system.name));
        return Err(AdditionsError::NotDebian { base, found, packages: packages.to_vec() });
    };
    let Some(release) = system.codename.clone() else { return Err(AdditionsError::NoRelease { base }) };
    let Some(database) = database(root) else { return Err(AdditionsError::NoDatabase { base, release }) };
    if let Some(suite) = sources.project.iter().find(|suite| !is_of_release(suite, &release)) {
        return Err(AdditionsError::ForeignSuite { base, release, suite: suite.clone() });
    }
    let suites = sources.of_release(&release);
    Ok(Examined { release, database, suites })
}

/// The packages installed in a root filesystem; `None` if it has no database.
fn database(root: &Root) -> Option<Database> {
    if let Some(bytes) = root.file("var/lib/dpkg/status").and_then(rootfs::File::bytes) {
        // A database of the first format has no such file.
        let qualified = root.lookup("var/lib/dpkg/info/format").is_some();
        return Some(Database::of_status(&String::from_utf8_lossy(bytes), qualified));
    }
    let dir = root.real_path("var/lib/dpkg/status.d")?;
    let parts: Vec<String> = root
        .below(&dir)
        .filter_map(|(_, node)| Some(String::from_utf8_lossy(node.file()?.bytes()?).into_owned()))
        .collect();
    (!parts.is_empty()).then(|| Database::of_parts(parts.iter().map(String::as_str)))
}
