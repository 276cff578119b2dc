//! The packages that a resolution may need: the requested ones, all that could satisfy their needs, and so on. Every
//! relation has a list of the packages that satisfy it, so nothing has to be parsed or looked up twice. Pure.
//!
//! Each package has exactly one version here, the installed one or else the newest, since packages are neither upgraded
//! nor installed in an older version.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use debversion::Version;

use super::super::index::{Priority, Record, Universe};
use super::super::relation::{Group, Relation, parse_groups};
use super::{Installed, Request};
use crate::sys::cancel::{Cancel, Cancelled};

/// A package's position in [`Graph::packages`].
pub(super) type Id = usize;

/// A package in the one version that is considered.
pub(super) struct Package<'a> {
    pub(super) name: Box<str>,
    pub(super) version: Version,
    /// The package's entry in the index; `None` for an installed package.
    pub(super) record: Option<&'a Record>,
    /// `Multi-Arch: allowed`.
    allowed: bool,
    provides: Vec<Relation>,
    /// `Pre-Depends` and `Depends`.
    pub(super) needs: Vec<Need>,
    /// For each relation of `Conflicts` and `Breaks`, the packages that must not be installed.
    pub(super) conflicts: Vec<Vec<Id>>,
    /// The number of optional groups of relations.
    pub(super) optional: usize,
    /// A field that could not be parsed, if there is one.
    pub(super) unreadable: Option<Box<str>>,
}

/// Alternatives, one of which must be installed.
pub(super) struct Need {
    pub(super) group: Group,
    /// For each alternative, the packages that satisfy it, in order of preference.
    pub(super) targets: Vec<Vec<Id>>,
}

pub(super) struct Graph<'a, 'r> {
    universe: &'a Universe,
    pub(super) request: &'r Request<'r>,
    pub(super) packages: Vec<Package<'a>>,
    by_name: HashMap<Box<str>, Id>,
    /// The installed packages that provide a name.
    installed_providers: HashMap<String, Vec<Id>>,
}

impl Need {
    /// All packages that satisfy one of the alternatives.
    pub(super) fn all(&self) -> impl Iterator<Item = Id> + '_ {
        self.targets.iter().flatten().copied()
    }
}

impl Package<'_> {
    pub(super) fn is_installed(&self) -> bool {
        self.record.is_none()
    }

    /// `Essential` or `Protected`.
    pub(super) fn is_required(&self) -> bool {
        self.record.is_some_and(|record| record.marks.essential || record.marks.protected)
    }

    pub(super) fn priority(&self) -> Priority {
        self.record.map_or(Priority::Required, |record| record.priority)
    }

    /// True if the package itself, or something that it provides, satisfies a relation.
    pub(super) fn matches(&self, relation: &Relation) -> bool {
        let any = relation.qualifier.as_deref() == Some("any");
        if any && !self.allowed {
            return self
                .provides
                .iter()
                .any(|one| one.qualifier.as_deref() == Some("any") && provision_fits(one, relation));
        }
        (*self.name == relation.name && relation.admits(&self.version))
            || self.provides.iter().any(|one| provision_fits(one, relation))
    }
}

fn provision_fits(provision: &Relation, relation: &Relation) -> bool {
    let version = provision.constraint.as_ref().map(|(_, version)| version);
    provision.name == relation.name && relation.admits_provided(version)
}

impl<'a, 'r> Graph<'a, 'r> {
    /// Builds the graph of everything that the requested packages could need. The list of installed packages comes from
    /// an image and may have any size, so the work can be cancelled.
    pub(super) fn new(
        universe: &'a Universe,
        request: &'r Request<'r>,
        cancel: &Cancel,
    ) -> Result<Self, Cancelled> {
        let mut graph = Self {
            universe,
            request,
            packages: Vec::new(),
            by_name: HashMap::new(),
            installed_providers: HashMap::new(),
        };
        for installed in request.installed {
            cancel.check()?;
            graph.add_installed(installed);
        }
        let mut queue = VecDeque::new();
        for name in request.packages {
            graph.find(name, &mut queue);
        }
        let mut deferred = Vec::new();
        while let Some(id) = queue.pop_front() {
            cancel.check()?;
            let needs = graph.needs_of(id, &mut queue);
            graph.packages[id].needs = needs;
            deferred.push(id);
        }
        let installed = 0..request.installed.len();
        for id in installed.chain(deferred) {
            graph.add_conflicts(id, cancel)?;
        }
        Ok(graph)
    }

    /// The package of that name, if there is one.
    pub(super) fn named(&self, name: &str) -> Option<Id> {
        self.by_name.get(name).copied()
    }

    /// True if a relation is for the architecture that is resolved for.
    pub(super) fn is_native(&self, relation: &Relation) -> bool {
        relation.is_native(self.request.architecture)
    }

    /// A name and a version, for messages.
    pub(super) fn written(&self, id: Id) -> String {
        format!("{} {}", self.packages[id].name, self.packages[id].version)
    }

    /// The newest version of a package in the sources, whether it can be used or not.
    pub(super) fn newest(&self, name: &str) -> Option<Version> {
        self.universe.candidate(name).map(|(_, version)| version)
    }

    /// apt's number of a package: the order in which the indexes first named it.
    fn number(&self, id: Id) -> u32 {
        self.universe.seen(&self.packages[id].name).unwrap_or(u32::MAX)
    }

    /// True if packages other than the one of that name can satisfy a relation by providing it.
    pub(super) fn is_provided(&self, name: &str) -> bool {
        self.installed_providers.contains_key(name) || self.universe.is_provided(name)
    }

    /// Sorts the packages that satisfy a relation like apt does, except for criteria that only a resolver has.
    /// `undecided` returns the order of packages that are otherwise equal.
    pub(super) fn sort<K: Ord>(
        &self,
        relation: &Relation,
        ids: &mut [Id],
        undecided: impl Fn(&Self, Id) -> K,
    ) {
        let any = relation.qualifier.as_deref() == Some("any");
        ids.sort_by_cached_key(|&id| {
            let package = &self.packages[id];
            let marks = package.record.map(|record| record.marks).unwrap_or_default();
            let better = [
                package.is_installed(),
                !any && *package.name == relation.name,
                marks.essential,
                marks.protected,
            ];
            (better.map(Reverse), package.priority(), undecided(self, id))
        });
    }

    fn insert(&mut self, package: Package<'a>) -> Id {
        let id = self.packages.len();
        self.by_name.insert(package.name.clone(), id);
        self.packages.push(package);
        id
    }

    fn add_installed(&mut self, installed: &Installed) {
        let provides = relations(&installed.provides).unwrap_or_default();
        let package = Package {
            name: installed.name.as_str().into(),
            version: installed.version.clone(),
            record: None,
            allowed: installed.allowed,
            provides: provides.clone(),
            needs: Vec::new(),
            conflicts: Vec::new(),
            optional: 0,
            unreadable: None,
        };
        let id = self.insert(package);
        for provided in provides {
            // A field may contain a name any number of times.
            let known = self.installed_providers.entry(provided.name).or_default();
            if known.last() != Some(&id) {
                known.push(id);
            }
        }
    }

    /// The package of a name in its newest version, which is added if it is not in the graph yet.
    fn find(&mut self, name: &str, queue: &mut VecDeque<Id>) -> Option<Id> {
        if let Some(known) = self.named(name) {
            return Some(known);
        }
        let (record, version) = self.universe.candidate(name)?;
        Some(self.add_record(record, version, queue))
    }

    fn add_record(&mut self, record: &'a Record, version: Version, queue: &mut VecDeque<Id>) -> Id {
        let id = self.insert(Package {
            name: record.name.clone(),
            version,
            record: Some(record),
            allowed: record.marks.allowed,
            // Provides that cannot be parsed provide nothing that a relation could name.
            provides: relations(&record.provides).unwrap_or_default(),
            needs: Vec::new(),
            conflicts: Vec::new(),
            optional: record.optional.into(),
            unreadable: None,
        });
        queue.push_back(id);
        id
    }

    fn needs_of(&mut self, id: Id, queue: &mut VecDeque<Id>) -> Vec<Need> {
        let Some(record) = self.packages[id].record else { return Vec::new() };
        let Ok(groups) = parse_groups(&record.depends) else {
            self.packages[id].unreadable = Some(record.depends.clone());
            return Vec::new();
        };
        let left_out = self.request.without.get(&*record.name).map_or(&[][..], Vec::as_slice);
        let is_left_out = |name: &str| {
            left_out.contains(&name) || self.request.nowhere.iter().any(|pattern| is_named(name, pattern))
        };
        let kept = |group: &Group| !group.iter().any(|relation| is_left_out(&relation.name));
        let groups = groups.into_iter().filter(kept);
        groups
            .map(|group| {
                let targets = group.iter().map(|relation| self.targets(relation, queue)).collect();
                Need { group, targets }
            })
            .collect()
    }

    /// The packages that satisfy a relation, in apt's order of preference.
    fn targets(&mut self, relation: &Relation, queue: &mut VecDeque<Id>) -> Vec<Id> {
        if !self.is_native(relation) {
            return Vec::new();
        }
        let mut found: Vec<Id> = self.find(&relation.name, queue).into_iter().collect();
        found.extend(self.installed_providers.get(&relation.name).into_iter().flatten());
        for (record, version) in self.universe.providers(&relation.name) {
            let known = self.named(&record.name);
            found.push(known.unwrap_or_else(|| self.add_record(record, version, queue)));
        }
        let mut once = HashSet::new();
        found.retain(|&id| self.packages[id].matches(relation) && once.insert(id));
        self.sort(relation, &mut found, |graph, id| Reverse(graph.number(id)));
        found
    }

    fn add_conflicts(&mut self, id: Id, cancel: &Cancel) -> Result<(), Cancelled> {
        let text = match self.packages[id].record {
            Some(record) => record.conflicts.clone(),
            None => self.request.installed[id].conflicts.as_str().into(),
        };
        let Ok(relations) = relations(&text) else {
            self.packages[id].unreadable = Some(text);
            return Ok(());
        };
        let native = relations.into_iter().filter(|relation| self.is_native(relation));
        let conflicts = native.map(|relation| {
            cancel.check()?;
            let mut found: BTreeSet<Id> = self.named(&relation.name).into_iter().collect();
            found.extend(self.installed_providers.get(&relation.name).into_iter().flatten());
            found.extend(self.universe.provider_names(&relation.name).filter_map(|name| self.named(name)));
            // A conflict with a name that the package itself has or provides applies only to other packages.
            found.remove(&id);
            found.retain(|&target| self.packages[target].matches(&relation));
            Ok(found.into_iter().collect())
        });
        let conflicts: Result<Vec<Vec<Id>>, Cancelled> = conflicts.collect();
        self.packages[id].conflicts = conflicts?;
        Ok(())
    }
}

/// Parses a field as one list of relations.
fn relations(text: &str) -> Result<Vec<Relation>, super::super::relation::BadRelation> {
    Ok(parse_groups(text)?.into_iter().flatten().collect())
}

/// True if a name is the one of a pattern, or begins as one with a `*` at the end.
fn is_named(name: &str, pattern: &str) -> bool {
    pattern.strip_suffix('*').map_or(name == pattern, |beginning| name.starts_with(beginning))
}
