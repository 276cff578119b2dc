//! `xbuild ls`: the images of a layout, an archive or a repository.

use std::path::Path;

use clap::{Args, ValueHint};
use serde::Serialize;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::images::Images;
use crate::cli::options::Limit;
use crate::cli::view::{json_text, print, table};
use crate::layout::choose::names_of;
use crate::sys::fs;
use crate::text::size;
use crate::transport::{Location, LocationError, Selector, TransportError, summary};

/// List the images of a layout, an archive or a repository
#[derive(Clone, Debug, Args)]
pub(crate) struct ListImages {
    /// A layout, an archive, or a repository for all its tags [default: every layout in target/xbuild]
    #[arg(value_hint = ValueHint::AnyPath)]
    image: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limit: Limit,
}

/// A row of `xbuild ls`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    /// The path of the layout or archive.
    image: String,
    /// The image's names there.
    names: Vec<String>,
    digest: String,
    platforms: Vec<String>,
    /// The bytes of all documents and blobs, each counted once.
    total_size: u64,
}

impl Run for ListImages {
    fn limit(&self) -> Option<(&'static str, Option<&str>)> {
        Some(("`xbuild ls`", self.limit.timeout.as_deref()))
    }

    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        Images::run(context, [], |images| {
            let locations = match &self.image {
                Some(text) => vec![images.locate(text)?],
                None => default_layouts()?,
            };
            let locations = images.with_tags(locations)?;
            let mut rows: Vec<Row> = Vec::new();
            for location in locations {
                images.opener().each(&location, &mut |source| {
                    let (platforms, total_size) = summary(source, context.cancel)?;
                    let mut names = Vec::new();
                    // If there are both a full name and its tag, the full name.
                    for name in source.named().iter().filter_map(|entry| names_of(entry).into_iter().next()) {
                        if !names.contains(&name) {
                            names.push(name);
                        }
                    }
                    rows.push(Row {
                        image: location.place().to_string(),
                        names,
                        digest: source.root().digest.to_string(),
                        platforms: platforms.iter().map(ToString::to_string).collect(),
                        total_size,
                    });
                    Ok(())
                })?;
            }
            rows.sort_by(|a, b| (&a.image, &a.names).cmp(&(&b.image, &b.names)));
            context.view.finish();
            Ok(print(&if self.json { json_text(&rows) } else { text(&rows) })?)
        })
    }
}

/// The layouts that builds in this directory have written.
fn default_layouts() -> Result<Vec<Location>, TransportError> {
    let dir = Path::new("target/xbuild");
    let nothing = || LocationError::Nothing(dir.display().to_string());
    let io = |source| TransportError::Io { shown: dir.display().to_string(), source };
    let entries = fs::unless_missing(fs::read_dir(dir)).map_err(io)?.ok_or_else(nothing)?;
    let mut layouts = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        if path.join("oci-layout").is_file() {
            layouts.push(Location::Layout { path, selector: Selector::Only });
        }
    }
    layouts.sort();
    if layouts.is_empty() { Err(nothing().into()) } else { Ok(layouts) }
}

fn text(rows: &[Row]) -> String {
    let mut lines = vec![["IMAGE", "NAMES", "DIGEST", "PLATFORMS", "SIZE"].map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        [
            row.image.clone(),
            if row.names.is_empty() { "-".into() } else { row.names.join(", ") },
            row.digest.chars().take(19).collect(),
            row.platforms.join(", "),
            size(row.total_size),
        ]
    }));
    table::columns(&lines)
}
