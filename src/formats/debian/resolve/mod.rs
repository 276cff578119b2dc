//! Determines which packages a list of packages needs, with the same choices as the release's own apt. Pure.
//!
//! | Module | What it knows |
//! |---|---|
//! | `graph` | all packages that could be needed, and which of them satisfy each relation |
//! | `classic` | apt's classic algorithm: depth first, the first alternative that is possible |
//! | `repair` | how apt repairs what that leaves broken |
//! | `solver` | the algorithm of newer apts if that one fails: decisions can be undone |
//! | `sweep` | which packages nothing needs in the end |
//! | `explain` | why there is no solution |
//!
//! Recommended packages are never installed, and installed packages are never upgraded or removed. `benches/apt.py`
//! compares the results with apt's.

mod classic;
mod explain;
mod graph;
mod repair;
mod solver;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use debversion::Version;
use serde::{Deserialize, Serialize};

use self::graph::{Graph, Id};
use self::sweep::sweep;
use super::index::{Record, Universe};
use crate::sys::cancel::{Cancel, Cancelled};

/// What to resolve.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// Debian's name of the architecture.
    pub architecture: &'a str,
    /// The requested packages.
    pub packages: &'a [String],
    /// Dependencies to leave out, by package: a group that contains one of these names is skipped.
    pub without: BTreeMap<&'a str, Vec<&'a str>>,
    /// Dependencies to leave out of every package: names, or beginnings of names with a `*` at the end.
    pub nowhere: &'a [String],
    /// What is already installed.
    pub installed: &'a [Installed],
}

/// A package that is already installed.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// `Provides`.
    pub provides: String,
    /// `Conflicts` and `Breaks`.
    pub conflicts: String,
    /// `Multi-Arch: allowed`.
    pub allowed: bool,
}

impl Installed {
    /// Treats a chosen package as installed.
    #[must_use]
    pub fn of(chosen: &Chosen<'_>) -> Self {
        let record = chosen.record;
        Self {
            name: record.name.to_string(),
            version: chosen.version.clone(),
            provides: record.provides.to_string(),
            conflicts: record.conflicts.to_string(),
            allowed: record.marks.allowed,
        }
    }
}

/// A dependency that cannot be satisfied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{architecture}: {}{wanted}: {reason}", chained(chain))]
pub struct Unsatisfied {
    /// The architecture.
    pub architecture: String,
    /// The packages that led here, beginning with the requested one.
    pub chain: Vec<String>,
    /// The dependency, as the last of them declares it.
    pub wanted: String,
    /// Why each alternative failed.
    pub reason: String,
    /// Packages of the base that prevent it because they are older or newer than required.
    #[serde(default)]
    pub installed: Box<[String]>,
}

fn chained(chain: &[String]) -> String {
    match chain {
        [] => String::new(),
        chain => format!("{} needs ", chain.join(" → ")),
    }
}

/// Why packages cannot be chosen.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Something that is requested, or needed by it, is unavailable.
    #[error(transparent)]
    Unsatisfied(#[from] Unsatisfied),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// A package that was chosen.
#[derive(Clone, Debug)]
pub struct Chosen<'a> {
    /// The package.
    pub record: &'a Record,
    /// Its version.
    pub version: Version,
    /// The packages that led to it, beginning with the requested one; empty if it was requested itself.
    pub because: Vec<String>,
}

/// The packages to add, in the order in which they are needed: the requested ones first, and after each one its
/// dependencies.
///
/// # Errors
///
/// If something that is requested, or needed by it, is unavailable, or if the work is cancelled.
pub fn resolve<'a>(
    universe: &'a Universe,
    request: &Request<'_>,
    cancel: &Cancel,
) -> Result<Vec<Chosen<'a>>, ResolveError> {
    let graph = Graph::new(universe, request, cancel)?;
    let mut asked = Vec::new();
    for name in request.packages {
        let id = graph.named(name).ok_or_else(|| explain::unknown(&graph, name))?;
        if !asked.contains(&id) {
            asked.push(id);
        }
    }
    let outcome = classic::choose(&graph, &asked);
    let mut there = if outcome.whole {
        outcome.there
    } else {
        let found = if steps_back(universe) { solver::solve(&graph, &asked) } else { None };
        found.ok_or_else(|| explain::explain(&graph, &asked, &outcome.before))?
    };
    sweep(&graph, &asked, &mut there);
    Ok(in_order(&graph, &asked, &there))
}

/// True if the release's own apt falls back to its new solver when the classic one fails, or if the sources have no apt
/// to tell.
fn steps_back(universe: &Universe) -> bool {
    let first = Version { epoch: None, upstream_version: "2.9.33".into(), debian_revision: None };
    universe.candidate("apt").is_none_or(|(_, version)| version >= first)
}

/// The packages that were added, each with what led to it.
fn in_order<'a>(graph: &Graph<'a, '_>, asked: &[Id], there: &[bool]) -> Vec<Chosen<'a>> {
    let mut chosen: Vec<Chosen<'a>> = Vec::new();
    let mut seen = vec![false; there.len()];
    let mut queue: VecDeque<(Id, Vec<String>)> = asked.iter().map(|&id| (id, Vec::new())).collect();
    let mut reached = Vec::new();
    loop {
        while let Some((id, because)) = queue.pop_front() {
            let package = &graph.packages[id];
            let Some(record) = package.record.filter(|_| there[id]) else { continue };
            if std::mem::replace(&mut seen[id], true) {
                continue;
            }
            let mut chain = because.clone();
            chain.push(package.name.to_string());
            let needs = package.needs.iter().flat_map(graph::Need::all).filter(|&need| !seen[need]);
            queue.extend(needs.map(|need| (need, chain.clone())));
            chosen.push(Chosen { record, version: package.version.clone(), because });
            reached.push((id, chain));
        }
        // Packages that stay only because they are recommended come last.
        let recommended = reached.iter().flat_map(|(id, chain)| {
            let all = sweep::recommendations(graph, *id, there).into_iter();
            all.map(move |recommended| (recommended, chain.clone()))
        });
        if chosen.len() == there.iter().enumerate().filter(|&(id, there)| *there && is_new(graph, id)).count()
        {
            return chosen;
        }
        queue.extend(recommended.filter(|(id, _)| !seen[*id] && is_new(graph, *id)));
        if queue.is_empty() {
            return chosen;
        }
    }
}

fn is_new(graph: &Graph<'_, '_>, id: Id) -> bool {
    !graph.packages[id].is_installed()
}

/// The bucket of a name in apt's hash table of names: apt iterates over packages in this order.
fn bucket(name: &str) -> u32 {
    const SIZE: u32 = 196_613;
    name.bytes()
        .fold(5381_u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte.to_ascii_lowercase())))
        % SIZE
}
