//! Why a build failed: the error of any room, and the errors that count failed platforms.

use super::check::CheckError;
use crate::base::{BaseError, SysrootError};
use crate::error::{ExitCode, Explain, Snippet};
use crate::files::FilesError;
use crate::image::ImageError;
use crate::layer;
use crate::layout::LayoutError;
use crate::lock::LockError;
use crate::output::engine::EngineError;
use crate::output::{Fault, OutputError};
use crate::packages;
use crate::payload::{CompileError, PayloadError, UnitError};
use crate::pipeline::probe::FactsError;
use crate::plan::PlanError;
use crate::registry::RegistryError;
use crate::sys::cancel::Cancelled;
use crate::toolchain;

/// Declares [`BuildError`], which explains itself as the error of the room that it holds.
macro_rules! build_error {
    ($($(#[$meta:meta])* $variant:ident($room:ty),)*) => {
        /// Why a build, or one platform of it, failed.
        #[derive(Debug, thiserror::Error)]
        pub enum BuildError {
            $($(#[$meta])* #[error(transparent)] $variant(#[from] $room),)*
            /// Some platforms failed; each was reported when the run ended.
            #[error("{failed} of {all} platforms failed, and nothing was published")]
            Platforms {
                /// How many.
                failed: usize,
                /// Of how many.
                all: usize,
                /// The code of the first in platform order.
                code: ExitCode,
            },
            /// Some platforms failed, and an image of the others was published all the same.
            #[error("{failed} of {all} platforms failed; the image was published without them")]
            Partial {
                /// How many.
                failed: usize,
                /// Of how many.
                all: usize,
                /// The code of the first in platform order.
                code: ExitCode,
            },
            /// Bases that were to be pinned could not be resolved; each failure was reported when the run ended.
            #[error("the bases of {failed} of {all} platforms could not be had, and the lock is as it was")]
            NotLocked {
                /// How many.
                failed: usize,
                /// Of how many.
                all: usize,
                /// The code of the first in platform order.
                code: ExitCode,
            },
        }

        impl Explain for BuildError {
            fn exit_code(&self) -> ExitCode {
                match self {
                    $(Self::$variant(error) => error.exit_code(),)*
                    Self::Platforms { code, .. } | Self::Partial { code, .. } | Self::NotLocked { code, .. } => *code,
                }
            }

            fn snippets(&self) -> Vec<Snippet> {
                match self {
                    $(Self::$variant(error) => error.snippets(),)*
                    Self::Platforms { .. } | Self::Partial { .. } | Self::NotLocked { .. } => Vec::new(),
                }
            }

            fn hint(&self) -> Option<String> {
                match self {
                    $(Self::$variant(error) => error.hint(),)*
                    Self::Platforms { failed, all, .. } if failed < all => {
                        Some("--allow-partial publishes the platforms that succeed".into())
                    }
                    Self::Platforms { .. } | Self::Partial { .. } | Self::NotLocked { .. } => None,
                }
            }
        }
    };
}

build_error! {
    /// The project, the machine or the bases could not be read.
    Facts(FactsError),
    /// The lock.
    Lock(LockError),
    /// A platform cannot be built as asked.
    Plan(PlanError),
    /// Configured files.
    Files(FilesError),
    /// The toolchain that links could not be provided.
    Provide(toolchain::provided::ProvideError),
    /// The Rust toolchain, or a standard library of it.
    Rust(toolchain::rust::Error),
    /// The compilation.
    Compile(CompileError),
    /// The compilation for one platform.
    Unit(UnitError),
    /// An artifact that is not a payload.
    Payload(PayloadError),
    /// The base image.
    Base(BaseError),
    /// What programs are linked against could not be chosen.
    Sysroot(SysrootError),
    /// What programs are linked against could not be unpacked.
    Unpack(packages::Error),
    /// A layer.
    Layer(layer::Error),
    /// The image.
    Image(ImageError),
    /// The link check.
    Check(CheckError),
    /// The layout.
    Layout(LayoutError),
    /// Another output.
    Output(OutputError),
    /// podman or Docker.
    Engine(EngineError),
    /// A registry.
    Registry(RegistryError),
    /// The run was stopped.
    Cancelled(Cancelled),
}

impl From<Fault> for BuildError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Output(error) => Self::Output(error),
            Fault::Layout(error) => Self::Layout(error),
            Fault::Engine(error) => Self::Engine(error),
            Fault::Registry(error) => Self::Registry(error),
        }
    }
}
