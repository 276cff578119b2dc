//! Explains why a resolution failed, as a chain from the requested package to what is unavailable. Pure.

use std::collections::VecDeque;

use super::super::relation::{Group, Relation, written};
use super::Unsatisfied;
use super::graph::{Graph, Id, Need};

/// Something that a package needs and cannot get.
struct Lack {
    chain: Vec<String>,
    wanted: String,
    reasons: Vec<String>,
    /// Installed packages that prevent it.
    installed: Vec<String>,
}

/// Why the requested packages cannot be installed. `there` is the state that the resolution reached.
pub(super) fn explain(graph: &Graph<'_, '_>, asked: &[Id], there: &[bool]) -> Unsatisfied {
    let mut seen = vec![false; there.len()];
    // A package, the chain that led to it, and the need of the chain's last package that it was chosen for.
    let mut queue: VecDeque<(Id, Vec<String>, Option<&Need>)> =
        asked.iter().map(|&id| (id, Vec::new(), None)).collect();
    while let Some((id, chain, taken_for)) = queue.pop_front() {
        if std::mem::replace(&mut seen[id], true) {
            continue;
        }
        let mut on_the_way = vec![false; there.len()];
        // If two packages conflict, the one that came later is reported.
        let clash = conflict(graph, id, there)
            .is_some_and(|(_, other)| seen[other] || graph.packages[other].is_installed());
        let lack = match taken_for {
            Some(need) if clash => lack_of_need(graph, need, &chain, there, &mut on_the_way),
            _ if clash || lacks_something(graph, id, there) => {
                lack_of(graph, id, &chain, there, &mut on_the_way)
            }
            _ => None,
        };
        if let Some(lack) = lack {
            return unsatisfied(graph, lack);
        }
        let mut chain = chain;
        chain.push(graph.packages[id].name.to_string());
        for need in &graph.packages[id].needs {
            let taken = need.all().filter(|&id| there[id]);
            queue.extend(taken.map(|id| (id, chain.clone(), Some(need))));
        }
    }
    // Each choice is possible by itself, but not together with the others.
    let wanted = asked.iter().map(|&id| graph.packages[id].name.to_string()).collect::<Vec<_>>();
    let reasons = vec!["no choice of alternatives holds for all of it".to_owned()];
    unsatisfied(graph, Lack { chain: Vec::new(), wanted: wanted.join(", "), reasons, installed: Vec::new() })
}

fn lacks_something(graph: &Graph<'_, '_>, id: Id, there: &[bool]) -> bool {
    let package = &graph.packages[id];
    package.unreadable.is_some() || package.needs.iter().any(|need| !need.all().any(|id| there[id]))
}

/// The error for a requested name that no source has.
pub(super) fn unknown(graph: &Graph<'_, '_>, name: &str) -> Unsatisfied {
    let relation = Relation::any(name);
    let reasons = vec![absence(graph, &relation)];
    unsatisfied(graph, Lack { chain: Vec::new(), wanted: name.to_owned(), reasons, installed: Vec::new() })
}

fn unsatisfied(graph: &Graph<'_, '_>, lack: Lack) -> Unsatisfied {
    Unsatisfied {
        architecture: graph.request.architecture.to_owned(),
        chain: lack.chain,
        wanted: lack.wanted,
        reason: lack.reasons.join("; "),
        installed: lack.installed.into(),
    }
}

/// What prevents a package from being installed. `chain` is what led to it.
fn lack_of(
    graph: &Graph<'_, '_>,
    id: Id,
    chain: &[String],
    there: &[bool],
    on_the_way: &mut [bool],
) -> Option<Lack> {
    if std::mem::replace(&mut on_the_way[id], true) {
        return None;
    }
    let package = &graph.packages[id];
    let mut inner = chain.to_vec();
    inner.push(package.name.to_string());
    if let Some(text) = &package.unreadable {
        let reasons = vec!["that is not a list of relations".to_owned()];
        return Some(Lack { chain: inner, wanted: text.to_string(), reasons, installed: Vec::new() });
    }
    let unmet = package.needs.iter().filter(|need| !need.all().any(|id| there[id]));
    let lacks = unmet.filter_map(|need| lack_of_need(graph, need, &inner, there, on_the_way));
    let mut lacks: Vec<Lack> = lacks.collect();
    if !lacks.is_empty() {
        return Some(lacks.swap_remove(0));
    }
    let (reason, other) = conflict(graph, id, there)?;
    let installed = graph.packages[other].is_installed().then(|| graph.packages[other].name.to_string());
    Some(Lack {
        chain: chain.to_vec(),
        wanted: package.name.to_string(),
        reasons: vec![reason],
        installed: installed.into_iter().collect(),
    })
}

fn lack_of_need(
    graph: &Graph<'_, '_>,
    need: &Need,
    chain: &[String],
    there: &[bool],
    on_the_way: &mut [bool],
) -> Option<Lack> {
    let mut reasons = Vec::new();
    let mut installed = standing(graph, &need.group);
    let mut targets: Vec<Id> = need.all().collect();
    targets.dedup();
    if let &[only] = targets.as_slice()
        && need.group.len() == 1
        && conflict(graph, only, there).is_none()
    {
        return lack_of(graph, only, chain, there, on_the_way);
    }
    for (relation, targets) in need.group.iter().zip(&need.targets) {
        if targets.is_empty() {
            reasons.push(absence(graph, relation));
        }
        for &target in targets {
            if let Some((reason, other)) = conflict(graph, target, there) {
                reasons.push(reason);
                installed.extend(
                    graph.packages[other].is_installed().then(|| graph.packages[other].name.to_string()),
                );
            } else if let Some(lack) = lack_of(graph, target, &[], there, on_the_way) {
                let chain = lack.chain.join(" → ");
                reasons.push(format!("{chain} needs {}: {}", lack.wanted, lack.reasons.join(", ")));
                installed.extend(lack.installed);
            }
        }
    }
    installed.sort_unstable();
    installed.dedup();
    (!reasons.is_empty()).then(|| Lack {
        chain: chain.to_vec(),
        wanted: written(&need.group),
        reasons,
        installed,
    })
}

/// The installed packages that a group names.
fn standing(graph: &Graph<'_, '_>, group: &Group) -> Vec<String> {
    let named = group.iter().filter_map(|relation| graph.named(&relation.name));
    named
        .filter(|&id| graph.packages[id].is_installed())
        .map(|id| graph.packages[id].name.to_string())
        .collect()
}

/// Why nothing satisfies a relation.
fn absence(graph: &Graph<'_, '_>, relation: &Relation) -> String {
    let name = &relation.name;
    if !graph.is_native(relation) {
        return format!("{relation} is of another architecture");
    }
    match (graph.named(name), graph.newest(name)) {
        (Some(id), _) if graph.packages[id].is_installed() => {
            format!("the base has {name} {}", graph.packages[id].version)
        }
        (_, Some(version)) => format!("the newest {name} is {version}"),
        (_, None) => format!("no source has {name}"),
    }
}

/// A chosen package that conflicts with a package, if there is one.
fn conflict(graph: &Graph<'_, '_>, id: Id, there: &[bool]) -> Option<(String, Id)> {
    let against =
        |one: Id, other: Id| graph.packages[one].conflicts.iter().flatten().any(|&target| target == other);
    let other = (0..there.len())
        .find(|&other| other != id && there[other] && (against(id, other) || against(other, id)))?;
    Some((format!("{} conflicts with {}", graph.written(id), graph.written(other)), other))
}
