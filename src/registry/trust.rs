//! Certificates of registries: those in the user's file, or else in the directories of docker and podman
//! ([containers-certs.d(5)](https://github.com/containers/image/blob/main/docs/containers-certs.d.5.md)).

use std::io;
use std::path::{Path, PathBuf};

use super::error::RegistryError;
use crate::registry::RegistrySettings;
use crate::sys::env::Environment;
use crate::sys::fs;
use crate::sys::http::{Identity, Trust};

/// The certificates for a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The TLS settings of connections.
    pub(super) trust: Trust,
    /// A key that exists and cannot be read. docker's keys often belong to root.
    pub(super) hidden: Option<PathBuf>,
}

/// The certificates of a registry, `host[:port]`.
pub(super) fn of_registry(
    registry: &str,
    settings: Option<&RegistrySettings>,
    environment: &Environment,
) -> Result<Found, RegistryError> {
    let mut found = match dir(registry, environment) {
        Some(dir) => in_dir(registry, &dir)?,
        None => Found::default(),
    };
    if let Some(settings) = settings {
        if let Some(ca) = &settings.ca {
            found.trust.authorities = vec![ca.clone()];
        }
        if let (Some(certificate), Some(key)) = (&settings.client_cert, &settings.client_key) {
            found.trust.identity = Some(Identity { certificate: certificate.clone(), key: key.clone() });
            found.hidden = None;
        }
    }
    Ok(found)
}

/// The directory with a registry's certificates: the user's own before the machine's.
fn dir(registry: &str, environment: &Environment) -> Option<PathBuf> {
    let home = environment.path("HOME").map(|home| home.join(".config"));
    let own = environment.path("XDG_CONFIG_HOME").or(home);
    let own = own.into_iter().flat_map(|dir| [dir.join("containers"), dir.join("docker")]);
    let all = own.chain(["/etc/containers".into(), "/etc/docker".into()]);
    all.map(|dir| dir.join("certs.d").join(registry)).find(|dir| dir.is_dir())
}

/// Reads a directory: `*.crt` are authorities, and the first `*.cert` with a `*.key` of the same name is our certificate.
fn in_dir(registry: &str, dir: &Path) -> Result<Found, RegistryError> {
    let fault = |reason: String| RegistryError::Configuration { registry: registry.to_owned(), reason };
    let unreadable = |error: io::Error| fault(format!("cannot read `{}`: {error}", dir.display()));
    let mut found = Found::default();
    let mut paths = match fs::read_dir(dir) {
        Ok(entries) => {
            let paths = entries.map(|entry| Ok(entry?.path()));
            paths.collect::<io::Result<Vec<PathBuf>>>().map_err(unreadable)?
        }
        // Another user's directory is not meant for us.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(found),
        Err(error) => return Err(unreadable(error)),
    };
    paths.sort();
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => found.trust.authorities.push(path),
            Some("cert") if found.trust.identity.is_none() => {
                let key = path.with_extension("key");
                match fs::File::open(&key) {
                    Ok(_) => found.trust.identity = Some(Identity { certificate: path, key }),
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        found.hidden.get_or_insert(key);
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(fault(format!(
                            "`{}` is there, and its key is not: {}",
                            path.display(),
                            key.display()
                        )));
                    }
                    Err(error) => return Err(fault(format!("cannot read `{}`: {error}", key.display()))),
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ExitCode, Explain};

    /// A home with these files for `r.example:5000`.
    fn home(program: &str, names: &[&str]) -> (tempfile::TempDir, Environment) {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join(".config").join(program).join("certs.d/r.example:5000");
        fs::create_dir_all(&dir).unwrap();
        for name in names {
            fs::write_atomic(&dir.join(name), b"", 0o644).unwrap();
        }
        let environment = [("HOME", home.path())].into_iter().collect();
        (home, environment)
    }

    #[test]
    fn what_docker_and_podman_know_is_found_and_the_users_file_wins() {
        for program in ["docker", "containers"] {
            let (home, environment) = home(program, &["b.crt", "a.crt", "client.cert", "client.key", "x"]);
            let at = |name: &str| {
                home.path().join(".config").join(program).join("certs.d/r.example:5000").join(name)
            };
            let found = of_registry("r.example:5000", None, &environment).unwrap();
            let identity = Identity { certificate: at("client.cert"), key: at("client.key") };
            let trust = Trust { authorities: vec![at("a.crt"), at("b.crt")], identity: Some(identity) };
            assert_eq!(found, Found { trust: trust.clone(), hidden: None });
            assert_eq!(of_registry("r.example", None, &environment).unwrap(), Found::default());
            let settings = RegistrySettings { ca: Some("/own.pem".into()), ..RegistrySettings::default() };
            let found = of_registry("r.example:5000", Some(&settings), &environment).unwrap();
            assert_eq!(found.trust, Trust { authorities: vec!["/own.pem".into()], ..trust });
        }
    }

    #[test]
    fn a_certificate_without_its_key_is_told() {
        let (_home, environment) = home("docker", &["client.cert"]);
        let error = of_registry("r.example:5000", None, &environment).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Config);
        assert!(error.to_string().contains("its key is not"), "{error}");
    }
}
