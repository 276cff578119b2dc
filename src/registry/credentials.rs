//! Logins for registries, from where docker and podman store them. They are never written anywhere.
//!
//! The sources in this order: `XBUILD_REGISTRY_…` variables, podman's `REGISTRY_AUTH_FILE` if it is set, docker's
//! `DOCKER_AUTH_CONFIG` variable, docker's `config.json` with its helpers, podman's `auth.json`. The first source that has a
//! login for the registry is used.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use super::client::Access;
use super::error::{HelperTrouble, KnownLogin, RegistryError};
use super::helper::{self, Helper, HelperAnswer, IDENTITY_USER};
use crate::oci::name::RepositoryName;
use crate::sys::cancel::Cancel;
use crate::sys::env::Environment;
use crate::sys::fs;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

impl Secret {
    /// The text, for the header field or form that needs it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// A login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// For `Authorization: Basic`, here or at the token service.
    Password { username: String, password: Secret },
    /// An `OAuth2` refresh token, for which the token service issues access tokens.
    Identity(Secret),
    /// An access token, sent unchanged.
    Bearer(Secret),
}

/// A login and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) login: Login,
    /// For messages.
    pub(super) source: String,
}

impl Login {
    /// The value of `Authorization: Basic`.
    pub(super) fn basic(username: &str, password: &Secret) -> String {
        format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.reveal())))
    }
}

/// The result of looking for a repository's login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) credentials: Option<Credentials>,
    /// The first helper that should have had a login and failed. A later source may have had one.
    pub(super) trouble: Option<HelperTrouble>,
    /// A helper that prints more than its answer.
    pub(super) noisy: Option<String>,
    /// True if there are credentials in variables that do not say which registry they are for, and that were withheld from
    /// this one because only a file has named it.
    pub(super) withheld: bool,
}

impl Found {
    /// The login's source, for messages.
    pub(super) fn source(&self) -> Option<String> {
        self.credentials.as_ref().map(|credentials| credentials.source.clone())
    }

    /// The login in the form of messages.
    pub(super) fn known(&self) -> KnownLogin {
        match (self.source(), &self.trouble) {
            (Some(source), _) => KnownLogin::From(source),
            (None, _) if self.withheld => KnownLogin::Withheld,
            (None, Some(trouble)) => KnownLogin::Helper(Box::new(trouble.clone())),
            (None, None) => KnownLogin::None,
        }
    }

    /// The helper that should have had a login, if there is none.
    pub(super) fn lacking(&self) -> Option<&HelperTrouble> {
        self.trouble.as_ref().filter(|_| self.credentials.is_none())
    }
}

/// All logins of this user. Each repository is looked up once.
pub(super) struct Keyring {
    environment: Environment,
    found: Mutex<BTreeMap<(RepositoryName, Access, bool), Found>>,
    /// The answers of helpers, by the helper and the registry.
    answers: Mutex<BTreeMap<(String, String), HelperAnswer>>,
    helper_limit: Duration,
}

impl fmt::Debug for Keyring {
    // Without the environment, which contains secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keyring").finish_non_exhaustive()
    }
}

impl Keyring {
    pub(super) fn new(environment: &Environment) -> Self {
        Self {
            environment: environment.clone(),
            found: Mutex::default(),
            answers: Mutex::default(),
            helper_limit: helper::LIMIT,
        }
    }

    /// The login for a repository, if there is one, and the helper that failed to give one. To write, such a failure is an
    /// error, since nothing should be pushed anonymously by mistake. `named` is true if the user has named the registry.
    pub(super) fn find(
        &self,
        repository: &RepositoryName,
        access: Access,
        named: bool,
        cancel: &Cancel,
    ) -> Result<Found, RegistryError> {
        let found = self.look_up(repository, access, named, cancel)?;
        match found.lacking() {
            Some(trouble) if access == Access::Push => Err(RegistryError::Helper(Box::new(trouble.clone()))),
            _ => Ok(found),
        }
    }

    /// True if a login was found earlier for a repository.
    pub(super) fn has(&self, repository: &RepositoryName, access: Access, named: bool) -> bool {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.get(&(repository.clone(), access, named)).is_some_and(|found| found.credentials.is_some())
    }

    fn look_up(
        &self,
        repository: &RepositoryName,
        access: Access,
        named: bool,
        cancel: &Cancel,
    ) -> Result<Found, RegistryError> {
        let key = (repository.clone(), access, named);
        // Held during the search, so that a helper that prompts the user does so once.
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = found.get(&key) {
            return Ok(known.clone());
        }
        let searched = self.search(repository, access, named, cancel)?;
        let source = searched.source();
        tracing::debug!(
            login = source.as_deref().unwrap_or("none"),
            ?access,
            "asked who we are to {repository}"
        );
        found.insert(key, searched.clone());
        Ok(searched)
    }

    fn search(
        &self,
        repository: &RepositoryName,
        access: Access,
        named: bool,
        cancel: &Cancel,
    ) -> Result<Found, RegistryError> {
        let mut found = self.of_variables(repository.registry(), access, named)?;
        if found.credentials.is_some() {
            return Ok(found);
        }
        for file in self.files()? {
            if let Some(login) = self.in_file(&file, repository, &mut found, cancel)? {
                found.credentials = Some(Credentials { login, source: file.source });
                break;
            }
        }
        Ok(found)
    }

    /// The login of `XBUILD_REGISTRY_USERNAME` and the like. Without `XBUILD_REGISTRY_HOST` it goes only to registries that are
    /// pushed to and that the user has named. A base's registry does not need it, and a project's files must not redirect it.
    fn of_variables(&self, registry: &str, access: Access, named: bool) -> Result<Found, RegistryError> {
        let var = |name| self.environment.var(name);
        let (meant, withheld) = match var("XBUILD_REGISTRY_HOST") {
            Some(host) => (canonical(host) == registry, false),
            None => (access == Access::Push && named, access == Access::Push && !named),
        };
        let secret = |text: &str| Secret(text.to_owned());
        let login = match (
            var("XBUILD_REGISTRY_USERNAME"),
            var("XBUILD_REGISTRY_PASSWORD"),
            var("XBUILD_REGISTRY_TOKEN"),
        ) {
            (None, None, None) => return Ok(Found::default()),
            (Some(username), Some(password), None) => {
                Login::Password { username: username.to_owned(), password: secret(password) }
            }
            (None, None, Some(token)) => Login::Identity(secret(token)),
            (_, _, Some(_)) => {
                return Err(RegistryError::Variables(
                    "XBUILD_REGISTRY_TOKEN stands for a user and a password, and one of these is set, too",
                ));
            }
            _ => {
                return Err(RegistryError::Variables(
                    "XBUILD_REGISTRY_USERNAME and XBUILD_REGISTRY_PASSWORD belong together, and one is missing",
                ));
            }
        };
        let credentials =
            meant.then(|| Credentials { login, source: "the XBUILD_REGISTRY_ variables".into() });
        Ok(Found { credentials, withheld, ..Found::default() })
    }

    /// The files that exist, in the order in which they are searched.
    fn files(&self) -> Result<Vec<AuthFile>, RegistryError> {
        let environment = &self.environment;
        if let Some(path) = environment.path("REGISTRY_AUTH_FILE") {
            return Ok(read(&path)?.into_iter().collect());
        }
        let mut files = Vec::new();
        if let Some(text) = environment.var("DOCKER_AUTH_CONFIG") {
            let path = Path::new("DOCKER_AUTH_CONFIG");
            files.push(parse(path, text.as_bytes(), "the variable DOCKER_AUTH_CONFIG".into())?);
        }
        let home = environment.path("HOME");
        let docker = environment
            .path("DOCKER_CONFIG")
            .or_else(|| home.as_ref().map(|home| home.join(".docker")))
            .map(|dir| dir.join("config.json"));
        let runtime = environment.path("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
        let configuration = environment
            .path("XDG_CONFIG_HOME")
            .or_else(|| home.as_ref().map(|home| home.join(".config")))
            .map(|dir| dir.join("containers/auth.json"));
        for path in [docker, runtime, configuration].into_iter().flatten() {
            files.extend(read(&path)?);
        }
        Ok(files)
    }

    fn in_file(
        &self,
        file: &AuthFile,
        repository: &RepositoryName,
        found: &mut Found,
        cancel: &Cancel,
    ) -> Result<Option<Login>, RegistryError> {
        let document = &file.document;
        let registry = repository.registry();
        let of_registry = |map: &BTreeMap<String, String>| {
            map.iter().find(|(key, _)| canonical(key) == registry).map(|(_, v)| v.clone())
        };
        // The registry's own helper, then the file's entry, then the helper for all others, for whose registries docker
        // leaves an empty entry.
        if let Some(helper) = of_registry(&document.cred_helpers) {
            return self.ask(&helper, registry, &file.source, found, cancel);
        }
        if let Some(login) =
            document.entry(repository).map(|entry| entry.login(&file.path)).transpose()?.flatten()
        {
            return Ok(Some(login));
        }
        match document.creds_store.as_deref().filter(|name| !name.is_empty()) {
            Some(helper) => self.ask(helper, registry, &file.source, found, cancel),
            None => Ok(None),
        }
    }

    /// Asks a credential helper, which is run once for each registry.
    fn ask(
        &self,
        name: &str,
        registry: &str,
        source: &str,
        found: &mut Found,
        cancel: &Cancel,
    ) -> Result<Option<Login>, RegistryError> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), registry.to_owned());
        let answer = if let Some(known) = answers.get(&key) {
            known.clone()
        } else {
            let helper = Helper { name, registry, source, limit: self.helper_limit };
            let answer = helper.ask(&self.environment, cancel)?;
            answers.insert(key, answer.clone());
            answer
        };
        Ok(match answer {
            HelperAnswer::Login(login, noisy) => {
                found.noisy = noisy.then(|| format!("docker-credential-{name}"));
                Some(login)
            }
            HelperAnswer::Nothing => None,
            HelperAnswer::Trouble(trouble) => {
                found.trouble.get_or_insert(trouble);
                None
            }
        })
    }
}

/// A file with credentials.
struct AuthFile {
    path: PathBuf,
    source: String,
    document: Document,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    #[serde(deserialize_with = "nullable")]
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    #[serde(deserialize_with = "nullable")]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Document {
    /// The entry for a repository. podman also has entries for parts of a registry, of which the longest match counts.
    fn entry(&self, repository: &RepositoryName) -> Option<&Entry> {
        let whole = repository.to_string();
        let fits =
            |key: &str| whole == key || whole.strip_prefix(key).is_some_and(|rest| rest.starts_with('/'));
        let keys = self.auths.iter().map(|(key, entry)| (canonical(key), entry));
        keys.filter(|(key, _)| fits(key)).max_by_key(|(key, _)| key.len()).map(|(_, entry)| entry)
    }
}

impl Entry {
    fn login(&self, path: &Path) -> Result<Option<Login>, RegistryError> {
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty()).map(Secret);
        if let Some(token) = some(&self.registrytoken) {
            return Ok(Some(Login::Bearer(token)));
        }
        if let Some(token) = some(&self.identitytoken) {
            return Ok(Some(Login::Identity(token)));
        }
        if let (Some(username), Some(password)) = (&self.username, some(&self.password)) {
            return Ok(Some(Login::Password { username: username.clone(), password }));
        }
        let Some(auth) = some(&self.auth) else { return Ok(None) };
        let broken = || RegistryError::CredentialFile {
            path: path.to_owned(),
            reason: "an `auth` in it is not the base64 of `user:password`".into(),
        };
        let text = auth.reveal().trim().trim_end_matches('=');
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| broken())?;
        let text = String::from_utf8(bytes).map_err(|_| broken())?;
        let (username, password) = text.split_once(':').ok_or_else(broken)?;
        // Some tools pad with zero bytes.
        let password = Secret(password.trim_end_matches('\0').to_owned());
        Ok(Some(if username == IDENTITY_USER {
            Login::Identity(password)
        } else {
            Login::Password { username: username.to_owned(), password }
        }))
    }
}

/// The key of an entry in our form: without a scheme, a final slash and the version of an old protocol.
fn canonical(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    match key.split_once('/') {
        None if matches!(key, "index.docker.io" | "registry-1.docker.io") => "docker.io".into(),
        Some(("index.docker.io" | "registry-1.docker.io", rest)) => format!("docker.io/{rest}"),
        _ => key.to_owned(),
    }
}

fn read(path: &Path) -> Result<Option<AuthFile>, RegistryError> {
    match fs::read(path) {
        Ok(bytes) => parse(path, &bytes, format!("`{}`", path.display())).map(Some),
        Err(error)
            if matches!(
                error.kind(),
                // Another user's file is not meant for us.
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(RegistryError::CredentialFile { path: path.to_owned(), reason: error.to_string() }),
    }
}

fn parse(path: &Path, bytes: &[u8], source: String) -> Result<AuthFile, RegistryError> {
    let fault = |reason: String| RegistryError::CredentialFile { path: path.to_owned(), reason };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(AuthFile { path: path.to_owned(), source, document: Document::default() });
    }
    // serde's own message may quote a secret.
    let document = serde_json::from_slice(bytes)
        .map_err(|error| fault(format!("line {}: it is not the JSON that it should be", error.line())))?;
    Ok(AuthFile { path: path.to_owned(), source, document })
}

#[cfg(test)]
mod tests;
