//! Which packages a list of packages needs, chosen as apt chooses: breadth first, the first alternative that
//! can be had, no backtracking. Pure.
//!
//! Measured against apt on hundreds of packages of bookworm and trixie the chosen sets were the same. Recommended packages
//! are never taken, and a package that is already installed is never upgraded in silence.

use std::collections::{BTreeMap, VecDeque};

use debversion::Version;

use super::error::{Error, Unsatisfied};
use super::index::{Record, Universe};
use super::relation::{Group, Relation, parse_groups, written};

/// What to resolve.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// Debian's name of the architecture.
    pub architecture: &'a str,
    /// The packages asked for.
    pub packages: &'a [String],
    /// For a package, dependencies to leave out: a group with one of these names is passed over.
    pub without: BTreeMap<&'a str, Vec<&'a str>>,
    /// What the image has already.
    pub installed: &'a [Installed],
}

/// A package that is there already.
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
}

impl Installed {
    /// A chosen package as one that is there.
    #[must_use]
    pub fn of(chosen: &Chosen<'_>) -> Self {
        let record = chosen.record;
        Self {
            name: record.name.to_string(),
            version: chosen.version.clone(),
            provides: record.provides.to_string(),
            conflicts: record.conflicts.to_string(),
        }
    }
}

/// A package that was chosen.
#[derive(Clone, Debug)]
pub struct Chosen<'a> {
    /// The package.
    pub record: &'a Record,
    /// Its version.
    pub version: Version,
    /// The packages that led to it, the first asked for first; empty if it was asked for itself.
    pub because: Vec<String>,
}

/// The packages to add, in the order in which they were chosen: those asked for first, each one's dependencies
/// after it.
pub fn resolve<'a>(universe: &'a Universe, request: &Request<'_>) -> Result<Vec<Chosen<'a>>, Error> {
    let mut resolver = Resolver { universe, request, present: BTreeMap::new(), chosen: Vec::new() };
    for installed in request.installed {
        let present = Present {
            version: installed.version.clone(),
            provides: provisions(&installed.provides),
            conflicts: resolver.relations(&installed.conflicts, std::slice::from_ref(&installed.name))?,
            installed: true,
        };
        resolver.present.insert(installed.name.clone(), present);
    }
    let mut queue = VecDeque::new();
    for name in request.packages {
        if let Some(chosen) = resolver.satisfy(&vec![Relation::any(name)], &[])? {
            queue.push_back(chosen);
        }
    }
    while let Some(at) = queue.pop_front() {
        let Chosen { record, because, .. } = &resolver.chosen[at];
        let mut chain = because.clone();
        chain.push(record.name.to_string());
        let left_out = request.without.get(&*record.name).map_or(&[][..], Vec::as_slice);
        for group in resolver.relations(&record.depends, &chain)? {
            if group.iter().any(|relation| left_out.contains(&relation.name.as_str())) {
                continue;
            }
            if let Some(chosen) = resolver.satisfy(&group, &chain)? {
                queue.push_back(chosen);
            }
        }
    }
    Ok(resolver.chosen)
}

struct Resolver<'a, 'r> {
    universe: &'a Universe,
    request: &'r Request<'r>,
    /// Everything installed or chosen.
    present: BTreeMap<String, Present>,
    chosen: Vec<Chosen<'a>>,
}

struct Present {
    version: Version,
    provides: Vec<(String, Option<Version>)>,
    conflicts: Vec<Group>,
    installed: bool,
}

impl Present {
    fn matches(&self, name: &str, relation: &Relation) -> bool {
        (name == relation.name && relation.admits(&self.version))
            || self.provides.iter().any(|(provided, version)| {
                *provided == relation.name && relation.admits_provided(version.as_ref())
            })
    }
}

impl<'a> Resolver<'a, '_> {
    /// Makes a group hold. Gives the position of the package that had to be chosen for it, if one had to be.
    fn satisfy(&mut self, group: &Group, chain: &[String]) -> Result<Option<usize>, Error> {
        let native = |relation: &&Relation| relation.is_native(self.request.architecture);
        for relation in group.iter().filter(native) {
            if self.present.iter().any(|(name, present)| present.matches(name, relation)) {
                return Ok(None);
            }
        }
        let mut reasons = Vec::new();
        for relation in group {
            if !native(&relation) {
                reasons.push(format!("{relation} is of another architecture"));
                continue;
            }
            match self.concrete(relation) {
                Ok((record, version)) => return self.choose(record, version, chain).map(Some),
                Err(reason) => reasons.push(reason),
            }
        }
        for relation in group.iter().filter(native) {
            for (record, version) in self.universe.providers(&relation.name) {
                let fits = record.provisions().iter().any(|(name, version)| {
                    *name == relation.name && relation.admits_provided(version.as_ref())
                });
                if !fits || self.present.contains_key(&*record.name) {
                    continue;
                }
                match self.conflict(record, &version) {
                    None => return self.choose(record, version, chain).map(Some),
                    Some(reason) => reasons.push(reason),
                }
            }
        }
        let installed = group
            .iter()
            .filter(|relation| self.present.get(&relation.name).is_some_and(|present| present.installed));
        Err(Unsatisfied {
            architecture: self.request.architecture.to_owned(),
            chain: chain.to_vec(),
            wanted: written(group),
            reason: reasons.join("; "),
            installed: installed.map(|relation| relation.name.clone()).collect(),
        }
        .into())
    }

    /// The package of that very name, if it can be added, or why it cannot.
    fn concrete(&self, relation: &Relation) -> Result<(&'a Record, Version), String> {
        if let Some(present) = self.present.get(&relation.name) {
            let whose = if present.installed { "the base has" } else { "chosen is" };
            return Err(format!("{whose} {} {}", relation.name, present.version));
        }
        let Some((record, version)) = self.universe.candidate(&relation.name) else {
            return Err(format!("no source has {}", relation.name));
        };
        if !relation.admits(&version) {
            return Err(format!("the newest {} is {version}", relation.name));
        }
        match self.conflict(record, &version) {
            None => Ok((record, version)),
            Some(reason) => Err(reason),
        }
    }

    /// Why a package cannot stand beside those present, if it cannot.
    fn conflict(&self, record: &Record, version: &Version) -> Option<String> {
        let Ok(conflicts) = parse_groups(&record.conflicts) else {
            return Some(format!("the relations of {} cannot be read", record.name));
        };
        let candidate =
            Present { version: version.clone(), provides: record.provisions(), conflicts, installed: false };
        let against = |conflicts: &[Group], name: &str, present: &Present| {
            conflicts.iter().flatten().any(|relation| {
                relation.is_native(self.request.architecture) && present.matches(name, relation)
            })
        };
        // What a package says against a name that it has or provides itself is meant for others, not for itself.
        self.present.iter().find_map(|(name, present)| {
            let clash = against(&candidate.conflicts, name, present)
                || against(&present.conflicts, &record.name, &candidate);
            clash.then(|| format!("{} {version} conflicts with {name} {}", record.name, present.version))
        })
    }

    fn choose(&mut self, record: &'a Record, version: Version, chain: &[String]) -> Result<usize, Error> {
        let conflicts = self.relations(&record.conflicts, chain)?;
        let provides = record.provisions();
        let present = Present { version: version.clone(), provides, conflicts, installed: false };
        self.present.insert(record.name.to_string(), present);
        self.chosen.push(Chosen { record, version, because: chain.to_vec() });
        Ok(self.chosen.len() - 1)
    }

    fn relations(&self, text: &str, chain: &[String]) -> Result<Vec<Group>, Error> {
        parse_groups(text).map_err(|error| {
            Error::from(Unsatisfied {
                architecture: self.request.architecture.to_owned(),
                chain: chain.to_vec(),
                wanted: text.to_owned(),
                reason: error.to_string(),
                installed: Box::default(),
            })
        })
    }
}

fn provisions(text: &str) -> Vec<(String, Option<Version>)> {
    let groups = parse_groups(text).unwrap_or_default();
    groups.into_iter().flatten().map(|one| (one.name, one.constraint.map(|(_, version)| version))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Stanza, universe};
    use super::*;
    use crate::error::{ExitCode, Explain};

    fn names(stanzas: &[Stanza], packages: &[&str]) -> Result<Vec<String>, Error> {
        with(stanzas, packages, BTreeMap::new(), &[])
    }

    fn with(
        stanzas: &[Stanza],
        packages: &[&str],
        without: BTreeMap<&str, Vec<&str>>,
        installed: &[Installed],
    ) -> Result<Vec<String>, Error> {
        let universe = universe(stanzas);
        let packages: Vec<String> = packages.iter().map(|name| (*name).into()).collect();
        let request = Request { architecture: "arm64", packages: &packages, without, installed };
        Ok(resolve(&universe, &request)?.iter().map(|chosen| chosen.record.name.to_string()).collect())
    }

    fn package(name: &str, depends: &str) -> Stanza {
        Stanza::new(name, "1").field("Depends", depends)
    }

    #[test]
    fn goes_breadth_first_and_takes_each_once() {
        let stanzas = [package("a", "b, c"), package("b", "d, a"), package("c", "d"), Stanza::new("d", "1")];
        assert_eq!(names(&stanzas, &["a"]).unwrap(), ["a", "b", "c", "d"]);
    }

    #[test]
    fn the_first_alternative_that_can_be_had_wins() {
        let stanzas = [
            package("a", "missing | b (>= 2) | c | d"),
            Stanza::new("b", "1"),
            Stanza::new("c", "1"),
            Stanza::new("d", "1"),
        ];
        assert_eq!(names(&stanzas, &["a"]).unwrap(), ["a", "c"]);
        // One that is there already is enough, wherever it stands.
        assert_eq!(names(&stanzas, &["d", "a"]).unwrap(), ["d", "a"]);
    }

    #[test]
    fn a_real_package_comes_before_a_provider() {
        let stanzas = [
            package("a", "v | real"),
            Stanza::new("p", "1").field("Provides", "v"),
            Stanza::new("real", "1"),
        ];
        assert_eq!(names(&stanzas, &["a"]).unwrap(), ["a", "real"]);
        assert_eq!(names(&[package("a", "v"), stanzas[1].clone()], &["a"]).unwrap(), ["a", "p"]);
    }

    #[test]
    fn provisions_count_with_their_versions() {
        let provider = Stanza::new("p", "1").field("Provides", "v (= 2)");
        assert_eq!(names(&[package("a", "v (>= 2)"), provider.clone()], &["a"]).unwrap(), ["a", "p"]);
        assert_eq!(names(&[package("a", "v (>= 2)"), provider.clone()], &["p", "a"]).unwrap(), ["p", "a"]);
        assert!(names(&[package("a", "v (>= 3)"), provider], &["a"]).is_err());
    }

    #[test]
    fn conflicts_lead_to_the_next_alternative_or_to_an_error() {
        let stanzas =
            [package("a", "b | c"), Stanza::new("b", "1").field("Conflicts", "a"), Stanza::new("c", "1")];
        assert_eq!(names(&stanzas, &["a"]).unwrap(), ["a", "c"]);
        let error = names(&stanzas[..2], &["a"]).unwrap_err().to_string();
        assert!(error.contains("b 1 conflicts with a 1"), "{error}");
        // Breaks of a version that is not there is none, and nobody conflicts with himself.
        let own = [
            Stanza::new("a", "2").field("Breaks", "b (<< 1)").field("Depends", "b"),
            Stanza::new("b", "1").field("Provides", "v").field("Conflicts", "v"),
        ];
        assert_eq!(names(&own, &["a"]).unwrap(), ["a", "b"]);
    }

    #[test]
    fn the_error_tells_the_whole_chain() {
        let stanzas =
            [package("app", "lib"), package("lib", "core (>= 2) | other:amd64"), Stanza::new("core", "1")];
        let error = names(&stanzas, &["app"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "arm64: app → lib needs core (>= 2) | other:amd64: the newest core is 1; \
             other:amd64 is of another architecture"
        );
        assert_eq!(error.exit_code(), ExitCode::Package);
        let error = names(&stanzas, &["nothing"]).unwrap_err();
        assert_eq!(error.to_string(), "arm64: nothing: no source has nothing");
    }

    #[test]
    fn dependencies_can_be_left_out_for_one_package() {
        let stanzas =
            [package("a", "debconf | debconf-2.0, c"), package("c", "debconf"), Stanza::new("debconf", "1")];
        let without = |names: &[&'static str]| names.iter().map(|name| (*name, vec!["debconf"])).collect();
        assert_eq!(with(&stanzas, &["a"], without(&["a", "c"]), &[]).unwrap(), ["a", "c"]);
        assert_eq!(with(&stanzas, &["a"], without(&["a"]), &[]).unwrap(), ["a", "c", "debconf"]);
    }

    #[test]
    fn what_is_installed_stays_as_it_is() {
        let installed = [Installed {
            name: "libc6".into(),
            version: "2.36".parse().unwrap(),
            provides: "libc (= 2.36)".into(),
            conflicts: "old".into(),
        }];
        let stanzas = [
            package("a", "libc6 (>= 2.30), libc"),
            package("b", "libc6 (>= 2.40)"),
            Stanza::new("old", "1"),
            Stanza::new("libc6", "2.41"),
        ];
        assert_eq!(with(&stanzas, &["a"], BTreeMap::new(), &installed).unwrap(), ["a"]);
        let error = with(&stanzas, &["b"], BTreeMap::new(), &installed).unwrap_err().to_string();
        assert!(error.contains("the base has libc6 2.36"), "{error}");
        let error = with(&stanzas, &["old"], BTreeMap::new(), &installed).unwrap_err().to_string();
        assert!(error.contains("old 1 conflicts with libc6 2.36"), "{error}");
    }
}
