//! The commit that is built, for the annotations `created` and `revision`.
//!
//! git itself is called, with a time limit. It is normal for a project to be outside version control, or for git to be
//! missing: there is no revision then. There is also none for a directory that its repository does not track, such as a
//! generated project below `target`: the commit around it says nothing about it.
//!
//! A repository's own configuration may name programs, and examining a project must not run them: those that git would
//! run for these three queries are turned off. The user's own configuration still applies.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::process::Command;

/// The time limit of all calls of git.
const PATIENCE: Duration = Duration::from_secs(20);

/// The commit that is checked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Its full hash, with `-dirty` appended if tracked files of the project differ from it.
    pub revision: String,
    /// The committer's date, in seconds since 1970.
    pub date: i64,
}

/// The commit that `dir` is at; `None` if no file of the directory is under version control. Only cancellation is an
/// error.
pub(crate) fn commit(dir: &Path, cancel: &Cancel) -> Result<Option<Commit>, Cancelled> {
    let bounded = cancel.within(PATIENCE, "git");
    let ask_with = |options: &[OsString], arguments: &[&str]| {
        match git(dir, options).args(arguments.iter().copied()).text(&bounded) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            // git's own time limit does not stop the run; the caller's does.
            Err(_) => cancel.check().map(|()| None),
        }
    };
    let ask = |arguments: &[&str]| ask_with(&[], arguments);
    if ask(&["ls-tree", "--name-only", "HEAD", "--", "."])?.is_none_or(|files| files.is_empty()) {
        return Ok(None);
    }
    let Some(head) = ask(&["log", "-1", "--format=%H %ct", "HEAD"])? else {
        return Ok(None);
    };
    let Some((revision, date)) =
        head.split_once(' ').and_then(|(hash, date)| Some((hash, date.parse().ok()?)))
    else {
        return Ok(None);
    };
    // If a file's time has changed, git compares its content, and runs the filters that its attributes name.
    let listed =
        git(dir, &[]).args(["config", "-z", "--show-scope", "--name-only", "--list"]).output(&bounded);
    let filters = match listed {
        Ok(listed) if listed.status.success() => without_filters(&listed.stdout),
        // git before 2.26 does not report the scope of settings, so the command that would run filters is not called.
        _ => {
            cancel.check()?;
            return Ok(Some(Commit { revision: revision.to_owned(), date }));
        }
    };
    let status = ["status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty", "--", "."];
    let changed = ask_with(&filters, &status)?;
    let dirty = if changed.is_none_or(|files| files.is_empty()) { "" } else { "-dirty" };
    Ok(Some(Commit { revision: format!("{revision}{dirty}"), date }))
}

/// git, with overrides for what a repository may not decide, and with options before the command's name.
fn git(dir: &Path, options: &[OsString]) -> Command {
    const OFF: [&str; 6] = [
        // A program that reports which files have changed.
        "core.fsmonitor=false",
        "core.hooksPath=/dev/null",
        // `git log` would run a program, named by the repository, for each commit's signature.
        "log.showSignature=false",
        // A bare repository that is checked in inside the project.
        "safe.bareRepository=explicit",
        // Missing objects are not fetched by any protocol that the repository configures.
        "protocol.allow=never",
        "submodule.recurse=false",
    ];
    Command::new("git")
        .dir(dir)
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env(NOTHING, "")
        // No lock on the index: a build must not disturb a git command that runs at the same time.
        .arg("--no-optional-locks")
        .args(OFF.iter().flat_map(|setting| ["-c", setting]))
        .args(options.iter().cloned())
}

/// An empty variable, for settings that are turned off.
const NOTHING: &str = "XBUILD_NOTHING";

/// Options that turn off the filters in the repository's own configuration. `listed` is the output of `git config -z
/// --show-scope --list`: scope and key alternate. Filters of the user and of the machine, such as that of Git LFS,
/// stay. A filter's name is bytes and may contain a `=`, at which `-c` would end the key, so `--config-env` is used. An
/// empty value is false for `required`.
fn without_filters(listed: &[u8]) -> Vec<OsString> {
    let mut parts = listed.split(|byte| *byte == 0);
    let mut options = Vec::new();
    while let (Some(scope), Some(key)) = (parts.next(), parts.next()) {
        let ends: [&[u8]; 4] = [b".clean", b".smudge", b".process", b".required"];
        let is_filter = key.starts_with(b"filter.") && ends.iter().any(|end| key.ends_with(end));
        if is_filter && matches!(scope, b"local" | b"worktree") {
            let mut option = OsString::from("--config-env=");
            option.push(OsStr::from_bytes(key));
            option.push(format!("={NOTHING}"));
            options.push(option);
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs;

    #[test]
    fn a_commit_and_what_differs_from_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(commit(dir.path(), &Cancel::new()), Ok(None));
        let run = |arguments: &[&str]| {
            git(dir.path(), &[])
                .args(arguments.iter().copied())
                .env("GIT_COMMITTER_DATE", "1700000000 +0100")
                .text(&Cancel::new())
                .unwrap()
        };
        run(&["init", "-q"]);
        assert_eq!(commit(dir.path(), &Cancel::new()), Ok(None));
        fs::write_atomic(&dir.path().join("a"), b"1", 0o644).unwrap();
        run(&["add", "a"]);
        run(&["-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-qm", "one"]);
        let clean = commit(dir.path(), &Cancel::new()).unwrap().unwrap();
        assert_eq!((clean.revision.len(), clean.date), (40, 1_700_000_000));
        fs::write_atomic(&dir.path().join("untracked"), b"1", 0o644).unwrap();
        assert_eq!(commit(dir.path(), &Cancel::new()).unwrap().unwrap(), clean);
        // Another project, in a directory that the repository does not track.
        let inner = dir.path().join("generated");
        fs::create_dir_all(&inner).unwrap();
        fs::write_atomic(&inner.join("a"), b"1", 0o644).unwrap();
        assert_eq!(commit(&inner, &Cancel::new()), Ok(None));
        fs::write_atomic(&dir.path().join("a"), b"2", 0o644).unwrap();
        let dirty = commit(dir.path(), &Cancel::new()).unwrap().unwrap();
        assert_eq!(dirty.revision, format!("{}-dirty", clean.revision));
    }

    #[test]
    fn programs_that_the_repository_names_are_not_run() {
        let dir = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str]| {
            Command::new("git").dir(dir.path()).args(arguments.iter().copied()).text(&Cancel::new()).unwrap()
        };
        let write = |name: &str, text: &str| {
            fs::write_atomic(&dir.path().join(name), text.as_bytes(), 0o755).unwrap();
        };
        run(&["init", "-q"]);
        // A name may be any bytes: with the character that ends a key on the command line, and not UTF-8.
        let names: [&[u8]; 3] = [b"trap", b"a=b", b"x\xffy"];
        let files = ["a", "b", "c"];
        for file in files {
            write(file, "1");
        }
        let attributes =
            names.iter().zip(files).map(|(name, file)| [file.as_bytes(), b" filter=", *name, b"\n"].concat());
        fs::write_atomic(&dir.path().join(".gitattributes"), &attributes.collect::<Vec<_>>().concat(), 0o644)
            .unwrap();
        run(&["add", "."]);
        run(&["-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-qm", "one"]);
        let mark = dir.path().join("executed");
        write("trap", &format!("#!/bin/sh\necho \"$0 $*\" >> '{}'\ncat\n", mark.display()));
        let trap = dir.path().join("trap").display().to_string();
        for key in ["core.fsmonitor", "gpg.program", "core.pager"] {
            run(&["config", key, &trap]);
        }
        let mut configuration = fs::read(dir.path().join(".git/config")).unwrap();
        for name in names {
            configuration.extend([b"[filter \"", name, b"\"]\n"].concat());
            configuration.extend(format!("clean = {trap}\nprocess = {trap}\nrequired = true\n").into_bytes());
        }
        fs::write_atomic(&dir.path().join(".git/config"), &configuration, 0o644).unwrap();
        run(&["config", "log.showSignature", "true"]);
        // New files with the same content, so that git has to read them.
        for file in files {
            write(file, "1");
        }
        let found = commit(dir.path(), &Cancel::new()).unwrap().unwrap();
        assert_eq!(found.revision.len(), 40, "{}", found.revision);
        assert!(!mark.exists(), "{}", fs::read_to_string(&mark).unwrap());
    }
}
