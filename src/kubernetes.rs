//! References to projects in Kubernetes manifests, `xbuild://PATH`, found and replaced in the text. Pure.
//!
//! The text is parsed as YAML, which includes JSON, to find the values, but it is not written again: comments, order,
//! quotes and anchors stay as they are. A reference is a whole value, as for ko. Inside a longer text or in a key it is
//! left alone and reported, since a cluster would get it unchanged. Comments are ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

/// The prefix of a reference.
pub const PREFIX: &str = "xbuild://";
/// The values of these keys are texts that a cluster stores and does not run: files of a `ConfigMap` and a `Secret`,
/// annotations.
const KEPT: [&str; 3] = ["data", "stringData", "annotations"];

/// A manifest, or several in one text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    text: String,
    references: Vec<Reference>,
    /// Texts that look like a reference and are not one.
    pub left: Vec<Left>,
}

/// A reference in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reference {
    /// Its range in the text, without quotes.
    span: Range<usize>,
    /// The path of the project.
    path: String,
    /// In kustomize's list of images, name and digest are separate values; this is where the digest goes.
    digest: Option<Digest>,
}

/// Where the digest of an image goes in kustomize's list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Digest {
    /// It replaces the existing one.
    Instead(Range<usize>),
    /// It is inserted at this offset, between these texts.
    At(usize, String, &'static str),
}

/// A text that looks like a reference and is left unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The line that it is in, from 1.
    pub line: usize,
    /// The word that it is in.
    pub word: String,
    /// True if it is in a text that the cluster only stores, such as a file of a `ConfigMap`, or in a key.
    pub kept: bool,
}

/// The text is not YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: it is not YAML: {reason}")]
pub struct Syntax {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
}

impl Manifest {
    /// Parses a text. If it cannot contain a reference, it is not parsed. If kustomize has rendered it, a tag after a
    /// project's path is that of the image which the reference replaced, and is ignored.
    ///
    /// # Errors
    ///
    /// If the text may contain a reference and is not YAML.
    pub fn read(text: &str, kustomized: bool) -> Result<Self, Syntax> {
        let mut manifest = Self { text: text.to_owned(), ..Self::default() };
        if !text.contains(PREFIX) && !text.contains(r"xbuild:\/\/") {
            return Ok(manifest);
        }
        let mut walk = Walk { text, levels: Vec::new(), references: Vec::new(), left: Vec::new() };
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| Syntax {
                line: error.marker().line(),
                column: error.marker().col() + 1,
                reason: error.info(),
            })?;
            walk.event(&event, &span);
        }
        (manifest.references, manifest.left) = (walk.references, walk.left);
        if kustomized {
            for reference in &mut manifest.references {
                if let Some((path, tag)) = reference.path.rsplit_once(':')
                    && !tag.contains('/')
                    && is_path(path, true)
                {
                    reference.path = path.to_owned();
                }
            }
        }
        Ok(manifest)
    }

    /// The paths of the projects that are referred to, each once, sorted.
    #[must_use]
    pub fn projects(&self) -> BTreeSet<String> {
        self.references.iter().map(|reference| reference.path.clone()).collect()
    }

    /// The text with each reference replaced by its project's image, `NAME@DIGEST`. A reference stays if its project is
    /// not among the images.
    #[must_use]
    pub fn replaced(&self, images: &BTreeMap<String, String>) -> String {
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        for reference in &self.references {
            let Some(image) = images.get(&reference.path) else { continue };
            let (name, digest) = match (&reference.digest, image.split_once('@')) {
                (Some(place), Some((name, digest))) => (name, Some((place, digest))),
                _ => (image.as_str(), None),
            };
            edits.push((reference.span.clone(), name.to_owned()));
            edits.extend(digest.map(|(place, digest)| match place {
                Digest::Instead(span) => (span.clone(), digest.to_owned()),
                Digest::At(at, before, behind) => (*at..*at, format!("{before}{digest}{behind}")),
            }));
        }
        edits.sort_by_key(|(span, _)| span.start);
        // Of a duplicate key in a mapping, which only kustomize refuses, the first one counts.
        edits.dedup_by(|later, first| later.0 == first.0);
        let (mut result, mut end) = (String::with_capacity(self.text.len()), 0);
        for (span, text) in edits {
            result += &self.text[end..span.start];
            result += &text;
            end = span.end;
        }
        result + &self.text[end..]
    }
}

/// A mapping or a list that the walk is in.
#[derive(Debug)]
struct Level {
    mapping: bool,
    flow: bool,
    /// True if it is a key itself.
    is_key: bool,
    /// In a mapping: the key of the next value, with its column and whether it is in double quotes.
    key: Option<Key>,
    /// The reference that is the mapping's `newName`.
    renamed: Option<usize>,
    /// Where its `digest` goes.
    digest: Option<Digest>,
}

#[derive(Debug)]
struct Key {
    text: String,
    column: usize,
    quoted: bool,
}

struct Walk<'t> {
    text: &'t str,
    levels: Vec<Level>,
    references: Vec<Reference>,
    left: Vec<Left>,
}

impl Walk<'_> {
    fn event(&mut self, event: &Event<'_>, span: &Span) {
        match event {
            Event::DocumentStart(..) | Event::DocumentEnd => self.levels.clear(),
            Event::MappingStart(style, ..) => self.open(true, *style),
            Event::SequenceStart(style, ..) => self.open(false, *style),
            Event::MappingEnd | Event::SequenceEnd => {
                if let Some(level) = self.levels.pop() {
                    self.close(level);
                }
            }
            Event::Scalar(value, style, ..) => {
                let is_key = self.expects_key();
                self.scalar(value, *style, span, is_key);
                let quoted = *style == ScalarStyle::DoubleQuoted;
                let key = Key { text: value.to_string(), column: span.start.col(), quoted };
                self.done(is_key.then_some(key));
            }
            Event::Alias(_) => {
                let key = self.expects_key().then(Key::unknown);
                self.done(key);
            }
            _ => {}
        }
    }

    fn expects_key(&self) -> bool {
        self.levels.last().is_some_and(|level| level.mapping && level.key.is_none())
    }

    fn open(&mut self, mapping: bool, style: StructureStyle) {
        let (is_key, flow) = (self.expects_key(), style == StructureStyle::Flow);
        self.levels.push(Level { mapping, flow, is_key, key: None, renamed: None, digest: None });
    }

    /// Called when a key or a value is complete.
    fn done(&mut self, key: Option<Key>) {
        if let Some(level) = self.levels.last_mut().filter(|level| level.mapping) {
            level.key = key;
        }
    }

    fn close(&mut self, level: Level) {
        if let (Some(at), Some(place)) = (level.renamed, level.digest) {
            self.references[at].digest = Some(place);
        }
        self.done(level.is_key.then(Key::unknown));
    }

    fn scalar(&mut self, value: &str, style: ScalarStyle, span: &Span, is_key: bool) {
        let Some(range) = span.byte_range() else { return };
        let quoted = matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
        if !is_key && self.is_of_kustomize("digest") {
            let place = if range.is_empty() {
                // The value is empty, and its range may be that of the colon.
                let colon = usize::from(self.text[range.start..].starts_with(':'));
                Digest::At(range.start + colon, " ".to_owned(), "")
            } else if quoted {
                Digest::Instead(range.start + 1..range.end - 1)
            } else {
                Digest::Instead(range.clone())
            };
            if let Some(level) = self.levels.last_mut() {
                level.digest = Some(place);
            }
        }
        if !value.contains(PREFIX) {
            return;
        }
        match value.strip_prefix(PREFIX).filter(|path| !is_key && is_path(path, quoted)) {
            Some(path) => {
                let span = self.place(&range, value, quoted);
                let digest = self.kustomize_digest(&range, style);
                if digest.is_some()
                    && let Some(level) = self.levels.last_mut()
                {
                    level.renamed = Some(self.references.len());
                }
                self.references.push(Reference { span, path: path.to_owned(), digest });
            }
            None => self.leave(value, style, &range, is_key),
        }
    }

    /// The range of the value in the text; if it contains escapes, everything between the quotes.
    fn place(&self, range: &Range<usize>, value: &str, quoted: bool) -> Range<usize> {
        match self.text[range.clone()].find(value) {
            Some(at) => range.start + at..range.start + at + value.len(),
            None if quoted => range.start + 1..range.end - 1,
            None => range.clone(),
        }
    }

    /// Records what is left unchanged: each word with a reference in it.
    fn leave(&mut self, value: &str, style: ScalarStyle, range: &Range<usize>, is_key: bool) {
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let below = |level: &Level| level.key.as_ref().is_some_and(|key| KEPT.contains(&key.text.as_str()));
        let kept = block || is_key || self.levels.iter().any(below);
        let words = |text: &str| -> Vec<(usize, String)> {
            let found = text.match_indices(PREFIX).map(|(at, _)| {
                // A blank may have several bytes, as a no-break space does.
                let start = text[..at].trim_end_matches(|c: char| !c.is_whitespace()).len();
                let end = text[at..].find(char::is_whitespace).map_or(text.len(), |length| at + length);
                (at, text[start..end].trim_matches(['"', '\'']).to_owned())
            });
            found.collect()
        };
        let line = |at: usize| self.text[..at].matches('\n').count() + 1;
        let mut found: Vec<(usize, String)> = words(&self.text[range.clone()]);
        for (at, _) in &mut found {
            *at = line(range.start + *at);
        }
        if found.is_empty() {
            // The value contains escapes: only its first line is known.
            found = words(value).into_iter().map(|(_, word)| (line(range.start), word)).collect();
        }
        found.dedup();
        self.left.extend(found.into_iter().map(|(line, word)| Left { line, word, kept }));
    }

    /// True at the value of this key in kustomize's list: `images`, a list of mappings at the top level of a document.
    fn is_of_kustomize(&self, wanted: &str) -> bool {
        let is = |level: &Level, name: &str| level.key.as_ref().is_some_and(|key| key.text == name);
        matches!(self.levels.as_slice(), [top, list, image] if is(top, "images") && !list.mapping && is(image, wanted))
    }

    /// Where the digest of a `newName` goes.
    fn kustomize_digest(&self, range: &Range<usize>, style: ScalarStyle) -> Option<Digest> {
        let level = self.levels.last().filter(|_| self.is_of_kustomize("newName"))?;
        let key = level.key.as_ref()?;
        if let Some(place) = &level.digest {
            return Some(place.clone());
        }
        let behind = if key.quoted { "\"" } else { "" };
        if level.flow {
            let before = if key.quoted { ", \"digest\": \"" } else { ", digest: " };
            return Some(Digest::At(range.end, before.to_owned(), behind));
        }
        // On a line of its own, after a comment if there is one.
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let from = if block { range.end.saturating_sub(1) } else { range.end };
        let rest = &self.text[from..];
        let end = from + rest.find('\n').unwrap_or(rest.len());
        let (end, line_end) = if self.text[..end].ends_with('\r') { (end - 1, "\r\n") } else { (end, "\n") };
        let before = format!("{line_end}{}digest: ", " ".repeat(key.column));
        Some(Digest::At(end, before, ""))
    }
}

impl Key {
    /// A key that is not a scalar.
    const fn unknown() -> Self {
        Self { text: String::new(), column: 0, quoted: false }
    }
}

/// True for text that can be a project's path. A path with blanks must be in quotes.
fn is_path(path: &str, quoted: bool) -> bool {
    let blank = |c: char| if quoted { c.is_control() } else { c.is_control() || c.is_whitespace() };
    !path.is_empty() && path.trim() == path && !path.contains(blank) && !path.contains(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let manifest = Manifest::read(text, false).unwrap_or_else(|error| panic!("{text}: {error}"));
        manifest.references.into_iter().map(|reference| reference.path).collect()
    }

    fn images() -> BTreeMap<String, String> {
        BTreeMap::from([
            ("a".to_owned(), "r.example/a@sha256:1".to_owned()),
            ("b".to_owned(), "r.example/b@sha256:2".to_owned()),
        ])
    }

    fn replaced(text: &str) -> String {
        Manifest::read(text, false).unwrap().replaced(&images())
    }

    fn left(text: &str) -> Vec<(usize, String, bool)> {
        let manifest = Manifest::read(text, false).unwrap();
        assert_eq!(manifest.references, [], "{text}");
        manifest.left.into_iter().map(|left| (left.line, left.word, left.kept)).collect()
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
            "{\n\t\"image\":\t\"xbuild://a/b\",\n\t\"x\": [\n\t\t1\n\t]\n}\n",
            "{\"image\": \"xbuild:\\/\\/a/b\"}",
            "images: [xbuild://a/b]",
            "{ image: xbuild://a/b }",
            "image: !!str xbuild://a/b",
            "image: &image xbuild://a/b\nother: *image",
            "image:\n  xbuild://a/b\n",
            "image: >-\n  xbuild://a/b\n",
            "image: |-\n  xbuild://a/b\nmore: 1\n",
            "? image\n: xbuild://a/b\n",
            "\u{feff}image: xbuild://a/b\n",
            "%YAML 1.2\n---\nimage: xbuild://a/b\n...\n",
            "text: |\n  # no comment: 'x\nimage: xbuild://a/b\n",
            "x: it's # no quote\nimage: xbuild://a/b",
            "name: é ü 漢\nimage: xbuild://a/b",
        ] {
            assert_eq!(paths(text), ["a/b"], "{text}");
            let text = text.replace("a/b", "a");
            let expected = text.replace("xbuild://a", "r.example/a@sha256:1");
            assert_eq!(replaced(&text), expected.replace("xbuild:\\/\\/a", "r.example/a@sha256:1"));
        }
        assert_eq!(paths("images: [xbuild://a, \"xbuild://b\"]"), ["a", "b"]);
        assert_eq!(paths("image: \"xbuild://a dir\""), ["a dir"]);
        assert_eq!(paths("image: xbuild://."), ["."]);
        assert_eq!(paths("---\nimage: xbuild://a\n---\n- xbuild://b\n"), ["a", "b"]);
    }

    #[test]
    fn comments_and_other_texts_are_nobodys_business() {
        for text in [
            "# image: xbuild://a",
            "image: debian # not xbuild://a",
            "{{ if .Values.image }}\nimage: ko://a\n",
            "image: ko://a",
        ] {
            assert_eq!(left(text), [], "{text}");
            assert_eq!(replaced(text), text);
        }
    }

    #[test]
    fn what_is_no_whole_value_is_left_and_told_of() {
        let one = |line: usize, word: &str, kept| vec![(line, word.to_owned(), kept)];
        for (text, found) in [
            ("args: [--image=xbuild://a]", one(1, "--image=xbuild://a", false)),
            ("a: 1\ntext: see xbuild://a for more", one(2, "xbuild://a", false)),
            ("text: \"see xbuild://a\"", one(1, "xbuild://a", false)),
            // A no-break space, and a line separator: of two and of three bytes.
            ("text: see\u{a0}xbuild://a", one(1, "xbuild://a", false)),
            ("text: 'see\u{2028}xbuild://a'", one(1, "xbuild://a", false)),
            ("image: xbuild://", one(1, "xbuild://", false)),
            ("image:xbuild://a", one(1, "image:xbuild://a", false)),
            ("image: xbuild://a b", one(1, "xbuild://a", false)),
            ("image: |\n  xbuild://a\n", one(2, "xbuild://a", true)),
            ("xbuild://a: value", one(1, "xbuild://a", true)),
            ("{? {image: xbuild://a} : 1}", Vec::new()),
            ("data:\n  config.yaml: |\n    x: 1\n    image: xbuild://a\n", one(4, "xbuild://a", true)),
            ("data:\n  json: '{\"image\": \"xbuild://a\"}'\n", one(2, "xbuild://a\"}", true)),
            ("metadata: {annotations: {x: \"of xbuild://a\"}}", one(1, "xbuild://a", true)),
        ] {
            if found.is_empty() {
                assert_eq!(paths(text), ["a"], "{text}");
                continue;
            }
            assert_eq!(left(text), found, "{text}");
            assert_eq!(replaced(text), text);
        }
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_place() {
        let error = Manifest::read("a: 1\nimage: \"xbuild://a\n", false).unwrap_err();
        assert!(error.line >= 2 && !error.reason.is_empty(), "{error}");
        let error = Manifest::read("image: xbuild://a\n{{- if x }}\n", false).unwrap_err();
        assert_eq!(error.line, 2, "{error}");
    }

    #[test]
    fn all_else_stays_as_it_is() {
        let text = "---\n# xbuild://a is built by us\nspec:\n  image:   'xbuild://a'   # pinned\n  other: &x xbuild://b\n---\n\
                    image: xbuild://a\nkeep: xbuild://c\n";
        assert_eq!(
            replaced(text),
            "---\n# xbuild://a is built by us\nspec:\n  image:   'r.example/a@sha256:1'   # pinned\n  other: &x \
             r.example/b@sha256:2\n---\nimage: r.example/a@sha256:1\nkeep: xbuild://c\n"
        );
        let manifest = Manifest::read(text, false).unwrap();
        assert_eq!(manifest.projects().into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn kustomize_has_name_and_digest_apart() {
        for (text, expected) in [
            (
                "images:\n- name: app\n  newName: xbuild://a  # ours\n  newTag: v1\nnamespace: x\n",
                "images:\n- name: app\n  newName: r.example/a  # ours\n  digest: sha256:1\n  newTag: v1\nnamespace: x\n",
            ),
            (
                "images:\r\n  - newName: 'xbuild://a'\r\n",
                "images:\r\n  - newName: 'r.example/a'\r\n    digest: sha256:1\r\n",
            ),
            ("images:\n  - newName: xbuild://a", "images:\n  - newName: r.example/a\n    digest: sha256:1"),
            (
                "images:\n- newName: xbuild://a\n  digest: sha256:0 # old\n- digest: \"sha256:0\"\n  newName: xbuild://b\n",
                "images:\n- newName: r.example/a\n  digest: sha256:1 # old\n- digest: \"sha256:2\"\n  newName: r.example/b\n",
            ),
            (
                "images: [{name: app, newName: xbuild://a}, {newName: \"xbuild://b\", newTag: x}]\n",
                "images: [{name: app, newName: r.example/a, digest: sha256:1}, {newName: \"r.example/b\", digest: sha256:2, newTag: x}]\n",
            ),
            (
                "{\"images\": [{\"newName\": \"xbuild://a\"}]}",
                "{\"images\": [{\"newName\": \"r.example/a\", \"digest\": \"sha256:1\"}]}",
            ),
            (
                "images:\n- digest: sha256:0\n  newName: xbuild://a\n  newName: xbuild://b\n",
                "images:\n- digest: sha256:1\n  newName: r.example/a\n  newName: r.example/b\n",
            ),
            (
                "images:\n- newName: xbuild://a\n  digest:\n",
                "images:\n- newName: r.example/a\n  digest: sha256:1\n",
            ),
            (
                "spec:\n  images:\n  - newName: xbuild://a\n",
                "spec:\n  images:\n  - newName: r.example/a@sha256:1\n",
            ),
        ] {
            assert_eq!(replaced(text), expected, "{text}");
        }
        // The remainder would not be a path.
        for path in [":v1", "a :v1"] {
            let rendered = Manifest::read(&format!("image: 'xbuild://{path}'\n"), true).unwrap();
            assert_eq!(rendered.projects().into_iter().collect::<Vec<_>>(), [path]);
        }
        let rendered = Manifest::read("image: xbuild://team/a:v1\n", true).unwrap();
        assert_eq!(rendered.projects().into_iter().collect::<Vec<_>>(), ["team/a"]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_and_nothing_else_is_changed(text in "[ -~\n]{0,60}(xbuild://[a-z\"' ]{0,5}){0,3}[ -~\n]{0,20}") {
            if let Ok(manifest) = Manifest::read(&text, false) {
                proptest::prop_assert_eq!(manifest.replaced(&BTreeMap::new()), text);
            }
        }

        #[test]
        fn a_replaced_text_differs_in_its_references_alone(values in proptest::collection::vec("(xbuild://[ab]|[a-z]{1,5}|'xbuild://a'|\"xbuild://b\")( # xbuild://a)?", 1..6)) {
            let text = values.iter().fold(String::new(), |text, value| text + "- " + value + "\n");
            let expected = values.iter().fold(String::new(), |text, value| {
                let (value, comment) = value.split_at(value.find(" #").unwrap_or(value.len()));
                let value = value.replace("xbuild://a", "r.example/a@sha256:1");
                let value = value.replace("xbuild://b", "r.example/b@sha256:2");
                text + "- " + &value + comment + "\n"
            });
            proptest::prop_assert_eq!(replaced(&text), expected);
        }
    }
}
