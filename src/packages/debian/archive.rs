//! The verified releases of some sources, and their packages for an architecture.

use std::io::BufReader;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use super::bounded::Bounded;
use super::error::Error;
use super::fetch::Access;
use super::freshness::Dated;
use super::index::{IndexError, Universe};
use super::keys::Keyring;
use super::release::{File, Release};
use super::sources::{Mirror, Source};
use crate::archive::Packing;
use crate::event::{Event, Reporter};
use crate::host::Host;
use crate::sys::threads::{self, Task};
use crate::sys::{clock, fs};

/// Maximum size of an unpacked index, in bytes, if the release does not list it.
const INDEX_LIMIT: u64 = 1 << 30;
/// Maximum memory for decoding an index, in KiB.
const XZ_MEMORY: u32 = 192 * 1024;

/// The verified releases of some sources. Created once per run, it serves every architecture. It does not contain
/// packages yet.
#[derive(Clone, Debug)]
pub struct Archive {
    suites: Vec<Suite>,
    /// Locked while an architecture's packages are in memory. They take 50 MB each, so only one is loaded at a time.
    memory: Arc<Mutex<()>>,
}

/// A source and its verified release.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The source.
    pub source: Source,
    /// Its release.
    pub release: Release,
}

impl Suite {
    /// The suite with its mirror and the date of its signature.
    #[must_use]
    pub fn dated(&self) -> Dated {
        let Source { suite, mirror, from, .. } = &self.source;
        let mirror = Mirror { address: mirror.clone(), from: *from };
        Dated { suite: suite.clone(), mirror, date: self.release.date }
    }
}

/// A package index that is listed in a release.
#[derive(Clone, Debug)]
pub(super) struct Index<'a> {
    pub(super) suite: &'a Suite,
    pub(super) component: &'a str,
    /// Its path within the suite.
    pub(super) path: String,
    compression: Compression,
    pub(super) file: File,
    /// Maximum unpacked size, in bytes.
    limit: u64,
}

#[derive(Clone, Copy, Debug)]
enum Compression {
    Xz,
    Gzip,
}

impl Archive {
    /// Its suites with their mirrors and the dates of their signatures.
    #[must_use]
    pub(crate) fn dated(&self) -> Vec<Dated> {
        self.suites.iter().map(Suite::dated).collect()
    }

    /// Downloads and verifies the releases of all sources in parallel.
    ///
    /// # Errors
    ///
    /// If a release is unavailable, if its signature or date is invalid, or if the work is cancelled.
    pub fn open(sources: &[Source], host: Host<'_>) -> Result<Self, Error> {
        let access = Access { host };
        let verify = |source: &Source| -> Result<Suite, Error> {
            let mut keyring = Keyring::debian();
            for path in &source.keyrings {
                keyring = keyring.with(&Keyring::parse(&path.display().to_string(), &fs::read(path)?)?);
            }
            let (source, release) = access.release(source, &keyring)?;
            Ok(Suite { source, release })
        };
        let suites: Vec<Result<Suite, Error>> = std::thread::scope(|scope| {
            let running: Vec<_> =
                sources.iter().map(|source| threads::begin(scope, || verify(source))).collect();
            running.into_iter().map(Task::join).collect()
        });
        Ok(Self { suites: suites.into_iter().collect::<Result<_, _>>()?, memory: Arc::default() })
    }

    /// The verified suites, in the order of the sources.
    #[must_use]
    pub fn suites(&self) -> &[Suite] {
        &self.suites
    }

    /// The package indexes for an architecture. The first suite must have it. Updates may have dropped it, which is
    /// reported.
    pub(super) fn indexes(
        &self,
        architecture: &str,
        reporter: &dyn Reporter,
    ) -> Result<Vec<Index<'_>>, Error> {
        let mut indexes = Vec::new();
        for (at, suite) in self.suites.iter().enumerate() {
            let release = &suite.release;
            if release.architectures.iter().any(|known| known == architecture) {
                for component in &suite.source.components {
                    indexes.extend(component_indexes(suite, component, architecture)?);
                }
            } else if at == 0 {
                return Err(Error::NoArchitecture {
                    suite: suite.source.suite.clone(),
                    architecture: architecture.to_owned(),
                    available: release.architectures.clone(),
                });
            } else {
                reporter.report(Event::warning(format!(
                    "Debian {} has no packages for {architecture} and is skipped",
                    suite.source.suite
                )));
            }
        }
        Ok(indexes)
    }

    /// Passes all packages of these indexes to `with`. Indexes are downloaded in parallel for several architectures,
    /// but read one after another.
    pub(super) fn with_universe<T>(
        &self,
        indexes: &[Index<'_>],
        architecture: &str,
        access: Access<'_>,
        with: impl FnOnce(&Universe) -> Result<T, Error>,
    ) -> Result<T, Error> {
        for index in indexes {
            index.bytes(architecture, access)?;
        }
        let _memory = loop {
            match self.memory.try_lock() {
                Ok(guard) => break guard,
                // It protects no data.
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    access.host.cancel.check()?;
                    clock::sleep(Duration::from_millis(5));
                }
            }
        };
        let mut universe = Universe::default();
        for index in indexes {
            index.read_into(&mut universe, architecture, access)?;
        }
        with(&universe)
    }
}

impl Index<'_> {
    /// Its bytes as on the mirror, verified.
    fn bytes(&self, architecture: &str, access: Access<'_>) -> Result<Vec<u8>, Error> {
        let what = (self.component, architecture, self.path.as_str());
        access.index(&self.suite.source, self.suite.release.by_hash, what, self.file)
    }

    fn read_into(
        &self,
        universe: &mut Universe,
        architecture: &str,
        access: Access<'_>,
    ) -> Result<(), Error> {
        let source = &self.suite.source;
        let bytes = self.bytes(architecture, access)?;
        let packing = match self.compression {
            Compression::Xz => Packing::Xz,
            Compression::Gzip => Packing::Gzip,
        };
        let reader = packing.decoder(Box::new(bytes.as_slice()), XZ_MEMORY)?;
        let reader = Bounded::new(reader, self.limit, access.host.cancel);
        universe.read(&source.mirror, BufReader::with_capacity(64 << 10, reader), access.host.cancel).map_err(
            |error| match (access.host.cancel.check(), error) {
                (Err(cancelled), _) | (_, IndexError::Cancelled(cancelled)) => Error::Cancelled(cancelled),
                (Ok(()), error) => Error::BadIndex {
                    suite: source.suite.clone(),
                    component: self.component.to_owned(),
                    architecture: architecture.to_owned(),
                    reason: error.to_string(),
                },
            },
        )
    }
}

/// The indexes of one component: the architecture's, and the one for architecture-independent packages if the release
/// has a separate one.
fn component_indexes<'a>(
    suite: &'a Suite,
    component: &'a str,
    architecture: &str,
) -> Result<Vec<Index<'a>>, Error> {
    let release = &suite.release;
    let find = |architecture: &str| {
        let stem = format!("{component}/binary-{architecture}/Packages");
        let limit = release.file(&stem).map_or(INDEX_LIMIT, |file| file.size);
        [(".xz", Compression::Xz), (".gz", Compression::Gzip)].into_iter().find_map(
            |(suffix, compression)| {
                let path = format!("{stem}{suffix}");
                let file = release.file(&path)?;
                Some(Index { suite, component, path, compression, file, limit })
            },
        )
    };
    let Some(own) = find(architecture) else {
        return Err(Error::NoComponent {
            suite: suite.source.suite.clone(),
            component: component.to_owned(),
            architecture: architecture.to_owned(),
            available: release.components.clone(),
        });
    };
    let all = release.separate_all.then(|| find("all")).flatten();
    Ok([Some(own), all].into_iter().flatten().collect())
}
