//! Releases that go back in time: one that is older than a release seen before is not accepted as current.

use super::*;
use crate::sys::clock;

const DAY: i64 = 24 * 60 * 60;

/// An archive, and a machine that remembers what it has seen of it.
struct Old {
    setup: Setup,
    notes: Notes,
}

impl Old {
    fn new() -> Self {
        Self { setup: Setup::new(), notes: Notes::default() }
    }

    /// Publishes a release of some days ago, with packages of its own. Returns the signed document.
    fn publish(archive: &MiniArchive, days: i64) -> Vec<u8> {
        let date = jiff::Timestamp::from_second(clock::unix_now() - days * DAY).unwrap();
        let date = format!("Date: {}\n", date.strftime("%a, %d %b %Y %H:%M:%S UTC"));
        let more = Published::new("more", &format!("1.{days}"), "", |deb| deb);
        let packages: Vec<Published> = packages().into_iter().chain([more]).collect();
        archive.publish_at("testing", &["arm64"], &packages, &date);
        archive.get("dists/testing/InRelease").unwrap()
    }

    fn source(&self, from: MirrorOrigin, addresses: &[&str]) -> Source {
        let mut addresses = addresses.iter().map(|address| (*address).to_owned());
        Source {
            mirror: addresses.next().unwrap(),
            from,
            others: addresses
                .map(|address| super::super::sources::Mirror { address, from: MirrorOrigin::Official })
                .collect(),
            suite: "testing".into(),
            components: vec!["main".into()],
            keyrings: vec![self.setup.keyring()],
        }
    }

    fn open(&self, from: MirrorOrigin, addresses: &[&str]) -> Result<Archive, Error> {
        let source = self.source(from, addresses);
        self.setup.on_host(false, &self.notes, |host| Archive::open(&[source], host))
    }

    /// The age in days of the release that is used from these mirrors of the machine, and the warnings.
    fn taken(&self, addresses: &[&str]) -> (i64, Vec<String>) {
        let archive = self.open(MirrorOrigin::Host, addresses).unwrap();
        (days(&archive), std::mem::take(&mut self.notes.0.lock().unwrap()))
    }

    fn chosen(&self, archive: &Archive) -> Result<String, Error> {
        let request = BaseRequest { architecture: "arm64", extra: &["more".into()], sysroot: None };
        let set = self.setup.on_host(false, &self.notes, |host| archive.resolve_base(&request, host))?;
        Ok(set.packages.into_iter().find(|package| package.name == "more").unwrap().version)
    }
}

fn days(archive: &Archive) -> i64 {
    (clock::unix_now() - archive.suites()[0].release.date.unwrap() + DAY / 2).div_euclid(DAY)
}

#[test]
fn an_older_release_is_not_taken_for_current() {
    let old = Old::new();
    let mirror = &old.setup.archive;
    let other = mirror.copy(|_| true);
    let whole = mirror.address();
    let ten = Old::publish(mirror, 10);
    assert_eq!(old.taken(&[whole]), (10, Vec::new()));
    let three = Old::publish(mirror, 3);
    assert_eq!(old.taken(&[whole]), (3, Vec::new()));
    assert_eq!(old.chosen(&old.open(MirrorOrigin::Host, &[whole]).unwrap()).unwrap(), "1.3");

    // The release that was signed ten days ago is still signed correctly.
    mirror.put("dists/testing/InRelease", Some(ten.clone()));
    let (days_old, told) = old.taken(&[whole]);
    assert_eq!((days_old, told.len()), (3, 1), "{told:?}");
    for part in
        [whole, "as this machine's apt has it", "testing as of", "is used", "`snapshot`", "or remove `"]
    {
        assert!(told[0].contains(part), "{part}: {told:?}");
    }
    let archive = old.open(MirrorOrigin::Host, &[whole]).unwrap();
    assert_eq!(old.chosen(&archive).unwrap(), "1.3", "what is here serves");
    // Its indexes are neither in the cache nor on the mirror.
    for dir in ["indexes", "resolved"] {
        fs::remove_dir_all(old.setup.cache().join(dir)).unwrap();
    }
    for (path, _) in &old.setup.indexes {
        mirror.put(path, None);
    }
    let hashed = old.setup.archive.paths("/by-hash/");
    for path in &hashed {
        mirror.put(path, None);
    }
    Old::publish(mirror, 10);
    let hashed = old.setup.archive.paths("/by-hash/");
    assert_eq!(hashed.len(), 1);
    assert_eq!(old.chosen(&archive).unwrap_err().exit_code(), ExitCode::OutOfStep);

    // A mirror that is up to date is used instead, and the reason is reported.
    other.put("dists/testing/InRelease", Some(three));
    old.notes.0.lock().unwrap().clear();
    let (days_old, told) = old.taken(&[whole, other.address()]);
    assert_eq!((days_old, told.len()), (3, 1), "{told:?}");
    assert!(told[0].contains("but one dated") && told[0].contains("was seen before"), "{told:?}");
    assert!(told[0].ends_with(&format!("it is taken from `{}` (Debian's own)", other.address())), "{told:?}");
    // All are behind: the same as with one.
    other.put("dists/testing/InRelease", Some(ten.clone()));
    assert_eq!(old.taken(&[whole, other.address()]).0, 3);

    // A mirror that the user has chosen is compared with itself, and a requested date with nothing.
    assert_eq!(days(&old.open(MirrorOrigin::Configured, &[whole]).unwrap()), 10);
    mirror.put("20260801T000000Z/dists/testing/InRelease", Some(ten));
    let snapshot = format!("{whole}/20260801T000000Z");
    assert_eq!(days(&old.open(MirrorOrigin::Snapshot, &[&snapshot]).unwrap()), 10);
    assert_eq!(old.taken(&[whole]).0, 3, "a moment is not remembered, nor forgotten for");
    let twenty = Old::publish(mirror, 20);
    assert_eq!(days(&old.open(MirrorOrigin::Configured, &[whole]).unwrap()), 10);
    mirror.put("dists/testing/InRelease", Some(twenty));

    // Going back on purpose is possible.
    fs::remove_dir_all(old.setup.cache().join("newest")).unwrap();
    old.notes.0.lock().unwrap().clear();
    assert_eq!(old.taken(&[whole]), (20, Vec::new()));
}

#[test]
fn what_is_remembered_must_be_signed_and_not_of_tomorrow() {
    let old = Old::new();
    let mirror = &old.setup.archive;
    let whole = mirror.address();
    // A release from the future would block all releases until then.
    Old::publish(mirror, -3);
    assert_eq!(old.taken(&[whole]).0, -3);
    let real = Old::publish(mirror, 10);
    assert_eq!(old.taken(&[whole]), (10, Vec::new()));
    let newest = old.setup.cache().join("newest");
    let record = fs::read_dir(&newest).unwrap().next().unwrap().unwrap().path();
    let newer = Old::publish(&old.setup.archive.copy(|_| false), 1);
    let text = String::from_utf8(real.clone()).unwrap();
    let forged = text.replacen("Codename: testing", "Codename: testing ", 1);
    for bytes in
        [Vec::new(), b"nonsense".to_vec(), forged.into_bytes(), newer, real[..real.len() / 2].to_vec()]
    {
        fs::write_atomic(&record, &bytes, 0o644).unwrap();
        assert_eq!(old.taken(&[whole]), (10, Vec::new()));
        assert_eq!(fs::read(&record).unwrap(), real, "it is put right");
    }
}
