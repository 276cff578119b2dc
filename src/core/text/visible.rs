//! Text from others, made safe for a terminal.
//!
//! File names, annotations, labels, tags and messages of servers get to the views unchanged. A terminal would obey
//! control characters in them, and a reader would take the text after a line end for a line of ours. Both are escaped
//! here, in one place for all sources.

use std::borrow::Cow;
use std::fmt::Write as _;

/// True for characters that move the cursor, change the writing direction, or are invisible.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Marks, embeddings, overrides and isolates of bidirectional text (Unicode Standard Annex 9, section 2).
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Separators of lines and paragraphs.
            | '\u{2028}' | '\u{2029}'
            // Characters without width, by which two names look the same.
            | '\u{200b}' | '\u{2060}' | '\u{feff}'
        )
}

/// Text that is shown as one line.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// Text that may have several lines, as our own messages do: those after the first are indented, so that none of them
/// looks like the start of a message.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    let escaped = escaped(text, |character| matches!(character, '\n' | '\t'));
    let ours = |line: &str| line.is_empty() || line.starts_with(' ');
    if escaped.split('\n').skip(1).all(ours) {
        return escaped;
    }
    let mut shown = String::with_capacity(escaped.len() + 16);
    for (number, line) in escaped.split('\n').enumerate() {
        if number > 0 {
            shown.push('\n');
            if !ours(line) {
                shown.push_str("  ");
            }
        }
        shown.push_str(line);
    }
    Cow::Owned(shown)
}

/// A whole view: its lines are all ours, and values in it were escaped by [`line()`].
#[must_use]
pub fn view(text: &str) -> Cow<'_, str> {
    escaped(text, |character| matches!(character, '\n' | '\t'))
}

fn escaped(text: &str, kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let hidden = |character: char| is_hidden(character) && !kept(character);
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if hidden(character) {
            // Writing to a string cannot fail.
            write!(shown, "{}", character.escape_default()).ok();
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(line("a\u{1b}[2Jb\r\u{9b}c\u{7f}"), "a\\u{1b}[2Jb\\r\\u{9b}c\\u{7f}");
        assert_eq!(line("one\nerror: two\u{2028}three"), "one\\nerror: two\\u{2028}three");
        assert_eq!(line("exe\u{202e}gpj.\u{2066}\u{200b}"), "exe\\u{202e}gpj.\\u{2066}\\u{200b}");
        assert_eq!(view("rows\n\u{7}\tof ours"), "rows\n\\u{7}\tof ours");
    }

    #[test]
    fn what_people_write_stays() {
        for text in ["größe 日本語 🚢", "a\u{301}", "‘quoted’ … naïve", "שלום"] {
            assert_eq!(line(text), text);
            assert!(matches!(lines(text), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn no_line_of_another_looks_like_ours() {
        assert_eq!(lines("failed\n  | said so\n  caused by: x\n"), "failed\n  | said so\n  caused by: x\n");
        assert_eq!(lines("no `a\nerror: forged\r` there"), "no `a\n  error: forged\\r` there");
    }
}
