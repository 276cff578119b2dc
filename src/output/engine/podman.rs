//! podman: each platform's image is loaded into its storage, and a manifest list of them all gets the names.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{ASK, Engine, EngineError, Loadable, Loaded, TRANSFER, program, run, succeeds};
use crate::layout::MARKER_TEXT;
use crate::oci::{Descriptor, Digest, to_vec};
use crate::sys::cancel::Cancel;
use crate::sys::env::Environment;
use crate::sys::fs;
use crate::sys::process::Command;
use crate::sys::staging::Staging;
use crate::target::platform::Platform;

const ENGINE: Engine = Engine::Podman;
/// The prefix of the names that images have while they are loaded.
const TEMPORARY: &str = "xbuild-load-";
/// The longest path in bytes that is encoded in a name in hexadecimal; a name has at most 255 characters (distribution,
/// `reference`).
const LONGEST: usize = 110;

/// Loads every platform. The image's names are moved only when all are loaded.
pub(super) fn load(
    image: &Loadable<'_>,
    work: &Path,
    environment: &Environment,
    cancel: &Cancel,
) -> Result<Loaded, EngineError> {
    let podman = Command::new(program(ENGINE, environment)?).here();
    let dir = Staging::beside(&work.join("load"), cancel)?;
    // podman names an image by the relative path that it is read from.
    let unique = temporary_name(&fs::canonicalize(dir.path())?);
    let mut ids = Vec::new();
    for (number, (platform, manifest)) in image.manifests.iter().enumerate() {
        let name = format!("{unique}-{number}");
        single(image.layout, manifest, &dir.path().join(&name))?;
        let pull = podman.clone().dir(dir.path()).args(["pull", "--quiet"]);
        let pull = for_platform(pull, platform).arg(format!("oci:{name}"));
        let id = run(ENGINE, &pull, TRANSFER, cancel)?.trim().to_owned();
        let untag = podman.clone().args(["untag", &id, &format!("localhost/{name}:latest")]);
        run(ENGINE, &untag, ASK, cancel)?;
        ids.push(id);
    }
    let named = if let [id] = ids.as_slice() { id.clone() } else { list(&podman, &unique, &ids, cancel)? };
    for name in image.names {
        run(ENGINE, &podman.clone().args(["tag", &named, name]), ASK, cancel)?;
    }
    if ids.len() > 1 {
        // Removes the temporary name; the list stays under the others.
        run(ENGINE, &podman.clone().args(["manifest", "rm", &named]), ASK, cancel)?;
    }
    tidy(&podman, cancel)?;
    let id = match image.names.first() {
        Some(name) => own(&podman, name, cancel)?,
        None => None,
    };
    Ok(Loaded {
        engine: ENGINE,
        platforms: image.manifests.iter().map(|(platform, _)| platform.clone()).collect(),
        names: image.names.to_vec(),
        id,
    })
}

/// The ID of the image that podman starts under a name: for a list, its own platform's image. `None` if the list has no
/// image for its platform.
fn own(podman: &Command, name: &str, cancel: &Cancel) -> Result<Option<Digest>, EngineError> {
    let ask = podman.clone().args(["image", "inspect", "--format", "{{.Id}}", name]);
    let answer = match run(ENGINE, &ask, ASK, cancel) {
        Ok(answer) => answer,
        Err(EngineError::Failed { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(format!("sha256:{}", answer.trim().trim_start_matches("sha256:")).parse().ok())
}

/// Makes a manifest list of images and returns its name.
fn list(podman: &Command, unique: &str, ids: &[String], cancel: &Cancel) -> Result<String, EngineError> {
    let list = format!("localhost/{unique}:latest");
    run(ENGINE, &podman.clone().args(["manifest", "create", &list]), ASK, cancel)?;
    for id in ids {
        let source = format!("containers-storage:{id}");
        run(ENGINE, &podman.clone().args(["manifest", "add", &list, &source]), ASK, cancel)?;
    }
    Ok(list)
}

/// Writes an image, or a manifest list with all its images, to an archive.
pub(crate) fn export(
    name: &str,
    to: &Path,
    environment: &Environment,
    cancel: &Cancel,
) -> Result<(), EngineError> {
    let podman = Command::new(program(ENGINE, environment)?).here();
    if succeeds(ENGINE, &podman.clone().args(["manifest", "exists", name]), cancel)? {
        let to = format!("oci-archive:{}", to.display());
        let push = podman.args(["manifest", "push", "--quiet", "--all", name, &to]);
        return run(ENGINE, &push, TRANSFER, cancel).map(drop);
    }
    if !succeeds(ENGINE, &podman.clone().args(["image", "exists", name]), cancel)? {
        return Err(EngineError::NoImage { engine: ENGINE, name: name.to_owned() });
    }
    let save = podman.args(["save", "--quiet", "--format", "oci-archive", "--output"]).arg(to).arg(name);
    run(ENGINE, &save, TRANSFER, cancel).map(drop)
}

/// A layout of one manifest, which shares the blobs of the other layout.
fn single(layout: &Path, manifest: &Descriptor, dir: &Path) -> Result<(), EngineError> {
    fs::create_dir(dir)?;
    fs::symlink(fs::canonicalize(layout)?.join("blobs"), dir.join("blobs"))?;
    fs::write_atomic(&dir.join("oci-layout"), MARKER_TEXT, 0o644)?;
    let index = to_vec(&json!({ "schemaVersion": 2, "manifests": [manifest] }));
    fs::write_atomic(&dir.join("index.json"), &index, 0o644)?;
    Ok(())
}

/// Without these options podman warns that the image is for another platform than its own.
fn for_platform(command: Command, platform: &Platform) -> Command {
    let command = command.args(["--os", platform.os(), "--arch", platform.architecture()]);
    match platform.variant() {
        Some(variant) => command.args(["--variant", variant]),
        None => command,
    }
}

/// The name of an image while it is loaded. Names are in lower case. It encodes the directory of the run, so that
/// another run can see whether that run is dead. A path that is too long for a name is hashed, and then this is not
/// possible.
fn temporary_name(dir: &Path) -> String {
    let path = dir.as_os_str().as_bytes();
    if path.len() <= LONGEST {
        return format!("{TEMPORARY}{}", hex::encode(path));
    }
    format!("{TEMPORARY}of-{}", hex::encode(Sha256::digest(path)))
}

/// The directory that a temporary name encodes.
fn dir_of(name: &str) -> Option<PathBuf> {
    let name = name.strip_prefix("localhost/")?.strip_prefix(TEMPORARY)?.strip_suffix(":latest")?;
    let digits = name.split('-').next()?;
    Some(OsString::from_vec(hex::decode(digits).ok()?).into())
}

/// Removes the names that dead runs have left.
fn tidy(podman: &Command, cancel: &Cancel) -> Result<(), EngineError> {
    let filter = format!("reference=localhost/{TEMPORARY}*");
    let ask = podman.clone().args(["images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", &filter]);
    for name in run(ENGINE, &ask, ASK, cancel)?.lines() {
        if dir_of(name).is_some_and(|dir| !Staging::is_alive(&dir)) {
            // Another run may have removed it already.
            succeeds(ENGINE, &podman.clone().args(["untag", name, name]), cancel)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_names_are_valid_and_lead_back() {
        let dir = Path::new("/home/me/aB-c/.load.xbuild-Xy/content");
        let name = temporary_name(dir);
        assert!(
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
            "{name}"
        );
        for name in [format!("localhost/{name}:latest"), format!("localhost/{name}-0:latest")] {
            assert_eq!(dir_of(&name).as_deref(), Some(dir), "{name}");
        }
        let long = temporary_name(&dir.join("x".repeat(LONGEST)));
        assert!(long.len() < 100 && dir_of(&format!("localhost/{long}:latest")).is_none(), "{long}");
        for other in [
            "localhost/xbuild-load-zz:latest",
            "docker.io/xbuild-load-2f:latest",
            "localhost/app:latest",
            "<none>:<none>",
        ] {
            assert_eq!(dir_of(other), None, "{other}");
        }
    }
}
