//! How suites, packages and moments are written in configurations. Pure.

use super::sources::is_snapshot_date;

/// True for a name that a release can have.
#[must_use]
pub(crate) fn is_suite_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(allowed)
}

/// Checks the name of a package (Debian's Policy, section 5.6.1). The error says what to write instead.
pub(crate) fn check_package_name(text: &str) -> Result<(), &'static str> {
    let remedy = if text.contains(['=', '(']) {
        "write the name alone: the base's release decides the version, and `xbuild lock` pins it"
    } else if text.contains('|') {
        "choose one of them: write the name alone"
    } else if text.contains(':') {
        "write the name alone: packages are those of the platform's own architecture"
    } else if text.ends_with('-') {
        "packages cannot be removed from a base: write the names of those to add"
    } else if text.contains('/') {
        "write the name alone: `suites` under [debian] says where packages are taken from"
    } else {
        "write its name as in Debian, in lower case: `libsqlite3-0`"
    };
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let whole = text.len() > 1
        && text.starts_with(letter)
        && !text.ends_with('-')
        && text.chars().all(|c| letter(c) || matches!(c, '+' | '-' | '.'));
    if whole { Ok(()) } else { Err(remedy) }
}

/// A moment as the snapshot archive writes it, from a day or a moment as people write it, or from that form itself.
#[must_use]
pub(crate) fn parse_snapshot(text: &str) -> Option<String> {
    let spread = || {
        let part = |range| text.get(range);
        let (day, time) =
            ((part(0..4)?, part(4..6)?, part(6..8)?), (part(9..11)?, part(11..13)?, part(13..15)?));
        Some(format!("{}-{}-{}T{}:{}:{}Z", day.0, day.1, day.2, time.0, time.1, time.2))
    };
    let full = match text.len() {
        _ if is_snapshot_date(text) => spread().unwrap_or_default(),
        10 => format!("{text}T00:00:00Z"),
        _ => text.to_owned(),
    };
    let moment = full.parse::<jiff::Timestamp>().ok()?;
    Some(moment.strftime("%Y%m%dT%H%M%SZ").to_string())
}
