//! The directories of this machine that would otherwise be in programs: in messages of panics, in `file!()`, in
//! `__FILE__`. These are also the directories that must not be found in a finished program.

use std::path::{Path, PathBuf};

use super::CompileRequest;
use super::configuration::Configuration;
use super::flags::{self, Prefix};
use super::graph::{REGISTRY, SourceDirectory};
use crate::machine_paths;
use crate::sys::fs;

/// Every directory that something is compiled in or from, with its replacement in programs.
pub(super) fn prefixes(request: &CompileRequest<'_>) -> Vec<Prefix> {
    let project = request.project;
    let mut prefixes = vec![
        Prefix::new(&project.workspace_root, "/workspace"),
        Prefix::new(&target_dir(request), "/target"),
    ];
    prefixes.extend(project.build_directory.iter().map(|dir| Prefix::new(dir, "/target")));
    if let Some(home) = Configuration::home_dir(request.host.environment) {
        prefixes.push(Prefix::new(&home, "/cargo"));
    }
    // If rust-src is installed, rustc shows the standard library's files there, otherwise as below.
    if let Some(commit) = &request.rust.commit {
        prefixes.push(Prefix::new(&request.rust.source(), format!("/rustc/{commit}")));
    }
    flags::sorted(with_sources(prefixes, &request.graph.sources))
}

/// The directories of this machine that must not be found in a program, without those inside others. The directory of
/// the toolchain's own sources is left out, since no program asks for it.
pub(super) fn machine_dirs(request: &CompileRequest<'_>) -> Vec<PathBuf> {
    let own = prefixes(request).into_iter().filter(|prefix| !prefix.to.starts_with("/rustc/"));
    machine_paths::outermost(&own.map(|prefix| prefix.from).collect::<Vec<_>>())
}

/// Adds the directories of sources, and the real path of each directory.
fn with_sources(mut prefixes: Vec<Prefix>, sources: &[SourceDirectory]) -> Vec<Prefix> {
    for source in sources {
        prefixes.extend(of_source(source, &prefixes));
    }
    // A path may also be given with its links resolved.
    for index in 0..prefixes.len() {
        let Prefix { from, to } = prefixes[index].clone();
        prefixes.extend(real(&from, &to, &prefixes));
    }
    for source in sources {
        if let Some(to) = mapped(&source.dir, &prefixes) {
            prefixes.extend(real(&source.dir, &to, &prefixes));
        }
    }
    prefixes
}

/// The prefix for a directory of sources, unless another prefix already covers it.
fn of_source(source: &SourceDirectory, known: &[Prefix]) -> Option<Prefix> {
    let SourceDirectory { dir, mapped } = source;
    let covered = || known.iter().any(|prefix| dir.starts_with(&prefix.from));
    let wanted = dir.parent().is_some() && (mapped == REGISTRY || !covered());
    wanted.then(|| Prefix::new(dir, mapped))
}

/// The prefix for a directory's real path, unless other prefixes map it to the same.
fn real(dir: &Path, to: &str, known: &[Prefix]) -> Option<Prefix> {
    let real = fs::canonicalize(dir).ok().filter(|real| real != dir)?;
    (mapped(&real, known).as_deref() != Some(to)).then(|| Prefix::new(&real, to))
}

/// The replacement of a path: if several prefixes match, the longest is used.
fn mapped(path: &Path, prefixes: &[Prefix]) -> Option<String> {
    let fitting = prefixes.iter().filter(|prefix| path.starts_with(&prefix.from));
    let prefix = fitting.max_by_key(|prefix| prefix.from.components().count())?;
    let rest = path.strip_prefix(&prefix.from).ok()?;
    let end = if rest.as_os_str().is_empty() { String::new() } else { format!("/{}", rest.display()) };
    Some(format!("{}{end}", prefix.to))
}

/// cargo's `--target-dir`.
pub(super) fn target_dir(request: &CompileRequest<'_>) -> PathBuf {
    request.settings.target_dir.clone().unwrap_or_else(|| request.project.target_directory.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(prefixes: Vec<Prefix>, root: &Path) -> Vec<String> {
        let root = format!("{}/", root.display());
        flags::sorted(prefixes).iter().map(|prefix| prefix.text().replace(&root, "")).collect()
    }

    fn source(dir: impl Into<PathBuf>, mapped: &str) -> SourceDirectory {
        SourceDirectory { dir: dir.into(), mapped: mapped.to_owned() }
    }

    #[test]
    fn what_lies_in_a_directory_with_a_name_needs_none() {
        let roots = [("/w", "/workspace"), ("/home/me/.cargo", "/cargo")];
        let roots = roots.map(|(from, to)| Prefix::new(Path::new(from), to)).to_vec();
        let sources = [
            source("/", "/packages/odd"),
            source("/home/me/.cargo/git/checkouts/x-1/2", "/vendor"),
            source("/home/me/.cargo/registry/src/mirror-12", REGISTRY),
            source("/vendor", "/vendor"),
            source("/w/member", "/packages/member"),
            source("/x/engine", "/packages/engine"),
        ];
        assert_eq!(
            text(with_sources(roots, &sources), Path::new("/none")),
            [
                "/vendor=/vendor",
                "/w=/workspace",
                "/x/engine=/packages/engine",
                "/home/me/.cargo=/cargo",
                "/home/me/.cargo/registry/src/mirror-12=/cargo/registry/src",
            ]
        );
    }

    #[test]
    fn a_link_is_named_by_both_its_spellings() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        for name in ["real", "else/engine"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::symlink("real", root.join("link")).unwrap();
        // A member that is a link to a directory outside the workspace.
        fs::symlink("../else/engine", root.join("real/engine")).unwrap();
        let roots = vec![Prefix::new(&root.join("link"), "/workspace")];
        let sources = [source(root.join("link/engine"), "/packages/engine")];
        assert_eq!(
            text(with_sources(roots, &sources), &root),
            ["link=/workspace", "real=/workspace", "else/engine=/workspace/engine"]
        );
    }
}
