//! Removes packages that nothing needs in the end, because the alternative that led to them was abandoned. Pure.

use super::super::relation::parse_groups;
use super::graph::{Graph, Id, Need};

/// Removes chosen packages that no remaining package needs, recommends or suggests.
pub(super) fn sweep(graph: &Graph<'_, '_>, asked: &[Id], there: &mut [bool]) {
    let mut needed = reached(graph, asked, there, false);
    // Recommendations are only read if they matter.
    if (0..there.len()).any(|id| there[id] && !needed[id]) {
        needed = reached(graph, asked, there, true);
    }
    for (there, needed) in there.iter_mut().zip(needed) {
        *there &= needed;
    }
}

fn reached(graph: &Graph<'_, '_>, asked: &[Id], there: &[bool], recommended: bool) -> Vec<bool> {
    let mut reached = vec![false; there.len()];
    let installed = (0..there.len()).filter(|&id| graph.packages[id].is_installed());
    let mut open: Vec<Id> = asked.iter().copied().chain(installed).collect();
    while let Some(id) = open.pop() {
        if !there[id] || std::mem::replace(&mut reached[id], true) {
            continue;
        }
        open.extend(graph.packages[id].needs.iter().flat_map(Need::all));
        if recommended {
            open.extend(recommendations(graph, id, there));
        }
    }
    reached
}

/// The chosen packages that another package recommends or suggests.
pub(super) fn recommendations(graph: &Graph<'_, '_>, id: Id, there: &[bool]) -> Vec<Id> {
    let record = graph.packages[id].record;
    let fields = record.into_iter().flat_map(|record| [&record.recommends, &record.suggests]);
    let relations = fields.flat_map(|text| parse_groups(text).unwrap_or_default()).flatten();
    let relations = relations.filter(|relation| graph.is_native(relation));
    let among = (0..there.len()).filter(|&id| there[id]);
    relations
        .flat_map(|relation| {
            let fits = among.clone().filter(move |&id| graph.packages[id].matches(&relation));
            fits.collect::<Vec<_>>()
        })
        .collect()
}
