//! Colours and units, as both human views show them.

use std::time::Duration;

use anstyle::{AnsiColor, Style};

/// Paints text, or leaves it plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    pub(crate) fn error(self, text: &str) -> String {
        self.with(AnsiColor::Red.on_default().bold(), text)
    }

    pub(crate) fn warning(self, text: &str) -> String {
        self.with(AnsiColor::Yellow.on_default().bold(), text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with(AnsiColor::Green.on_default().bold(), text)
    }

    pub(crate) fn word(self, text: &str) -> String {
        self.with(AnsiColor::Cyan.on_default().bold(), text)
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    fn with(self, style: Style, text: &str) -> String {
        if self.0 { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// A size in decimal units, as disks and networks have them: `1.2 MB`.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for larger in ["kB", "MB", "GB", "TB"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    match unit {
        "B" => format!("{bytes} B"),
        unit if value < 99.5 => format!("{value:.1} {unit}"),
        unit => format!("{value:.0} {unit}"),
    }
}

/// A number with its noun: `1 blob`, `3 blobs`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// As many names a person reads in one sentence.
const MOST_NAMES: usize = 20;

/// Names in a sentence; `none` without any. Of very many the first.
pub(crate) fn listed(names: &[String]) -> String {
    match names.split_at_checked(MOST_NAMES) {
        _ if names.is_empty() => "none".into(),
        Some((first, rest)) if !rest.is_empty() => format!("{} and {} more", first.join(", "), rest.len()),
        _ => names.join(", "),
    }
}

/// A time span in seconds: `0.8 s`, `12 s`, `3m 20s`.
pub(super) fn span(milliseconds: u64) -> String {
    let duration = Duration::from_millis(milliseconds);
    match duration.as_secs() {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds}s"),
        seconds => format!("{}m {:02}s", seconds / 60, seconds % 60),
    }
}

/// The first twelve hexadecimal digits of a digest, as engines show them.
pub(super) fn short_digest(digest: &str) -> &str {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_have_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (99_400, "99.4 kB"),
            (999_600, "1.0 MB"),
            (123_456_789, "123 MB"),
            (81_300_000_000, "81.3 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!((span(840), span(12_900), span(200_000)), ("0.8s".into(), "12s".into(), "3m 20s".into()));
        assert_eq!(short_digest("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_digest("x"), "x");
    }

    #[test]
    fn of_many_names_the_first_are_told() {
        let names = |count: usize| (1..=count).map(|number| number.to_string()).collect::<Vec<_>>();
        assert_eq!(listed(&[]), "none");
        assert_eq!(listed(&names(3)), "1, 2, 3");
        assert!(listed(&names(20)).ends_with(", 19, 20"));
        assert!(listed(&names(1_000)).ends_with(", 19, 20 and 980 more"));
    }

    #[test]
    fn plain_text_has_no_escapes() {
        assert_eq!(Paint(false).error("error"), "error");
        assert_eq!(Paint(true).error("error"), "\u{1b}[1m\u{1b}[31merror\u{1b}[0m");
    }
}
