//! The official archive, verified by the project's signature.

use std::path::Path;
use std::time::Duration;

use minisign_verify::{PublicKey, Signature};
use semver::Version;

use super::data::{Tarball, ZigData};
use super::{MARKER, WayError, Work, unpack};
use crate::event::{Event, Reporter};
use crate::sys::cancel::Cancel;
use crate::sys::download::{Client, Download};
use crate::sys::fs;

/// The time limit for the signature, a few hundred bytes. A host that does not send it in this time counts as
/// unavailable. Another way may work, and must not be delayed for minutes by a network that drops packets.
const PATIENCE: Duration = Duration::from_secs(20);
/// The size limit of the archive in bytes; that of 0.17.1 has 58 MB.
const LIMIT: u64 = 500 << 20;

/// The content of the marker of a zig from the archive.
pub(super) fn marker(version: &Version) -> String {
    format!("tarball {version} minisign {}\n", ZigData::get().tarball.public_key)
}

pub(super) fn fetch(
    work: &Work<'_>,
    tarball: &Tarball,
    version: &Version,
    client: &Client,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<(), WayError> {
    let text = version.to_string();
    let url = tarball.url.replace("{version}", &text);
    let name = url.rsplit('/').next().unwrap_or(&url).to_owned();
    let signature_url = tarball.signature.replace("{version}", &text);
    let signature = client.small(&signature_url, 4096, &cancel.within(PATIENCE, &signature_url));
    let signature = String::from_utf8(signature?)
        .map_err(|_| WayError::Signature { file: name.clone(), reason: "it is not text".into() })?;
    let archive = work.downloads.join(&name);
    let download = Download { url: &url, path: &archive, sha256: None, size: None, limit: LIMIT };
    let what = format!("zig {version}");
    client.file(&download, cancel, &mut |done, total| {
        reporter.report(Event::Download { what: what.clone(), done, total });
    })?;
    let verified = verify(&archive, &name, &signature, &tarball.public_key, cancel);
    if let Err(error) = verified {
        fs::remove_file(&archive)?;
        return Err(error);
    }
    unpack::tar_xz(&archive, work.root, cancel)?;
    fs::write_atomic(&work.root.join(MARKER), marker(version).as_bytes(), 0o644)?;
    fs::remove_file(&archive)?;
    Ok(())
}

/// Checks a file's signature, and that it was made for a file of this name: otherwise a server could send an older
/// version with its own valid signature.
pub(super) fn verify(
    archive: &Path,
    name: &str,
    signature: &str,
    public_key: &str,
    cancel: &Cancel,
) -> Result<(), WayError> {
    let bad = |reason: String| WayError::Signature { file: name.to_owned(), reason };
    let key = PublicKey::from_base64(public_key).map_err(|error| bad(error.to_string()))?;
    let signature = Signature::decode(signature).map_err(|error| bad(error.to_string()))?;
    let mut verifier = key.verify_stream(&signature).map_err(|error| bad(error.to_string()))?;
    let mut file = fs::File::open(archive)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        cancel.check()?;
        match fs::read_piece(&mut file, &mut buffer)? {
            0 => break,
            count => verifier.update(&buffer[..count]),
        }
    }
    verifier.finalize().map_err(|error| bad(error.to_string()))?;
    let comment = signature.trusted_comment();
    let named = comment.split('\t').find_map(|field| field.strip_prefix("file:"));
    if named != Some(name) {
        return Err(bad(format!("it was made for `{}`", named.unwrap_or(comment))));
    }
    Ok(())
}
