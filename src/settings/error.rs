//! Errors in values, wherever they were set.

use super::Compression;
use crate::error::{ExitCode, Explain, Snippet};
use crate::oci::name::InvalidName;
use crate::origin::Origin;
use crate::target::catalog::Target;
use crate::target::platform::{ParseError, Platform};

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A value is wrong.
    #[error("{problem} (from {origin})")]
    Value {
        /// The problem.
        problem: Box<Problem>,
        /// Where it was set.
        origin: Origin,
    },
    /// There is no directory for the cache.
    #[error("no cache directory: neither XBUILD_CACHE_DIR nor XDG_CACHE_HOME nor HOME is set")]
    NoCacheDirectory,
}

/// A problem with a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A text that does not even have the form of a platform.
    #[error("{error}")]
    NotAPlatform {
        /// The parser's error.
        error: ParseError,
        /// The platform that was probably meant.
        nearest: Option<String>,
    },
    /// A platform that no target serves.
    #[error("unknown platform `{given}`")]
    UnknownPlatform {
        /// As it was given.
        given: String,
        /// The platform that was probably meant.
        nearest: Option<String>,
    },
    /// A target triple in place of a platform.
    #[error("`{triple}` is a target triple, not a platform")]
    TripleForPlatform {
        /// The triple.
        triple: String,
        /// Its platform.
        platform: Platform,
    },
    /// A `[[files]]` table with two sources.
    #[error("a table of [[files]] has either `from` or `from-build`, and this one has both")]
    TwoSources,
    /// A `[[files]]` table without a source.
    #[error("a table of [[files]] has neither `from` nor `from-build`")]
    NoSource,
    /// A platform that the file names twice, spelled differently.
    #[error("{platform} has two tables")]
    PlatformTwice {
        /// The platform.
        platform: Platform,
    },
    /// An option for a platform that is not built.
    #[error("{platform} is not one of the platforms to build")]
    NotBuilt {
        /// The platform.
        platform: Platform,
    },
    /// An empty list of platforms.
    #[error("the list of platforms is empty")]
    NoPlatforms,
    /// An unknown target triple.
    #[error("unknown target triple `{given}`")]
    UnknownTriple {
        /// As it was given.
        given: String,
        /// The triple that was probably meant.
        nearest: Option<String>,
    },
    /// A target triple of another platform.
    #[error("`{}` is a target of {}, not of {wanted}", target.triple, target.platform)]
    TripleOfAnotherPlatform {
        /// The triple's target.
        target: &'static Target,
        /// The platform it was given for.
        wanted: Platform,
    },
    /// `scratch` on a platform without a musl target.
    #[error("{platform} has no target for static programs, which the base `scratch` needs")]
    NoStaticTarget {
        /// The platform.
        platform: Platform,
    },
    /// A platform without a glibc target.
    #[error("{platform} has no target for glibc")]
    NoTarget {
        /// The platform.
        platform: Platform,
    },
    /// A text that is not one of a few known words.
    #[error("unknown {what} `{given}`")]
    UnknownWord {
        /// What it should be, such as `toolchain` or `output type`.
        what: &'static str,
        /// As it was given.
        given: String,
        /// The known words.
        known: Vec<&'static str>,
    },
    /// A push without a name.
    #[error("there is no name to push the image under")]
    NoName,
    /// A text that is not an image name.
    #[error("{error}")]
    Name {
        /// What is wrong with it.
        error: Box<InvalidName>,
    },
    /// A text that does not have the required form.
    #[error("`{given}` is not {what}")]
    Form {
        /// What it should be, with its article: `a time span`.
        what: &'static str,
        /// As it was given.
        given: String,
        /// How to write it.
        remedy: &'static str,
    },
    /// Something that a later release will have.
    #[error("{what} `{given}` is not supported in this release yet")]
    NotYet {
        /// What: `the output type`, `the registry base`.
        what: &'static str,
        /// As it was given.
        given: String,
        /// What to do instead.
        remedy: &'static str,
    },
    /// Outputs that ask for different compressions.
    #[error("one image cannot be compressed with {one} and with {other}")]
    Compressions {
        /// The first.
        one: Compression,
        /// The other.
        other: Compression,
    },
    /// Two outputs to standard output.
    #[error("two outputs both go to standard output")]
    TwoStreams,
    /// An archive for Docker with several platforms.
    #[error("an archive for Docker holds one platform, but {platforms} are built")]
    OnePlatform {
        /// How many are built.
        platforms: usize,
    },
    /// A path that points outside the directory that it must stay in.
    #[error("the path `{given}` leads out of {of}")]
    Escape {
        /// The path.
        given: String,
        /// What it must stay in: `the project` or `the image`.
        of: &'static str,
    },
    /// A suite of another release than the base's.
    #[error("the suite `{given}` does not belong to the base's release, {release}")]
    ForeignSuite {
        /// The suite.
        given: String,
        /// The release.
        release: String,
    },
    /// Debian packages for an empty base.
    #[error("the base `scratch` of {platform} is empty, but `{package}` needs a Debian base")]
    PackageOnScratch {
        /// The platform.
        platform: Platform,
        /// The first package.
        package: String,
    },
    /// An option that is given twice for the same thing, such as `--timeout` for the whole run.
    #[error("{option} is given twice for {what}")]
    Twice {
        /// The option.
        option: &'static str,
        /// What it is given for.
        what: String,
    },
}

impl Problem {
    pub(super) fn at(self, origin: &Origin) -> Error {
        Error::Value { problem: Box::new(self), origin: origin.clone() }
    }

    /// True if the platform is known but nothing serves it as it is configured.
    pub(super) fn is_unserved(&self) -> bool {
        matches!(self, Self::NoStaticTarget { .. } | Self::NoTarget { .. })
    }

    fn remedy(&self) -> String {
        let known = || format!("xbuild builds {}", super::platforms::known_names().join(", "));
        match self {
            Self::NotAPlatform { nearest: Some(nearest), .. }
            | Self::UnknownPlatform { nearest: Some(nearest), .. }
            | Self::UnknownTriple { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            Self::NotAPlatform { nearest: None, .. } | Self::UnknownPlatform { nearest: None, .. } => known(),
            Self::UnknownTriple { nearest: None, .. } => "`xbuild targets` lists the triples".into(),
            Self::TripleForPlatform { platform, .. } => format!("its platform is `{platform}`"),
            Self::TwoSources => "split it into two tables".into(),
            Self::NoSource => "say what goes into the image: `from = \"static/\"`".into(),
            Self::PlatformTwice { .. } => "write its settings into one table".into(),
            Self::NotBuilt { platform } => format!("add it: --platform {platform}"),
            Self::NoPlatforms => "name at least one, or leave the list out for the default".into(),
            Self::TripleOfAnotherPlatform { .. } => {
                "`xbuild targets` lists the triples of each platform".into()
            }
            Self::NoStaticTarget { .. } => "use a base with a C library: --base apt:bookworm".into(),
            Self::NoTarget { .. } => "use the base `scratch` with a static program: --base scratch".into(),
            Self::UnknownWord { given, known, .. } => match crate::text::nearest(given, known) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("known: {}", known.join(", ")),
            },
            Self::NoName => "give it one: --tag registry.example/team/app:1.0".into(),
            Self::Name { .. } => {
                "an image is `registry/repository:tag`; other bases are `apt:SUITE`, `scratch`, `oci:PATH[:TAG]`, `docker-archive:FILE`".into()
            }
            Self::Form { remedy, .. } | Self::NotYet { remedy, .. } => (*remedy).to_owned(),
            Self::Compressions { .. } => {
                "an image has one digest wherever it goes: ask for one compression, or build twice".into()
            }
            Self::TwoStreams => "write one of them to a file: `dest=FILE`".into(),
            Self::OnePlatform { .. } => {
                "choose one with --platform; or use `type=oci,dest=FILE`, which podman and Docker with \
                 containerd's image store load; or --load"
                    .into()
            }
            Self::Escape { of: "the image", .. } => "write it as an absolute path without `..`".into(),
            Self::Escape { .. } => "copy the file into the project, below the configuration file".into(),
            Self::ForeignSuite { release, .. } => {
                format!("name suites like `{release}` and `{release}-security`, or change the base")
            }
            Self::PackageOnScratch { platform, .. } => format!(
                "use a base with Debian's packages (--base {platform}=apt:bookworm), or name the package only for platforms \
                 that have one: `packages` under [platform.\"…\"]"
            ),
            Self::Twice { .. } => "keep one of them".into(),
        }
    }
}

impl Explain for Error {
    fn exit_code(&self) -> ExitCode {
        let Self::Value { problem, origin } = self else { return ExitCode::Config };
        match &**problem {
            Problem::NotAPlatform { .. }
            | Problem::UnknownPlatform { .. }
            | Problem::TripleForPlatform { .. }
            | Problem::UnknownTriple { .. } => ExitCode::UnknownPlatform,
            Problem::NoStaticTarget { .. } | Problem::NoTarget { .. } => ExitCode::UnservedPlatform,
            Problem::Escape { .. } => ExitCode::PathEscape,
            _ if matches!(origin, Origin::Flag(_)) => ExitCode::Usage,
            _ => ExitCode::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Value { problem, .. } => Some(problem.remedy()),
            Self::NoCacheDirectory => {
                Some("set XBUILD_CACHE_DIR to a directory that you may write to".into())
            }
        }
    }

    fn snippets(&self) -> Vec<Snippet> {
        match self {
            Self::Value { problem, origin } => origin
                .location()
                .and_then(|location| location.snippet(problem.to_string(), ""))
                .into_iter()
                .collect(),
            Self::NoCacheDirectory => Vec::new(),
        }
    }
}
