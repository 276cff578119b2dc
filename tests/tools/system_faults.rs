//! Failures of the system: a full disk, faulty hardware, no more descriptors or threads, calls that are interrupted or
//! only partly done, and a clock that is set. Whatever happens, a run ends with the image or with an error that names
//! the cause, and leaves nothing half done.
//!
//! strace makes system calls of xbuild fail, but not those of programs that it starts. Partial calls come from a
//! library that is preloaded before the C library.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::support::base;
use crate::support::command::{Finished, Run, tool};
use crate::support::layout::digest_of;
use crate::support::names;
use crate::support::project::Project;
use crate::support::registry::Registry;

/// The number of runs, of all commands together.
const RUNS: u64 = 300;
/// The number of concurrent runs.
const THREADS: usize = 3;
/// The first this many calls may be made by a program's loader.
const LOADER: usize = 40;

/// System calls that fail, with the system's error.
struct Refusal {
    calls: &'static str,
    error: &'static str,
    /// The message must contain one of these.
    told: &'static [&'static str],
    /// True if it is not a failure: the call must be repeated.
    again: bool,
}

const WRITING: &str = "write,pwrite64,writev,copy_file_range,sendfile,ftruncate,fallocate";
const NAMING: &str = "rename,renameat,renameat2,link,linkat,mkdir,mkdirat,symlink,symlinkat";
const FULL: &[&str] = &["No space left on device"];
const BROKEN: &[&str] = &["Input/output error"];

const REFUSALS: [Refusal; 12] = [
    Refusal { calls: WRITING, error: "ENOSPC", told: FULL, again: false },
    Refusal { calls: WRITING, error: "EDQUOT", told: &["Disk quota exceeded"], again: false },
    Refusal { calls: WRITING, error: "EIO", told: BROKEN, again: false },
    Refusal { calls: NAMING, error: "ENOSPC", told: FULL, again: false },
    Refusal { calls: NAMING, error: "EIO", told: BROKEN, again: false },
    Refusal { calls: NAMING, error: "EROFS", told: &["Read-only file system"], again: false },
    Refusal { calls: "fsync,fdatasync", error: "EIO", told: BROKEN, again: false },
    Refusal { calls: "read,pread64,readv,getdents64", error: "EIO", told: BROKEN, again: false },
    Refusal { calls: "openat,open", error: "EMFILE", told: &["Too many open files"], again: false },
    Refusal { calls: "statx,fstat,newfstatat", error: "EIO", told: BROKEN, again: false },
    Refusal {
        calls: "clone3,clone",
        error: "EAGAIN",
        told: &["Resource temporarily unavailable"],
        again: false,
    },
    Refusal { calls: "read,pread64,write,pwrite64", error: "EINTR", told: &[], again: true },
];

/// A command. `IMAGE` is its source, `RESULT` its destination, `REGISTRY` the registry's host, `PLACE` a repository in
/// it and `RUN` a tag.
struct Case {
    words: &'static str,
    /// True if it creates something below the project.
    makes: bool,
}

const CASES: [Case; 10] = [
    Case { words: "copy oci:IMAGE oci:RESULT", makes: true },
    Case { words: "copy oci:IMAGE oci-archive:RESULT", makes: true },
    Case { words: "copy oci-archive:IMAGE.tar oci:RESULT", makes: true },
    Case { words: "pull REGISTRY/PLACE:IMAGE --output RESULT", makes: true },
    Case { words: "push oci:IMAGE REGISTRY/PLACE:RUN", makes: false },
    Case { words: "verify oci:IMAGE", makes: false },
    Case { words: "build --base oci:IMAGE --output RESULT", makes: true },
    Case { words: "build --base oci:IMAGE --output type=local,dest=RESULT", makes: true },
    Case { words: "build --base oci:IMAGE --output type=tar,dest=RESULT", makes: true },
    Case { words: "build --base oci-archive:IMAGE.tar --output type=oci,dest=RESULT", makes: true },
];

/// The images: `old` exists before, in the runs that replace something.
const IMAGES: [&str; 2] = ["new", "old"];

/// A project whose program is compiled, with the images beside it. Each thread has its own, so that runs do not wait
/// for each other's locks.
struct Place<'a> {
    project: Project,
    registry: &'a Registry,
    /// What a command makes of an image if nothing fails.
    expected: BTreeMap<(&'static str, &'static str), Tree>,
    /// The calls of a kind that a command makes.
    calls: BTreeMap<(&'static str, &'static str), Vec<Call>>,
}

/// A call: its name, and its number among the calls of this name in its thread, as strace counts.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    number: usize,
}

/// The files below a directory, or a file: the digests of their contents.
type Tree = BTreeMap<String, String>;

fn tree(path: &Path) -> Tree {
    let mut found = Tree::new();
    let mut open = vec![(path.to_owned(), String::new())];
    while let Some((path, name)) = open.pop() {
        let Ok(file) = fs::symlink_metadata(&path) else { continue };
        if file.is_dir() {
            open.extend(names(&path).into_iter().map(|child| (path.join(&child), format!("{name}/{child}"))));
            found.insert(name, "a directory".to_owned());
        } else if file.is_symlink() {
            let target = fs::read_link(&path).expect("a link");
            found.insert(name, format!("to {}", target.display()));
        } else {
            found.insert(name, digest_of(&fs::read(&path).expect("our own file")));
        }
    }
    found
}

impl<'a> Place<'a> {
    fn new(registry: &'a Registry) -> Self {
        let config = "platforms = [\"linux/amd64\", \"linux/arm64\"]\n\
             [platform.\"linux/amd64\"]\ntriple = \"x86_64-unknown-linux-musl\"\n\
             [platform.\"linux/arm64\"]\ntriple = \"aarch64-unknown-linux-musl\"\n";
        let project = Project::program("app").file("xbuild.toml", config);
        let mut place = Self { project, registry, expected: BTreeMap::new(), calls: BTreeMap::new() };
        for image in IMAGES {
            base::write_as(&place.project.path("base"), &["linux/amd64", "linux/arm64"], image);
            place.run("build --base oci:base:base --output IMAGE", image, 0).run().success();
            place.run("copy oci:IMAGE oci-archive:IMAGE.tar", image, 0).run().success();
            place.run("push oci:IMAGE REGISTRY/PLACE:IMAGE", image, 0).run().success();
        }
        for case in CASES.iter().filter(|case| case.makes) {
            let mut make = |name, images: &[&str]| {
                for image in images {
                    place.run(case.words, image, 0).run().success();
                }
                place.expected.insert((case.words, name), place.take_result());
            };
            make("new", &["new"]);
            make("old", &["old"]);
            // A copy into a layout keeps the existing images.
            make("both", &["old", "new"]);
        }
        place
    }

    fn result(&self) -> PathBuf {
        self.project.path("results/result")
    }

    fn run(&self, words: &str, image: &str, number: u64) -> Run {
        fs::create_dir_all(self.project.path("results")).expect("a directory of the test");
        let place = self.project.dir().file_name().map(|name| name.to_string_lossy().to_lowercase());
        let words = words
            .replace("REGISTRY", &self.registry.host())
            .replace("PLACE", &format!("place-{}", place.unwrap_or_default()))
            .replace("IMAGE", image)
            .replace("RESULT", "results/result")
            .replace("RUN", &format!("run-{number}"));
        self.project.xbuild().words(&words)
    }

    /// Returns the result, and removes it.
    fn take_result(&self) -> Tree {
        let found = tree(&self.result());
        fs::remove_dir_all(self.project.path("results")).ok();
        found
    }

    fn log(&self) -> PathBuf {
        self.project.path("calls")
    }

    /// The same under strace, with its log.
    fn traced(&self, run: Run, calls: &str, inject: Option<&str>) -> (Finished, Vec<String>) {
        let mut wrapper = vec!["strace".to_owned(), "-fqqyb".to_owned(), "execve".to_owned()];
        wrapper.extend(["-o".to_owned(), self.log().display().to_string()]);
        wrapper.extend(["-e".to_owned(), format!("trace={calls}")]);
        wrapper.extend(["-e".to_owned(), "signal=none".to_owned()]);
        if let Some(inject) = inject {
            wrapper.extend(["-e".to_owned(), format!("inject={calls}:{inject}")]);
        }
        let finished = run.wrapped(wrapper).run();
        let log = fs::read(self.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (finished, log.unwrap_or_default().lines().map(str::to_owned).collect())
    }

    /// The calls of a kind that a command makes, without the loader's.
    fn calls(&mut self, case: &Case, calls: &'static str) -> Vec<Call> {
        if let Some(known) = self.calls.get(&(case.words, calls)) {
            return known.clone();
        }
        let (finished, log) = self.traced(self.run(case.words, "new", u64::MAX), calls, None);
        finished.success();
        self.take_result();
        let loads = |line: &String| [".so", "\\177ELF"].iter().any(|sign| line.contains(sign));
        let first = log.iter().take(LOADER).rposition(loads).map_or(0, |last| last + 1);
        let (mut counts, mut found, mut of_loader) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        for (at, line) in log.iter().enumerate() {
            let Some((thread, rest)) = line.split_once(' ') else { continue };
            let Some((name, _)) = rest.trim_start().split_once('(') else { continue };
            if !calls.split(',').any(|call| call == name) {
                continue;
            }
            let number = counts.entry((thread, name)).and_modify(|count| *count += 1).or_insert(1);
            if at < first {
                of_loader.insert(name, *number);
            } else if *number > of_loader.get(name).copied().unwrap_or(0) {
                found.push(Call { name: name.to_owned(), number: *number });
            }
        }
        self.calls.insert((case.words, calls), found.clone());
        found
    }

    /// One run with a fault of the system.
    fn refuse(&mut self, number: u64) -> Result<&'static str, String> {
        let mut random = StdRng::seed_from_u64(number);
        let case = &CASES[random.gen_range(0..CASES.len())];
        let refusal = &REFUSALS[random.gen_range(0..REFUSALS.len())];
        let replaces = case.makes && random.gen_bool(0.5);
        let calls = self.calls(case, refusal.calls);
        let Some(call) = calls.choose(&mut random) else { return Ok("nothing") };
        let when = match (refusal.again, random.gen_bool(0.5)) {
            (true, _) => format!("{}+3", call.number),
            // This call and all later ones.
            (false, true) => format!("{}+", call.number),
            (false, false) => call.number.to_string(),
        };
        if replaces {
            self.run(case.words, "old", number).run().success();
        }
        let inject = format!("error={}:when={when}", refusal.error);
        let (finished, log) = self.traced(self.run(case.words, "new", number), &call.name, Some(&inject));
        let refused: Vec<&String> = log.iter().filter(|line| line.contains("(INJECTED)")).collect();
        let about = format!(
            "run {number}: {} ({}:{inject}, replaces: {replaces})\n{}\n{}",
            case.words,
            call.name,
            refused.iter().map(|line| line.as_str()).collect::<Vec<_>>().join("\n"),
            finished.describe(),
        );
        let mute = refused.iter().any(|line| line.contains("(1<") || line.contains("(2<"));
        let none = Tree::new();
        let expected = |name| self.expected.get(&(case.words, name)).unwrap_or(&none);
        let (before, after) =
            if replaces { (expected("old"), expected("both")) } else { (&none, expected("new")) };
        let there = tree(&self.result());
        let done = there == *after || !case.makes;
        let outcome = match finished.status.code() {
            Some(0) if !done => return Err(format!("success with something else: {there:?}\n{about}")),
            Some(0) if refused.is_empty() => "not reached",
            Some(0) => "done",
            Some(_) if refusal.again => return Err(format!("an interrupted call is no failure: {about}")),
            Some(code) if [1, 2, 3, 101].contains(&code) => return Err(format!("code {code}: {about}")),
            Some(_) if !mute && !refusal.told.iter().any(|told| finished.stderr.contains(told)) => {
                return Err(format!("not told: {about}"));
            }
            Some(_) => {
                // A layout may already have blobs that it does not refer to yet.
                let unchanged = before.iter().all(|(name, file)| there.get(name) == Some(file))
                    && there.keys().all(|name| before.contains_key(name) || replaces && is_early(name));
                if !unchanged && !done {
                    return Err(format!("half there: {there:?}\n{about}"));
                }
                "refused"
            }
            None => return Err(format!("ended by a signal: {about}")),
        };
        let wanted = expected(if replaces { "both" } else { "new" }).clone();
        self.run_next(case, number, &wanted).map_err(|fault| format!("{fault}\n{about}"))?;
        Ok(outcome)
    }

    /// Whatever a run left, the next one succeeds and cleans up.
    fn run_next(&mut self, case: &Case, number: u64, wanted: &Tree) -> Result<(), String> {
        let next = self.run(case.words, "new", number).run();
        if !next.status.success() {
            return Err(format!("the next one failed: {}", next.describe()));
        }
        let left = names(&self.project.path("results"));
        let expected_name = |name: &str| case.makes && name == "result" || self.is_lock(name);
        let extra: Vec<&String> = left.iter().filter(|name| !expected_name(name)).collect();
        if !extra.is_empty() {
            return Err(format!("left over: {extra:?}"));
        }
        let again = self.take_result();
        if case.makes && again != *wanted {
            return Err(format!("the next one made something else: {again:?}"));
        }
        Ok(())
    }

    /// An empty lock file stays: it cannot be removed without a race.
    fn is_lock(&self, name: &str) -> bool {
        let path = self.project.path("results").join(name);
        fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0)
    }
}

/// Files that may be in a layout before its index refers to them.
fn is_early(name: &str) -> bool {
    name.starts_with("/blobs/sha256/") || name.starts_with("/.")
}

#[test]
fn whatever_the_system_refuses_is_told_and_nothing_is_half_there() {
    let runs = std::env::var("XBUILD_FAULT_RUNS").map_or(RUNS, |runs| runs.parse().expect("a number"));
    let registry = Registry::open();
    let (next, outcomes) = (AtomicU64::new(0), Mutex::new(BTreeMap::<&str, u64>::new()));
    let faults = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut place = Place::new(&registry);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs {
                        return;
                    }
                    let outcome = place.refuse(number).unwrap_or_else(|fault| {
                        faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
                        place.take_result();
                        "wrong"
                    });
                    *outcomes.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_default() += 1;
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{outcomes:?}");
    let faults = faults.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(faults.is_empty(), "{} of {runs} runs, {outcomes:?}:\n\n{}", faults.len(), faults.join("\n\n"));
    assert!(outcomes.get("refused").is_some_and(|count| *count > runs / 3), "{outcomes:?}");
}

/// Makes reads and writes in xbuild return early or be interrupted, and sets the clock while the program runs. Only in
/// xbuild.
const PARTIAL: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static _Atomic unsigned long long state;
static _Atomic unsigned long clocks;
static long step, step_at;
static int on;

__attribute__((constructor)) static void begin(void) {
    char name[4096];
    ssize_t size = readlink("/proc/self/exe", name, sizeof name - 1);
    const char *seed = getenv("TEST_SEED");
    if (size < 7 || !seed) return;
    name[size] = 0;
    if (strcmp(name + size - 7, "/xbuild")) return;
    unsetenv("LD_PRELOAD");
    state = strtoull(seed, 0, 10) + 1;
    if (getenv("TEST_STEP")) step = atol(getenv("TEST_STEP")), step_at = atol(getenv("TEST_STEP_AT"));
    on = getenv("TEST_PARTS") != 0;
}

static unsigned long long roll(void) {
    unsigned long long mixed = state += 0x9e3779b97f4a7c15ull;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ull;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebull;
    return mixed ^ (mixed >> 31);
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define PART(size) \
    if (on && roll() % 8 == 0) { errno = EINTR; return -1; } \
    if (on && size > 1 && roll() % 2) size = 1 + roll() % (size - 1)

ssize_t read(int fd, void *to, size_t size) { REAL(read); PART(size); return real(fd, to, size); }
ssize_t write(int fd, const void *from, size_t size) { REAL(write); PART(size); return real(fd, from, size); }
ssize_t pread64(int fd, void *to, size_t size, off64_t at) { REAL(pread64); PART(size); return real(fd, to, size, at); }
ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at) {
    REAL(pwrite64);
    PART(size);
    return real(fd, from, size, at);
}
ssize_t writev(int fd, const struct iovec *parts, int count) { REAL(writev); PART(count); return real(fd, parts, count); }

int clock_gettime(clockid_t clock, struct timespec *time) {
    REAL(clock_gettime);
    int result = real(clock, time);
    if (step && clock == CLOCK_REALTIME && ++clocks >= (unsigned long)step_at) time->tv_sec += step;
    return result;
}
"#;

#[test]
fn parts_of_calls_and_a_clock_that_is_set_change_nothing() {
    let registry = Registry::open();
    let place = Place::new(&registry);
    place.project.write("partial.c", PARTIAL);
    let at = |name: &str| place.project.path(name);
    tool("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([at("partial.so"), at("partial.c")]).text();
    for number in 0..60_u64 {
        let case = &CASES[usize::try_from(number).expect("a small number") % CASES.len()];
        let mut run = place.run(case.words, "new", number).env("LD_PRELOAD", at("partial.so"));
        run = run.env("TEST_SEED", number.to_string());
        // An hour and ten years, forwards and backwards, at several moments.
        let step = [3_600, -3_600, 315_360_000, -315_360_000]
            [usize::try_from(number / 10 % 4).expect("a small number")];
        run = if number % 2 == 0 {
            run.env("TEST_PARTS", "1")
        } else {
            run.env("TEST_STEP", step.to_string()).env("TEST_STEP_AT", (number % 7).to_string())
        };
        let finished = run.run().success();
        let made = place.take_result();
        let expected = place.expected.get(&(case.words, "new"));
        assert!(!case.makes || Some(&made) == expected, "run {number}: {}", finished.describe());
    }
}
