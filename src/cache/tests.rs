//! Tests of listing, choosing and removing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::Reason::{Left, Size, Unused};
use super::choose::{Choice, DAY, choose};
use super::prune::Removed;
use super::survey::Entry;
use super::*;
use crate::error::{ExitCode, Explain};
use crate::sys::cancel::Cancel;
use crate::sys::usage::Hold;
use crate::sys::{clock, fs, store, usage};

/// A cache with entries of all kinds.
struct Cache {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

impl Cache {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache");
        store::dir(&path).unwrap();
        Self { _dir: dir, path }
    }

    /// A file of this many bytes in a cache's directory.
    fn put(&self, path: &str, bytes: usize) -> &Self {
        let path = self.path.join(path);
        store::dir(path.parent().unwrap()).unwrap();
        fs::write_atomic(&path, &vec![b'x'; bytes], 0o644).unwrap();
        self
    }

    /// Makes an entry look as if it had last been used this many days ago.
    fn age(&self, path: &str, days: i64) -> &Self {
        let file = fs::File::open(self.path.join(path)).unwrap();
        fs::set_modified(&file, clock::unix_now() - days * DAY - 60, 0).unwrap();
        self
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn full() -> Self {
        let cache = Self::new();
        for kind in KINDS {
            match kind.entries {
                Entries::Each if kind.locked == Locked::Itself => {
                    cache.put(&format!("{}/{HEX}/file", kind.name), 1000);
                    cache.put(&format!("{}/{HEX}/below/file", kind.name), 500);
                }
                Entries::Each => {
                    cache.put(&format!("{}/{HEX}", kind.name), 1500);
                }
                Entries::EachBelow => {
                    cache.put(&format!("{}/sha256/{HEX}", kind.name), 1500);
                }
                Entries::Whole => {
                    cache.put(&format!("{}/o/{HEX}/file", kind.name), 1500);
                }
            }
        }
        cache
    }

    fn survey(&self) -> Survey {
        survey(&self.path, &Cancel::new()).unwrap()
    }

    fn run(&self, task: &Task) -> Outcome {
        run(&self.path, task, false, &Cancel::new()).unwrap()
    }

    /// All paths and their modification times.
    fn state(&self) -> Vec<(PathBuf, (i64, i64))> {
        let (mut found, mut paths) = (Vec::new(), vec![self.path.clone()]);
        while let Some(path) = paths.pop() {
            found.push((path.clone(), usage::last_used(&path).unwrap().unwrap()));
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        found.sort();
        found
    }
}

fn prune(days: Option<u64>, max_size: Option<u64>) -> Task {
    Task::Prune { older_than: days.map(|days| Duration::from_secs(days * 24 * 60 * 60)), max_size }
}

fn clean(names: &[&str]) -> Task {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Task::Clean(Selection::named(&names).unwrap())
}

fn paths(removed: &[Removed]) -> Vec<String> {
    removed.iter().map(|one| one.path.display().to_string()).collect()
}

/// The sizes of a kind's entries.
fn of(survey: &Survey, name: &str) -> Vec<u64> {
    let entries = survey.entries.iter();
    entries
        .filter(|entry| entry.kind.is_some_and(|kind| kind.name == name))
        .map(|entry| entry.bytes)
        .collect()
}

#[test]
fn everything_in_the_cache_is_of_a_kind() {
    let cache = Cache::full();
    let found = cache.survey();
    let kinds: Vec<&str> = found.entries.iter().filter_map(|entry| Some(entry.kind?.name)).collect();
    assert_eq!(kinds, KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>());
    assert!(found.entries.iter().all(|entry| entry.bytes == 1500), "{:?}", found.entries);
    assert_eq!((found.unknown, found.links.len()), (Vec::new(), 0));
    // Files that belong together are one entry, and temporary files have no kind.
    cache.put(&format!("debian/packages/{HEX}.lock"), 0).put("registry/blobs/sha256/a.partial", 10);
    cache.put("toolchains/zig.lock", 0).put(".xbuild-1/x", 5).put("layouts/.abc.xbuild-2/content/x", 5);
    cache.put("mine", 7).put("debian/mine", 7).put("zig-3/x", 7);
    let found = cache.survey();
    assert_eq!(of(&found, "debian/packages").len(), 1);
    assert_eq!(of(&found, "registry/blobs"), [1500, 10]);
    let temporary: Vec<_> = found.entries.iter().filter(|entry| entry.kind.is_none()).collect();
    let names: Vec<_> = temporary.iter().map(|entry| entry.path.display().to_string()).collect();
    assert_eq!(names, ["layouts/.abc.xbuild-2", "toolchains/zig", ".xbuild-1"]);
    assert_eq!(found.unknown, ["mine", "zig-3", "debian/mine"].map(PathBuf::from));
}

#[test]
fn what_was_not_used_for_long_goes() {
    let cache = Cache::full();
    let (bases, packages, newest) =
        (format!("bases/{HEX}"), format!("debian/packages/{HEX}"), format!("debian/newest/{HEX}"));
    cache.age(&bases, 31).age(&packages, 29).age(&newest, 400);
    let outcome = cache.run(&prune(Some(30), None));
    // No version uses `zig` any more.
    assert_eq!(paths(&outcome.removed), [bases.as_str(), "zig"]);
    assert_eq!((outcome.freed, outcome.left), (3000, 1500 * (KINDS.len() as u64 - 2)));
    assert!(!cache.path.join("bases").exists() && cache.path.join(&packages).exists());
    assert_eq!(outcome.kept.iter().map(|kept| kept.reason).collect::<Vec<_>>(), [KeptFor::Guard]);
    assert!(cache.path.join(&newest).exists());
    // A use updates its time.
    usage::mark(&cache.path.join(&packages));
    assert!(cache.run(&prune(Some(20), None)).removed.is_empty());
    // Nothing is left of the removed entries.
    assert!(
        fs::read_dir(&cache.path)
            .unwrap()
            .all(|entry| { !store::is_temporary(&entry.unwrap().file_name().to_string_lossy()) })
    );
}

#[test]
fn what_was_used_the_longest_ago_goes_until_the_rest_fits() {
    let cache = Cache::new();
    for (name, days) in
        [("rootfs/a", 3), ("registry/blobs/sha256/b", 9), ("bases/c/x", 1), ("debian/newest/d", 99)]
    {
        cache.put(name, 1000).age(name, days);
    }
    cache.age("bases/c", 5);
    assert!(cache.run(&prune(None, Some(4000))).removed.is_empty());
    let outcome = cache.run(&prune(None, Some(2500)));
    assert_eq!(paths(&outcome.removed), ["registry/blobs/sha256/b", "bases/c"]);
    assert_eq!((outcome.freed, outcome.left), (2000, 2000));
    assert!(outcome.removed.iter().all(|removed| removed.reason == Reason::Size));
    // The guard stays, even if the cache should be empty.
    let outcome = cache.run(&prune(None, Some(0)));
    assert_eq!((paths(&outcome.removed), outcome.left), (vec!["rootfs/a".to_owned()], 1000));
}

#[test]
fn a_dry_run_says_the_same_and_changes_nothing() {
    let cache = Cache::full();
    cache.put(".xbuild-1/x", 5).age(&format!("rootfs/{HEX}"), 40);
    for task in [prune(Some(30), None), prune(None, Some(2000)), clean(&[]), clean(&["debian"])] {
        let before = cache.state();
        let said = run(&cache.path, &task, true, &Cancel::new()).unwrap();
        assert_eq!(cache.state(), before, "{task:?}");
        let copy = Cache::full();
        copy.put(".xbuild-1/x", 5).age(&format!("rootfs/{HEX}"), 40);
        let done = copy.run(&task);
        let sorted = |outcome: &Outcome| {
            let mut paths = paths(&outcome.removed);
            paths.sort();
            paths
        };
        assert_eq!(
            (sorted(&said), said.freed, said.left),
            (sorted(&done), done.freed, done.left),
            "{task:?}"
        );
        assert!(!said.removed.is_empty());
    }
}

#[test]
fn all_of_a_kind_goes_if_it_is_named() {
    let cache = Cache::full();
    let outcome = cache.run(&clean(&["debian", "zig-2"]));
    let mut kinds: Vec<&str> = outcome.removed.iter().map(|removed| removed.kind).collect();
    kinds.sort_unstable();
    let debian =
        ["debian/indexes", "debian/mirror-lists", "debian/packages", "debian/releases", "debian/resolved"];
    assert_eq!(kinds, [&debian[..], &["zig-2"]].concat());
    assert!(cache.path.join(GUARD).exists());
    for task in [clean(&[GUARD]), clean(&[])] {
        cache.put(&format!("{GUARD}/{HEX}"), 1);
        let removed = cache.run(&task).removed;
        assert!(removed.iter().any(|one| one.kind == GUARD), "{removed:?}");
        assert!(!cache.path.join(GUARD).exists());
    }
    // The directory itself stays: others may wait for its lock.
    assert_eq!(cache.names(), [store::USAGE]);
    for (name, hint) in [("debain/packages", "`debian/packages`"), ("xyz", "cache list"), ("", "cache list")]
    {
        let error = Selection::named(&[name.to_owned()]).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Usage);
        assert!(error.hint().unwrap().contains(hint), "{name}: {:?}", error.hint());
    }
}

#[test]
fn what_others_may_use_stays() {
    let cache = Cache::full();
    cache.put(".xbuild-1/x", 5);
    let old = |name: &str| cache.age(name, 2);
    let packages = format!("debian/packages/{HEX}");
    cache.put(&format!("{packages}.lock"), 0);
    old(&packages);
    old(&format!("{packages}.lock"));
    old(&format!("rootfs/{HEX}"));
    old("zig-2");
    old("zig");
    let mut run = Hold::take(&cache.path).unwrap();
    run.share();
    let outcome = cache.run(&clean(&[]));
    assert_eq!(paths(&outcome.removed), [packages.clone(), format!("rootfs/{HEX}")]);
    // All kinds except these two; temporary files are not listed.
    assert_eq!(outcome.kept.len(), KINDS.len() - 2);
    assert!(outcome.kept.iter().all(|kept| kept.reason == KeptFor::InUse));
    assert!(cache.path.join(".xbuild-1/x").exists());
    // Others may wait for a lock.
    assert!(cache.path.join(format!("{packages}.lock")).exists());
    drop(run);
    cache.run(&clean(&[]));
    assert_eq!(cache.names(), [store::USAGE]);
}

#[test]
fn what_is_locked_stays() {
    let cache = Cache::new();
    for path in ["debian/indexes/a", "bases/b/x", "toolchains/zig-1/zig", "registry/names/c"] {
        cache.put(path, 10).age(path, 9);
    }
    cache.put("debian/indexes/a.lock", 0).put("toolchains/zig.lock", 0);
    for path in ["debian/indexes/a.lock", "bases/b", "toolchains/zig-1"] {
        cache.age(path, 9);
    }
    let mut run = Hold::take(&cache.path).unwrap();
    run.share();
    let lock = |path: &str| fs::try_lock(&cache.path.join(path)).unwrap().unwrap();
    let locks =
        [lock("debian/indexes/a.lock"), lock("bases/b"), lock("toolchains/zig.lock"), lock("registry/names")];
    let outcome = cache.run(&prune(Some(1), None));
    assert_eq!(paths(&outcome.removed), Vec::<String>::new());
    assert_eq!(outcome.kept.len(), 4);
    assert!(outcome.kept.iter().all(|kept| kept.reason == KeptFor::Locked), "{:?}", outcome.kept);
    drop(locks);
    assert_eq!(cache.run(&prune(Some(1), None)).removed.len(), 4);
}

/// A process that may only read a cache which nobody has used yet has no usage file to lock, so it keeps directories
/// locked.
#[test]
fn what_a_reader_has_locked_stays_also_where_he_cannot_be_seen() {
    let cache = Cache::new();
    let count = 40;
    for number in 0..count {
        cache.put(&format!("debian/packages/{number}"), 10).age(&format!("debian/packages/{number}"), 9);
    }
    let reader = fs::File::open(cache.path.join("debian/packages")).unwrap().into_parts().0;
    reader.lock_shared().unwrap();
    let begun = clock::Instant::now();
    let outcome = cache.run(&prune(Some(1), None));
    // The lock is waited for once, for a second, and not for each entry.
    assert!(begun.elapsed() < Duration::from_secs(count / 2), "{:?}", begun.elapsed());
    assert_eq!(outcome.kept.len() as u64, count);
    assert!(outcome.kept.iter().all(|kept| kept.reason == KeptFor::Locked), "{:?}", outcome.kept);
    drop(reader);
    assert_eq!(cache.run(&prune(Some(1), None)).removed.len() as u64, count);
}

#[test]
fn another_goes_in_the_place_of_what_is_locked() {
    let cache = Cache::new();
    cache.put("bases/old/x", 1000).age("bases/old", 5);
    cache.put("debian/packages/new", 500).age("debian/packages/new", 3);
    let mut run = Hold::take(&cache.path).unwrap();
    run.share();
    let lock = fs::try_lock(&cache.path.join("bases/old")).unwrap().unwrap();
    let outcome = cache.run(&prune(None, Some(600)));
    assert_eq!(paths(&outcome.removed), ["debian/packages/new"]);
    assert_eq!(outcome.left, 1000);
    drop(lock);
    assert_eq!(paths(&cache.run(&prune(None, Some(600))).removed), ["bases/old"]);
}

/// Stops the other thread even if the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What a run has marked before it looks at it stays, however often others prune.
#[test]
fn what_is_marked_stays_beside_pruning() {
    let cache = Cache::new();
    cache.put("rootfs/b", 10);
    let path = cache.path.join("rootfs/a");
    let mut user = Hold::take(&cache.path).unwrap();
    user.share();
    let (ended, removed) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                removed.fetch_add(cache.run(&prune(Some(1), None)).removed.len(), Ordering::SeqCst);
            }
        });
        let _end = End(&ended);
        for round in 0..200 {
            if !path.exists() {
                cache.put("rootfs/a", 10);
            }
            // May be gone already, since it looks old at this moment.
            let file = fs::OpenOptions::new().write(true).open(&path);
            file.and_then(|file| fs::set_modified(&file, 1, 0)).ok();
            clock::sleep(Duration::from_micros(round * 10));
            usage::mark(&path);
            if path.exists() {
                clock::sleep(Duration::from_millis(3));
                assert!(path.exists(), "it was removed while it was used");
            }
        }
    });
    assert!(removed.into_inner() > 0, "nothing was removed at all");
}

#[test]
fn links_are_not_followed() {
    let (cache, elsewhere) = (Cache::full(), tempfile::tempdir().unwrap());
    fs::write_atomic(&elsewhere.path().join("precious"), b"x", 0o644).unwrap();
    fs::create_dir(elsewhere.path().join("packages")).unwrap();
    fs::write_atomic(&elsewhere.path().join("packages/precious"), b"x", 0o644).unwrap();
    for path in ["rootfs", "debian", "zig"] {
        fs::remove_dir_all(cache.path.join(path)).unwrap();
        fs::symlink(elsewhere.path(), cache.path.join(path)).unwrap();
    }
    fs::symlink(elsewhere.path(), cache.path.join("bases/link")).unwrap();
    fs::symlink(elsewhere.path(), cache.path.join(format!("layouts/{HEX}/link"))).unwrap();
    let outcome = cache.run(&clean(&[]));
    let links: Vec<_> = outcome.kept.iter().filter(|kept| kept.reason == KeptFor::Link).collect();
    assert_eq!(links.len(), 8, "rootfs, zig, and six below debian: {links:?}");
    assert!(
        elsewhere.path().join("precious").exists() && elsewhere.path().join("packages/precious").exists()
    );
    // A link among the entries is removed itself.
    assert!(!cache.path.join("bases").exists() && cache.path.join("rootfs").exists());
}

#[test]
fn what_is_not_ours_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none");
    let (none, cancel) = (Cancel::new(), Cancel::new());
    assert!(survey(&path, &none).unwrap().entries.is_empty());
    let outcome = run(&path, &clean(&[]), false, &cancel).unwrap();
    assert!(outcome.removed.is_empty() && !path.exists());
    // Somebody's home directory whose content resembles ours except for the names.
    let cache = Cache::new();
    cache.put("Documents/letter", 10).put(".ssh/key", 10).put("debian/notes", 10);
    cache.run(&clean(&[]));
    assert_eq!(cache.survey().unknown.len(), 3);
    // A cache that others may write to is refused, as a whole and in parts.
    for part in ["", "rootfs", "registry"] {
        let cache = Cache::full();
        let at = cache.path.join(part);
        fs::set_permissions(&at, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        for task in [clean(&[]), prune(Some(0), None)] {
            let error = run(&cache.path, &task, false, &cancel).unwrap_err();
            assert_eq!(error.exit_code(), ExitCode::Cache, "{error}");
            assert!(error.hint().unwrap().contains("chmod -R go-w"));
        }
    }
    fs::write_atomic(&path, b"", 0o644).unwrap();
    assert_eq!(survey(&path, &cancel).unwrap_err().exit_code(), ExitCode::Cache);
}

#[test]
fn a_choice_is_by_age_then_by_size() {
    let entry = |kind: &str, path: &str, bytes, used| Entry {
        kind: KINDS.iter().find(|known| known.name == kind),
        path: Path::new(path).to_owned(),
        parts: vec![""],
        bytes,
        used: (used, 0),
    };
    let now = 100 * DAY;
    let entries = [
        entry("bases", "a", 10, now - 40 * DAY),
        entry("rootfs", "b", 10, now - 20 * DAY),
        entry("rootfs", "c", 0, now - 10 * DAY),
        entry("rootfs", "d", 10, now - 60),
        // The clock was wrong once.
        entry("rust", "e", 10, now + DAY),
        entry(GUARD, "f", 10, 0),
        entry("none", "g", 10, now),
    ];
    let chosen = |task: &Task, alone| choose(&entries, task, now, alone);
    let removed = |choice: &Choice| choice.remove.clone();
    assert_eq!(removed(&chosen(&prune(Some(30), None), true)), [(0, Unused), (6, Left)]);
    assert_eq!(removed(&chosen(&prune(Some(30), Some(30)), true)), [(0, Unused), (6, Left), (1, Size)]);
    assert_eq!(
        removed(&chosen(&prune(None, Some(0)), true)),
        [(6, Left), (0, Size), (1, Size), (3, Size), (4, Size)]
    );
    // If others use the cache, only entries that were not used within a day.
    let beside = chosen(&prune(None, Some(0)), false);
    assert_eq!((removed(&beside), beside.in_use), (vec![(0, Size), (1, Size)], vec![3, 4]));
}
