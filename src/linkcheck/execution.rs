//! What a container of the image starts, as which user and in which directory: from the image's configuration and its
//! user database.

use std::collections::BTreeSet;

use serde_json::Value;

use super::finding::Problem;
use crate::rootfs::{Identity, Root};

/// The `PATH` that engines use if an image sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The part of an image's configuration that says what runs (image specification, "Image Configuration", `config`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Execution {
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub cmd: Vec<String>,
    /// `Env`, each `NAME=value`.
    pub env: Vec<String>,
    /// `WorkingDir`; empty for `/`.
    pub workdir: String,
    /// `User`; empty for root.
    pub user: String,
}

impl Execution {
    /// Reads it from an image's configuration document. A value of the wrong type counts as absent.
    #[must_use]
    pub fn of_config(document: &Value) -> Self {
        let config = &document["config"];
        let list = |field: &str| {
            let texts = config[field].as_array().into_iter().flatten();
            texts.filter_map(|text| text.as_str().map(ToOwned::to_owned)).collect()
        };
        let text = |field: &str| config[field].as_str().unwrap_or_default().to_owned();
        Self {
            entrypoint: list("Entrypoint"),
            cmd: list("Cmd"),
            env: list("Env"),
            workdir: text("WorkingDir"),
            user: text("User"),
        }
    }

    /// The arguments to execute: the entrypoint with the command as its arguments, or else the command.
    #[must_use]
    pub fn arguments(&self) -> Vec<&str> {
        self.entrypoint.iter().chain(&self.cmd).map(String::as_str).collect()
    }

    /// The value of a variable. If it is set several times the last one counts, as in engines.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let values = self.env.iter().rev().filter_map(|text| text.split_once('='));
        values.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The directories of `PATH`.
    #[must_use]
    pub fn path(&self) -> Vec<String> {
        let path = self.variable("PATH").unwrap_or(DEFAULT_PATH);
        path.split(':').map(|dir| self.absolute(dir)).collect()
    }

    /// Makes a path absolute, relative to the working directory.
    #[must_use]
    pub fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') {
            return path.to_owned();
        }
        let dir = self.workdir.trim_end_matches('/');
        let path = path.strip_prefix("./").unwrap_or(path);
        match path {
            "" | "." if dir.is_empty() => "/".to_owned(),
            "" | "." => dir.to_owned(),
            path => format!("{dir}/{path}"),
        }
    }

    /// The user and groups that it runs as. If the image does not have the user or group, root is assumed, so that no
    /// further findings follow from this one.
    pub(super) fn identity(&self, root: &Root, findings: &mut Vec<Problem>) -> Identity {
        let (user, group) = match self.user.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (self.user.as_str(), None),
        };
        let mut unknown = |name: &str, searched: &str| {
            findings.push(Problem::UnknownUser { user: name.to_owned(), searched: format!("/{searched}") });
            Identity::root()
        };
        let number = |text: &str| text.parse::<u32>().ok();
        // Fields: name, password, uid, gid, …
        let entry = lines(root, "etc/passwd").into_iter().find(|fields| {
            let uid = fields.get(2).and_then(|text| number(text));
            fields[0] == user || (number(user).is_some() && uid == number(user))
        });
        let known =
            entry.as_ref().and_then(|fields| Some((number(fields.get(2)?)?, number(fields.get(3)?)?)));
        let (uid, mut gid) = match (known, number(user)) {
            (Some(known), _) => known,
            (None, Some(uid)) => (uid, 0),
            (None, None) if user.is_empty() => (0, 0),
            (None, None) => return unknown(user, "etc/passwd"),
        };
        // Fields: name, password, gid, members.
        let groups = lines(root, "etc/group");
        if let Some(group) = group {
            let named =
                groups.iter().find(|fields| fields[0] == group).and_then(|fields| number(fields.get(2)?));
            gid = match named.or_else(|| number(group)) {
                Some(gid) => gid,
                None => return unknown(group, "etc/group"),
            };
        }
        let mut gids = BTreeSet::from([gid]);
        let name = entry.as_ref().map_or(user, |fields| fields[0].as_str());
        // If a group is given, engines leave out the supplementary groups.
        if group.is_none() {
            let member = |fields: &&Vec<String>| {
                fields.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
            };
            gids.extend(groups.iter().filter(member).filter_map(|fields| number(fields.get(2)?)));
        }
        Identity { uid, gids }
    }

    /// The user's name for messages.
    #[must_use]
    pub fn user_name(&self) -> &str {
        if self.user.is_empty() { "root" } else { &self.user }
    }
}

/// The lines of a database such as `/etc/passwd`, split into fields. No line is empty.
fn lines(root: &Root, path: &str) -> Vec<Vec<String>> {
    let bytes = root.file(path).and_then(crate::rootfs::File::bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split(':').map(|field| field.trim().to_owned()).collect()).collect()
}
