//! Remembers the newest release of each suite that was ever seen on this machine. An older one is not accepted as
//! current, whoever serves it.
//!
//! A signature proves that a release is Debian's, but not that it is current. An attacker between a mirror and us can
//! serve a release that was signed a month ago, and so can a mirror that has fallen behind. Not every suite declares
//! how long its release is valid. apt keeps the newer of what it has and what it gets, and so do we. The signed
//! document itself is stored and is verified whenever it is read: it can be deleted, but it cannot be made newer than
//! Debian has made it.

use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::error::Error;
use super::fetch::{Access, RELEASE_LIMIT};
use super::freshness::moment;
use super::keys::Keyring;
use super::release::Release;
use super::sources::Source;
use crate::event::{Event, Level, MirrorOrigin};
use crate::sys::{clock, store};

/// A release that is dated more than this many seconds in the future is not remembered as the newest.
const FUTURE: i64 = 24 * 60 * 60;

impl Access<'_> {
    /// The path of the newest release of a source's suite. A mirror that the user has chosen is only compared with
    /// itself, as it may follow Debian some days behind on purpose.
    fn newest_path(&self, source: &Source, release: &Release) -> std::io::Result<PathBuf> {
        let mut key = Sha256::new();
        let address = if source.from == MirrorOrigin::Configured { source.mirror.as_str() } else { "" };
        for part in [&release.origin, &release.label, &source.suite, address] {
            key.update((part.len() as u64).to_le_bytes());
            key.update(part);
        }
        Ok(self.dir("newest")?.join(hex::encode(key.finalize())))
    }

    /// The newest known release of what a mirror has just served, if that is newer. `document` is the served one's, where
    /// that is at hand.
    fn newer(
        &self,
        source: &Source,
        served: &Release,
        document: Option<&[u8]>,
        keyring: &Keyring,
    ) -> Result<Option<(Release, PathBuf)>, Error> {
        if source.is_snapshot() {
            return Ok(None);
        }
        let path = self.newest_path(source, served)?;
        let Some(known) = store::read(&path, RELEASE_LIMIT)? else { return Ok(None) };
        if document == Some(&known) {
            return Ok(None);
        }
        // A release that has expired or is not signed by a key that is trusted now is ignored.
        let known = Release::verify(&known, keyring, source, clock::unix_now(), false).ok();
        Ok(known.filter(|known| known.date > served.date).map(|known| (known, path)))
    }

    /// Fails if a newer release is known than a mirror has just served. Otherwise remembers the served one. `document` is
    /// what `served` was read from, verified.
    pub(super) fn not_older(
        &self,
        source: &Source,
        served: &Release,
        document: &[u8],
        keyring: &Keyring,
    ) -> Result<(), Error> {
        if source.is_snapshot() {
            return Ok(());
        }
        if let Some((known, path)) = self.newer(source, served, Some(document), keyring)? {
            let (suite, mirror) = (source.suite.clone(), source.mirror.clone());
            let (date, known) = (moment(served.date), moment(known.date));
            return Err(Error::Older { suite, mirror, date, known, path: path.into() });
        }
        if served.date.is_some_and(|date| date <= clock::unix_now() + FUTURE) {
            store::keep(&self.newest_path(source, served)?, document)?;
        }
        Ok(())
    }

    /// The newest known release, for a source whose mirrors all serve older ones.
    pub(super) fn newest_known(
        &self,
        source: &Source,
        served: &Release,
        keyring: &Keyring,
    ) -> Result<Option<Release>, Error> {
        let Some((known, path)) = self.newer(source, served, None, keyring)? else { return Ok(None) };
        let text = format!(
            "`{}` ({}) serves the release of {} as of {}, but that of {} was seen before and is used: the mirror is \
             behind, or someone serves an old release; to go back on purpose, request a date with `snapshot`, or \
             remove `{}`",
            source.mirror,
            source.from,
            source.suite,
            moment(served.date),
            moment(known.date),
            path.display()
        );
        self.host.reporter.report(Event::Note { level: Level::Warning, platform: None, text });
        Ok(Some(known))
    }
}
