//! `xbuild inspect`: an image as a tree.

use std::fmt::Write as _;

use clap::Args;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::images::{Images, PLACES};
use crate::cli::options::Limit;
use crate::cli::view::{json_text, print, print_bytes};
use crate::target::platform::Platform;
use crate::text::size;
use crate::text::visible::line;
use crate::transport::{ImageInspection, Inspection, LayerInspection, inspect};

/// Show what an image is made of: index, platforms, configurations, layers, and what was added to the base
#[derive(Clone, Debug, Args)]
#[command(after_help = PLACES)]
pub(crate) struct InspectOptions {
    /// The image
    image: String,
    /// Print JSON
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    /// Print the index or manifest byte for byte
    #[arg(long)]
    raw: bool,
    /// Only this platform
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    #[command(flatten)]
    limit: Limit,
}

impl Run for InspectOptions {
    fn limit(&self) -> Option<(&'static str, Option<&str>)> {
        Some(("`xbuild inspect`", self.limit.timeout.as_deref()))
    }

    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        Images::run(context, [], |images| {
            let mut source = images.open(&self.image)?;
            if let Some(platform) = &self.platform {
                let manifest = source.manifest_for(platform)?;
                source.narrow(manifest);
            }
            if self.raw {
                let bytes = source.document(source.root())?;
                context.view.finish();
                return Ok(print_bytes(&bytes)?);
            }
            let found = inspect(&source, context.cancel)?;
            context.view.finish();
            Ok(print(&if self.json { json_text(&found) } else { text(&found) })?)
        })
    }
}

/// How many of an added layer's files are shown.
const MOST_FILES: usize = 12;

/// A line of a tree with the lines below it.
struct Node {
    text: String,
    below: Vec<Self>,
}

impl Node {
    fn new(text: impl Into<String>) -> Self {
        Self::with(text, Vec::new())
    }

    fn with(text: impl Into<String>, below: Vec<Self>) -> Self {
        Self { text: line(&text.into()).into_owned(), below }
    }

    fn write(&self, text: &mut String, indent: &str) {
        for (number, node) in self.below.iter().enumerate() {
            let last = number + 1 == self.below.len();
            let (branch, more) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
            // Writing to a string cannot fail.
            writeln!(text, "{indent}{branch}{}", node.text).ok();
            node.write(text, &format!("{indent}{more}"));
        }
    }
}

/// The image as a tree.
fn text(found: &Inspection) -> String {
    let is_index = crate::oci::media_type::is_index(&found.media_type);
    let kind = if is_index { "index" } else { "manifest" };
    let mut below: Vec<Node> = found.annotations.iter().map(|(key, value)| pair(key, value)).collect();
    if !below.is_empty() {
        below = vec![Node::with("annotations", below)];
    }
    below.extend(found.images.iter().map(image));
    below.extend(found.artifacts.iter().map(|artifact| {
        let about = artifact.about.as_ref().map_or_else(String::new, |about| format!("  of {about}"));
        Node::new(format!("{}  {}  {}{about}", artifact.kind, artifact.digest, size(artifact.size)))
    }));
    let names = if found.names.is_empty() {
        String::new()
    } else {
        format!("named {}\n", line(&found.names.join(", ")))
    };
    let mut text = format!(
        "{}\n{names}{kind} {}  {}  ({} in all)\n",
        line(&found.reference),
        found.digest,
        size(found.size),
        size(found.total_size)
    );
    Node::with("", below).write(&mut text, "");
    text
}

fn pair(key: &str, value: &str) -> Node {
    Node::new(format!("{key}: {value}"))
}

fn image(image: &ImageInspection) -> Node {
    let mut below = vec![config(image)];
    let (added, base): (Vec<_>, Vec<_>) = image.layers.iter().partition(|layer| layer.added);
    let base_name = image.base.as_ref().map_or_else(String::new, |base| {
        let digest = base.digest.as_ref().map_or_else(String::new, |digest| format!("  {digest}"));
        format!("  {}{digest}", base.name)
    });
    let bytes = |layers: &[&LayerInspection]| {
        size(layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size)))
    };
    match (base.is_empty(), added.is_empty()) {
        (true, _) => below.extend(added.iter().map(|node| layer(node))),
        (false, true) => below.extend(base.iter().map(|node| layer(node))),
        (false, false) => {
            let text = format!("base{base_name}  {}", bytes(&base));
            below.push(Node::with(text, base.iter().map(|node| layer(node)).collect()));
            let text = format!("added to the base  {}", bytes(&added));
            below.push(Node::with(text, added.iter().map(|node| layer(node)).collect()));
        }
    }
    Node::with(format!("{}  {}  {}", image.platform, image.digest, size(image.size)), below)
}

fn config(image: &ImageInspection) -> Node {
    let run = &image.run;
    let mut below = Vec::new();
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            below.push(pair(name, &value));
        }
    };
    row("created", run.created.clone().unwrap_or_default());
    row("entrypoint", shell_words::join(&run.entrypoint));
    row("cmd", shell_words::join(&run.cmd));
    row("user", run.user.clone().unwrap_or_default());
    row("workdir", run.workdir.clone().unwrap_or_default());
    row("expose", run.expose.join(", "));
    row("env", shell_words::join(&run.env));
    for (key, value) in &run.labels {
        row(&format!("label {key}"), value.clone());
    }
    Node::with(format!("config  {}", image.config), below)
}

fn layer(layer: &LayerInspection) -> Node {
    let mut below: Vec<Node> = layer
        .files
        .iter()
        .take(MOST_FILES)
        .map(|file| Node::new(format!("{}  {}", file.path, size(file.size))))
        .collect();
    let more = layer.files.len().saturating_sub(MOST_FILES) + layer.more_files;
    if more > 0 {
        below.push(Node::new(format!("… and {more} more")));
    }
    let made = layer.created_by.as_ref().map_or_else(String::new, |made| format!("  {}", one_line(made)));
    Node::with(format!("layer  {}  {}{made}", layer.digest, size(layer.size)), below)
}

/// Shortens a history's text to one line; it may be a whole shell script.
fn one_line(text: &str) -> String {
    const MOST: usize = 60;
    let plain: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if plain.chars().count() <= MOST { plain } else { plain.chars().take(MOST - 1).chain(['…']).collect() }
}
