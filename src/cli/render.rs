//! Errors for users: what failed and why, the line of the file with a caret, and the next step.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::error::Explain;
use crate::event::describe;
use crate::text::visible;

/// The text of an error that ended a run, with a newline at its end.
pub(super) fn error(error: &dyn Explain, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    let snippets = error.snippets();
    for snippet in &snippets {
        let annotation = AnnotationKind::Primary.span(snippet.span.clone());
        let annotation =
            if snippet.label.is_empty() { annotation } else { annotation.label(snippet.label.as_str()) };
        let source =
            Snippet::source(snippet.text.as_str()).path(snippet.path.as_str()).annotation(annotation);
        let group = Level::ERROR.primary_title(snippet.title.as_str()).element(source);
        text += &renderer.render(&[group]);
        text.push('\n');
    }
    if snippets.is_empty() {
        // The cause lines are ours and not source text, so the renderer must not lay them out.
        let message = describe(error);
        let (first, rest) =
            message.split_once('\n').map_or((message.as_str(), ""), |(first, rest)| (first, rest));
        text += &renderer.render(&[annotate_snippets::Group::with_title(Level::ERROR.primary_title(first))]);
        text.push('\n');
        if !rest.is_empty() {
            text += &visible::lines(&format!("\n{}", rest.trim_end()))[1..];
            text.push('\n');
        }
    }
    if let Some(hint) = error.hint() {
        let level = Level::HELP.with_name("hint");
        text += &renderer.render(&[annotate_snippets::Group::with_title(level.primary_title(hint.as_str()))]);
        text.push('\n');
    }
    text
}
