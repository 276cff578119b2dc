//! Compares the link check with the real loader: images made of Debian's packages and of small programs are checked by
//! `xbuild verify` and started, natively or under qemu-user. If xbuild says that an image runs, it must run.

mod debian;
mod entrypoints;
mod image;
mod libraries;
mod loader;
mod musl;
mod neon;
pub(crate) mod packages;
mod processors;
mod programs;
mod rare;
mod warnings;
mod world;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use rayon::prelude::*;
use serde_json::Value;

use self::image::{Item, write_layer};
use self::world::{Case, World};
use crate::support::command::xbuild;
use crate::support::{repository, scratch};

/// The corpus must have at least this many images.
const FEWEST: usize = 60;
/// The share of running images that xbuild may refuse, in percent.
const MOST_WRONG_REFUSALS: usize = 1;
const BEGIN: &str = "<!-- corpus: written by its test with XBUILD_BLESS=1 -->";
const END: &str = "<!-- /corpus -->";

/// The results for an image.
struct Verdict {
    name: String,
    platform: &'static str,
    about: &'static str,
    /// True if the real loader ran it.
    runs: bool,
    /// The loader's output.
    said: String,
    /// The errors that xbuild found.
    errors: Vec<(String, String)>,
    /// The kinds of its warnings.
    warnings: Vec<String>,
    /// The warnings that are expected, if the case is about them.
    expected: Option<&'static [&'static str]>,
}

/// The parts that all tests of the corpus share.
fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::new)
}

#[test]
fn xbuild_and_the_real_loader_agree() {
    let world = world();
    let cases: Vec<Case> = debian::cases(world)
        .into_iter()
        .chain(libraries::cases(world))
        .chain(entrypoints::cases(world))
        .chain(musl::cases(world))
        .chain(neon::cases(world))
        .chain(processors::cases(world))
        .chain(rare::cases(world))
        .chain(warnings::cases(world))
        .collect();
    let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len(), "two cases have one name");

    let only = std::env::var("XBUILD_CORPUS").unwrap_or_default();
    let chosen: Vec<&Case> = cases.iter().filter(|case| case.name.contains(&only)).collect();
    let verdicts: Vec<Verdict> = chosen.par_iter().map(|case| judge(case)).collect();
    let table = table(&verdicts);
    println!("{table}");

    let wrong = |runs: bool| {
        let wrong =
            verdicts.iter().filter(|verdict| verdict.runs != runs && verdict.errors.is_empty() == runs);
        wrong.map(Verdict::describe).collect::<Vec<String>>()
    };
    let (wrong_runs, wrong_refusals) = (wrong(true), wrong(false));
    assert!(wrong_runs.is_empty(), "xbuild lets these pass, and they do not run:\n{}", wrong_runs.join("\n"));
    assert!(
        wrong_refusals.len() * 100 <= verdicts.len() * MOST_WRONG_REFUSALS,
        "xbuild refuses these, and they run:\n{}",
        wrong_refusals.join("\n")
    );
    for verdict in &verdicts {
        let expected = verdict.expected.unwrap_or_default();
        assert!(
            verdict.expected.is_none() || verdict.warnings == expected,
            "{}: warnings of {:?} instead of {expected:?}",
            verdict.name,
            verdict.warnings
        );
    }
    if only.is_empty() {
        let mut kinds = warnings::kinds_without_running(world);
        for verdict in &verdicts {
            let errors = verdict.errors.iter().map(|(kind, _)| kind.as_str());
            kinds.extend(errors.chain(verdict.warnings.iter().map(String::as_str)));
        }
        warnings::all_kinds_are_among(&kinds);
        let fail = verdicts.iter().filter(|verdict| !verdict.runs).count();
        assert!(verdicts.len() >= FEWEST && fail >= FEWEST / 3, "{} images, {fail} broken", verdicts.len());
        keep(&table);
    }
}

impl Verdict {
    fn describe(&self) -> String {
        format!("{} ({})\n  the loader: {}\n  xbuild: {:?}", self.name, self.about, self.said, self.errors)
    }
}

/// Runs both checks on an image.
fn judge(case: &Case) -> Verdict {
    let dir = scratch();
    let mut image = case.image.clone();
    for (number, items) in case.top.iter().enumerate() {
        image.layers.push(write_layer(dir.path(), number, items));
    }
    if case.ldconfig {
        let (layout, root) = (dir.path().join("without-cache"), dir.path().join("before"));
        image.write(&layout);
        loader::unpack(&layout, &root);
        loader::tool_of(image.platform, &root, &["/usr/sbin/ldconfig"]);
        let cache = fs::read(root.join("etc/ld.so.cache")).expect("ldconfig writes it");
        let items = [Item::File("etc/ld.so.cache".into(), 0o644, cache)];
        image.layers.push(write_layer(dir.path(), case.top.len(), &items));
    }
    if !case.late.is_empty() {
        image.layers.push(write_layer(dir.path(), case.top.len() + 1, &case.late));
    }
    let layout = dir.path().join("layout");
    image.write(&layout);
    let root = dir.path().join("root");
    loader::unpack(&layout, &root);
    let run = loader::runs(&image, &root, case.cpu);
    let (errors, warnings) = findings(&layout);
    let said = run.stderr.lines().chain(run.stdout.lines()).next().unwrap_or_default().to_owned();
    Verdict {
        name: case.name.clone(),
        platform: image.platform,
        about: case.about,
        runs: run.status.success(),
        said: format!("{} {said}", run.status),
        errors,
        warnings,
        expected: case.warnings,
    }
}

/// The findings of `xbuild verify`: code and message of each error, and the codes of warnings.
fn findings(layout: &Path) -> (Vec<(String, String)>, Vec<String>) {
    let finished = xbuild().words("verify --json --quiet").arg(layout).run();
    let report: Value = serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("no report ({error}): {}", finished.describe()));
    let platforms = report["platforms"].as_array().expect("a list of platforms");
    assert_eq!(platforms.len(), 1, "{report}");
    let lists = [&report["findings"], &platforms[0]["findings"]];
    let findings = lists.into_iter().flat_map(|list| list.as_array().expect("a list of findings"));
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    for finding in findings {
        let text = |key: &str| finding[key].as_str().unwrap_or_else(|| panic!("{finding}")).to_owned();
        if finding["severity"] == "error" {
            errors.push((text("check"), text("message")));
        } else {
            warnings.push(text("check"));
        }
    }
    assert_eq!(finished.status.success(), errors.is_empty(), "{}", finished.describe());
    (errors, warnings)
}

/// The verdicts as a Markdown table.
fn table(verdicts: &[Verdict]) -> String {
    let word = |runs: bool| if runs { "runs" } else { "does not run" };
    let mut text =
        "| Image | Platform | What it is | The loader | xbuild |\n|---|---|---|---|---|\n".to_owned();
    for verdict in verdicts {
        let mut codes: Vec<&str> = verdict.errors.iter().map(|(code, _)| code.as_str()).collect();
        codes.dedup();
        let ours = match codes.as_slice() {
            [] => "runs".to_owned(),
            codes => codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(" "),
        };
        let Verdict { name, platform, about, runs, .. } = verdict;
        writeln!(text, "| {name} | {platform} | {about} | {} | {ours} |", word(*runs)).expect("in memory");
    }
    let count = |runs: bool, ours: bool| {
        verdicts.iter().filter(|verdict| verdict.runs == runs && verdict.errors.is_empty() == ours).count()
    };
    format!(
        "{} images. Both say that it runs: {}; both that it does not: {}; xbuild alone that it runs: {}; xbuild alone \
         that it does not: {}.\n\n{text}",
        verdicts.len(),
        count(true, true),
        count(false, false),
        count(false, true),
        count(true, false)
    )
}

/// Checks that `docs/linkcheck.md` has the table, or writes it.
fn keep(table: &str) {
    let path = repository().join("docs/linkcheck.md");
    let text = fs::read_to_string(&path).expect("a page of the manual");
    let (head, rest) = text.split_once(BEGIN).expect("the page has a place for the table");
    let (_, tail) = rest.split_once(END).expect("the place for the table has an end");
    let wanted = format!("{head}{BEGIN}\n\n{table}\n{END}{tail}");
    if std::env::var_os("XBUILD_BLESS").is_some() {
        fs::write(&path, &wanted).expect("the repository is ours");
    }
    let stale = "docs/linkcheck.md has another table: run XBUILD_BLESS=1 cargo test --test tools corpus";
    assert!(fs::read_to_string(&path).expect("a page of the manual") == wanted, "{stale}");
}
