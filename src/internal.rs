//! Internals for xbuild's own tests, fuzz targets and benchmarks; not part of the interface.

/// Bases.
pub mod base {
    /// Those of Debian's packages.
    pub mod apt {
        pub use crate::base::packages::layer_of_record;
        pub use crate::packages::{ReleaseRequest, open};
    }
}

/// Configuration files.
pub mod config {
    pub use crate::config::document::{parse_project, parse_user};
}

/// ELF files.
pub mod elf {
    pub use crate::elf::{Asks, Elf, Object, extent};
    pub use crate::target::identity::verify;
}

/// What work needs beside its input.
pub mod host {
    pub use crate::host::Host;
}

/// Kubernetes manifests.
pub mod kubernetes {
    pub use crate::kubernetes::{Manifest, PREFIX};
}

/// Layers.
pub mod layer {
    pub use crate::layer::{Compression, Content, Entry, EntryKind, LayerSpec, write};
}

/// Layouts.
pub mod layout {
    /// The choice of a layout's image by a name.
    pub mod choose {
        pub use crate::layout::choose::{Choice, Selector, choose, images, ways};
    }
}

/// The link check.
pub mod linkcheck {
    pub use crate::linkcheck::Cache;
}

/// Locks.
pub mod lock {
    pub use crate::lock::LockError;
    /// Differences.
    pub mod compare {
        pub use crate::lock::compare::compare;
    }
    /// Their text.
    pub mod text {
        pub use crate::lock::text::{parse, render};
    }
}

/// Outputs.
pub mod output {
    /// Registries.
    pub mod push {
        pub use crate::output::push::Push;
    }
    /// Root filesystems.
    pub mod rootfs {
        pub use crate::rootfs::unpack::{Image, write_dir, write_tar};
    }
}

/// Packages.
pub mod packages {
    /// Debian's.
    pub mod debian {
        pub use crate::packages::debian::{
            Archive, BaseRequest, BaseSet, Database, DebianSettings, Error, Package, packages_of_record,
        };
        /// Package lists.
        pub mod index {
            pub use crate::debian::index::Universe;
        }
        /// Relations between packages.
        pub mod relation {
            pub use crate::debian::relation::parse_groups;
        }
        /// The choice of packages.
        pub mod resolve {
            pub use crate::debian::resolve::{Request, resolve};
        }
        /// Packages as files.
        pub mod unpack {
            pub use crate::packages::debian::unpack::unpack;
        }
    }
}

/// Payloads.
pub mod payload {
    /// cargo's messages.
    pub mod explain {
        pub use crate::payload::cargo::explain::{Cause, causes};
    }
}

/// Root filesystems.
pub mod rootfs {
    pub use crate::rootfs::cached::cached_index;
}

/// Access to the machine.
pub mod sys {
    /// Downloads.
    pub mod download {
        pub use crate::sys::download::{Client, Download};
    }
    /// HTTP.
    pub mod http {
        pub use crate::sys::http::{Answer, Inward, Request, Transport, Url};
    }
}

/// The check of whole images.
pub mod verify {
    /// Documents.
    pub mod documents {
        pub use crate::verify::documents::{config, index, manifest};
    }
}
