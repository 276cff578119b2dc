//! What nothing needs in the end: packages that were chosen on a way that was left again. Pure.

use super::super::relation::parse_groups;
use super::graph::{Graph, Id, Need};

/// Drops what was chosen and is not needed, recommended or suggested by anything that stays.
pub(super) fn sweep(graph: &Graph<'_, '_>, asked: &[Id], there: &mut [bool]) {
    let mut needed = reached(graph, asked, there, false);
    // Recommendations are read only where they matter.
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

/// The packages that are there and that another recommends or suggests.
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
