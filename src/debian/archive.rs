//! The verified releases of some sources, and the packages they have for an architecture.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::error::Error;
use super::fetch::Access;
use super::index::{IndexError, Universe};
use super::keys::Keyring;
use super::release::{File, Release};
use super::sources::Source;
use crate::report::{Event, Level, Reporter};
use crate::sys::cancel::Cancel;
use crate::sys::download::Client;
use crate::sys::fs;

/// More than any index unpacks to, in bytes, where the release does not tell.
const INDEX_LIMIT: u64 = 1 << 30;
/// What the decoder of an index may take, in KiB.
const XZ_MEMORY: u32 = 192 * 1024;

/// The verified releases of some sources. Made once a run, it serves every architecture. It has no packages yet.
#[derive(Clone, Debug)]
pub struct Archive {
    suites: Vec<Suite>,
    cache: PathBuf,
}

/// A source and its verified release.
#[derive(Clone, Debug)]
pub struct Suite {
    /// Where from.
    pub source: Source,
    /// What it has.
    pub release: Release,
}

/// A package index that a release vouches for.
#[derive(Clone, Debug)]
pub(super) struct Index<'a> {
    pub(super) suite: &'a Suite,
    pub(super) component: &'a str,
    /// Its path within the suite.
    pub(super) path: String,
    compression: Compression,
    pub(super) file: File,
    /// What it may unpack to, in bytes.
    limit: u64,
}

#[derive(Clone, Copy, Debug)]
enum Compression {
    Xz,
    Gzip,
}

impl Archive {
    /// Gets and verifies the release of each source, all at once. `cache` is a folder of ours, made where it is
    /// missing.
    pub fn open(
        sources: &[Source],
        cache: &Path,
        client: &Client,
        cancel: &Cancel,
        reporter: &dyn Reporter,
    ) -> Result<Self, Error> {
        let access = Access { cache, client, cancel, reporter };
        let verify = |source: &Source| -> Result<Suite, Error> {
            let mut keyring = Keyring::debian();
            for path in &source.keyrings {
                keyring = keyring.with(&Keyring::parse(&path.display().to_string(), &fs::read(path)?)?);
            }
            Ok(Suite { source: source.clone(), release: access.release(source, &keyring)? })
        };
        let suites: Vec<Result<Suite, Error>> = std::thread::scope(|scope| {
            let running: Vec<_> = sources.iter().map(|source| scope.spawn(|| verify(source))).collect();
            running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        Ok(Self { suites: suites.into_iter().collect::<Result<_, _>>()?, cache: cache.to_owned() })
    }

    /// The verified suites, in the order of the sources.
    #[must_use]
    pub fn suites(&self) -> &[Suite] {
        &self.suites
    }

    pub(super) fn cache(&self) -> &Path {
        &self.cache
    }

    /// The package indexes for an architecture. The first suite must have it; updates may have dropped it, which is
    /// said aloud.
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
                reporter.report(Event::Note {
                    level: Level::Warning,
                    platform: None,
                    text: format!(
                        "Debian {} has no {architecture} and is left out for it",
                        suite.source.suite
                    ),
                });
            }
        }
        Ok(indexes)
    }

    /// Every package of these indexes.
    pub(super) fn universe(
        indexes: &[Index<'_>],
        architecture: &str,
        access: Access<'_>,
    ) -> Result<Universe, Error> {
        let mut universe = Universe::default();
        for index in indexes {
            let source = &index.suite.source;
            let what = (index.component, architecture, index.path.as_str());
            let bytes = access.index(source, index.suite.release.by_hash, what, index.file)?;
            let reader: Box<dyn Read> = match index.compression {
                Compression::Xz => {
                    Box::new(lzma_rust2::XzReader::new_mem_limit(bytes.as_slice(), true, XZ_MEMORY))
                }
                Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(bytes.as_slice())),
            };
            let reader = BufReader::with_capacity(64 << 10, reader.take(index.limit));
            universe.read(&source.mirror, reader, access.cancel).map_err(|error| match error {
                IndexError::Cancelled(cancelled) => Error::Cancelled(cancelled),
                error => Error::BadIndex {
                    suite: source.suite.clone(),
                    component: index.component.to_owned(),
                    architecture: architecture.to_owned(),
                    reason: error.to_string(),
                },
            })?;
        }
        Ok(universe)
    }
}

/// The indexes of one component: the architecture's, and where the release keeps them apart that of the packages for
/// all architectures.
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
