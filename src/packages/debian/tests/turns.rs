//! Several mirrors of one archive: if one does not have something, the next does, which is reported.

use super::super::sources::Mirror;
use super::*;

/// A complete archive, and others that are asked before it.
struct Turns {
    setup: Setup,
    notes: Notes,
}

impl Turns {
    fn new() -> Self {
        Self { setup: Setup::new(), notes: Notes::default() }
    }

    fn source(&self, before: &[&str]) -> Source {
        let mut addresses = before.iter().map(|address| (*address).to_owned()).chain([self.whole()]);
        Source {
            mirror: addresses.next().unwrap(),
            from: MirrorOrigin::Host,
            others: addresses.map(|address| Mirror { address, from: MirrorOrigin::Official }).collect(),
            suite: "testing".into(),
            components: vec!["main".into()],
            keyrings: vec![self.setup.keyring()],
        }
    }

    fn whole(&self) -> String {
        self.setup.archive.address().to_owned()
    }

    fn open(&self, before: &[&str], offline: bool) -> Result<Archive, Error> {
        self.setup.on_host(offline, &self.notes, |host| Archive::open(&[self.source(before)], host))
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.0.lock().unwrap())
    }
}

fn resolve(turns: &Turns, archive: &Archive) -> Result<ResolvedBase, Error> {
    let request = BaseRequest { architecture: "arm64", extra: &[], sysroot: None };
    let set = turns.setup.on_host(false, &turns.notes, |host| archive.resolve_base(&request, host))?;
    Ok(set.plain())
}

#[test]
fn a_mirror_without_the_suite_is_passed_and_named() {
    let turns = Turns::new();
    let none = turns.setup.archive.copy(|_| false);
    // Signed by someone else, as a company's own archive is.
    let foreign = MiniArchive::new();
    foreign.publish("testing", &["arm64"], &[]);
    for (before, reason) in [
        (none.address(), "has no suite testing"),
        (foreign.address(), "no signature is by a trusted key"),
        ("http://127.0.0.1:1/debian", "tried 2 times"),
    ] {
        let archive = turns.open(&[before], false).unwrap();
        assert_eq!(archive.suites()[0].source.mirror, turns.whole(), "{before}");
        let told = turns.told();
        assert_eq!(told.len(), 1, "{told:?}");
        let start =
            format!("`{before}` (as this machine's apt has it) does not serve the release of testing");
        let end = format!("it is taken from `{}` (Debian's own)", turns.whole());
        assert!(told[0].starts_with(&start) && told[0].ends_with(&end), "{told:?}");
        assert!(told[0].contains(reason), "{told:?}");
        // Offline the same mirror is used.
        let archive = turns.open(&[before], true).unwrap();
        assert_eq!(archive.suites()[0].source.mirror, turns.whole());
        turns.told();
    }
}

#[test]
fn a_mirror_without_an_architecture_is_helped_out() {
    let turns = Turns::new();
    let partial = turns.setup.archive.copy(|path| path.ends_with("/InRelease") || path.contains("armhf"));
    let archive = turns.open(&[partial.address()], false).unwrap();
    assert_eq!(archive.suites()[0].source.mirror, partial.address());
    let resolved = resolve(&turns, &archive).unwrap();
    let told = turns.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("the package index of testing (arm64): no such file"), "{told:?}");
    let sources: Vec<Source> = archive.suites().iter().map(|suite| suite.source.clone()).collect();
    turns.setup.assemble_from(&DownloadUrls::of(&sources, None), &resolved).unwrap();
    assert!(partial.requests().iter().any(|path| path.starts_with("pool/")));
    // It serves what it has.
    let request = BaseRequest { architecture: "armhf", extra: &[], sysroot: None };
    turns.setup.on_host(false, &turns.notes, |host| archive.resolve_base(&request, host)).unwrap();
    assert_eq!(turns.told(), [] as [String; 0]);
}

#[test]
fn an_index_out_of_step_is_taken_from_a_mirror_that_is_in_step() {
    let turns = Turns::new();
    let behind = turns.setup.archive.copy(|_| true);
    let (hashed, plain) = &turns.setup.indexes[0];
    for path in [hashed, plain] {
        behind.put(path, Some(vec![0; 100]));
    }
    let archive = turns.open(&[behind.address()], false).unwrap();
    resolve(&turns, &archive).unwrap();
    assert!(turns.told()[0].contains("the package index of testing (arm64): sha256:"));
}

#[test]
fn where_none_serves_each_is_named_and_the_first_decides() {
    let turns = Turns::new();
    turns.setup.archive.put("dists/testing/InRelease", None);
    let none = turns.setup.archive.copy(|_| false);
    let error = turns.open(&["http://127.0.0.1:1/debian", none.address()], false).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Network);
    for part in ["127.0.0.1:1/debian", none.address(), &turns.whole(), "\n  another mirror: "] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = turns.open(&[none.address()], false).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::NoBase);
    assert!(error.hint().unwrap().contains("snapshot = "), "{:?}", error.hint());
    // If there is only one mirror, only its error is reported.
    let error = turns.open(&[], false).unwrap_err();
    assert_eq!(error.to_string(), format!("{} has no suite testing", turns.whole()));
    let error = turns.open(&[none.address()], true).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Offline);
    assert!(!error.to_string().contains("another mirror"), "{error}");
}
