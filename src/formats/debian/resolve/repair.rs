//! What apt's classic algorithm does about packages that its choices left broken. From the most important to the least
//! important package, either the broken package is removed, or, if it must stay, the next alternative is installed.
//!
//! Scores decide which one is removed: requested packages have the highest scores, then those that many others depend
//! on.

use super::super::index::Priority;
use super::super::relation::{Group, parse_groups};
use super::bucket;
use super::classic::Chooser;
use super::graph::{Graph, Id};

/// How many times apt goes through all packages.
const ROUNDS: usize = 20;

/// Tries to fix all chosen packages that are broken.
pub(super) fn repair(chooser: &mut Chooser<'_, '_, '_>, asked: &[Id]) {
    let scores = scores(chooser, asked);
    let mut order: Vec<Id> = (0..scores.len()).collect();
    let graph = chooser.graph;
    order.sort_by_cached_key(|&id| {
        let name = &graph.packages[id].name;
        (std::cmp::Reverse(scores[id]), bucket(name), name.clone())
    });
    let fresh = vec![true; scores.len()];
    let mut repairer = Repairer { chooser, asked, scores, fresh, changed: true };
    for round in 0..ROUNDS {
        if !std::mem::take(&mut repairer.changed) {
            return;
        }
        for &id in &order {
            if repairer.chooser.is_broken(id) {
                repairer.repair(id, round);
            }
        }
    }
}

struct Repairer<'c, 'g, 'a, 'r> {
    chooser: &'c mut Chooser<'g, 'a, 'r>,
    asked: &'c [Id],
    scores: Vec<i64>,
    /// It has not been tried as a solution yet.
    fresh: Vec<bool>,
    changed: bool,
}

impl Repairer<'_, '_, '_, '_> {
    fn repair(&mut self, id: Id, round: usize) {
        let graph = self.chooser.graph;
        let package = &graph.packages[id];
        let mut doomed = Vec::new();
        let mut ended = false;
        for need in &package.needs {
            if self.chooser.is_there(need) {
                continue;
            }
            let several = need.targets.len() > 1;
            let mut could_stay_away = false;
            for targets in &need.targets {
                if self.chooser.is_there(need) {
                    break;
                }
                if targets.is_empty() && !self.chooser.states[id].protected {
                    if !several {
                        self.changed = true;
                        self.chooser.keep_away(id);
                        return;
                    }
                    continue;
                }
                if self.try_targets(id, targets, several, &mut could_stay_away) && !several {
                    ended = true;
                    break;
                }
            }
            if ended {
                break;
            }
            if several && !self.chooser.is_there(need) && !self.chooser.states[id].protected {
                self.chooser.keep_away(id);
                self.changed = true;
            } else if several && could_stay_away {
                self.changed = true;
            }
        }
        if !ended {
            self.mend_conflicts(id, &mut doomed);
        }
        if self.chooser.states[id].there {
            self.remove(id, &doomed, round);
        }
    }

    /// True if something was done about a need.
    fn try_targets(&mut self, id: Id, targets: &[Id], several: bool, could_stay_away: &mut bool) -> bool {
        for &target in targets {
            if self.chooser.states[id].protected {
                if self.reinstate(target) {
                    self.scores[target] = self.scores[target].min(self.scores[id]);
                    return false;
                }
                continue;
            }
            let was_there = self.chooser.states[id].there;
            self.chooser.keep_away(id);
            *could_stay_away = true;
            if several && was_there {
                self.chooser.install(id, false, false, 0);
            }
            self.changed = true;
            return true;
        }
        false
    }

    fn mend_conflicts(&mut self, id: Id, doomed: &mut Vec<Id>) {
        let graph = self.chooser.graph;
        for targets in &graph.packages[id].conflicts {
            let there: Vec<Id> =
                targets.iter().copied().filter(|&target| self.chooser.states[target].there).collect();
            let mut done = false;
            for target in there {
                if self.scores[id] <= self.scores[target] {
                    if self.chooser.states[id].protected {
                        if self.reinstate(target) {
                            break;
                        }
                        continue;
                    }
                    self.chooser.keep_away(id);
                    self.changed = true;
                    done = true;
                    break;
                }
                if !self.chooser.states[target].protected {
                    doomed.push(target);
                }
            }
            if done {
                return;
            }
        }
    }

    /// Removes the packages that a package which stays conflicts with.
    fn remove(&mut self, id: Id, doomed: &[Id], round: usize) {
        for &target in doomed {
            let gone = self.chooser.keep_away(target);
            if (!gone || round > 1) && self.scores[id] > self.scores[target] {
                self.scores[target] = self.scores[id];
                self.changed = true;
            }
            self.changed |= gone;
        }
    }

    /// Installs a package with its needs, unless a package that must stay prevents it.
    fn reinstate(&mut self, id: Id) -> bool {
        let graph = self.chooser.graph;
        if !self.fresh[id] || !self.chooser.states[id].possible || graph.packages[id].is_installed() {
            return false;
        }
        if self.asked.contains(&id) {
            return false;
        }
        self.fresh[id] = false;
        if !self.chooser.install(id, false, false, 0) {
            return false;
        }
        for need in &graph.packages[id].needs {
            let mut failed = false;
            for (relation, targets) in need.group.iter().zip(&need.targets) {
                if self.chooser.is_there(need) {
                    break;
                }
                let named = graph.named(&relation.name).filter(|_| graph.is_native(relation));
                let target = named.or_else(|| targets.first().copied());
                let possible = targets.iter().any(|&target| self.chooser.states[target].possible);
                failed = match target {
                    Some(target) if self.chooser.states[target].protected || !possible => true,
                    Some(target) => !self.reinstate(target),
                    None => true,
                };
                if !failed {
                    break;
                }
            }
            if failed {
                self.chooser.keep_away(id);
                return false;
            }
        }
        true
    }
}

/// The score of each package.
fn scores(chooser: &Chooser<'_, '_, '_>, asked: &[Id]) -> Vec<i64> {
    let graph = chooser.graph;
    let mut scores = vec![0; graph.packages.len()];
    let there: Vec<Id> = (0..scores.len()).filter(|&id| chooser.states[id].there).collect();
    let recommended: Vec<Vec<Group>> = there.iter().map(|&id| recommends(graph, id)).collect();
    for (&id, recommended) in there.iter().zip(&recommended) {
        let package = &graph.packages[id];
        scores[id] += match package.priority() {
            Priority::Required => 3,
            Priority::Important => 2,
            Priority::Standard => 1,
            Priority::Optional => -1,
            Priority::Extra => -2,
        };
        scores[id] += i64::from(package.is_installed());
        if package.is_required() {
            scores[id] += 100;
        }
        let groups = package.needs.iter().map(|need| &need.group).chain(recommended);
        for relation in groups.flatten().filter(|relation| graph.is_native(relation)) {
            for &target in &there {
                if graph.packages[target].matches(relation) {
                    scores[target] += 1;
                }
            }
            // A relation without a version also counts for a package that is not chosen.
            let named = graph.named(&relation.name).filter(|&named| !chooser.states[named].there);
            if let (Some(named), None) = (named, &relation.constraint) {
                scores[named] += 1;
            }
        }
        for &target in package.conflicts.iter().flatten() {
            scores[target] -= 1;
        }
    }
    let before = scores.clone();
    for (&id, recommended) in there.iter().zip(&recommended) {
        let groups = graph.packages[id].needs.iter().map(|need| &need.group).chain(recommended);
        for relation in groups.flatten() {
            let any = relation.qualifier.is_some();
            let named = graph.named(&relation.name).filter(|&named| !any && chooser.states[named].there);
            if let Some(named) = named {
                scores[named] += before[id].max(0);
            }
        }
    }
    for &id in asked {
        scores[id] += 10_000;
    }
    for &id in &there {
        if graph.packages[id].is_required() {
            scores[id] += 5_000;
        }
    }
    scores
}

fn recommends(graph: &Graph<'_, '_>, id: Id) -> Vec<Group> {
    let text = graph.packages[id].record.map_or("", |record| &record.recommends);
    parse_groups(text).unwrap_or_default()
}
