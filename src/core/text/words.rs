//! Numbers and names in sentences.

/// A size in decimal units, as used for disks and networks: `1.2 MB`.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
#[must_use]
pub fn size(bytes: u64) -> String {
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
#[must_use]
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The maximum number of names in one sentence.
const MOST_NAMES: usize = 20;

/// Names in a sentence; `none` if there are none. Of too many names, only the first are listed.
#[must_use]
pub fn listed(names: &[String]) -> String {
    match names.split_at_checked(MOST_NAMES) {
        _ if names.is_empty() => "none".into(),
        Some((first, rest)) if !rest.is_empty() => format!("{} and {} more", first.join(", "), rest.len()),
        _ => names.join(", "),
    }
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
    }

    #[test]
    fn of_many_names_the_first_are_told() {
        let names = |count: usize| (1..=count).map(|number| number.to_string()).collect::<Vec<_>>();
        assert_eq!(listed(&[]), "none");
        assert_eq!(listed(&names(3)), "1, 2, 3");
        assert!(listed(&names(20)).ends_with(", 19, 20"));
        assert!(listed(&names(1_000)).ends_with(", 19, 20 and 980 more"));
    }
}
