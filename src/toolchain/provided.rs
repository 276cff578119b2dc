//! The toolchain that xbuild itself finds or provides, by names that do not say which one it is. It is zig.

use semver::Version;
use serde::Serialize;

use super::zig::data::ZigData;
use super::zig::files_digest;
use crate::oci::Digest;
use crate::sys::cancel::Cancel;
use crate::target::abi::GlibcVersion;
use crate::target::catalog::Target;

pub(crate) use super::zig::{
    Error as ProvideError, Found, Verified, Zig as Provided, ZigRequest as Request, find, provide,
};
pub use super::zig::{ZigSettings as ProvidedSettings, ZigWay as ProvidedWay};

/// Its name, in settings, locks and messages.
pub(crate) const NAME: &str = "zig";

/// The one that is there, or the one that would be provided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ProvidedFacts {
    /// Its version.
    pub version: Version,
    /// Where it is, or where it would come from.
    pub from: String,
    /// The newest glibc that it links for, as (2, minor).
    pub newest_glibc: GlibcVersion,
    /// The digest of its files, if a copy of it in the cache can be compared with one.
    pub files: Option<Digest>,
}

impl ProvidedFacts {
    /// The one that is there. Files of other versions than xbuild's own are read only if `locking`.
    pub(crate) fn found(zig: &Provided, locking: bool, cancel: &Cancel) -> Self {
        let from = zig.program.display().to_string();
        // Only the digest of the version that comes with xbuild is known without reading the files.
        let files = if zig.version == ZigData::get().version {
            Some(ZigData::get().package.files.clone())
        } else if locking {
            files_digest(zig, cancel)
        } else {
            None
        };
        Self { files, version: zig.version.clone(), from, newest_glibc: zig.newest_glibc() }
    }

    /// The one that would be provided.
    pub(crate) fn of_request(request: &Request<'_>) -> Self {
        let (data, version) = (ZigData::get(), request.provided().clone());
        let files = (version == data.version).then(|| data.package.files.clone());
        Self { newest_glibc: data.newest_glibc(&version), version, from: "to be provided".into(), files }
    }

    /// Its name and version.
    #[must_use]
    pub(crate) fn describe(&self) -> String {
        format!("{NAME} {}", self.version)
    }

    /// The oldest and the newest glibc that it links a target's programs for.
    #[must_use]
    pub(crate) fn glibc(&self, target: &Target) -> (GlibcVersion, GlibcVersion) {
        (target.zig.minimum_glibc.unwrap_or(self.newest_glibc), self.newest_glibc)
    }

    /// The digest of the package from which xbuild provides this version.
    #[must_use]
    pub(crate) fn package(&self) -> Option<Digest> {
        let data = ZigData::get();
        (self.version == data.version)
            .then(|| format!("sha256:{}", data.package.sha256).parse().ok())
            .flatten()
    }
}

/// The version that comes with xbuild.
#[must_use]
pub(crate) fn own_version() -> &'static Version {
    &ZigData::get().version
}
