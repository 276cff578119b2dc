//! The table at the end of a run.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::super::style::{Paint, short_digest, span};
use crate::event::{Event, release_lines};
use crate::text::size;

/// Where Debian's packages came from, one line for each mirror; empty if there are none.
pub(super) fn releases(told: &[Event]) -> String {
    let mut lines = String::new();
    for event in told {
        let Event::Releases { base, releases, pinned } = event else { continue };
        let of_base = match pinned.as_deref() {
            None => release_lines(releases),
            Some("") => vec!["as it is pinned".to_owned()],
            Some(date) => vec![format!("as it is pinned, of {date}")],
        };
        for line in of_base {
            let before = if lines.is_empty() { "\n" } else { "" };
            // Writing to a string cannot fail.
            writeln!(lines, "{before}{base}: {line}").ok();
        }
    }
    lines
}

/// What was built, one row per platform in platform order; empty if nothing was built.
pub(super) fn table(built: &[Event], paint: Paint) -> String {
    let mut rows: Vec<_> = built
        .iter()
        .filter_map(|event| match event {
            Event::Built { platform, triple, toolchain, base, digest, size: bytes, milliseconds } => {
                let cells = [
                    platform.to_string(),
                    triple.clone(),
                    toolchain.clone(),
                    base.clone(),
                    size(*bytes),
                    short_digest(digest).to_owned(),
                    span(*milliseconds),
                ];
                Some((platform.clone(), cells))
            }
            _ => None,
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    rows.sort();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["PLATFORM", "TRIPLE", "TOOLCHAIN", "BASE", "SIZE", "DIGEST", "TIME"]);
    for (_, cells) in rows {
        table.add_row(cells);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        // No margin on the left, two spaces between columns.
        column.set_padding((0, 2));
        if matches!(index, 4 | 6) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for (index, line) in table.to_string().lines().enumerate() {
        let line = line.trim_end();
        text += &if index == 0 { paint.strong(line) } else { line.to_owned() };
        text.push('\n');
    }
    text
}
