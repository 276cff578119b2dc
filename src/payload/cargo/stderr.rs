//! Parses cargo's standard error: what cargo is doing, and the compiler's messages. Pure.

/// A piece of cargo's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A status line: its verb, and the rest.
    Status(String, String),
    /// cargo's progress.
    Progress(Units),
    /// A message of cargo or the compiler, as written and without colours.
    Message {
        /// With its newlines and its colours.
        text: String,
        /// Without colours.
        plain: String,
    },
}

/// Counts of compilation units in cargo's progress line, over all targets of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Units {
    /// Finished, or found up to date.
    pub(super) done: u64,
    /// In total.
    pub(super) total: u64,
    /// Units being compiled, as cargo names them: `ring(build), zstd-sys`.
    pub(super) active: String,
}

/// cargo's verbs, right-aligned in the first twelve columns of a status line.
const VERBS: &[&str] = &[
    "Adding",
    "Blocking",
    "Building",
    "Checking",
    "Compiling",
    "Dirty",
    "Downloaded",
    "Downloading",
    "Finished",
    "Fresh",
    "Locking",
    "Removing",
    "Replaced",
    "Running",
    "Unpacking",
    "Updating",
    "Upgrading",
    "Waiting",
];

/// Assembles lines into messages.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    open: Vec<String>,
}

impl Pieces {
    /// Takes a line and returns the pieces that it completes.
    pub(super) fn line(&mut self, line: &str) -> Vec<Piece> {
        // The beginning of the next line erases a progress line.
        let line = line.strip_prefix("\u{1b}[K").unwrap_or(line);
        let plain = plain(line);
        if let Some(units) = progress(&plain) {
            let mut pieces = self.end();
            pieces.extend(units.map(Piece::Progress));
            return pieces;
        }
        if let Some((verb, rest)) = status(&plain) {
            let mut pieces = self.end();
            pieces.push(Piece::Status(verb.to_owned(), rest.to_owned()));
            return pieces;
        }
        // Messages end with an empty line, except cargo's own messages of one line, which end when another begins.
        let begins = ["error", "warning"].iter().any(|word| {
            plain.strip_prefix(word).is_some_and(|rest| rest.starts_with(':') || rest.starts_with('['))
        });
        let pieces = if begins { self.end() } else { Vec::new() };
        if !plain.trim().is_empty() || !self.open.is_empty() {
            self.open.push(line.to_owned());
        }
        if plain.trim().is_empty() { self.end() } else { pieces }
    }

    /// The remaining pieces when there are no more lines.
    pub(super) fn end(&mut self) -> Vec<Piece> {
        if self.open.is_empty() {
            return Vec::new();
        }
        let text = std::mem::take(&mut self.open).join("\n") + "\n";
        vec![Piece::Message { plain: plain(&text), text }]
    }
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn status(line: &str) -> Option<(&str, &str)> {
    let (head, rest) = line.split_at_checked(12)?;
    let verb = head.trim_start();
    let rest = rest.strip_prefix(' ')?;
    VERBS.contains(&verb).then_some((verb, rest))
}

/// Parses a line with a progress bar, which is redrawn: `    Building [==>  ] 28/66: ring(build), zstd-sys`. Bars for
/// fetching and resolving have no useful data, so the inner value is `None` for them.
#[allow(clippy::option_option, reason = "whether it is one, and whether it says something")]
fn progress(line: &str) -> Option<Option<Units>> {
    let (verb, rest) = line.split_at_checked(12)?;
    let verb = verb.trim_start();
    let is_verb = !verb.is_empty() && verb.chars().all(|character| character.is_ascii_alphabetic());
    if is_verb && rest.contains(", remaining bytes: ") {
        return Some(None);
    }
    let (_, rest) = rest.strip_prefix(" [").filter(|_| is_verb)?.split_once("] ")?;
    let units = || {
        let (count, active) = rest.split_once(':').unwrap_or((rest, ""));
        let (done, total) = count.trim().split_once('/')?;
        Some(Units { done: done.parse().ok()?, total: total.parse().ok()?, active: active.trim().to_owned() })
    };
    Some(units().filter(|_| verb == "Building"))
}

/// At most this many lines of a linker or a build script are in a summary.
const LINES: usize = 3;

/// A summary of an error in a few lines: its first line with the source location, or with the lines in which a linker
/// or a build script says what is wrong.
pub(super) fn summary(plain: &str) -> Vec<String> {
    let mut lines = plain.lines();
    let head = lines.next().unwrap_or_default().trim_end().to_owned();
    let rest: Vec<&str> = lines.map(str::trim).collect();
    if let Some(place) = rest.iter().find_map(|line| line.strip_prefix("--> ")) {
        return vec![format!("{head} ({place})")];
    }
    let says = rest.iter().map(|line| line.strip_prefix("= note: ").unwrap_or(line).trim());
    let mut says: Vec<&str> =
        says.filter(|line| line.starts_with("error") || line.contains("error: ")).collect();
    let more = says.len().saturating_sub(LINES);
    says.truncate(LINES);
    let mut summary = vec![head];
    summary.extend(says.into_iter().map(|line| format!("  {line}")));
    if more > 0 {
        summary.push(format!("  and {more} more lines of this kind"));
    }
    summary
}

/// True for a message about a failure that says more than that something did not compile.
pub(super) fn is_error(plain: &str) -> bool {
    plain.starts_with("error") && !is_summary(plain)
}

/// True for cargo's summary for a package that did not compile.
pub(super) fn is_summary(plain: &str) -> bool {
    plain.starts_with("error: could not compile `")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<Piece> {
        let mut pieces = Pieces::default();
        let mut all: Vec<_> = text.lines().flat_map(|line| pieces.line(line)).collect();
        all.extend(pieces.end());
        all
    }

    fn message(text: &str) -> Piece {
        Piece::Message { text: text.into(), plain: text.into() }
    }

    fn status(verb: &str, rest: &str) -> Piece {
        Piece::Status(verb.into(), rest.into())
    }

    #[test]
    fn status_lines_and_messages_are_told_apart() {
        let text = "   Compiling a v1.0.0 (/a)\n    Blocking waiting for file lock on build directory\n\
            warning: unused\n --> src/a.rs\n   Compiling is also a word at a line's start\n\n\
            error[E0308]: mismatched types\n  --> src/b.rs\n\n\
            error: could not compile `a` (lib) due to 1 previous error\nwarning: build failed, waiting\n";
        assert_eq!(
            pieces(text),
            [
                status("Compiling", "a v1.0.0 (/a)"),
                status("Blocking", "waiting for file lock on build directory"),
                message("warning: unused\n --> src/a.rs\n"),
                status("Compiling", "is also a word at a line's start"),
                message("error[E0308]: mismatched types\n  --> src/b.rs\n\n"),
                message("error: could not compile `a` (lib) due to 1 previous error\n"),
                message("warning: build failed, waiting\n"),
            ]
        );
    }

    #[test]
    fn colours_stay_in_the_text_and_not_in_the_plain_one() {
        let text = "\u{1b}[1m\u{1b}[92m   Compiling\u{1b}[0m a v1\n\u{1b}[1m\u{1b}[91merror\u{1b}[0m: no\n";
        let all = pieces(text);
        assert_eq!(all[0], status("Compiling", "a v1"));
        assert!(
            matches!(&all[1], Piece::Message { text, plain } if text.contains('\u{1b}') && plain == "error: no\n")
        );
    }

    #[test]
    fn a_bar_says_how_far_cargo_is() {
        let units = |done, active: &str| Piece::Progress(Units { done, total: 66, active: active.into() });
        let said = "\u{1b}[1m\u{1b}[96m    Building\u{1b}[0m [>         ] 3/66: ring(build), b     \n\
                    \u{1b}[Kerror: no\n    Building [==>       ] 12/66    \n       Fetch [=====>  ] 42.00%, 1.2MiB/s\n \
                    Downloading 3 crates, remaining bytes: 1.2MiB\n    Building [=>  ] x/y: a\n";
        let error = message("error: no\n");
        assert_eq!(pieces(said), [units(3, "ring(build), b"), error, units(12, "")]);
        // The source code in a message may look similar.
        let text = "error: no\n  12 |     a [0] 1/2: b\n\n";
        assert_eq!(pieces(text).len(), 1);
    }

    #[test]
    fn an_error_is_summed_up_in_few_lines() {
        let lines = |text: &str| summary(text).join("\n");
        assert_eq!(
            lines("error[E0425]: cannot find value `x`\n --> src/main.rs:1:5\n  |\n1 | let error: u8 = x;\n"),
            "error[E0425]: cannot find value `x` (src/main.rs:1:5)"
        );
        let symbol =
            |name: &str| format!("          ld.lld: error: undefined symbol: {name}\n          >>> by a.o\n");
        let symbols = ["f0", "f1", "f2", "f3", "f4"].map(symbol).concat();
        assert_eq!(
            lines(&format!(
                "error: linking with `/c/zig-cc` failed: exit status: 1\n  |\n  = note:  \"/c/zig-cc\" \"a.o\"\n  = note: \
                 ld.lld: error: undefined symbol: f\n{symbols}"
            )),
            "error: linking with `/c/zig-cc` failed: exit status: 1\n  ld.lld: error: undefined symbol: f\n  \
             ld.lld: error: undefined symbol: f0\n  ld.lld: error: undefined symbol: f1\n  and 3 more lines of this kind"
        );
    }

    #[test]
    fn a_summary_is_no_error_of_its_own() {
        assert!(is_error("error[E0308]: mismatched"));
        assert!(!is_error("error: could not compile `a` (bin \"a\") due to 1 previous error"));
        assert!(!is_error("warning: unused"));
    }
}
