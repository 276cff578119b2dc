//! `xbuild cache`: everything that builds leave in the cache is known, and nothing that is removed is missed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use xbuild::error::ExitCode;

use crate::caches::all;
use crate::support::command::{Run, tool, xbuild};
use crate::support::mirror::Mirror;
use crate::support::project::Project;
use crate::support::registry::Registry;
use crate::support::tools::put_zig;
use crate::support::{base, scratch};

fn with(run: Run, cache: &Path) -> Run {
    run.env("XBUILD_CACHE_DIR", cache)
}

fn cache_command(cache: &Path, words: &str) -> Run {
    with(xbuild().arg("cache").words(words), cache)
}

fn json(cache: &Path, words: &str) -> Value {
    let text = cache_command(cache, words).arg("--json").run().success().stdout;
    serde_json::from_str(&text).expect("JSON")
}

/// Makes everything in a cache look as if it had last been used this many days ago.
fn age(cache: &Path, days: u64) {
    let then = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60 + 60);
    for path in all(cache).iter().filter(|path| !path.is_symlink()) {
        fs::File::open(path).and_then(|file| file.set_modified(then)).expect("our own file");
    }
}

fn names(list: &Value) -> BTreeSet<String> {
    let kinds = list["kinds"].as_array().expect("kinds").iter();
    kinds.map(|kind| kind["kind"].as_str().expect("a name").to_owned()).collect()
}

/// A cache with one entry of every kind that builds make, and the means to build it again.
struct Filled {
    project: Project,
    mirror: Mirror,
    registry: Registry,
    place: tempfile::TempDir,
}

impl Filled {
    fn new() -> Self {
        let project = Project::on_layout();
        project.write("apt.toml", "platforms = [\"linux/amd64\"]\n[debian]\nsuites = [\"bookworm\"]\n");
        tool("tar").words("-C base -cf base.tar .").dir(project.dir()).run().success();
        let registry = Registry::open();
        let layout = project.path("base");
        registry.fill(&format!("oci:{}:{}", layout.display(), base::TAG), "team/base:1");
        let place = scratch();
        let filled = Self { project, mirror: Mirror::start(|_, _| false), registry, place };
        put_zig(&filled.cache());
        filled
    }

    fn cache(&self) -> PathBuf {
        self.place.path().join("cache")
    }

    /// Builds on each kind of base, and with zig. Returns the digests.
    fn build(&self) -> Vec<String> {
        let name = self.registry.name("team/base:1");
        let bases = [
            vec!["--toolchain", "zig", "--platform", "linux/amd64", "--output", "a"],
            vec!["--base", "oci:base.tar:base", "--output", "b"],
            vec!["--base", &name, "--output", "c"],
            vec!["--config", "apt.toml", "--toolchain", "cargo", "--output", "d"],
        ];
        let build = |arguments: &Vec<&str>| {
            let run = with(self.project.build(), &self.cache()).args(arguments.iter().copied());
            run.env("XBUILD_DEBIAN_MIRROR", self.mirror.url()).run().success().digest()
        };
        bases.iter().map(build).collect()
    }
}

#[test]
fn everything_that_builds_leave_is_known_and_can_go() {
    let filled = Filled::new();
    let cache = filled.cache();
    let digests = filled.build();
    let list = json(&cache, "list");
    assert_eq!(list["path"], cache.display().to_string());
    assert_eq!((&list["unknown"], &list["links"]), (&Value::Array(Vec::new()), &Value::Array(Vec::new())));
    let known = names(&list);
    for kind in [
        "bases",
        "debian/indexes",
        "debian/newest",
        "debian/packages",
        "debian/releases",
        "debian/resolved",
        "layouts",
        "registry/blobs",
        "registry/names",
        "rootfs",
        "toolchains",
        "wrappers",
        "zig-2",
    ] {
        assert!(known.contains(kind), "{kind} is not in {known:?}");
    }
    // Everything in the cache is in a kind's directory, except the lock file of all users.
    let (mut bytes, lock) = (0, cache.join("in-use"));
    for path in all(&cache).into_iter().filter(|path| !path.is_dir() && *path != lock) {
        let below = path.strip_prefix(&cache).expect("it is below").to_owned();
        assert!(known.iter().any(|kind| below.starts_with(kind)), "{} is of no kind", below.display());
        bytes += fs::symlink_metadata(&path).map_or(0, |found| if found.is_file() { found.len() } else { 0 });
    }
    assert_eq!(list["bytes"], bytes);
    let size = json(&cache, "size");
    assert_eq!((&size["bytes"], &size["path"]), (&list["bytes"], &list["path"]));
    let sum: u64 = size["kinds"].as_object().expect("kinds").values().filter_map(Value::as_u64).sum();
    assert_eq!(sum, bytes);
    let table = cache_command(&cache, "list").run().success().stdout;
    assert!(table.starts_with("KIND") && table.lines().any(|line| line.starts_with("zig-2")), "{table}");

    // Everything was just used: a second build marks what it reads, however old it is.
    age(&cache, 40);
    assert_eq!(filled.build(), digests);
    let outcome = json(&cache, "prune --older-than 30d");
    // An assembled base no longer needs its packages. Everything else was used.
    let removed = outcome["removed"].as_array().expect("an array").iter();
    let removed: BTreeSet<&str> = removed.filter_map(|one| one["kind"].as_str()).collect();
    assert_eq!(removed, BTreeSet::from(["debian/indexes", "debian/packages"]), "{outcome}");
    let asked = filled.mirror.asked().len();
    assert_eq!(filled.build(), digests);
    let more = filled.mirror.asked()[asked..].to_vec();
    assert!(more.iter().all(|path| path.contains("InRelease")), "it was used and went: {more:?}");

    // Everything is removed except the guard against older releases, and everything can be made again.
    let removed = json(&cache, "prune --older-than 0s");
    assert_eq!(names(&json(&cache, "list")), BTreeSet::from(["debian/newest".to_owned()]), "{removed}");
    assert!(
        removed["kept"][0]["reason"] == "guard" && removed["freed"].as_u64() > Some(bytes / 2),
        "{removed}"
    );
    put_zig(&cache);
    assert_eq!(filled.build(), digests);
    let said =
        cache_command(&cache, "clean").run().success().tells(&["newest releases seen are removed, too"]);
    assert!(said.stdout.contains("removed"), "{}", said.stdout);
    assert_eq!(crate::support::names(&cache), ["in-use"]);
}

/// Stops another thread's loop, even if a test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Builds succeed and give the same result while everything is being pruned.
#[test]
fn pruning_beside_builds_disturbs_none() {
    let (project, mirror) = (Project::on_layout(), Mirror::start(|_, _| false));
    project.write("apt.toml", "platforms = [\"linux/amd64\"]\n[debian]\nsuites = [\"bookworm\"]\n");
    tool("tar").words("-C base -cf base.tar .").dir(project.dir()).run().success();
    let place = scratch();
    let cache = place.path().join("cache");
    let builds =
        ["--base oci:base.tar:base --output one", "--config apt.toml --toolchain cargo --output two"];
    let build = |words: &str| {
        let run = with(project.build(), &cache).words(words).env("XBUILD_DEBIAN_MIRROR", mirror.url());
        run.run().success().digest()
    };
    let digests = builds.map(build);
    let (ended, beside, removed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                let outcome = json(&cache, "prune --max-size 0");
                let count = |name: &str| outcome[name].as_array().map_or(0, Vec::len);
                removed.fetch_add(count("removed"), Ordering::SeqCst);
                let in_use = outcome["kept"].to_string().contains("in-use");
                beside.fetch_add(usize::from(in_use), Ordering::SeqCst);
            }
        });
        let _end = End(&ended);
        for round in 0..4 {
            for (words, digest) in builds.iter().zip(&digests) {
                // Old enough to be removed while a run uses the cache.
                if round % 2 == 1 && cache.exists() {
                    let then = "find \"$0\" -exec touch -h -d '-3 days' {} + 2>/dev/null; true";
                    tool("sh").arg("-c").arg(then).arg(&cache).run().success();
                }
                assert_eq!(build(words), *digest, "round {round}, {words}");
            }
        }
    });
    let (beside, removed) = (beside.into_inner(), removed.into_inner());
    assert!(beside > 0 && removed > 0, "nothing was pruned beside a build: {beside}, {removed}");
}

#[test]
fn what_is_asked_for_is_checked_and_only_the_cache_is_touched() {
    let place = scratch();
    let cache = place.path().join("cache");
    let fails = |words: &str, code, said: &[&str]| cache_command(&cache, words).run().fails(code, said);
    // A cache that does not exist is empty, and is not created.
    for words in ["list", "size", "prune", "clean", "prune --max-size 0 --dry-run", "clean debian --dry-run"]
    {
        cache_command(&cache, words).run().success();
    }
    assert!(!cache.exists());
    assert_eq!(json(&cache, "size")["bytes"], 0);
    fails("prune --older-than 30", ExitCode::Usage, &["`30`", "--older-than", "hint: ", "`30d`"]);
    fails("prune --older-than 1month", ExitCode::Usage, &["1month", "hint: "]);
    fails("prune --max-size 5", ExitCode::Usage, &["`5`", "--max-size", "hint: ", "`5GB`"]);
    fails("clean debain", ExitCode::Usage, &["`debain`", "hint: "]);
    fails("clean ../other", ExitCode::Usage, &["`../other`", "hint: "]);

    fs::create_dir_all(cache.join("rootfs")).expect("a directory of the test");
    fs::create_dir_all(cache.join("bases/x")).expect("a directory of the test");
    tool("chmod").args(["-R", "700"]).arg(&cache).run().success();
    for (path, size) in
        [("rootfs/a", 3_000_000), ("rootfs/b", 2_000_000), ("bases/x/c", 1_000_000), ("mine", 9)]
    {
        fs::write(cache.join(path), vec![0; size]).expect("a directory of the test");
    }
    fs::write(place.path().join("beside"), b"x").expect("a directory of the test");
    std::os::unix::fs::symlink(place.path(), cache.join("layouts")).expect("a directory of the test");
    age(&cache.join("rootfs/a"), 9);
    age(&cache.join("bases"), 3);
    let state = || {
        let paths = all(&cache).into_iter();
        paths
            .map(|path| fs::symlink_metadata(&path).and_then(|found| found.modified()).expect("it is there"))
            .collect::<Vec<_>>()
    };
    let before = state();
    let said = cache_command(&cache, "prune --older-than 1w --max-size 2MB --dry-run").run().success();
    assert!(said.stdout.contains("would remove 2 entries, 4.0 MB; 2.0 MB left"), "{}", said.stdout);
    assert_eq!(state(), before);
    let said = cache_command(&cache, "prune --older-than 1w --max-size 2MB").run().success();
    assert!(said.stdout.contains("removed 2 entries, 4.0 MB; 2.0 MB left"), "{}", said.stdout);
    said.tells(&["layouts", "link", "not followed"]);
    assert!(
        cache.join("rootfs/b").exists() && !cache.join("rootfs/a").exists() && !cache.join("bases").exists()
    );
    let said = cache_command(&cache, "list").run().success().stdout;
    assert!(said.contains("not xbuild's: never removed") && said.contains("a link: not followed"), "{said}");
    cache_command(&cache, "clean").run().success();
    assert_eq!(crate::support::names(&cache), ["in-use", "layouts", "mine"]);
    assert!(place.path().join("beside").exists());
    // A cache that others may write to is refused, as by every command.
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).expect("ours");
    for words in ["list", "size", "prune", "clean"] {
        fails(words, ExitCode::Cache, &["777", "hint: ", "chmod -R go-w"]);
    }
}
