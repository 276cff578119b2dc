//! Checks the invariants of the architecture in the sources. Each rule is itself tested on a sample that breaks it and
//! one that keeps it.

use std::fs;
use std::path::{Path, PathBuf};

/// The most lines that a file may have; a longer file must be split by topic.
const LINES: usize = 600;

/// A source file, reduced to what rules look at.
struct Source {
    /// Its path in the repository, such as `src/core/layer/mod.rs`.
    path: String,
    text: String,
    /// The same number of lines, with comments, the content of literals and test modules blanked out.
    code: String,
}

/// A violation: the number and text of the line.
type Found = (usize, String);

/// An invariant.
struct Rule {
    /// What it demands.
    name: &'static str,
    find: fn(&Source) -> Vec<Found>,
    /// A file that breaks it.
    breaks: (&'static str, &'static str),
    /// A file that looks similar and keeps it.
    keeps: (&'static str, &'static str),
}

/// The packages of several rooms, and their directories. `elf` is a package by itself.
const PACKAGES: &[(&str, &str)] = &[("xbuild_core", "src/core/"), ("xbuild_formats", "src/formats/")];
/// The only paths with ambient access, besides the programs' `main`.
const AMBIENT: &[&str] = &["src/core/sys/", "src/bin/"];
/// A server of the tests'.
const LOOPBACK: &str = "src/core/sys/loopback.rs";
/// The only paths that may write to the terminal.
const PRINTING: &[&str] = &["src/cli/", "src/bin/"];
/// The rooms, from the lowest level to the highest. A room imports rooms of lower levels and those before it on its
/// own.
const LEVELS: &[(&str, &[&str])] = &[
    ("a package of its own", &["elf"]),
    ("words", &["error", "text", "origin", "oci"]),
    ("the machine", &["sys"]),
    ("facts as data", &["target"]),
    ("formats", &["archive", "machine_paths", "layer", "rootfs", "debian"]),
    ("what is kept", &["cache"]),
    ("what an image is", &["image", "linkcheck", "event", "host"]),
    ("where images are", &["layout", "registry", "output", "transport"]),
    ("what others provide", &["packages", "toolchain"]),
    ("what is wanted", &["config", "settings", "lock"]),
    ("what goes in", &["base", "files", "payload", "vcs", "kubernetes"]),
    ("what is done", &["plan", "verify", "pipeline", "repro"]),
    ("who asks", &["cli", "bin"]),
];
/// The files of large rooms, from the lowest floor to the highest. A file imports those of lower floors and of its own;
/// the room's `mod.rs` stands above all.
const FLOORS: &[(&str, &[&[&str]])] = &[
    (
        "registry",
        &[
            // Words and errors of the protocol.
            &["challenge", "error", "labels", "parallel", "parts", "policy", "realm", "tags"],
            // Requests to one registry, with logins.
            &["answer", "client", "credentials", "endpoint", "helper", "retry", "token", "trust"],
            // What is in a repository.
            &["list", "presence", "repository", "upload"],
        ],
    ),
    (
        "settings",
        &[
            // Where values are from and how they are written.
            &["annotation", "error", "flags", "platforms", "registries", "sources", "values"],
            // The settings of one subject each.
            &["check", "destinations", "image", "lock", "output", "packages", "payload"],
            // All settings.
            &["resolve"],
        ],
    ),
    (
        "cli",
        &[
            // What is read from the command line and what is printed.
            &["log", "options", "render", "view"],
            // What several commands need.
            &["context", "images", "manifests", "toolchains"],
            // A file for each command.
            &["command"],
        ],
    ),
];
/// The rooms that only compute.
const PURE: &[&str] = &[
    "debian",
    "elf",
    "error",
    "image",
    "kubernetes",
    "linkcheck",
    "lock",
    "oci",
    "origin",
    "plan",
    "target",
    "text",
];
/// Pure functions of rooms that also do IO.
const COMPUTES: &[&str] = &[
    "crate::output::archive::familiar",
    "crate::packages::is_snapshot_date",
    "crate::packages::recipe_digest",
    "crate::packages::sort_packages",
    "crate::packages::suites_of",
    "crate::toolchain::choose",
];

/// Architectures and their variants, in the names of images, of triples and of the kernel.
const ARCHITECTURES: &[&str] = &[
    "386",
    "aarch64",
    "amd64",
    "arm",
    "arm64",
    "armhf",
    "armv7",
    "armv7l",
    "i686",
    "loong64",
    "loongarch64",
    "ppc64le",
    "riscv64",
    "s390x",
    "v5",
    "v6",
    "v7",
    "v8",
    "x86_64",
];
/// Where names of platforms are parsed.
const NAMES_PLATFORMS: &[&str] = &["src/core/target/platform.rs"];

/// Words that are part of a name in these paths only. Other rooms have names that fit anything of the kind.
const WORDS: &[(&[&str], &[&str])] = &[
    (
        &["alpine", "apk", "apt", "debian", "dpkg"],
        &[
            "src/packages/",
            "src/formats/debian/",
            "src/formats/mod.rs",
            "src/lib.rs",
            // They type the keys of `targets/*.toml` and of the files that users write.
            "src/core/target/catalog.rs",
            "src/config/",
            // The tests' paths to the internals.
            "src/internal.rs",
        ],
    ),
    (
        &["clang", "zig"],
        &[
            "src/toolchain/",
            // It types the keys of `targets/*.toml`.
            "src/core/target/catalog.rs",
            // It reads what compilers print.
            "src/payload/cargo/explain/",
        ],
    ),
    (
        &["cargo"],
        &[
            "src/payload/",
            // Rust's toolchain includes cargo, and cargo calls the driver.
            "src/toolchain/",
            // The program `cargo-xbuild`.
            "src/bin/",
            "src/internal.rs",
        ],
    ),
];

const RULES: &[Rule] = &[
    Rule {
        name: "the words of one room are no part of names in others",
        find: |source| {
            let foreign = WORDS.iter().filter(|(_, paths)| !within(source, paths));
            let foreign: Vec<&str> = foreign.flat_map(|(words, _)| words.iter().copied()).collect();
            let has = |line: &str| words(line).iter().any(|word| foreign.contains(&word.as_str()));
            lines(&source.code).filter(|(_, line)| has(line)).map(owned).collect()
        },
        breaks: ("src/base/mod.rs", "fn f(pin: &DebianPin) {}\n"),
        keeps: (
            "src/base/mod.rs",
            "// As apt does.\nfn f(adapted: &Captain) -> &'static str {\n    \"apt:bookworm\"\n}\n",
        ),
    },
    Rule {
        name: "what differs by architecture is data of `targets/`, and machines are known to `elf` alone",
        find: |source| {
            if within(source, NAMES_PLATFORMS) {
                return Vec::new();
            }
            let product = lines(&source.text).take(source.code.lines().count());
            let names = |line: &str| {
                let literals = line.split('"').skip(1).step_by(2);
                !line.trim_start().starts_with("//")
                    && literals.into_iter().any(|text| ARCHITECTURES.contains(&text))
            };
            let mut found: Vec<Found> = product.filter(|(_, line)| names(line)).map(owned).collect();
            let machine = |path: &str| path.rsplit("::").next().is_some_and(|name| name.starts_with("EM_"));
            if room(source) != "elf" {
                found.extend(paths(source).into_iter().filter(|(_, path)| machine(path)));
            }
            found
        },
        breaks: ("src/a.rs", "fn f(name: &str) -> bool {\n    name == \"arm64\"\n}\n"),
        keeps: ("src/a.rs", "/// As in `\"arm64\"`.\nfn f() -> &'static str {\n    \"the arm64 one\"\n}\n"),
    },
    Rule {
        name: "the sources know nothing of emulators",
        find: |source| {
            let words = ["qemu", "binfmt"];
            let has = |line: &str| words.iter().any(|word| line.to_ascii_lowercase().contains(word));
            lines(&source.text).filter(|(_, line)| has(line)).map(owned).collect()
        },
        breaks: ("src/a.rs", "// Runs under QEMU.\n"),
        keeps: ("src/a.rs", "// Runs nowhere.\n"),
    },
    Rule {
        name: "threads are started in ways that tell when there are none",
        find: |source| {
            let panics = ["thread::spawn(", "scope.spawn("];
            let has = |line: &str| panics.iter().any(|call| line.contains(call));
            let product = |_: &(usize, &str)| !source.path.ends_with("tests.rs") && source.path != LOOPBACK;
            lines(&source.code).filter(product).filter(|(_, line)| has(line)).map(owned).collect()
        },
        breaks: ("src/a.rs", "fn a() { std::thread::scope(|scope| scope.spawn(|| ())); }\n"),
        keeps: ("src/a.rs", "fn a() { std::thread::scope(|scope| threads::begin(scope, || ())); }\n"),
    },
    Rule {
        name: "files, environment, processes, sockets and clocks are reached through `sys` only",
        find: |source| {
            let ambient = [
                "std::fs",
                "std::env",
                "std::process",
                "std::net",
                "std::os::unix::process",
                "std::os::unix::fs",
                "std::thread::sleep",
                "std::time::Instant",
                "std::time::SystemTime",
                "thread::sleep",
                "time::Instant",
                "time::SystemTime",
                "process::exit",
                "fs_err",
                "tempfile",
                "rustix",
                "ureq",
                "rustls_native_certs",
            ];
            if within(source, AMBIENT) { Vec::new() } else { mentions(source, &ambient) }
        },
        breaks: ("src/a.rs", "use std::{collections::BTreeMap, fs::File};\n"),
        keeps: ("src/a.rs", "use crate::sys::fs::File;\n// std::fs is for others\n"),
    },
    Rule {
        name: "only `cli` writes to stdout and stderr",
        find: |source| {
            let printing = [
                "print!",
                "println!",
                "eprint!",
                "eprintln!",
                "dbg!",
                "std::io::stdout",
                "std::io::stderr",
                "io::stdout",
                "io::stderr",
                "anstream::stdout",
                "anstream::stderr",
                "anstream::println!",
                "anstream::eprintln!",
            ];
            if within(source, PRINTING) { Vec::new() } else { mentions(source, &printing) }
        },
        breaks: ("src/layer.rs", "use std::io;\nfn f() {\n    g(io::stdout());\n}\n"),
        keeps: ("src/cli/mod.rs", "fn f() {\n    println!(\"done\");\n}\n"),
    },
    Rule {
        name: "pure rooms take types and constants from rooms that do IO, and no functions",
        find: |source| {
            if !PURE.contains(&room(source)) {
                return Vec::new();
            }
            let does_io = |path: &str| {
                let Some(rest) = path.strip_prefix("crate::") else { return false };
                let mut parts = rest.split("::");
                let other = parts.next().unwrap_or_default();
                let is_type = parts.any(|part| part.starts_with(|letter: char| letter.is_ascii_uppercase()));
                let cancels = path.starts_with("crate::sys::cancel");
                !PURE.contains(&other) && !is_type && !cancels && !COMPUTES.contains(&path)
            };
            paths(source).into_iter().filter(|(_, path)| does_io(path)).collect()
        },
        breaks: ("src/plan/mod.rs", "use crate::sys::{cancel::Cancel, process};\n"),
        keeps: ("src/plan/mod.rs", "use crate::sys::cancel::Cancel;\nuse crate::base::BaseFacts;\n"),
    },
    Rule {
        name: "a room imports rooms of lower levels, and those before it in its own",
        find: |source| {
            let Some(own) = rank(room(source)) else {
                let crate_itself = ["lib", "mod", "internal"].contains(&room(source));
                return if crate_itself { Vec::new() } else { vec![(1, "it has no level".to_owned())] };
            };
            // By the names of the packages, no rule would see which room is meant.
            let packages = PACKAGES.iter().map(|(package, _)| *package).chain(["xbuild_elf"]);
            let packages: Vec<&str> = packages.collect();
            let by_package =
                |path: &str| path.split("::").next().is_some_and(|first| packages.contains(&first));
            let upward = |path: &str| {
                let other = path.strip_prefix("crate::").and_then(|rest| rest.split("::").next());
                other.is_some_and(|other| other != room(source) && rank(other).is_none_or(|rank| rank >= own))
            };
            paths(source).into_iter().filter(|(_, path)| upward(path) || by_package(path)).collect()
        },
        breaks: ("src/layer/mod.rs", "use crate::{oci::Digest, settings::Settings};\n"),
        keeps: ("src/transport/mod.rs", "use crate::{layout::Layout, oci::Digest};\n"),
    },
    Rule {
        name: "a file of a large room imports files of lower floors and of its own",
        find: |source| {
            let Some((own_room, floors)) = FLOORS.iter().find(|(name, _)| *name == room(source)) else {
                return Vec::new();
            };
            let dir = format!("src/{own_room}/");
            let file = source.path.trim_start_matches(&dir);
            let Some(name) = file.split('/').next().map(|name| name.trim_end_matches(".rs")) else {
                return Vec::new();
            };
            let floor = |name: &str| floors.iter().position(|files| files.contains(&name));
            let Some(own) = floor(name) else {
                return if name == "mod" { Vec::new() } else { vec![(1, "it has no floor".to_owned())] };
            };
            // Within a file, so many `super::` lead to the room.
            let up = "super::".repeat(file.trim_end_matches("/mod.rs").split('/').count());
            let upward = |path: &str| {
                let below = path.strip_prefix(&format!("crate::{own_room}::"));
                let below = below.or_else(|| path.strip_prefix(&up));
                let other = below.and_then(|rest| rest.split("::").next());
                other.is_some_and(|other| floor(other).is_some_and(|floor| floor > own))
            };
            paths(source).into_iter().filter(|(_, path)| upward(path)).collect()
        },
        breaks: ("src/registry/client.rs", "use super::repository::Repository;\n"),
        keeps: ("src/registry/upload.rs", "use super::{client::Call, repository::Repository};\n"),
    },
    Rule {
        name: "no result is thrown away",
        find: |source| {
            let thrown = |line: &str| line.trim_start().starts_with("let _ =");
            lines(&source.code).filter(|(_, line)| thrown(line)).map(owned).collect()
        },
        breaks: ("src/a.rs", "fn f() {\n    let _ = send();\n}\n"),
        keeps: ("src/a.rs", "fn f() {\n    let _guard = lock();\n}\n"),
    },
    Rule {
        name: "nothing is unwrapped without a reason",
        find: |source| {
            let bare = |line: &str| line.contains(".unwrap()") || line.contains(".unwrap_err()");
            lines(&source.code).filter(|(_, line)| bare(line)).map(owned).collect()
        },
        breaks: ("src/a.rs", "fn f() {\n    g().unwrap();\n}\n"),
        keeps: (
            "src/a.rs",
            "fn f() {\n    g().unwrap_or_default();\n}\n#[cfg(test)]\nmod tests {\n    fn t() {\n        g().unwrap();\n    }\n}\n",
        ),
    },
    Rule {
        name: "nothing is left to be done",
        find: |source| mentions(source, &["todo!", "unimplemented!"]),
        breaks: ("src/a.rs", concat!("fn f() {\n    to", "do!()\n}\n")),
        keeps: ("src/a.rs", "fn f() {\n    unreachable!(\"todo!\")\n}\n"),
    },
    Rule {
        name: "errors carry data",
        find: |source| {
            lines(&source.code).filter(|(_, line)| line.contains("Other(String)")).map(owned).collect()
        },
        breaks: ("src/a.rs", "enum Error {\n    Other(String),\n}\n"),
        keeps: ("src/a.rs", "enum Error {\n    Io(std::io::Error),\n}\n"),
    },
    Rule {
        name: "what an error or a finding is, its data says and not its words",
        find: |source| {
            let fields = ["reason", "message", "hint", "why"];
            let compared = ["contains(\"", "starts_with(\"", "ends_with(\"", "strip_prefix(\""];
            let has = |line: &str| {
                fields.iter().any(|field| {
                    let names = |text: String| {
                        line.match_indices(&text).any(|(at, _)| {
                            let before = line[..at].chars().next_back();
                            before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_')
                        })
                    };
                    compared.iter().any(|call| names(format!("{field}.{call}")))
                        || names(format!("{field} == \""))
                })
            };
            let product = lines(&source.text).take(source.code.lines().count());
            product.filter(|(_, line)| !line.trim_start().starts_with("//") && has(line)).map(owned).collect()
        },
        breaks: ("src/a.rs", "fn f(reason: &str) -> bool {\n    reason.starts_with(\"no\")\n}\n"),
        keeps: (
            "src/a.rs",
            "fn f(stderr: &str) -> bool {\n    stderr.contains(\"404\") && reason.is_empty()\n}\n",
        ),
    },
    Rule {
        name: "every file says what it is for",
        find: |source| {
            let documented = source.text.starts_with("//! ") && !source.text.starts_with("//! Placeholder");
            if documented { Vec::new() } else { vec![(1, "no module documentation".to_owned())] }
        },
        breaks: ("src/a.rs", "//! Placeholder.\n"),
        keeps: ("src/a.rs", "//! What it is for.\n"),
    },
    Rule {
        name: "no file is longer than a person reads",
        find: |source| {
            let count = source.text.lines().count();
            if count > LINES { vec![(count, format!("{count} lines"))] } else { Vec::new() }
        },
        // The sample is repeated.
        breaks: ("src/long.rs", "\n"),
        keeps: ("src/a.rs", "\n"),
    },
];

#[test]
fn the_sources_keep_every_rule() {
    let sources = sources();
    assert!(sources.len() > 20, "the sources are not where they are looked for");
    let mut broken = Vec::new();
    for rule in RULES {
        for source in &sources {
            for (line, found) in (rule.find)(source) {
                broken.push(format!("{}:{line}: {}: {}", source.path, rule.name, found.trim()));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// A room's log lines are shown and filtered by the room's name.
#[test]
fn what_is_logged_is_of_a_room_that_the_log_knows() {
    let sources = sources();
    let log = sources.iter().find(|source| source.path == "src/cli/log.rs").expect("the log's source");
    let known: Vec<&str> = log.text.split('"').filter(|text| text.starts_with("xbuild")).collect();
    let levels = ["error!", "warn!", "info!", "debug!", "trace!"].map(|name| format!("tracing::{name}"));
    let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
    let mut rooms = std::collections::BTreeSet::new();
    for source in sources.iter().filter(|source| !mentions(source, &levels).is_empty()) {
        let module = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let (package, module) = PACKAGES
            .iter()
            .find_map(|(package, dir)| Some((*package, module.strip_prefix(dir)?)))
            .unwrap_or(("xbuild", module.trim_start_matches("src/")));
        let path = format!("{package}::{module}");
        let path = path.replace('/', "::");
        let below = |room: &&&str| {
            path.strip_prefix(**room).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let room = known.iter().find(below);
        rooms.insert(
            *room.unwrap_or_else(|| panic!("{path} logs, and ROOMS of src/cli/log.rs does not name it")),
        );
    }
    assert!(rooms.len() > 5, "{rooms:?}");
}

#[test]
fn every_rule_finds_what_it_forbids_and_nothing_else() {
    for rule in RULES {
        let sample = |(path, text): (&str, &str)| {
            Source::new(path, &text.repeat(if path == "src/long.rs" { LINES + 1 } else { 1 }))
        };
        assert!(!(rule.find)(&sample(rule.breaks)).is_empty(), "it finds nothing: {}", rule.name);
        let found = (rule.find)(&sample(rule.keeps));
        assert!(found.is_empty(), "it finds {found:?}: {}", rule.name);
    }
}

/// A path that does not exist any more would let a rule pass over what it is for.
#[test]
fn the_paths_that_rules_name_exist() {
    let words = WORDS.iter().flat_map(|(_, paths)| paths.iter());
    let paths = [AMBIENT, PRINTING, NAMES_PLATFORMS].into_iter().flatten().chain(words);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = PACKAGES.iter().map(|(_, dir)| *dir);
    for path in paths.copied().chain(packages).chain([LOOPBACK]) {
        assert!(root.join(path).exists(), "{path} does not exist");
    }
}

/// Every Rust source below `src`.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut dirs, mut files) = (vec![root.join("src")], Vec::<PathBuf>::new());
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a source directory") {
            let path = entry.expect("a source directory").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(root).expect("below the root").display().to_string();
        Source::new(&name, &fs::read_to_string(path).expect("a source file"))
    };
    let sources: Vec<Source> = files.iter().map(read).collect();
    let tests: Vec<String> = sources.iter().flat_map(test_modules).collect();
    let is_test = |source: &Source| tests.iter().any(|module| source.path.starts_with(module));
    sources.into_iter().filter(|source| !is_test(source)).collect()
}

/// The files and directories of the modules that a file declares for tests only.
fn test_modules(source: &Source) -> Vec<String> {
    let dir = source.path.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/lib");
    let module = |rest: &str| {
        let declaration = rest.lines().nth(1)?.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        Some(declaration.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
    };
    // A package of its own makes what its users' tests need with a feature.
    let attributes =
        ["#[cfg(test)]\n", "#[cfg(any(test, feature"].map(|start| source.code.match_indices(start));
    let names = attributes.into_iter().flatten().filter_map(|(at, _)| module(&source.code[at..]));
    names.flat_map(|name| [format!("{dir}/{name}.rs"), format!("{dir}/{name}/")]).collect()
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let mut code = blank(text);
        // By convention a file's tests are its last item, or files of their own.
        if let Some(tests) = code.find("#[cfg(test)]\nmod tests {") {
            code.truncate(tests);
        }
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

fn owned((line, text): (usize, &str)) -> Found {
    (line, text.to_owned())
}

/// The words that names in a line are made of, in lower case.
fn words(line: &str) -> Vec<String> {
    let characters: Vec<char> = line.chars().collect();
    let mut words = vec![String::new()];
    for (at, &character) in characters.iter().enumerate() {
        let is_lower = |at: Option<usize>| {
            at.and_then(|at| characters.get(at)).is_some_and(|character| character.is_lowercase())
        };
        let begins = character.is_uppercase() && (is_lower(at.checked_sub(1)) || is_lower(Some(at + 1)));
        if begins || !character.is_alphabetic() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| character.is_alphabetic()) {
            word.extend(character.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn within(source: &Source, dirs: &[&str]) -> bool {
    dirs.iter().any(|dir| source.path.starts_with(dir))
}

/// A room's position in [`LEVELS`].
fn rank(room: &str) -> Option<usize> {
    LEVELS.iter().flat_map(|(_, rooms)| rooms.iter()).position(|name| *name == room)
}

/// The top-level module that a file belongs to.
fn room(source: &Source) -> &str {
    let package = PACKAGES.iter().find_map(|(_, dir)| source.path.strip_prefix(dir));
    let name = package.unwrap_or(source.path.trim_start_matches("src/"));
    name.split('/').next().unwrap_or(name).trim_end_matches(".rs")
}

/// The paths and macros in the code that equal, or are below, one of `forbidden`.
fn mentions(source: &Source, forbidden: &[&str]) -> Vec<Found> {
    let below = |path: &str, name: &str| {
        path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    paths(source).into_iter().filter(|(_, path)| forbidden.iter().any(|name| below(path, name))).collect()
}

/// Every path in the code, with the trees of `use` expanded: `use a::{b, c::d}` is `a::b` and `a::c::d`. A macro's name
/// has its `!`.
fn paths(source: &Source) -> Vec<Found> {
    let mut found = Vec::new();
    let mut line = 1;
    let (mut prefixes, mut path): (Vec<String>, String) = (Vec::new(), String::new());
    let mut in_use = false;
    // What xbuild calls `crate::elf` is a crate.
    let root = if room(source) == "elf" { "crate::elf::" } else { "crate::" };
    let mut characters = source.code.chars().peekable();
    let flush = |path: &mut String, prefixes: &[String], line: usize, found: &mut Vec<Found>| {
        if !path.is_empty() {
            let path_in_file = format!("{}{}", prefixes.concat(), path.trim_end_matches(':'));
            found.push((line, path_in_file.replacen("crate::", root, 1)));
            path.clear();
        }
    };
    while let Some(character) = characters.next() {
        match character {
            character if character.is_alphanumeric() || character == '_' => path.push(character),
            ':' if characters.peek() == Some(&':') => {
                characters.next();
                path.push_str("::");
            }
            '!' if !path.is_empty() && characters.peek() != Some(&'=') => {
                path.push('!');
                flush(&mut path, &prefixes, line, &mut found);
            }
            '{' if in_use => prefixes.push(std::mem::take(&mut path)),
            '}' if in_use => {
                flush(&mut path, &prefixes, line, &mut found);
                prefixes.pop();
            }
            _ => {
                if path == "use" {
                    in_use = true;
                }
                // `use a as b` also yields `b`, which does no harm.
                if matches!(path.as_str(), "use" | "as") {
                    path.clear();
                }
                flush(&mut path, &prefixes, line, &mut found);
                in_use &= character != ';';
            }
        }
        line += usize::from(character == '\n');
    }
    flush(&mut path, &prefixes, line, &mut found);
    found
}

/// Replaces comments and the content of literals by blanks; line numbers stay the same.
fn blank(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let starts =
        |at: usize, word: &str| word.chars().enumerate().all(|(i, c)| characters.get(at + i) == Some(&c));
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let end = if starts(at, "//") {
            (at..characters.len()).find(|&i| characters[i] == '\n').unwrap_or(characters.len())
        } else if starts(at, "/*") {
            end_of_block(&characters, at)
        } else if let Some(end) = end_of_literal(&characters, at) {
            end
        } else {
            code.push(characters[at]);
            at += 1;
            continue;
        };
        code.extend(characters[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    code
}

/// The end of the block comment that starts at `at`; such comments nest.
fn end_of_block(characters: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i + 1 < characters.len() {
        match (characters[i], characters[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    characters.len()
}

/// The end of the string or character literal that starts at `at`, if one starts there.
fn end_of_literal(characters: &[char], at: usize) -> Option<usize> {
    let previous = at.checked_sub(1).map(|i| characters[i]);
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let hashes = characters[at + 1..].iter().take_while(|&&c| c == '#').count();
    match characters[at] {
        'r' if !previous.is_some_and(|c| word(c) && c != 'b' && c != 'c')
            && characters.get(at + 1 + hashes) == Some(&'"') =>
        {
            let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let from = at + 2 + hashes;
            let length = characters[from..].windows(closing.len()).position(|window| window == closing)?;
            Some(from + length + closing.len())
        }
        '"' => Some(closing_quote(characters, at, '"')),
        // A lifetime has no closing quote after its first character.
        '\'' if characters.get(at + 1) == Some(&'\\') || characters.get(at + 2) == Some(&'\'') => {
            Some(closing_quote(characters, at, '\''))
        }
        _ => None,
    }
}

fn closing_quote(characters: &[char], at: usize, quote: char) -> usize {
    let mut i = at + 1;
    while i < characters.len() {
        match characters[i] {
            '\\' => i += 2,
            c if c == quote => return i + 1,
            _ => i += 1,
        }
    }
    characters.len()
}

#[test]
fn comments_and_literals_are_blanked_and_nothing_else() {
    for (text, code) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        ("f(\"// \\\" x\", y)", "f(          , y)"),
        ("r#\"a\"b\"# c", "          c"),
        ("'\"' + 'a' + '\\'' + b", "    +     +      + b"),
        ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
    ] {
        let blanked = blank(text);
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(&blanked), squeeze(code), "{text}");
        assert_eq!(blanked.chars().count(), text.chars().count(), "{text}");
    }
}

#[test]
fn names_are_taken_apart_into_words() {
    for (line, expected) in [
        ("fn is_debian(&self)", "fn is debian self"),
        ("Self::ResolvedApt", "self resolved apt"),
        ("const APT_LIMIT: u8", "const apt limit u"),
        ("APTError2Apt", "apt error apt"),
        ("adapted captain", "adapted captain"),
    ] {
        assert_eq!(words(line).join(" "), expected);
    }
}

#[test]
fn test_modules_are_told_apart() {
    let text = "mod a;\n#[cfg(test)]\npub(crate) mod helper;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nfn f() {}\n#[cfg(any(test, feature = \"sample\"))]\npub mod sample;\n";
    let expected = ["helper.rs", "helper/", "tests.rs", "tests/", "sample.rs", "sample/"];
    for (path, dir) in [("src/lib.rs", "src"), ("src/a.rs", "src/a"), ("src/a/mod.rs", "src/a")] {
        let found = test_modules(&Source::new(path, text));
        assert_eq!(found, expected.map(|name| format!("{dir}/{name}")));
    }
}

#[test]
fn paths_are_spelled_out() {
    let source = Source::new(
        "src/a.rs",
        "use std::{fs::{File, copy}, env};\nfn f() { std::process::exit(1); println!(); }\n",
    );
    let found: Vec<String> = paths(&source).into_iter().map(|(_, path)| path).collect();
    for path in ["std::fs::File", "std::fs::copy", "std::env", "std::process::exit", "println!"] {
        assert!(found.iter().any(|found| found == path), "{path} is not in {found:?}");
    }
}
