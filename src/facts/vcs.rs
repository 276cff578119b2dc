//! The commit that is built, for the annotations `created` and `revision`.
//!
//! git itself is asked, with bounded time. A project outside version control, or a machine without git, is
//! nothing unusual: there is no revision then. Neither is one in a folder that its repository does not track, such
//! as a generated project below `target`: the commit around it says nothing about it.

use std::path::Path;
use std::time::Duration;

use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::process::Command;

/// How long git may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The commit that is checked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its full hash, with `-dirty` appended where tracked files of the project differ from it.
    pub revision: String,
    /// The committer's date, in seconds since 1970.
    pub date: i64,
}

/// The commit that `folder` is at; `None` where version control has no file of the folder. Only Ctrl-C is an error.
pub fn commit(folder: &Path, cancel: &Cancel) -> Result<Option<Commit>, Cancelled> {
    let bounded = cancel.within(PATIENCE, "git");
    let ask = |arguments: &[&str]| match git(folder, arguments).text(&bounded) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        // git's own limit is no reason to stop; the caller's is.
        Err(_) => cancel.check().map(|()| None),
    };
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
    let changed = ask(&["status", "--porcelain", "--untracked-files=no", "--", "."])?;
    let dirty = if changed.is_none_or(|files| files.is_empty()) { "" } else { "-dirty" };
    Ok(Some(Commit { revision: format!("{revision}{dirty}"), date }))
}

fn git(folder: &Path, arguments: &[&str]) -> Command {
    // No lock on the index: a build must not disturb a git command that runs at the same time.
    Command::new("git").arg("-C").arg(folder).arg("--no-optional-locks").args(arguments.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs;

    #[test]
    fn a_commit_and_what_differs_from_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(commit(folder.path(), &Cancel::new()), Ok(None));
        let run = |arguments: &[&str]| {
            git(folder.path(), arguments)
                .env("GIT_COMMITTER_DATE", "1700000000 +0100")
                .text(&Cancel::new())
                .unwrap()
        };
        run(&["init", "-q"]);
        assert_eq!(commit(folder.path(), &Cancel::new()), Ok(None));
        fs::write_atomic(&folder.path().join("a"), b"1", 0o644).unwrap();
        run(&["add", "a"]);
        run(&["-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-qm", "one"]);
        let clean = commit(folder.path(), &Cancel::new()).unwrap().unwrap();
        assert_eq!((clean.revision.len(), clean.date), (40, 1_700_000_000));
        fs::write_atomic(&folder.path().join("untracked"), b"1", 0o644).unwrap();
        assert_eq!(commit(folder.path(), &Cancel::new()).unwrap().unwrap(), clean);
        // Another project, in a folder that the repository does not track.
        let inner = folder.path().join("generated");
        fs::create_dir_all(&inner).unwrap();
        fs::write_atomic(&inner.join("a"), b"1", 0o644).unwrap();
        assert_eq!(commit(&inner, &Cancel::new()), Ok(None));
        fs::write_atomic(&folder.path().join("a"), b"2", 0o644).unwrap();
        let dirty = commit(folder.path(), &Cancel::new()).unwrap().unwrap();
        assert_eq!(dirty.revision, format!("{}-dirty", clean.revision));
    }
}
