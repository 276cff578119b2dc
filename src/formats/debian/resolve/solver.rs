//! The algorithm of newer apts for cases where the classic one finds nothing: each dependency is a clause, each clause
//! with several answers is a decision, and a decision that fails is undone.
//!
//! The order of decisions determines the result, as the first solution is taken. So the queue is a binary heap that
//! breaks ties as apt's does ([`heap`]), and a package and its version are two variables, as in apt.

mod heap;

use std::collections::VecDeque;

use super::bucket;
use super::graph::{Graph, Id, Need};

/// Give up after this many undone decisions. apt's own limit is ten seconds, which would not give the same result on
/// every machine.
const MOST_STEPS_BACK: usize = 20_000;

/// Finds a set of packages with all requested and all installed ones in which every need is met.
pub(super) fn solve(graph: &Graph<'_, '_>, asked: &[Id]) -> Option<Vec<bool>> {
    let mut solver = Solver {
        graph,
        states: (0..graph.packages.len() * 2).map(|_| State::default()).collect(),
        clauses: Vec::new(),
        work: Vec::new(),
        solved: Vec::new(),
        pending: VecDeque::new(),
        levels: Vec::new(),
        steps_back: 0,
    };
    let mut roots: Vec<Id> = asked.to_vec();
    roots.extend((0..graph.packages.len()).filter(|&id| graph.packages[id].is_installed()));
    roots.sort_by_key(|&id| (bucket(&graph.packages[id].name), &graph.packages[id].name));
    for unreadable in (0..graph.packages.len()).filter(|&id| graph.packages[id].unreadable.is_some()) {
        solver.decide(Variable::version(unreadable), false).ok()?;
    }
    for id in roots {
        let installed = graph.packages[id].is_installed();
        let root = if installed { Variable::package(id) } else { Variable::version(id) };
        solver.decide(root, true).ok()?;
    }
    solver.propagate().ok()?;
    solver.run().ok()?;
    Some((0..graph.packages.len()).map(|id| solver.is(Variable::package(id), Some(true))).collect())
}

/// A package, or its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Variable(usize);

impl Variable {
    const fn package(id: Id) -> Self {
        Self(id * 2)
    }

    const fn version(id: Id) -> Self {
        Self(id * 2 + 1)
    }

    const fn id(self) -> Id {
        self.0 / 2
    }

    const fn is_version(self) -> bool {
        self.0 % 2 == 1
    }
}

#[derive(Default)]
struct State {
    decision: Option<bool>,
    /// The number of open decisions when it was decided.
    level: usize,
    discovered: bool,
    /// The clauses that follow from it.
    clauses: Vec<usize>,
    /// The clauses that it is an answer of.
    answers: Vec<usize>,
}

/// `reason` needs one of `answers`, or, if it is negative, none of them.
struct Clause {
    reason: Variable,
    answers: Vec<Variable>,
    /// It is not required, and is only present in the queue.
    optional: bool,
    negative: bool,
    group: Group,
}

/// The order in which clauses are decided.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Version,
    /// One of the answers is installed.
    Installed,
    New,
}

/// A clause that is to be decided.
#[derive(Clone, Copy)]
struct Work {
    clause: usize,
    level: usize,
    /// How many answers were left when it was queued.
    left: usize,
    choice: Option<Variable>,
}

/// What has to be undone when a decision is.
enum Solved {
    Decided(Variable),
    Worked(Work),
}

/// Two decisions contradict each other.
struct Contradiction;

struct Solver<'g, 'a, 'r> {
    graph: &'g Graph<'a, 'r>,
    states: Vec<State>,
    clauses: Vec<Clause>,
    work: Vec<Work>,
    solved: Vec<Solved>,
    pending: VecDeque<Variable>,
    /// The length of `solved` before each open decision.
    levels: Vec<usize>,
    steps_back: usize,
}

impl Solver<'_, '_, '_> {
    fn is(&self, variable: Variable, decision: Option<bool>) -> bool {
        self.states[variable.0].decision == decision
    }

    fn run(&mut self) -> Result<(), Contradiction> {
        loop {
            while self.propagate().is_err() {
                self.step_back()?;
            }
            let Some(mut item) = self.pop() else { return Ok(()) };
            self.solved.push(Solved::Worked(item));
            let answers = self.clauses[item.clause].answers.clone();
            if answers.iter().any(|&answer| self.is(answer, Some(true))) {
                continue;
            }
            let optional = self.clauses[item.clause].optional;
            if let Some(&answer) = answers.iter().find(|&&answer| !self.is(answer, Some(false))) {
                if item.left > 1 || optional {
                    item.choice = Some(answer);
                    self.levels.push(self.solved.len());
                    self.solved.push(Solved::Worked(item));
                }
                if self.decide(answer, true).is_err() {
                    self.step_back()?;
                }
            } else if !optional {
                self.step_back()?;
            }
        }
    }

    fn decide(&mut self, variable: Variable, decision: bool) -> Result<(), Contradiction> {
        let level = self.levels.len();
        let state = &mut self.states[variable.0];
        match state.decision {
            Some(known) if known == decision => Ok(()),
            Some(_) => Err(Contradiction),
            None => {
                state.decision = Some(decision);
                state.level = level;
                self.solved.push(Solved::Decided(variable));
                self.pending.push_back(variable);
                Ok(())
            }
        }
    }

    /// Draws all conclusions from the decisions.
    fn propagate(&mut self) -> Result<(), Contradiction> {
        while let Some(variable) = self.pending.pop_front() {
            match self.states[variable.0].decision {
                Some(true) => self.follow(variable)?,
                Some(false) => self.exclude(variable)?,
                // It has been undone.
                None => {}
            }
        }
        Ok(())
    }

    fn follow(&mut self, variable: Variable) -> Result<(), Contradiction> {
        self.discover(variable);
        let level = self.levels.len();
        for clause in self.states[variable.0].clauses.clone() {
            self.add(Work { clause, level, left: 0, choice: None })?;
        }
        for clause in self.states[variable.0].answers.clone() {
            let clause = &self.clauses[clause];
            if clause.negative {
                self.decide(clause.reason, false)?;
            }
        }
        Ok(())
    }

    fn exclude(&mut self, variable: Variable) -> Result<(), Contradiction> {
        for at in self.states[variable.0].answers.clone() {
            let clause = &self.clauses[at];
            let reason = clause.reason;
            if clause.negative || self.is(reason, Some(false)) {
                continue;
            }
            let left: Vec<Variable> =
                clause.answers.iter().copied().filter(|&answer| !self.is(answer, Some(false))).collect();
            if left.is_empty() {
                self.decide(reason, false)?;
            } else if left.len() == 1 && self.is(reason, Some(true)) {
                self.decide(left[0], true)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, mut work: Work) -> Result<(), Contradiction> {
        let clause = &self.clauses[work.clause];
        if clause.negative {
            for answer in clause.answers.clone() {
                self.decide(answer, false)?;
            }
        } else if let (&[only], false) = (clause.answers.as_slice(), clause.optional) {
            self.decide(only, true)?;
        } else {
            work.left = clause.answers.iter().filter(|&&answer| !self.is(answer, Some(false))).count();
            self.work.push(work);
            let clauses = &self.clauses;
            heap::push(&mut self.work, |a, b| is_later(clauses, a, b));
        }
        Ok(())
    }

    fn pop(&mut self) -> Option<Work> {
        let clauses = &self.clauses;
        heap::pop(&mut self.work, |a, b| is_later(clauses, a, b))
    }

    /// Undoes the last decision, and decides the opposite.
    fn step_back(&mut self) -> Result<(), Contradiction> {
        self.steps_back += 1;
        let Some(&start) = self.levels.last() else { return Err(Contradiction) };
        if self.steps_back > MOST_STEPS_BACK {
            return Err(Contradiction);
        }
        let Some(Solved::Worked(Work { choice: Some(choice), .. })) = self.solved.get(start) else {
            return Err(Contradiction);
        };
        let choice = *choice;
        while self.solved.len() > start {
            match self.solved.pop() {
                Some(Solved::Decided(variable)) => {
                    let state = &mut self.states[variable.0];
                    (state.decision, state.level) = (None, 0);
                }
                Some(Solved::Worked(work)) => self.add(work)?,
                None => {}
            }
        }
        self.levels.pop();
        let level = self.levels.len();
        self.work.retain(|work| work.level <= level);
        let clauses = &self.clauses;
        heap::make(&mut self.work, |a, b| is_later(clauses, a, b));
        self.decide(choice, false)
    }

    /// Finds the clauses of a variable and of everything that it leads to.
    fn discover(&mut self, variable: Variable) {
        let mut queue = VecDeque::from([variable]);
        while let Some(mut variable) = queue.pop_front() {
            let id = variable.id();
            if variable.is_version() && !self.states[Variable::package(id).0].discovered {
                variable = Variable::package(id);
            }
            if std::mem::replace(&mut self.states[variable.0].discovered, true) {
                continue;
            }
            let other = if variable.is_version() { Variable::package(id) } else { Variable::version(id) };
            self.register(variable, vec![other], false, false, Group::Version);
            if !variable.is_version() {
                self.discover_relations(id);
            }
            for &clause in &self.states[variable.0].clauses {
                for &answer in &self.clauses[clause].answers {
                    let state = &self.states[answer.0];
                    if state.decision != Some(false) || state.level > 0 {
                        queue.push_back(answer);
                    }
                }
            }
        }
    }

    fn discover_relations(&mut self, id: Id) {
        let graph = self.graph;
        let (package, variable) = (&graph.packages[id], Variable::package(id));
        for need in &package.needs {
            let answers = self.answers(need);
            let new = answers.iter().all(|answer| !graph.packages[answer.id()].is_installed());
            let group = if new { Group::New } else { Group::Installed };
            self.register(variable, answers, false, false, group);
        }
        for targets in &package.conflicts {
            let answers = targets.iter().map(|&target| Variable::version(target)).collect();
            self.register(variable, answers, false, true, Group::Installed);
        }
        for _ in 0..package.optional {
            self.register(variable, Vec::new(), true, false, Group::Installed);
        }
    }

    /// The answers for a need, in order of preference.
    fn answers(&self, need: &Need) -> Vec<Variable> {
        let graph = self.graph;
        let mut answers = Vec::new();
        for (relation, targets) in need.group.iter().zip(&need.targets) {
            let any = relation.qualifier.as_deref() == Some("any");
            match targets.as_slice() {
                // If no other package provides it, the version is left open.
                &[only] if !any && !graph.is_provided(&relation.name) => {
                    answers.push(Variable::package(only));
                }
                targets => {
                    let mut targets = targets.to_vec();
                    graph.sort(relation, &mut targets, |graph, id| graph.packages[id].name.clone());
                    answers.extend(targets.into_iter().map(Variable::version));
                }
            }
        }
        answers.sort_by_key(|answer| !graph.packages[answer.id()].is_installed());
        answers
    }

    fn register(
        &mut self,
        reason: Variable,
        answers: Vec<Variable>,
        optional: bool,
        negative: bool,
        group: Group,
    ) {
        let at = self.clauses.len();
        self.states[reason.0].clauses.push(at);
        for answer in &answers {
            self.states[answer.0].answers.push(at);
        }
        self.clauses.push(Clause { reason, answers, optional, negative, group });
    }
}

/// True if one item is less urgent than another.
fn is_later(clauses: &[Clause], a: &Work, b: &Work) -> bool {
    let (one, other) = (&clauses[a.clause], &clauses[b.clause]);
    let sure = |clause: &Clause, work: &Work| !clause.optional && work.left < 2;
    if sure(one, a) != sure(other, b) {
        return sure(other, b);
    }
    if one.optional != other.optional {
        return one.optional;
    }
    if one.group != other.group {
        return one.group > other.group;
    }
    if (a.left < 2) != (b.left < 2) {
        return b.left < 2;
    }
    a.left == 1 && b.left == 1 && one.answers.len() < other.answers.len()
}
