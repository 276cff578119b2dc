//! The newest release of each suite that was ever seen here: an older one is not taken for current, whoever serves it.
//!
//! A signature says that a release is Debian's and not that it is today's. Whoever stands between a mirror and us can serve
//! what was signed a month ago, as can a mirror that has fallen behind; and not every suite says until when its release is valid.
//! apt keeps the newer of what it has and what it gets, and so do we. What is kept is the signed document itself, which is verified whenever it
//! is read: it can be taken away, but not made newer than Debian has made it.

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

/// A release that is dated later than this after now, in seconds, says nothing of what is current.
const FUTURE: i64 = 24 * 60 * 60;

impl Access<'_> {
    /// Where the newest release of a source's suite is kept. A mirror that somebody has chosen is compared with itself alone: it may be
    /// one that follows Debian on purpose some days behind.
    fn newest_path(&self, source: &Source, release: &Release) -> std::io::Result<PathBuf> {
        let mut key = Sha256::new();
        let address = if source.from == MirrorOrigin::Configured { source.mirror.as_str() } else { "" };
        for part in [&release.origin, &release.label, &source.suite, address] {
            key.update((part.len() as u64).to_le_bytes());
            key.update(part);
        }
        Ok(self.dir("newest")?.join(hex::encode(key.finalize())))
    }

    /// The newest release that is known of what a mirror has just served, if that is newer.
    fn newer(
        &self,
        source: &Source,
        served: &Release,
        keyring: &Keyring,
    ) -> Result<Option<(Release, PathBuf)>, Error> {
        if source.is_snapshot() {
            return Ok(None);
        }
        let path = self.newest_path(source, served)?;
        let Some(document) = store::read(&path, RELEASE_LIMIT)? else { return Ok(None) };
        // What is not valid any more, or is not signed by whom is trusted now, is nothing to hold others to.
        let known = Release::verify(&document, keyring, source, clock::unix_now(), false).ok();
        Ok(known.filter(|known| known.date > served.date).map(|known| (known, path)))
    }

    /// An error if a newer release is known than a mirror has just served; else what was served is remembered.
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
        if let Some((known, path)) = self.newer(source, served, keyring)? {
            let (suite, mirror) = (source.suite.clone(), source.mirror.clone());
            let (date, known) = (moment(served.date), moment(known.date));
            return Err(Error::Older { suite, mirror, date, known, path: path.into() });
        }
        if served.date.is_some_and(|date| date <= clock::unix_now() + FUTURE) {
            store::keep(&self.newest_path(source, served)?, document)?;
        }
        Ok(())
    }

    /// The newest release that is known, for a source of which all mirrors serve older ones.
    pub(super) fn newest_known(
        &self,
        source: &Source,
        served: &Release,
        keyring: &Keyring,
    ) -> Result<Option<Release>, Error> {
        let Some((known, path)) = self.newer(source, served, keyring)? else { return Ok(None) };
        let text = format!(
            "`{}` ({}) serves the release of {} as of {}, and that of {} was seen before and is taken: the mirror is behind, or \
             somebody serves what is old; to go back on purpose, ask for a moment with `snapshot`, or remove `{}`",
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
