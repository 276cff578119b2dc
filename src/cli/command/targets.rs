//! `xbuild targets`: the target triples.

use clap::Args;
use serde::Serialize;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::options::ListOptions;
use crate::cli::view::{json_text, print};
use crate::settings;
use crate::target::catalog::{Libc, Target};

/// List the target triples and their platforms
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct TargetsOptions {
    #[command(flatten)]
    list: ListOptions,
}

/// A row.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct TargetRow {
    platform: String,
    triple: &'static str,
    libc: Libc,
    /// True if a build uses it by default.
    default: bool,
}

impl Run for TargetsOptions {
    fn run(&self, _: &Context<'_>) -> Result<(), Failure> {
        let rows: Vec<TargetRow> = Target::all()
            .iter()
            .map(|target| TargetRow {
                platform: target.platform.to_string(),
                triple: &target.triple,
                libc: target.libc,
                default: target.libc == Libc::Gnu
                    && settings::DEFAULT_PLATFORMS.contains(&target.platform.to_string().as_str()),
            })
            .collect();
        let text = if self.list.json { json_text(&rows) } else { target_table(&rows) };
        Ok(print(&text)?)
    }
}

fn target_table(rows: &[TargetRow]) -> String {
    let mut text = format!("{:<15} {:<32} {:<6} {}\n", "PLATFORM", "TRIPLE", "LIBC", "DEFAULT");
    for row in rows {
        let default = if row.default { "yes" } else { "" };
        let line = format!("{:<15} {:<32} {:<6} {default}", row.platform, row.triple, row.libc.to_string());
        text += line.trim_end();
        text.push('\n');
    }
    text
}
