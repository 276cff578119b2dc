//! `WWW-Authenticate`: how a registry wants clients to log in (RFC 9110, section 11.6.1).

use std::collections::BTreeMap;

/// The login that a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A user and a password, with every request.
    Basic,
    /// A token from a service.
    Bearer {
        /// The service's URL.
        realm: String,
        /// The registry's name there.
        service: Option<String>,
        /// The scopes of the token, separated by spaces.
        scope: Option<String>,
        /// Why an earlier token was refused.
        error: Option<String>,
    },
}

impl Challenge {
    /// The challenge in an answer's header fields that we can answer. A token is preferred to a password.
    pub(super) fn of<'a>(fields: impl Iterator<Item = &'a str>) -> Option<Self> {
        let found: Vec<Self> = fields.flat_map(parse).collect();
        let bearer = found.iter().find(|challenge| matches!(challenge, Self::Bearer { .. }));
        bearer.or(found.first()).cloned()
    }
}

/// All challenges in one field: `scheme name="value", name=value, scheme …`.
fn parse(field: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = field.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find([' ', ',', '=', '\t']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            // The rest is not a challenge. What was parsed so far is used.
            break;
        }
        let trimmed = after.trim_start_matches([' ', '\t']);
        if let (Some(value), Some((_, parameters))) = (trimmed.strip_prefix('='), found.last_mut()) {
            let (value, after) = value_of(value.trim_start_matches([' ', '\t']));
            parameters.insert(word.to_ascii_lowercase(), value);
            rest = after;
        } else {
            found.push((word.to_ascii_lowercase(), BTreeMap::new()));
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    let challenge = |(scheme, mut parameters): (String, BTreeMap<String, String>)| match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: parameters.remove("realm")?,
            service: parameters.remove("service"),
            scope: parameters.remove("scope"),
            error: parameters.remove("error"),
        }),
        _ => None,
    };
    found.into_iter().filter_map(challenge).collect()
}

/// The token or quoted text at the start, and the rest.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', ',', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, character) in quoted.char_indices() {
        match character {
            _ if escaped => {
                value.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_registries_send() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
            error: None,
        };
        for (field, meant) in [
            (r#"Basic realm="Registry Realm""#, Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                Some(bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:a/b:pull,push"),
                )),
            ),
            (
                r#"Bearer realm="https://x/t" , service = "a \"b\"""#,
                Some(bearer("https://x/t", Some(r#"a "b""#), None)),
            ),
            (
                r#"Negotiate, Basic realm="x", Bearer realm="https://x/t""#,
                Some(bearer("https://x/t", None, None)),
            ),
            (r#"Digest realm="x", nonce="y==""#, None),
            (r#"Bearer service="x""#, None),
            ("", None),
            ("=,=\"", None),
        ] {
            assert_eq!(Challenge::of(std::iter::once(field)), meant, "{field}");
        }
    }

    #[test]
    fn tells_why_a_token_was_not_taken() {
        let field = r#"Bearer realm="https://x/t",error="invalid_token""#;
        let Some(Challenge::Bearer { error, .. }) = Challenge::of(std::iter::once(field)) else { panic!() };
        assert_eq!(error.as_deref(), Some("invalid_token"));
    }
}
