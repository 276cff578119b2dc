//! The machine's settings of registries: mirrors, rewrites, certificates, and which have no TLS. Pure.

use std::collections::BTreeMap;

use crate::config::{Document, UserFile};
use crate::oci::Reference;
use crate::sys::env::Environment;

use super::error::{Error, Problem};
use super::values;
use crate::origin::Origin;
use crate::registry::RegistrySettings;

/// The settings by registry, or by the beginning of a repository's name.
pub(super) fn registries(
    environment: &Environment,
    user: Option<&Document<UserFile>>,
) -> Result<BTreeMap<String, RegistrySettings>, Error> {
    let mut registries: BTreeMap<String, RegistrySettings> = BTreeMap::new();
    for (document, (key, table)) in user
        .into_iter()
        .flat_map(|document| document.value.registry.iter().map(move |entry| (document, entry)))
    {
        let place = |text: &crate::config::Text| {
            let origin = Origin::User(document.location(text.span()));
            self::place(text.get_ref()).map_err(|problem| problem.at(&origin))
        };
        let file = |path: &crate::config::Text| {
            let home = environment.path("HOME");
            match (path.get_ref().strip_prefix("~/"), home) {
                (Some(rest), Some(home)) => home.join(rest),
                _ => document.source.dir().join(path.get_ref()),
            }
        };
        let settings = RegistrySettings {
            mirrors: table.mirrors.iter().flatten().map(place).collect::<Result<_, _>>()?,
            rewrite: table.rewrite.as_ref().map(place).transpose()?,
            plain_http: table.plain_http,
            ca: table.ca.as_ref().map(file),
            client_cert: table.client_cert.as_ref().map(file),
            client_key: table.client_key.as_ref().map(file),
            chunk_size: table
                .chunk_size
                .as_ref()
                .map(|size| {
                    let origin = Origin::User(document.location(size.span()));
                    values::size(size.get_ref()).map_err(|problem| problem.at(&origin))
                })
                .transpose()?,
        };
        if let (Some(alone), None) | (None, Some(alone)) = (&table.client_cert, &table.client_key) {
            let origin = Origin::User(document.location(alone.span()));
            let fix = "give both: the certificate in client-cert, and its key in client-key";
            return Err(values::form("a client certificate with its key", alone.get_ref(), fix).at(&origin));
        }
        registries.insert(place(key)?, settings);
    }
    let name = "XBUILD_REGISTRY_PLAIN_HTTP";
    let plain = environment.var(name).unwrap_or_default();
    for registry in plain.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let registry = place(registry).map_err(|problem| problem.at(&Origin::Environment(name)))?;
        registries.entry(registry).or_default().plain_http = Some(true);
    }
    Ok(registries)
}

/// Parses `registry[/beginning]`, without a trailing slash.
fn place(text: &str) -> Result<String, Problem> {
    let key = text.trim_end_matches('/');
    // Add two parts, since a name of one part would be one of Docker's own.
    let whole = format!("{key}/a/b");
    let reference: Option<Reference> = whole.parse().ok();
    match reference {
        Some(reference) if reference.repository() == Some(&whole) => Ok(key.to_owned()),
        _ => Err(values::form(
            "a registry",
            text,
            "write its host, and a port if it needs one: `registry.example:5000`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::document::parse_user;
    use crate::error::Explain;
    use crate::origin::Source;

    fn resolved(text: &str, variables: &[(&str, &str)]) -> Result<BTreeMap<String, RegistrySettings>, Error> {
        let path = PathBuf::from("/home/me/.config/xbuild/config.toml");
        let source = Source { shown: path.clone(), path, text: text.to_owned(), foreign: false };
        let environment: Environment = variables.iter().copied().collect();
        registries(&environment, Some(&parse_user(source).unwrap()))
    }

    #[test]
    fn the_users_file_and_the_environment_are_folded() {
        let text = "[registry.\"docker.io\"]\nmirrors = [\"mirror.example/hub/\"]\n\
                    [registry.\"r.example:5000\"]\nca = \"ca.pem\"\nrewrite = \"localhost:1\"\n";
        let variables =
            [("XBUILD_REGISTRY_PLAIN_HTTP", "10.0.0.1:5000, r.example:5000"), ("HOME", "/home/me")];
        let found = resolved(text, &variables).unwrap();
        assert_eq!(found["docker.io"].mirrors, ["mirror.example/hub"]);
        let own = &found["r.example:5000"];
        assert_eq!(own.ca.as_deref(), Some(std::path::Path::new("/home/me/.config/xbuild/ca.pem")));
        assert_eq!((own.rewrite.as_deref(), own.plain_http), (Some("localhost:1"), Some(true)));
        assert_eq!(found["10.0.0.1:5000"].plain_http, Some(true));
    }

    #[test]
    fn a_client_certificate_has_a_key() {
        let text = "[registry.\"r.example\"]\nclient-cert = \"~/me.pem\"\nclient-key = \"me.key\"\n";
        let found = resolved(text, &[("HOME", "/home/me")]).unwrap();
        let own = &found["r.example"];
        assert_eq!(own.client_cert.as_deref(), Some(std::path::Path::new("/home/me/me.pem")));
        assert_eq!(own.client_key.as_deref(), Some(std::path::Path::new("/home/me/.config/xbuild/me.key")));
        for text in ["client-cert = \"me.pem\"\n", "client-key = \"me.pem\"\n"] {
            let error = resolved(&format!("[registry.\"r.example\"]\n{text}"), &[]).unwrap_err();
            assert!(
                error.to_string().contains("`me.pem` is not a client certificate with its key"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_size_of_parts_has_a_unit() {
        for (text, size) in [("5MB", 5_000_000), ("1 MiB", 1 << 20), ("100m", 100 << 20), ("512k", 512 << 10)]
        {
            let found =
                resolved(&format!("[registry.\"r.example\"]\nchunk-size = \"{text}\"\n"), &[]).unwrap();
            assert_eq!(found["r.example"].chunk_size, Some(size), "{text}");
        }
        for text in ["", "0", "5", "-1MB", "much", "5 elephants", "99999999999GB", "1kB"] {
            let error =
                resolved(&format!("[registry.\"r.example\"]\nchunk-size = \"{text}\"\n"), &[]).unwrap_err();
            assert!(error.to_string().contains("a size"), "{error}");
        }
    }

    #[test]
    fn what_is_no_registry_is_refused_at_its_place() {
        for text in [
            "[registry.\"https://r.example\"]\n",
            "[registry.team]\n",
            "[registry.\"r.example\"]\nrewrite = \"\"\n",
        ] {
            let error = resolved(text, &[]).unwrap_err();
            assert!(error.to_string().contains("is not a registry"), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("registry.example:5000")));
        }
        assert!(resolved("", &[("XBUILD_REGISTRY_PLAIN_HTTP", "http://r")]).is_err());
    }
}
