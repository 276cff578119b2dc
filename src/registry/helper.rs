//! Credential helpers: programs that store logins for docker, called as docker calls them. A failure is data and not an
//! error, since much can be read without a login.

use std::time::Duration;

use serde::Deserialize;

use super::credentials::{Login, Secret};
use super::error::{HelperFault, HelperTrouble, RegistryError};
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::env::Environment;
use crate::sys::process::{Command, ProcessError};

/// How long a credential helper may take.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// The most bytes of a helper's answer that are read. The longest secrets are keys of a few kilobytes.
const MOST: u64 = 256 * 1024;
/// The user name that marks a helper's secret as an identity token.
pub(super) const IDENTITY_USER: &str = "<token>";
/// The name under which docker stores logins for `docker.io`.
const HUB: &str = "https://index.docker.io/v1/";
/// The messages of helpers that have no login. docker's own library of helpers compares with these texts, too.
const NOTHING: [&str; 2] = ["credentials not found", "no credentials server URL"];

/// A helper and the registry that it is asked about.
pub(super) struct Helper<'a> {
    pub(super) name: &'a str,
    pub(super) registry: &'a str,
    pub(super) source: &'a str,
    pub(super) limit: Duration,
}

/// The answer of a helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HelperAnswer {
    /// A login; true if there was other text around it.
    Login(Login, bool),
    /// It has no login.
    Nothing,
    /// It failed.
    Trouble(HelperTrouble),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl Helper<'_> {
    fn program(&self) -> String {
        format!("docker-credential-{}", self.name)
    }

    fn trouble(&self, fault: HelperFault) -> HelperAnswer {
        HelperAnswer::Trouble(HelperTrouble {
            program: self.program(),
            registry: self.registry.to_owned(),
            named_in: self.source.to_owned(),
            fault,
        })
    }

    /// Asks it. The protocol is the server's name on stdin and JSON on stdout.
    pub(super) fn ask(
        &self,
        environment: &Environment,
        cancel: &Cancel,
    ) -> Result<HelperAnswer, RegistryError> {
        if self.name.contains('/') {
            return Ok(self.trouble(HelperFault::Name));
        }
        let program = self.program();
        let server = if self.registry == "docker.io" { HUB } else { self.registry };
        let limited = cancel.within(self.limit, &program);
        let mut command = Command::new(&program).arg("get").input(format!("{server}\n")).at_most(MOST);
        for (name, value) in environment.iter() {
            command = command.env(name, value);
        }
        let output = match command.output(&limited) {
            Ok(output) => output,
            Err(ProcessError::Cancelled(Cancelled::TimedOut { what, .. })) if what == program => {
                return Ok(self.trouble(HelperFault::Slow(self.limit)));
            }
            Err(ProcessError::Cancelled(cancelled)) => return Err(cancelled.into()),
            Err(error) if error.is_not_found() => return Ok(self.trouble(HelperFault::Missing)),
            Err(error) => return Ok(self.trouble(HelperFault::NotStarted(error.to_string()))),
        };
        if output.stdout.len().max(output.stderr.len()) as u64 >= MOST {
            return Ok(self.trouble(HelperFault::TooMuch(MOST)));
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (said, aside) = (text(&output.stdout), text(&output.stderr));
        if !output.status.success() {
            if NOTHING.iter().any(|nothing| said.contains(nothing) || aside.contains(nothing)) {
                return Ok(HelperAnswer::Nothing);
            }
            let told = [&said, &aside].into_iter().find(|text| !text.trim().is_empty());
            // Only the last line, and only if it cannot be part of an answer, which would contain a secret.
            let line: String = told
                .and_then(|text| text.trim().lines().last())
                .filter(|line| !line.contains(['{', '}']) && !line.to_ascii_lowercase().contains("secret\""))
                .unwrap_or_default()
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect();
            let line = if line.is_empty() { line } else { format!(": {line}") };
            return Ok(self.trouble(HelperFault::Failed(format!("{}{line}", output.status))));
        }
        Ok(self.answer(&said))
    }

    /// Parses its output. Some helpers print their log beside the answer.
    fn answer(&self, said: &str) -> HelperAnswer {
        let whole = serde_json::from_str::<serde_json::Value>(said).ok().filter(serde_json::Value::is_object);
        let whole = whole.and_then(|value| serde_json::from_value(value).ok());
        let document = match whole {
            Some(document) => Some((document, false)),
            None => amid(said).map(|document| (document, true)),
        };
        match document {
            None => self.trouble(HelperFault::NoAnswer),
            Some((Document { secret, .. }, _)) if secret.is_empty() => HelperAnswer::Nothing,
            Some((Document { username, secret }, noisy)) if username == IDENTITY_USER => {
                HelperAnswer::Login(Login::Identity(Secret::from(secret)), noisy)
            }
            Some((Document { username, secret }, noisy)) => {
                HelperAnswer::Login(Login::Password { username, password: Secret::from(secret) }, noisy)
            }
        }
    }
}

/// The one answer that begins a line amid other text; `None` if there are several, since it is unknown which one is meant.
fn amid(said: &str) -> Option<Document> {
    let mut found = None;
    let mut at = 0;
    while at < said.len() {
        let rest = &said[at..];
        let line = rest.find('\n').map_or(rest.len(), |end| end + 1);
        if !rest.trim_start_matches([' ', '\t']).starts_with('{') {
            at += line;
            continue;
        }
        let mut documents = serde_json::Deserializer::from_str(rest).into_iter::<serde_json::Value>();
        match documents.next() {
            Some(Ok(value)) => {
                at += documents.byte_offset();
                let is_answer = value.get("Secret").is_some_and(serde_json::Value::is_string);
                if is_answer && found.replace(value).is_some() {
                    return None;
                }
            }
            _ => at += line,
        }
    }
    serde_json::from_value(found?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_amid_other_text_where_there_is_one() {
        let helper = Helper { name: "x", registry: "r.example", source: "`config.json`", limit: LIMIT };
        let login = |noisy| {
            HelperAnswer::Login(
                Login::Password { username: "u".into(), password: Secret::from("p".to_owned()) },
                noisy,
            )
        };
        let own = r#"{"Username":"u","Secret":"p"}"#;
        for (said, meant) in [
            (own.to_owned(), login(false)),
            (format!("{own}\n"), login(false)),
            (format!("level=error msg=\"no log\"\n{own}\n"), login(true)),
            (format!("  {own} done\n"), login(true)),
            (format!("{{\"level\":\"info\"}}\n{own}\n"), login(true)),
            ("{\"Username\":\"u\",\n \"Secret\":\"p\"}\nbye\n".to_owned(), login(true)),
            ("{\"ServerURL\":\"\",\"Username\":\"\",\"Secret\":\"\"}".to_owned(), HelperAnswer::Nothing),
            ("{}".to_owned(), HelperAnswer::Nothing),
        ] {
            assert_eq!(helper.answer(&said), meant, "{said}");
        }
        let trouble = helper.trouble(HelperFault::NoAnswer);
        for said in ["", "hello", "{", "[]", "{\"level\":\"info\"}\nhello", &format!("{own}\n{own}\n")] {
            assert_eq!(helper.answer(said), trouble, "{said}");
        }
    }
}
