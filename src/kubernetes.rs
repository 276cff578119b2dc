//! References to projects in Kubernetes manifests, `xbuild://PATH`, found and replaced in the text. Pure.
//!
//! The text is not parsed as YAML and written again: comments, order, quotes and anchors stay as they are, and JSON works
//! too. A reference is a whole value, as ko has it; in the middle of a text, in a comment or in a key it is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What a reference begins with.
pub const PREFIX: &str = "xbuild://";

/// A reference in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Where it stands, without quotes.
    pub span: Range<usize>,
    /// The path of the project.
    pub path: String,
}

/// Every reference of a text, in its order.
#[must_use]
pub fn references(text: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        for (at, _) in line.match_indices(PREFIX) {
            if let Some(length) = value_at(line, at) {
                let span = start + at..start + at + length;
                found.push(Reference { path: line[at + PREFIX.len()..at + length].to_owned(), span });
            }
        }
        start += line.len();
    }
    found
}

/// The paths of the projects that a text refers to, each once, sorted.
#[must_use]
pub fn projects(text: &str) -> BTreeSet<String> {
    references(text).into_iter().map(|reference| reference.path).collect()
}

/// The text with each reference replaced by its project's image. One whose project is not among the images stays.
#[must_use]
pub fn replaced(text: &str, images: &BTreeMap<String, String>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut end = 0;
    for reference in references(text) {
        let Some(image) = images.get(&reference.path) else { continue };
        result += &text[end..reference.span.start];
        result += image;
        end = reference.span.end;
    }
    result + &text[end..]
}

/// The length of the value that starts at `at` of a line, if it is a whole one.
fn value_at(line: &str, at: usize) -> Option<usize> {
    let (before, rest) = line.split_at(at);
    let quote = before.chars().next_back().filter(|c| matches!(c, '"' | '\''));
    let in_front = before.strip_suffix(|c| Some(c) == quote).unwrap_or(before);
    let spaced = in_front.ends_with([' ', '\t']);
    let in_front = in_front.trim_end_matches([' ', '\t']);
    // A value follows a key or a dash and a blank, stands in a flow or JSON list, or has the line to itself.
    let is_value = match in_front.chars().next_back() {
        None | Some('[' | '{' | ',') => true,
        Some(':') => spaced || quote.is_some(),
        Some('-') => spaced && in_front[..in_front.len() - 1].trim().trim_end_matches('-').is_empty(),
        // A tag or an anchor of the value.
        Some(_) => {
            in_front.rsplit([' ', '\t']).next().is_some_and(|word| spaced && word.starts_with(['!', '&']))
        }
    };
    if !is_value || is_comment(before) {
        return None;
    }
    let ends: &[char] = match quote {
        Some('"') => &['"'],
        Some(_) => &['\''],
        None => &[' ', '\t', ',', ']', '}', '\n', '\r'],
    };
    let length = rest.find(ends).unwrap_or(rest.len());
    if length == PREFIX.len() || rest[..length].contains('\n') {
        return None;
    }
    let behind = match quote {
        Some(_) => rest[length..].strip_prefix(ends)?,
        None => &rest[length..],
    };
    let separated = behind.starts_with([' ', '\t']);
    let behind = behind.trim_start_matches([' ', '\t']).trim_end_matches(['\r', '\n']);
    let ended =
        behind.is_empty() || behind.starts_with([',', ']', '}']) || (behind.starts_with('#') && separated);
    ended.then_some(length)
}

/// True if a comment has begun: a `#` at the start of the line or behind a blank, outside of quotes.
fn is_comment(before: &str) -> bool {
    let mut quote = None;
    let mut previous = ' ';
    for character in before.chars() {
        match (quote, character) {
            (Some(open), character) if character == open && previous != '\\' => quote = None,
            (None, '#') if previous.is_whitespace() => return true,
            // A quotation mark inside of a word is an apostrophe.
            (None, '"' | '\'') if !previous.is_alphanumeric() => quote = Some(character),
            _ => {}
        }
        previous = character;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        references(text).into_iter().map(|reference| reference.path).collect()
    }

    #[test]
    fn whole_values_are_references() {
        for text in [
            "image: xbuild://a/b",
            "  - image: xbuild://a/b\n",
            "- xbuild://a/b",
            "image: \"xbuild://a/b\"  # the service",
            "image: 'xbuild://a/b'\r\n",
            "image: xbuild://a/b # the service",
            "{\"image\":\"xbuild://a/b\"}",
            "{\"image\": \"xbuild://a/b\", \"x\": 1}",
            "images: [xbuild://a/b]",
            "{ image: xbuild://a/b }",
            "image: !!str xbuild://a/b",
            "image: &image xbuild://a/b",
            "image:\n  xbuild://a/b\n",
            "x: it's # no quote\nimage: xbuild://a/b",
        ] {
            assert_eq!(paths(text), ["a/b"], "{text}");
        }
        assert_eq!(paths("images: [xbuild://a, \"xbuild://b\"]"), ["a", "b"]);
        assert_eq!(paths("image: \"xbuild://a dir\""), ["a dir"]);
        assert_eq!(paths("image: xbuild://."), ["."]);
    }

    #[test]
    fn what_is_no_whole_value_is_left_alone() {
        for text in [
            "# image: xbuild://a",
            "image: debian # not xbuild://a",
            "args: [--image=xbuild://a]",
            "text: see xbuild://a for more",
            "text: \"see xbuild://a\"",
            "image: xbuild://",
            "image:xbuild://a",
            "xbuild://a: value",
            "image: xbuild://a b",
            "image: \"xbuild://a",
            "image: ko://a",
        ] {
            assert_eq!(paths(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn all_else_stays_as_it_is() {
        let text = "---\n# xbuild://a is built by us\nspec:\n  image:   'xbuild://a'   # pinned\n  other: &x xbuild://b\n---\n\
                    image: xbuild://a\nkeep: xbuild://c\n";
        let images = BTreeMap::from([
            ("a".to_owned(), "r.example/a@sha256:1".to_owned()),
            ("b".to_owned(), "r.example/b@sha256:2".to_owned()),
        ]);
        assert_eq!(
            replaced(text, &images),
            "---\n# xbuild://a is built by us\nspec:\n  image:   'r.example/a@sha256:1'   # pinned\n  other: &x \
             r.example/b@sha256:2\n---\nimage: r.example/a@sha256:1\nkeep: xbuild://c\n"
        );
        assert_eq!(projects(text).into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(replaced("no references", &images), "no references");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_and_nothing_else_is_changed(text in "[ -~\n]{0,60}(xbuild://[a-z\"' ]{0,5}){0,3}[ -~\n]{0,20}") {
            proptest::prop_assert_eq!(replaced(&text, &BTreeMap::new()), text);
        }
    }
}
