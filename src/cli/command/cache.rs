//! `xbuild cache`: lists what is cached between runs and its size, and removes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cache::{
    self, DEFAULT_AGE, GUARD, KINDS, Kept, KeptFor, Outcome, Pruning, Reason, Selection, Survey, TEMPORARY,
    Task,
};
use crate::cli::context::{Context, Failure, Run};
use crate::cli::options::ListOptions;
use crate::cli::view::{json_text, print};
use crate::event::{Event, Level, Reporter};
use crate::settings;
use crate::text::size;

/// Show what is cached between runs, and remove what is no longer needed
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List what is cached: what each kind is for, its size, and when it was last used
    List(ListOptions),
    /// Print how many bytes are cached, in total and by kind
    Size(ListOptions),
    /// Remove what was not used for a long time, then the least recently used until the rest fits
    #[command(after_help = "\
It may run while builds run: what they use stays. Without --older-than and --max-size, what was not
used for 30 days is removed. The newest releases seen always stay: they guard against older ones.

Examples:
  xbuild cache prune --dry-run
  xbuild cache prune --older-than 7d --max-size 5GB")]
    Prune(PruneOptions),
    /// Remove everything, or the given kinds
    #[command(after_help = "\
`xbuild cache list` shows the kinds; `debian` means all kinds below it except the newest releases seen.
What a running build uses stays.

Examples:
  xbuild cache clean
  xbuild cache clean zig-2 registry")]
    Clean(CleanOptions),
}

impl CacheCommand {
    /// The command's name, for messages about its time limit.
    const fn name(&self) -> &'static str {
        match self {
            Self::List(_) => "`xbuild cache list`",
            Self::Size(_) => "`xbuild cache size`",
            Self::Prune(_) => "`xbuild cache prune`",
            Self::Clean(_) => "`xbuild cache clean`",
        }
    }
}

/// `xbuild cache prune`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PruneOptions {
    /// Remove what was not used for this time: 30d, 2w, 12h
    #[arg(long, value_name = "TIME")]
    older_than: Option<String>,
    /// Then remove the least recently used, until the cache has at most this size: 5GB, 500MiB
    #[arg(long, value_name = "SIZE")]
    max_size: Option<String>,
    #[command(flatten)]
    show: ShowOptions,
}

/// `xbuild cache clean`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CleanOptions {
    /// The kinds to remove, as `xbuild cache list` names them [default: everything]
    #[arg(value_name = "KIND")]
    kinds: Vec<String>,
    #[command(flatten)]
    show: ShowOptions,
}

/// Options that the removing commands share.
#[derive(Clone, Copy, Debug, Args)]
struct ShowOptions {
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print JSON, with every path
    #[arg(long)]
    json: bool,
}

impl Run for CacheCommand {
    fn limit(&self) -> Option<(&'static str, Option<&str>)> {
        Some((self.name(), None))
    }

    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let path = context.machine(false)?.cache;
        match self {
            Self::List(ListOptions { json }) => {
                let list = List::of(&path, &cache::survey(&path, context.cancel)?);
                Ok(print(&if *json { json_text(&list) } else { list.table() })?)
            }
            Self::Size(ListOptions { json }) => {
                let size = Size::of(&List::of(&path, &cache::survey(&path, context.cancel)?));
                Ok(print(&if *json { json_text(&size) } else { size.table() })?)
            }
            Self::Prune(options) => remove(context, &path, &options.task()?, options.show),
            Self::Clean(CleanOptions { kinds, show }) => {
                remove(context, &path, &Task::Clean(Selection::named(kinds)?), *show)
            }
        }
    }
}

impl PruneOptions {
    fn task(&self) -> Result<Task, settings::Error> {
        let older_than = self.older_than.as_deref();
        let older_than = older_than.map(|text| settings::resolve_age("--older-than", text)).transpose()?;
        let max_size = self.max_size.as_deref();
        let max_size = max_size.map(|text| settings::resolve_most("--max-size", text)).transpose()?;
        let older_than = older_than.or(max_size.is_none().then_some(DEFAULT_AGE));
        Ok(Task::Prune { older_than, max_size })
    }
}

/// A kind in `xbuild cache list`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    /// Its name, which is its directory below the cache.
    kind: &'static str,
    /// What it is for.
    purpose: &'static str,
    /// The number of its entries, each of which is stored and removed as a whole.
    entries: usize,
    /// The sum of the lengths of their files.
    bytes: u64,
    /// When an entry was last used or written; `None` if there are no entries.
    last_used: Option<String>,
    /// Whether pruning removes entries: `by-age`, `always` or `never`.
    pruned: &'static str,
}

/// What `xbuild cache list --json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct List {
    /// The cache's directory, which need not exist.
    path: String,
    /// The sum of the kinds' bytes.
    bytes: u64,
    kinds: Vec<Row>,
    /// Paths below the cache that are not xbuild's, or a newer version's. They are not counted and never removed.
    unknown: Vec<String>,
    /// Paths of kinds that are links. They are not counted either.
    links: Vec<String>,
}

impl List {
    fn of(path: &Path, survey: &Survey) -> Self {
        let row = |kind: &'static str, purpose: &'static str, pruned: &'static str| {
            let entries = survey.entries.iter();
            let entries = entries.filter(|entry| entry.kind.map_or(TEMPORARY, |kind| kind.name) == kind);
            let (mut count, mut bytes, mut last) = (0, 0, None);
            for entry in entries {
                count += 1;
                bytes += entry.bytes;
                last = last.max(Some(entry.last_used()));
            }
            (count > 0).then(|| Row {
                kind,
                purpose,
                entries: count,
                bytes,
                last_used: last.and_then(moment),
                pruned,
            })
        };
        let pruned = |pruning: Pruning| match pruning {
            Pruning::ByAge => "by-age",
            Pruning::Obsolete => "always",
            Pruning::Never => "never",
        };
        let mut kinds: Vec<Row> =
            KINDS.iter().filter_map(|kind| row(kind.name, kind.purpose, pruned(kind.pruning))).collect();
        kinds.extend(row(TEMPORARY, "temporary files and locks of runs, and leftovers", "always"));
        Self {
            path: path.display().to_string(),
            bytes: kinds.iter().map(|row| row.bytes).sum(),
            kinds,
            unknown: survey.unknown.iter().map(|path| path.display().to_string()).collect(),
            links: survey.links.iter().map(|(_, path)| path.display().to_string()).collect(),
        }
    }

    fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        writeln!(text, "{:<20} {:>9} {:>7} {:<10} PURPOSE", "KIND", "SIZE", "ENTRIES", "LAST USED").ok();
        for row in &self.kinds {
            let used = row.last_used.as_deref().and_then(|used| used.get(..10)).unwrap_or("-");
            let (name, bytes) = (row.kind, size(row.bytes));
            writeln!(text, "{name:<20} {bytes:>9} {:>7} {used:<10} {}", row.entries, row.purpose).ok();
        }
        for path in &self.unknown {
            writeln!(text, "{path:<20} {:>9} {:>7} {:<10} not xbuild's: never removed", "-", "-", "-").ok();
        }
        for path in &self.links {
            writeln!(text, "{path:<20} {:>9} {:>7} {:<10} a link: not followed", "-", "-", "-").ok();
        }
        writeln!(text, "{:<20} {:>9} {:>7} {:<10} {}", "all", size(self.bytes), "", "", self.path).ok();
        text
    }
}

/// What `xbuild cache size --json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Size {
    /// The cache's directory, which need not exist.
    path: String,
    /// The sum of the kinds' bytes.
    bytes: u64,
    /// The bytes by kind.
    kinds: BTreeMap<&'static str, u64>,
}

impl Size {
    fn of(list: &List) -> Self {
        let kinds = list.kinds.iter().map(|row| (row.kind, row.bytes)).collect();
        Self { path: list.path.clone(), bytes: list.bytes, kinds }
    }

    fn table(&self) -> String {
        let mut text = String::new();
        for (kind, bytes) in &self.kinds {
            writeln!(text, "{bytes:>14} {kind}").ok();
        }
        writeln!(text, "{:>14} {}", self.bytes, self.path).ok();
        text
    }
}

/// Formats a time as RFC 3339.
fn moment(seconds: i64) -> Option<String> {
    jiff::Timestamp::from_second(seconds).ok().map(|moment| moment.to_string())
}

/// What `xbuild cache prune --json` and `xbuild cache clean --json` print.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Done<'a> {
    /// The cache's directory, which need not exist.
    path: String,
    /// True for `--dry-run`, which removes nothing.
    dry_run: bool,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

fn remove(context: &Context<'_>, path: &Path, task: &Task, show: ShowOptions) -> Result<(), Failure> {
    let ShowOptions { dry_run, json } = show;
    let outcome = cache::run(path, task, dry_run, context.cancel)?;
    let reporter = context.view.reporter();
    tell_kept(&outcome.kept, reporter);
    if outcome.removed.iter().any(|one| one.kind == GUARD) {
        note(
            reporter,
            Level::Info,
            "the records of the newest releases seen are removed, too: an older release would then be accepted"
                .into(),
        );
    }
    if let Task::Prune { max_size: Some(most), .. } = task
        && outcome.left > *most
    {
        let text = format!(
            "{} are left, which is more than {}: the remaining entries are in use or never pruned",
            size(outcome.left),
            size(*most)
        );
        note(reporter, Level::Warning, text);
    }
    context.view.finish();
    let done = Done { path: path.display().to_string(), dry_run, outcome: &outcome };
    Ok(print(&if json { json_text(&done) } else { done.table() })?)
}

fn note(reporter: &dyn Reporter, level: Level, text: String) {
    reporter.report(Event::Note { level, platform: None, text });
}

/// Reports what was not removed and why, one line per reason and kind.
fn tell_kept(kept: &[Kept], reporter: &dyn Reporter) {
    let mut groups: BTreeMap<(KeptFor, &str), Vec<&Kept>> = BTreeMap::new();
    for one in kept {
        groups.entry((one.reason, one.kind)).or_default().push(one);
    }
    for ((reason, kind), group) in groups {
        let count = group.len();
        let (level, why) = match reason {
            KeptFor::InUse => (
                Level::Info,
                "another run uses the cache and may use this; run the command again when it has ended",
            ),
            KeptFor::Locked => {
                (Level::Info, "another run has locked it; run the command again when it has ended")
            }
            KeptFor::Link => (Level::Warning, "it is a link, which is not followed"),
            KeptFor::Guard => (
                Level::Detail,
                "it guards against releases older than one already seen; `xbuild cache clean` removes it, too",
            ),
        };
        note(reporter, level, format!("{kind}: {} kept: {why}", entries(count)));
    }
}

fn entries(count: usize) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

impl Done<'_> {
    fn table(&self) -> String {
        let mut kinds: BTreeMap<(&str, Reason), (usize, u64)> = BTreeMap::new();
        for one in &self.outcome.removed {
            let sum = kinds.entry((one.kind, one.reason)).or_default();
            *sum = (sum.0 + 1, sum.1 + one.bytes);
        }
        let mut text = String::new();
        if !kinds.is_empty() {
            writeln!(text, "{:<20} {:>9} {:>7} WHY", "KIND", "SIZE", "ENTRIES").ok();
        }
        for ((kind, reason), (count, bytes)) in &kinds {
            let why = match reason {
                Reason::Unused => "not used for a long time",
                Reason::Size => "least recently used",
                Reason::Obsolete => "this version of xbuild does not read it",
                Reason::Left => "left behind by runs that have ended",
                Reason::Asked => "asked for",
            };
            writeln!(text, "{kind:<20} {:>9} {count:>7} {why}", size(*bytes)).ok();
        }
        let verb = if self.dry_run { "would remove" } else { "removed" };
        let Outcome { removed, freed, left, .. } = self.outcome;
        let entries = entries(removed.len());
        writeln!(text, "{verb} {entries}, {}; {} left in {}", size(*freed), size(*left), self.path).ok();
        text
    }
}
