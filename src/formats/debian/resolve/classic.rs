//! apt's classic algorithm: depth first, alternatives strictly in order, and the first one that is possible is chosen.
//!
//! A choice is undone if a later choice conflicts with it, and an alternative that failed is not tried again. Packages
//! that are broken in the end are repaired (`repair`), and those that are no longer needed are removed (`sweep`).

use super::graph::{Graph, Id, Need};
use super::repair::repair;

/// How deep apt follows dependencies.
const DEEPEST: usize = 3000;

/// The result of a resolution.
pub(super) struct Outcome {
    /// Whether each package is chosen in the end, by its position in the graph.
    pub(super) there: Vec<bool>,
    /// The same before the repair, which shows better what prevents a solution.
    pub(super) before: Vec<bool>,
    /// True if everything that the packages need is chosen, and nothing that they conflict with.
    pub(super) whole: bool,
}

/// Chooses packages for the requested ones.
pub(super) fn choose(graph: &Graph<'_, '_>, asked: &[Id]) -> Outcome {
    let states = graph.packages.iter().map(|package| State {
        there: package.is_installed(),
        possible: package.unreadable.is_none(),
        ..State::default()
    });
    let mut chooser = Chooser { graph, states: states.collect() };
    for &id in asked {
        chooser.states[id].protected = true;
        chooser.install(id, false, true, 0);
    }
    for &id in asked {
        chooser.install(id, true, true, 0);
    }
    let there = |chooser: &Chooser<'_, '_, '_>| chooser.states.iter().map(|state| state.there).collect();
    let before = there(&chooser);
    repair(&mut chooser, asked);
    let there: Vec<bool> = there(&chooser);
    let whole = (0..there.len()).all(|id| !there[id] || !is_broken(graph, id, &there));
    Outcome { there, before, whole }
}

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) there: bool,
    /// It may be chosen: it has not failed, and no package that must be installed conflicts with it.
    pub(super) possible: bool,
    /// Only a request may change whether it is chosen.
    pub(super) protected: bool,
}

pub(super) struct Chooser<'g, 'a, 'r> {
    pub(super) graph: &'g Graph<'a, 'r>,
    pub(super) states: Vec<State>,
}

impl Chooser<'_, '_, '_> {
    pub(super) fn is_there(&self, need: &Need) -> bool {
        need.all().any(|id| self.states[id].there)
    }

    pub(super) fn is_broken(&self, id: Id) -> bool {
        let package = &self.graph.packages[id];
        self.states[id].there
            && (package.needs.iter().any(|need| !self.is_there(need)) || self.conflicts(id).next().is_some())
    }

    /// The chosen packages that a package conflicts with.
    fn conflicts(&self, id: Id) -> impl Iterator<Item = Id> {
        let conflicts = self.graph.packages[id].conflicts.iter();
        conflicts.flatten().copied().filter(|&target| self.states[target].there)
    }

    /// Marks a package as chosen; if `deep`, with its needs. False if that is impossible.
    pub(super) fn install(&mut self, id: Id, deep: bool, asked: bool, depth: usize) -> bool {
        let package = &self.graph.packages[id];
        if package.is_installed() {
            return true;
        }
        let State { there, possible, protected } = self.states[id];
        if depth > DEEPEST || !possible || (protected && !there && !asked) {
            return false;
        }
        if there && !protected && !self.is_broken(id) {
            return true;
        }
        if deep && !self.could_be_satisfied(id) {
            if !protected {
                self.states[id] = State::default();
            }
            return false;
        }
        if !deep {
            self.states[id].there = true;
            return true;
        }
        // Requested packages, and those that they cannot do without, are marked even if that fails partly.
        let ends_early = !protected && !asked;
        let mut whole = self.remove_conflicting(id, protected, asked);
        if !whole && ends_early {
            return false;
        }
        self.states[id].there = true;
        self.states[id].protected = true;
        whole &= self.install_needs(id, protected, asked, depth);
        self.states[id].protected = protected;
        if !whole && ends_early {
            self.states[id] = State::default();
        }
        whole
    }

    /// Undoes the choice of a package; false if it must stay.
    pub(super) fn keep_away(&mut self, id: Id) -> bool {
        let state = &mut self.states[id];
        if state.protected || self.graph.packages[id].is_installed() {
            return false;
        }
        state.there = false;
        true
    }

    /// True if each need has a package that is chosen or could have been chosen at the beginning.
    fn could_be_satisfied(&self, id: Id) -> bool {
        let chance = |id: Id| self.states[id].there || self.graph.packages[id].unreadable.is_none();
        self.graph.packages[id].needs.iter().all(|need| need.all().any(chance))
    }

    /// Undoes the choice of packages that conflict with a package. If that package must be installed, they are never
    /// tried again.
    fn remove_conflicting(&mut self, id: Id, protected: bool, asked: bool) -> bool {
        let mut whole = true;
        for conflict in &self.graph.packages[id].conflicts {
            if !protected && !conflict.iter().any(|&target| self.states[target].there) {
                continue;
            }
            for &target in conflict {
                let state = &mut self.states[target];
                if self.graph.packages[target].is_installed() || (state.there && state.protected) {
                    whole = false;
                    if !protected && !asked {
                        return false;
                    }
                    continue;
                }
                state.there = false;
                if protected {
                    state.possible = false;
                    state.protected = true;
                }
            }
        }
        whole
    }

    fn install_needs(&mut self, id: Id, protected: bool, asked: bool, depth: usize) -> bool {
        let mut whole = true;
        // Needs that were met at the beginning are skipped, unless they also have to be protected.
        let needs = self.graph.packages[id].needs.iter();
        let pending: Vec<&Need> = needs.filter(|need| protected || !self.is_there(need)).collect();
        for need in pending {
            if self.is_there(need) {
                whole &= !protected || self.hold(need, depth);
            } else if !self.install_one(need, protected, depth) {
                whole = false;
                if !protected && !asked {
                    break;
                }
            }
        }
        whole
    }

    /// Protects a package that is the only one to satisfy a need of a protected package.
    fn hold(&mut self, need: &Need, depth: usize) -> bool {
        let mut only: Vec<Id> =
            need.all().filter(|&id| self.states[id].there || self.states[id].possible).collect();
        only.sort_unstable();
        only.dedup();
        let &[id] = only.as_slice() else { return true };
        if self.states[id].protected {
            return true;
        }
        self.states[id].protected = true;
        self.install(id, true, false, depth + 1)
    }

    /// Installs the first package that can satisfy a need.
    fn install_one(&mut self, need: &Need, protected: bool, depth: usize) -> bool {
        let solutions = self.solutions(need);
        let only = protected && solutions.len() == 1;
        for id in solutions {
            if only {
                if !self.install(id, false, false, depth + 1) {
                    continue;
                }
                self.states[id].protected = true;
            }
            if self.install(id, true, false, depth + 1) {
                return true;
            }
        }
        false
    }

    /// The packages that could satisfy a need, in the order in which they are tried.
    fn solutions(&self, need: &Need) -> Vec<Id> {
        let mut found: Vec<Id> = Vec::new();
        for targets in &need.targets {
            let possible = targets.iter().copied().filter(|&id| self.states[id].possible);
            // Packages that are already protected come first.
            let (held, others): (Vec<Id>, Vec<Id>) = possible.partition(|&id| self.states[id].protected);
            found.extend(held.into_iter().chain(others));
        }
        found.dedup();
        found.retain(|&id| self.states[id].there || !self.states[id].protected);
        found
    }
}

/// True if a package that it needs is not chosen, or one that it conflicts with is.
fn is_broken(graph: &Graph<'_, '_>, id: Id, there: &[bool]) -> bool {
    let package = &graph.packages[id];
    package.needs.iter().any(|need| !need.all().any(|id| there[id]))
        || package.conflicts.iter().flatten().any(|&target| there[target])
}
