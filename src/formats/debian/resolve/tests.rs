//! Small archives, each of which shows something that apt does.

use std::collections::BTreeSet;

use super::super::testing::{Stanza, universe};
use super::*;
use crate::sys::cancel::Cancel;

fn names(stanzas: &[Stanza], packages: &[&str]) -> Result<Vec<String>, ResolveError> {
    with(stanzas, packages, BTreeMap::new(), &[])
}

fn with(
    stanzas: &[Stanza],
    packages: &[&str],
    without: BTreeMap<&str, Vec<&str>>,
    installed: &[Installed],
) -> Result<Vec<String>, ResolveError> {
    let universe = universe(stanzas);
    let packages: Vec<String> = packages.iter().map(|name| (*name).into()).collect();
    let request = Request { architecture: "arm64", packages: &packages, without, nowhere: &[], installed };
    Ok(resolve(&universe, &request, &Cancel::new())?
        .iter()
        .map(|chosen| chosen.record.name.to_string())
        .collect())
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
    // If one alternative is already chosen, its position does not matter.
    assert_eq!(names(&stanzas, &["d", "a"]).unwrap(), ["d", "a"]);
}

#[test]
fn a_provider_of_the_first_alternative_comes_before_a_real_package() {
    let stanzas =
        [package("a", "v | real"), Stanza::new("p", "1").field("Provides", "v"), Stanza::new("real", "1")];
    assert_eq!(names(&stanzas, &["a"]).unwrap(), ["a", "p"]);
    // A package of that name comes before those that provide it. Of these the one that the indexes name last comes
    // first.
    let stanzas = [
        package("a", "v"),
        Stanza::new("q", "1").field("Provides", "v"),
        Stanza::new("p", "1").field("Provides", "v"),
        Stanza::new("v", "1"),
    ];
    assert_eq!(names(&stanzas, &["a"]).unwrap(), ["a", "v"]);
    assert_eq!(names(&stanzas[..3], &["a"]).unwrap(), ["a", "p"]);
}

#[test]
fn what_is_chosen_deep_down_counts_for_what_comes_after() {
    // Breadth first, `x` would be chosen for `a` before `b` is looked at.
    let stanzas =
        [package("a", "b, x | y"), package("b", "c"), package("c", "y"), package("x", ""), package("y", "")];
    assert_eq!(names(&stanzas, &["a"]).unwrap(), ["a", "b", "y", "c"]);
}

#[test]
fn any_architecture_is_a_word_of_packages_that_allow_it() {
    let plain = [package("a", "b:any"), Stanza::new("b", "1")];
    assert!(names(&plain, &["a"]).is_err());
    let allowed = [package("a", "b:any"), Stanza::new("b", "1").field("Multi-Arch", "allowed")];
    assert_eq!(names(&allowed, &["a"]).unwrap(), ["a", "b"]);
}

#[test]
fn a_choice_is_taken_back_where_the_release_s_apt_would() {
    // `k` is the first choice for `n`, and conflicts with the first choice for `m`.
    let archive = |apt: &str| {
        [
            Stanza::new("apt", apt),
            package("a", "m, n"),
            package("m", "x | y"),
            package("n", "k | l"),
            Stanza::new("k", "1").field("Conflicts", "x"),
            Stanza::new("l", "1"),
            Stanza::new("x", "1"),
            Stanza::new("y", "1"),
        ]
    };
    assert_eq!(names(&archive("3.0.4"), &["a"]).unwrap(), ["a", "m", "n", "x", "l"]);
    assert!(names(&archive("2.6.1"), &["a"]).is_err());
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
    // A Breaks of another version does not count, and a package does not conflict with itself.
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
        allowed: false,
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

/// apt's choices for excerpts of its indexes, or for made-up archives: `benches/apt.py record` writes them.
const RECORDED: [(&str, &str, &str); 4] = [
    ("bookworm-arm64", "arm64", include_str!("../../../../tests/apt/bookworm-arm64.txt")),
    ("trixie-amd64", "amd64", include_str!("../../../../tests/apt/trixie-amd64.txt")),
    ("imagined-bookworm", "amd64", include_str!("../../../../tests/apt/imagined-bookworm.txt")),
    ("imagined-trixie", "amd64", include_str!("../../../../tests/apt/imagined-trixie.txt")),
];

#[test]
fn chooses_what_apt_chose() {
    let (mut asked, mut different) = (0, Vec::new());
    for (file, architecture, text) in RECORDED {
        // A record has its requests, each with apt's choice, and the archive that they were made for.
        for record in text.split("# apt ").filter(|record| !record.is_empty()) {
            let (questions, archive) = record.split_once("\n\n").unwrap();
            let universe = recorded(archive);
            let lines: Vec<&str> = questions.lines().collect();
            for pair in lines[1..].chunks(2) {
                let packages: Vec<String> =
                    pair[0].trim_start_matches("? ").split(' ').map(Into::into).collect();
                let request = Request { architecture, packages: &packages, ..Request::default() };
                let ours = match resolve(&universe, &request, &Cancel::new()) {
                    Ok(chosen) => {
                        let names: BTreeSet<&str> = chosen.iter().map(|one| &*one.record.name).collect();
                        format!("= {}", names.into_iter().collect::<Vec<_>>().join(" "))
                    }
                    Err(_) => "!".to_owned(),
                };
                let mut theirs: Vec<&str> = pair[1].split(' ').skip(1).collect();
                theirs.sort_unstable();
                let theirs = if pair[1] == "!" { "!".into() } else { format!("= {}", theirs.join(" ")) };
                asked += 1;
                if ours != theirs {
                    different
                        .push(format!("{file}, apt {}: {}\n apt {theirs}\nours {ours}", lines[0], pair[0]));
                }
            }
        }
    }
    assert!(different.is_empty(), "{} of {asked} differ:\n{}", different.len(), different.join("\n"));
    assert!(asked >= 110, "{asked}");
}

/// An archive without the fields that do not matter.
fn recorded(archive: &str) -> Universe {
    let mut text = String::new();
    for paragraph in archive.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        text.push_str(paragraph.trim());
        if !paragraph.contains("\nPriority: ") {
            text.push_str("\nPriority: optional");
        }
        let digest = "0".repeat(64);
        text.extend(["\nFilename: p\nSize: 1\nSHA256: ", &digest, "\n\n"]);
    }
    let mut universe = Universe::default();
    universe.read("http://mirror.example/debian", text.as_bytes(), &Cancel::new()).unwrap();
    universe
}

/// An image declares what is installed in it: any number of times, and of any size.
#[test]
fn what_is_installed_is_read_once_and_until_it_is_stopped() {
    let one = |name: &str, provides: String, conflicts: String| Installed {
        name: name.into(),
        version: "1".parse().unwrap(),
        provides,
        conflicts,
        allowed: false,
    };
    let many = "x, ".repeat(20_000) + "x";
    let installed = [one("a", many.clone(), String::new()), one("b", String::new(), many)];
    let universe = universe(&[]);
    let request = Request { installed: &installed, ..Request::default() };
    let graph = Graph::new(&universe, &request, &Cancel::new()).unwrap();
    assert_eq!(graph.packages[1].conflicts.iter().map(Vec::len).max(), Some(1));
    let cancel = Cancel::new();
    cancel.interrupt();
    assert!(matches!(resolve(&universe, &request, &cancel), Err(ResolveError::Cancelled(_))));
}
