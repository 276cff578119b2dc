//! The mirrors that this machine's own apt uses, if the machine runs Debian.
//!
//! Only the URLs of Debian's own two archives are used. Which suites and components to use is decided elsewhere, and
//! `keys` decides who may sign them. So a host that runs trixie can serve a bookworm base. Third-party archives and
//! pins are deliberately ignored. Sources that only apt can read are skipped, which is reported.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::keys::Keyring;
use super::listed::{Listed, parse_deb822, parse_list, parse_mirror_list};
use super::official::Official;
use super::sources::{is_http, is_security, is_snapshot_date};
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::download::{Client, DownloadError};
use crate::sys::{fs, store, usage};

/// Largest list of mirrors that is read, in bytes.
const LIST_LIMIT: u64 = 1 << 20;

/// This machine's apt configuration for Debian.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Host {
    /// Mirrors of the archive.
    pub archive: Vec<HostMirror>,
    /// Mirrors of the security archive.
    pub security: Vec<HostMirror>,
    /// What was skipped, and why.
    pub passed: Vec<String>,
}

/// A mirror, and the suites that apt gets from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostMirror {
    /// Its URL without a trailing slash, or that of a list of mirrors.
    pub address: Address,
    /// The suites.
    pub suites: Vec<String>,
}

/// The location of a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// The mirror's URL.
    Mirror(String),
    /// The URL of a list with the mirrors.
    List(String),
}

/// The keys that a source must be signed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signed {
    Debian,
    Others,
    Unsaid,
}

impl Host {
    /// Reads apt's configuration. `root` is `/` except in tests. A file that cannot be read or parsed is skipped:
    /// reporting that is up to apt, and signatures decide what is trusted.
    #[must_use]
    pub(crate) fn read(root: &Path) -> Self {
        let mut host = Self::default();
        if !fs::read_to_string(root.join("etc/os-release")).is_ok_and(|text| is_debian(&text)) {
            return host;
        }
        let apt = root.join("etc/apt");
        let mut files = vec![apt.join("sources.list")];
        if let Ok(entries) = fs::read_dir(apt.join("sources.list.d")) {
            let mut parts: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
            parts.sort();
            files.extend(parts);
        }
        for file in files {
            let parse = match file.extension().and_then(|extension| extension.to_str()) {
                Some("list") => parse_list,
                Some("sources") => parse_deb822,
                _ => continue,
            };
            for listed in fs::read_to_string(&file).map(|text| parse(&text)).unwrap_or_default() {
                host.consider(&listed, root);
            }
        }
        host
    }

    /// Adds one of apt's sources if it is one of Debian's two archives: it has `main`, is signed by Debian's keys, and,
    /// if it does not name a key, its URL ends like those of Debian's mirrors.
    fn consider(&mut self, listed: &Listed, root: &Path) {
        let signed = signed_by(listed.signed_by.as_deref(), root);
        if signed == Signed::Others || !listed.components.iter().any(|name| name == "main") {
            return;
        }
        let is_security = |suite: &&String| is_security(suite) || suite.contains("/updates");
        let (security, others): (Vec<&String>, Vec<&String>) = listed.suites.iter().partition(is_security);
        for written in &listed.addresses {
            for address in self.resolve(written, root) {
                let Some(address) = address else { continue };
                for (suites, secure) in [(&others, false), (&security, true)] {
                    let text = match &address {
                        Address::Mirror(text) | Address::List(text) => text,
                    };
                    let fits = matches!(address, Address::List(_)) || ends_well(text, secure);
                    if suites.is_empty() || !(fits || signed == Signed::Debian) {
                        continue;
                    }
                    let mirrors = if secure { &mut self.security } else { &mut self.archive };
                    let suites: Vec<String> = suites.iter().map(|suite| (*suite).clone()).collect();
                    match mirrors.iter_mut().find(|known| known.address == address) {
                        Some(known) => known.suites.extend(suites),
                        None => mirrors.push(HostMirror { address: address.clone(), suites }),
                    }
                }
            }
        }
    }

    /// Interprets one of apt's URLs. A list of mirrors on this machine is read.
    fn resolve(&mut self, written: &str, root: &Path) -> Vec<Option<Address>> {
        let (scheme, rest) = written.split_once(':').unwrap_or(("", written));
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => vec![self.mirror(written)],
            "mirror" | "mirror+http" => vec![self.list_at(format!("http:{rest}"))],
            "mirror+https" => vec![self.list_at(format!("https:{rest}"))],
            "mirror+file" | "mirror+copy" => {
                let path = format!("/{}", rest.trim_start_matches('/'));
                if let Ok(text) = fs::read_to_string(root.join(path.trim_start_matches('/'))) {
                    parse_mirror_list(&text).iter().map(|address| self.mirror(address)).collect()
                } else {
                    self.pass(format!("`{path}`, a list of mirrors, cannot be read"));
                    Vec::new()
                }
            }
            other => {
                self.pass(format!("`{other}:` can only be read by apt"));
                Vec::new()
            }
        }
    }

    /// The URL of a list of mirrors, if we can download it.
    fn list_at(&mut self, address: String) -> Option<Address> {
        if has_password(&address) {
            self.pass(WITH_PASSWORD.to_owned());
            return None;
        }
        Some(Address::List(address))
    }

    /// A mirror's URL, if we can use it and it has current releases.
    fn mirror(&mut self, written: &str) -> Option<Address> {
        let address = written.trim_end_matches('/');
        let reason = if !is_http(address) {
            format!("`{}:` can only be read by apt", address.split(':').next().unwrap_or_default())
        } else if has_password(address) {
            WITH_PASSWORD.to_owned()
        } else if address.split('/').any(is_snapshot_date) {
            format!("`{address}` is a snapshot and has nothing current")
        } else {
            return Some(Address::Mirror(address.to_owned()));
        };
        self.pass(reason);
        None
    }

    fn pass(&mut self, reason: String) {
        if !self.passed.contains(&reason) {
            self.passed.push(reason);
        }
    }

    /// Replaces lists of mirrors with the mirrors in them. If a list cannot be downloaded, the last copy in `cache` is
    /// used. If there is none either, the list is skipped.
    pub(crate) fn with_lists(
        mut self,
        cache: &Path,
        client: &Client,
        cancel: &Cancel,
    ) -> Result<Self, Cancelled> {
        for secure in [false, true] {
            let listed = std::mem::take(if secure { &mut self.security } else { &mut self.archive });
            let mut mirrors: Vec<HostMirror> = Vec::new();
            for HostMirror { address, suites } in listed {
                let addresses = match address {
                    Address::List(url) => self.list(&url, cache, client, cancel)?,
                    mirror @ Address::Mirror(_) => vec![mirror],
                };
                let new = addresses.into_iter().map(|address| HostMirror { address, suites: suites.clone() });
                mirrors.extend(new);
            }
            *(if secure { &mut self.security } else { &mut self.archive }) = mirrors;
        }
        Ok(self)
    }

    fn list(
        &mut self,
        url: &str,
        cache: &Path,
        client: &Client,
        cancel: &Cancel,
    ) -> Result<Vec<Address>, Cancelled> {
        let kept = cache.join("mirror-lists").join(hex::encode(Sha256::digest(url)));
        let text = match client.trying(1).small(url, LIST_LIMIT, cancel) {
            Ok(bytes) => {
                // Without a copy the list is downloaded again the next time.
                if let Some(dir) = kept.parent() {
                    store::dir(dir).and_then(|()| store::keep(&kept, &bytes)).ok();
                }
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Err(DownloadError::Cancelled(cancelled)) => return Err(cancelled),
            Err(error) => {
                usage::mark(&kept);
                if let Ok(text) = fs::read_to_string(&kept) {
                    text
                } else {
                    self.pass(format!("the list of mirrors cannot be downloaded: {error}"));
                    return Ok(Vec::new());
                }
            }
        };
        Ok(parse_mirror_list(&text).iter().filter_map(|address| self.mirror(address)).collect())
    }
}

/// Why a URL with a user name in it is skipped.
const WITH_PASSWORD: &str = "a URL with a password is only used by apt";

fn has_password(address: &str) -> bool {
    address.split('/').nth(2).is_some_and(|authority| authority.contains('@'))
}

/// True if os-release has `ID=debian`: derivatives have archives and keys of their own.
fn is_debian(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ID="))
        .any(|value| value.trim_matches(['"', '\'']) == "debian")
}

/// True if a URL ends like those of Debian's mirrors, or is the root of one of Debian's own hosts, some of which have
/// an archive there.
fn ends_well(address: &str, security: bool) -> bool {
    let last = address.rsplit('/').next().unwrap_or_default();
    let official = Official::get();
    let own = if security { &official.security } else { &official.archive };
    let host = |address: &str| address.split('/').nth(2).map(ToOwned::to_owned);
    let at_root = address.split('/').count() == 3 && own.iter().any(|known| host(known) == host(address));
    at_root || if security { matches!(last, "debian-security" | "security") } else { last == "debian" }
}

/// The keys that `Signed-By` requires: files, fingerprints, or an inline key.
fn signed_by(value: Option<&str>, root: &Path) -> Signed {
    let Some(value) = value.map(str::trim).filter(|value| !value.is_empty()) else { return Signed::Unsaid };
    let judge = |bytes: &[u8]| Keyring::parse("Signed-By", bytes).is_ok_and(|keyring| keyring.has_debians());
    let debian = if value.contains("-----BEGIN PGP") {
        let lines = value.lines().map(str::trim).map(|line| if line == "." { "" } else { line });
        judge(lines.fold(String::new(), |text, line| format!("{text}{line}\n")).as_bytes())
    } else {
        value.split([' ', '\t', '\n', ',']).filter(|word| !word.is_empty()).any(|word| {
            let name = word.rsplit('/').next().unwrap_or_default();
            let fingerprint = word.trim_end_matches('!').to_ascii_uppercase();
            (word.starts_with('/') && name.starts_with("debian-archive-"))
                || Keyring::debian().fingerprints().contains(&fingerprint)
                || fs::read(root.join(word.trim_start_matches('/'))).is_ok_and(|bytes| judge(&bytes))
        })
    };
    if debian { Signed::Debian } else { Signed::Others }
}

#[cfg(test)]
mod tests;
