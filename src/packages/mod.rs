//! Distributions' packages that go into images.
//!
//! This file is the face of the room. All other rooms use nothing else of it, and its names fit any package system, so
//! that they need not know which there are. So far there is one, Debian's. Another one is another directory here, and
//! this file chooses between them.

pub(crate) mod debian;

pub(crate) use debian::{
    ADDITIONS_LAYOUT, AdditionsError, AdditionsRequest, Archive, BaseRequest, BaseSet, Database, Dated,
    Development, DownloadUrls, Error, Examined, NativeCrate, Offer, Package, Pinned, Pool, ProvideRequest,
    ResolvedBase, ResolvedPackages, SuiteOrigin, Sysroot, SysrootRequest, Unrun, assemble_additions,
    assemble_base, check_package_name, client, crates_by_name, development, examine, is_of_release,
    is_snapshot_date, is_suite_name, parse_snapshot, provide_sysroot, recipe_digest, release_for, remedy,
    resolve_additions, resolve_base, resolve_pinned, resolve_sysroot, sort_packages, stale, suites_of,
};
pub use debian::{
    DebianSettings as PackagesSettings, DebianSources as PackagesSources, ReleaseRequest, open,
};
